# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text from a host: names, contents and words, each of which may be any bytes.

Inside it is a str in which a byte that is no UTF-8 is a lone surrogate (PEP 383, as os.fsdecode makes it), so that it
goes back to the very same bytes. Such a str is no Unicode and no JSON: what leaves a module passes ``valid``, and what
stands in a sentence passes ``shown``.
"""

from __future__ import annotations

import re
import typing as t

_SURROGATE = re.compile("[\ud800-\udfff]")


def from_bytes(raw: bytes) -> str:
    """Bytes as text; ``to_bytes`` is the inverse."""
    return raw.decode("utf-8", "surrogateescape")


def to_bytes(text: str) -> bytes:
    """The bytes that a text was made of. A surrogate that stands for no byte becomes its escape."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return str(valid(text)).encode()


def _escape(char: str) -> str:
    number = ord(char)
    if 0xDC80 <= number <= 0xDCFF:
        return f"\\x{number - 0xDC00:02x}"
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char) or (
        f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
    )


def shown(text: t.Union[bytes, str]) -> str:
    """One line of printable Unicode: undecodable bytes as \\xNN, and whatever a terminal would not print escaped."""
    if isinstance(text, bytes):
        text = from_bytes(text)
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def valid(value: t.Any) -> t.Any:
    """A value of JSON's types with undecodable bytes as \\xNN in each of its texts, the keys too; else as it is."""
    if isinstance(value, str):
        return _SURROGATE.sub(lambda match: _escape(match[0]), value)
    if isinstance(value, dict):
        return {valid(key): valid(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [valid(item) for item in value]
    return value
