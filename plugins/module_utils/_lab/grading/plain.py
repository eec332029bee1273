# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host reported, made safe to handle: plain types, bounded text, nothing invisible.

Students are root on their machines, so every value here is whatever somebody chose to send.
"""

from __future__ import annotations

import datetime
import json
import math
import typing as t
from collections.abc import Mapping, Sequence, Set

from .messages import is_message, words

DEPTH = 64  # levels of nesting; our own facts have five
BITS = 256  # of an integer: Python refuses to print one of 4300 digits
SHOWN = 2000  # characters of a value in a result


def plain(value: t.Any, depth: int = DEPTH) -> t.Any:
    """The value in the types of JSON alone, by copy: str, int, float, bool, None, list, and dict with str keys.

    ansible-core 2.19 and later tag their values with subclasses that jmespath does not know. What JSON cannot hold
    becomes text: bytes, dates, NaN, integers beyond ``BITS`` bits, whatever is nested deeper than ``depth``, and the
    objects that ansible-core wraps errors and warnings in.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        bits = int.bit_length(value)
        return int(value) if bits <= BITS else f"(an integer of {bits} bits)"
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else repr(float(value))
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode(errors="backslashreplace")
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, Mapping):
        if depth <= 0:
            return "(nested too deeply)"
        return {_key(key): plain(item, depth - 1) for key, item in value.items()}
    if isinstance(value, (Sequence, Set)):
        if depth <= 0:
            return "(nested too deeply)"
        return [plain(item, depth - 1) for item in value]
    return words(value) if is_message(value) else f"(a value of type {type(value).__name__})"


def _key(key: t.Any) -> str:
    """A key as JSON would write it: true for True, 1 for 1."""
    found = plain(key, 0)
    return found if isinstance(found, str) else json.dumps(found)


def visible(text: str, limit: int = SHOWN, keep: str = "") -> str:
    """Text of at most ``limit`` characters with each invisible character as an escape; a cut is noted at its end.

    Invisible is what ``str.isprintable`` says no to: controls, direction overrides, lone surrogates, unassigned
    characters, every space but the plain one. They could move a terminal's cursor, hide text, or turn the direction
    of reading. ``keep`` names those that stay, for example a newline. What was made visible once stays as it is.
    """
    shown = text[: limit + 1]
    if not shown.isprintable():
        shown = "".join(char if char.isprintable() or char in keep else _escape(char) for char in shown)
    if len(shown) <= limit:
        return shown
    note = f" (cut: {len(text)} characters)" if len(text) > limit else " (cut)"
    return shown[: limit - len(note)] + note


def tidy(value: t.Any, limit: int = 100_000) -> t.Any:
    """A plain copy in which every text is visible (newlines and tabs stay): what Ansible itself will print."""
    value = plain(value)
    if isinstance(value, str):
        return visible(value, limit, keep="\n\t")
    if isinstance(value, list):
        return [tidy(item, limit) for item in value]
    if isinstance(value, dict):
        return {visible(key, limit): tidy(item, limit) for key, item in value.items()}
    return value


def bounded(value: t.Any, items: int) -> t.Any:
    """A plain value with at most ``items`` items in all its lists and dicts; what is left out is counted in its place.

    A hundred characters count as an item.
    """
    left = items

    def copy(value: t.Any) -> t.Any:
        nonlocal left
        if not isinstance(value, (list, dict)):
            left -= len(value) // 100 if isinstance(value, str) else 0
            return value
        kept: list[tuple[t.Any, t.Any]] = []
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            if left <= 0:
                kept.append(("(cut)", f"(cut: {len(value) - len(kept)} more)"))
                break
            left -= 1
            kept.append((key, copy(item)))
        return dict(kept) if isinstance(value, dict) else [item for _key, item in kept]

    return copy(value)


def _escape(char: str) -> str:
    """A character as in JSON, or by its number."""
    number = ord(char)
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char) or (
        f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
    )


def shown(value: t.Any, limit: int = SHOWN) -> str:
    """A plain value as JSON text of at most ``limit`` characters, ``nothing`` for null. Costs no more than it shows."""
    if value is None:
        return "nothing"
    parts: list[str] = []
    length = 0
    # Encoded piece by piece: of ten megabytes only the first pieces are ever looked at.
    for piece in json.JSONEncoder(ensure_ascii=False).iterencode(_clipped(value, limit)):
        parts.append(piece)
        length += len(piece)
        if length > 2 * limit:
            break
    return visible("".join(parts), limit)


def _clipped(value: t.Any, limit: int) -> t.Any:
    """The value with its long strings cut, and of its lists and dicts no more than could be shown."""
    if isinstance(value, str):
        return value if len(value) <= limit else f"{value[: limit // 2]} (cut: {len(value)} characters)"
    if isinstance(value, list):
        return [_clipped(item, limit) for item in value[:limit]]
    if isinstance(value, dict):
        items = list(value.items())[:limit]
        return {_clipped(key, limit): _clipped(item, limit) for key, item in items}
    return value
