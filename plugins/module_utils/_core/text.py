# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and text of a host are bytes, whatever they look like; this makes valid text of them when they are shown.

Within the collection such a name is a str by ``os.fsdecode``, which ``os.fsencode`` turns into the same bytes again: a
byte that is no UTF-8 is a lone surrogate then (PEP 383). JSON, a terminal and Ansible take none of those.
"""

from __future__ import annotations

import os
import re
import typing as t

_SURROGATE = re.compile("[\ud800-\udfff]")


def shown(raw: t.Union[bytes, str]) -> str:
    """Valid text for people: each byte that is no UTF-8 as an escape such as \\xe9."""
    return _SURROGATE.sub(_escape, os.fsdecode(raw))


def one_line(raw: t.Union[bytes, str]) -> str:
    """The same for a name within a sentence: what would break the line or move a terminal's cursor is escaped too."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown(raw))


def shown_values(value: t.Any) -> t.Any:
    """A module's result with every text in it as ``shown`` makes it, keys included."""
    if isinstance(value, (str, bytes)):
        return shown(value)
    if isinstance(value, dict):
        return {shown_values(key): shown_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [shown_values(item) for item in value]
    return value


def _escape(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number - 0xDC00:02x}" if 0xDC80 <= number <= 0xDCFF else f"\\u{number:04x}"
