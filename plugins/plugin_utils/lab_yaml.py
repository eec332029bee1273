# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The YAML of a lab file as plain types: text, numbers, true and false, nothing, lists, and mappings with text keys.

What YAML could mean besides is either taken for the text that it looks like (dates) or refused with its line (a key
that is there twice, tags that make other objects, nesting without end).
"""

from __future__ import annotations

import re
import typing as t

import yaml
from ansible_collections.ebpf.lab.plugins.module_utils._lab.schema import BadLab

DEPTH = 60  # levels; a lab file needs some ten, and far deeper ones overflow the parser's own stack
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # all but tab and newline
TIMESTAMP = "tag:yaml.org,2002:timestamp"

# The C loader, where PyYAML has it, reads a lab file in a tenth of the time.
Base: t.Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Loader(Base):  # whichever of the two there is
    """A safe loader without dates that refuses a key that is there twice, which YAML forbids and PyYAML lets pass."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != TIMESTAMP]
        for first, resolvers in Base.yaml_implicit_resolvers.items()
    }

    def construct_object(self, node: t.Any, deep: bool = False) -> t.Any:
        """As the base does; a value that Python cannot hold is said with its line."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError, TypeError) as error:
            why = f"this value cannot be read: {error}"
            raise yaml.constructor.ConstructorError(None, None, why, node.start_mark) from error

    def construct_mapping(self, node: t.Any, deep: bool = False) -> t.Any:
        """As the base does, for keys that are text and differ from each other."""
        seen: set[str] = set()
        for key, _value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key has to be text", key.start_mark)
            if key.value in seen:
                why = f"the key {key.value!r} is there twice; leave one of them"
                raise yaml.constructor.ConstructorError(None, None, why, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def load(path: str, raw: bytes) -> t.Any:
    """The one document in ``raw``, the content of the file ``path``. Raises BadLab with the line."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode()
        line, column = before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1
        why = f"the byte 0x{raw[error.start]:02x} is no UTF-8; save the file in UTF-8."
        raise BadLab(path, f"line {line}, column {column}", why) from error
    try:
        depth = 0
        for event in yaml.parse(text, Loader=Base):
            depth += isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent))
            depth -= isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent))
            if depth > DEPTH:
                raise BadLab(path, _place(event.start_mark), f"this is nested more than {DEPTH} levels deep.")
        content = yaml.load(text, Loader=Loader)
    except yaml.MarkedYAMLError as error:
        problem = " ".join(str(error.problem).split())
        raise BadLab(path, _place(error.problem_mark), f"this is not YAML: {problem}.") from error
    except yaml.reader.ReaderError as error:
        raise BadLab(path, _unreadable(text), "this is not YAML: a control character stands here.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadLab(path, "", f"this is not YAML: {' '.join(str(error).split())}.") from error
    _plain(path, content, (), ())
    return content


def _unreadable(text: str) -> str:
    """The line of the first character that YAML does not allow (YAML 1.1, 5.1); the C parser does not say it."""
    odd = CONTROL.search(text.replace("\r\n", "\n").replace("\x85", " "))
    return f"line {text.count(chr(10), 0, odd.start()) + 1}" if odd else ""


def _place(mark: t.Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""


def _plain(path: str, value: t.Any, where: tuple[str, ...], above: tuple[int, ...]) -> None:
    """Refuse what no lab file needs: bytes and sets by their tags, control characters, an alias that holds itself."""
    if isinstance(value, (dict, list)):
        if id(value) in above:
            raise BadLab(path, ".".join(where), "this alias stands inside of what it stands for.")
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            if isinstance(key, int) and isinstance(value, list):
                place = (*where[:-1], f"{where[-1] if where else ''}[{key}]")
            else:
                place = (*where, str(key))
            for part in (key, inner) if isinstance(value, dict) else (inner,):
                _plain(path, part, place, (*above, id(value)))
    elif isinstance(value, str):
        odd = CONTROL.search(value)
        if odd:
            raise BadLab(path, ".".join(where), f"this holds the control character {ord(odd[0]):#04x}; take it out.")
    elif value is not None and not isinstance(value, (int, float)):
        kind = type(value).__name__
        raise BadLab(path, ".".join(where), f"this is {kind}, which no lab file needs; write text or a number.")
