# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Strange values for options: what a typing error, a failed template, or somebody with bad intentions sends."""

from __future__ import annotations

import contextlib
import copy
import json
import types
import typing as t

from hypothesis import strategies as st

from .private import SCRATCH

BAD_INPUT = "bad input"  # the kind of the records that tell of it

TEXTS = [
    "", " ", "\0", "a\0b", "\ud800", "\udcff", "x\udc80", "é", "\u202eabc", "\x1b[2J", "a\nb", "1\n0", "\r", "\t",
    "a" * 16, "a" * 300, "a" * 5000, "é" * 8,
    "{{ 1 }}",
    "%s%n", "$(id)", "; id", "-", "--help", "-1", "0", "00", "0x10", "1e9",
    "nan", "4294967296", "9" * 6000, "..", "../x", "/", "//", "/..", "/proc/self/ns/net", "/dev/null",
    "/sys/fs/bpf", "/sys/fs/bpf/", "/sys/fs/bpf/x.y", "/sys/fs/bpf/../x", "/sys/fs/bpf/" + "a" * 300, "/nonexistent/x",
    "/etc/passwd", "/tmp", "lo", "all", "default", "none", "1", "true", "null", "fe80::1%lo", "::1/200", "10.0.0.0/33",
    "10.0.0.1", "256.1.1.1/24", "10.0.0.1/24", "fd00::1/64", "02:00:00:00:00:01", "ff:ff:ff:ff:ff:ff", "zz:00",
    "http://127.0.0.1:1/x", "file:///etc/passwd", "sha256:" + "0" * 64,
    "md5:1", "[", "(", "(a+)+$", "a:b", "a,b", "@", "#",
]  # fmt: skip
NUMBERS = [
    -(2**63) - 1, -(2**31), -1, 0, 1, 2, 7, 64, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1,
    2**63, 2**64, 10**400, 0.5, -0.5, 1e308, float("inf"), float("-inf"), float("nan"),
]  # fmt: skip


class Tried:
    """Counts the judgements that are made ``with`` it, and those that fail; ``keep`` adds them to the figures."""

    def __init__(self, scenario: str) -> None:
        self.scenario = scenario
        self.tries = self.wrong = 0

    def __enter__(self) -> None:
        self.tries += 1

    def __exit__(
        self,
        kind: t.Optional[type[BaseException]],
        _error: t.Optional[BaseException],
        _at: t.Optional[types.TracebackType],
    ) -> None:
        self.wrong += kind is not None

    def keep(self) -> None:
        """A line in bad.jsonl; several processes add to it."""
        line = {"kind": BAD_INPUT, "scenario": self.scenario, "tries": self.tries, "wrong": self.wrong}
        with contextlib.suppress(OSError), (SCRATCH / "bad.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def values() -> st.SearchStrategy[t.Any]:
    """Anything that JSON can carry."""
    plain = st.one_of(
        st.sampled_from(TEXTS),
        st.sampled_from(NUMBERS),
        st.booleans(),
        st.none(),
        st.text(st.characters(), max_size=20),
        st.integers(),
    )
    return st.one_of(
        plain,
        plain,
        st.lists(plain, max_size=3),
        st.dictionaries(st.sampled_from(TEXTS), plain, max_size=3),
        st.just(_nested(60)),
    )


def _nested(depth: int) -> t.Any:
    value: t.Any = []
    for _level in range(depth):
        value = [value]
    return value


def places(value: t.Any, path: tuple[t.Any, ...] = ()) -> list[tuple[t.Any, ...]]:
    """The path of every key and item of a nested value."""
    found = []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += [(*path, key), *places(inner, (*path, key))]
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            found += [(*path, number), *places(inner, (*path, number))]
    return found


@st.composite
def mutated(draw: t.Any, base: t.Any, most: int = 3) -> t.Any:
    """``base`` with one to ``most`` of its keys and items replaced, taken away, or joined by another."""
    value = copy.deepcopy(base)
    for _time in range(draw(st.integers(1, most))):
        known = places(value)
        if not known:
            break
        path = draw(st.sampled_from(known))
        inner = value
        for key in path[:-1]:
            inner = inner[key]
        what = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add"]))
        if what == "remove":
            del inner[path[-1]]
        elif what == "add" and isinstance(inner, dict):
            inner[draw(st.sampled_from(TEXTS))] = draw(values())
        elif what == "add":
            inner.append(draw(values()))
        else:
            inner[path[-1]] = draw(values())
    return value


@st.composite
def arguments(draw: t.Any, options: t.Mapping[str, t.Any], bases: t.Sequence[dict[str, t.Any]]) -> dict[str, t.Any]:
    """A module's arguments: an example of its own with something strange in it, or strange from the ground up."""
    if not options:
        return {draw(st.sampled_from(TEXTS)): draw(values())}
    if bases and draw(st.integers(0, 3)):
        base = draw(st.sampled_from(list(bases)))
        found: dict[str, t.Any] = draw(mutated(base)) if base else {}
        if draw(st.booleans()):
            found[draw(st.sampled_from(sorted(options)))] = draw(_like(options, draw))
        return found
    names = draw(st.sets(st.sampled_from(sorted(options)), max_size=6))
    names |= {name for name, option in options.items() if option.get("required") and draw(st.integers(0, 5))}
    return {name: draw(_value(options[name])) for name in sorted(names)}


def _like(options: t.Mapping[str, t.Any], draw: t.Any) -> st.SearchStrategy[t.Any]:
    return _value(options[draw(st.sampled_from(sorted(options)))])


def _value(option: t.Mapping[str, t.Any]) -> st.SearchStrategy[t.Any]:
    """A value of about the right type, or anything."""
    kind = option.get("type", "str")
    if option.get("choices"):
        return st.one_of(st.sampled_from(option["choices"]), st.sampled_from(option["choices"]), values())
    if kind in ("int", "float"):
        return st.one_of(st.sampled_from(NUMBERS), st.integers(0, 1 << 33), values())
    if kind == "bool":
        return st.one_of(st.booleans(), st.booleans(), values())
    if kind == "list":
        inner = option.get("suboptions")
        items = _suboptions(inner) if inner else st.one_of(st.sampled_from(TEXTS), values())
        return st.one_of(st.lists(items, max_size=3), values())
    if kind == "dict":
        inner = option.get("suboptions")
        return st.one_of(_suboptions(inner), values()) if inner else values()
    return st.one_of(st.sampled_from(TEXTS), values())


def _suboptions(options: t.Mapping[str, t.Any]) -> st.SearchStrategy[t.Any]:
    return st.fixed_dictionaries({}, optional={name: st.deferred(lambda o=o: _value(o)) for name, o in options.items()})
