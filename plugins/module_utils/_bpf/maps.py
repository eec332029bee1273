# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The entries of a map listed as plain values, and kept to be put back."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .entries import MapRef, as_ref, require


def dump(
    which: t.Union[str, int, MapRef], limit: int = 1000, sum_per_cpu: bool = False, raw: bool = False
) -> list[dict[str, t.Any]]:
    """Up to ``limit`` entries of a map, by its pin's path or its id: dictionaries with ``key`` and ``value``.

    Sorted by the keys' bytes, integers by number, so that two dumps can be compared. Raises LabError.
    """
    with require(as_ref(which), raw) as opened:
        items = opened.items(limit)
        shown = [
            (opened.shape.key.decode(key), opened.shape.decode_value(value, sum_per_cpu), key) for key, value in items
        ]
    if all(isinstance(key, int) for key, _value, _raw in shown):
        shown.sort(key=lambda item: item[0])
    else:
        shown.sort(key=lambda item: item[2])
    return [{"key": key, "value": value} for key, value, _raw in shown]


@dataclass(frozen=True)
class Snapshot:
    """All entries of one map at a moment, as bytes; ``id`` makes sure that they go back into the same map."""

    ref: MapRef
    id: int
    entries: tuple[tuple[bytes, bytes], ...]


def snapshot(which: t.Union[str, int, MapRef]) -> Snapshot:
    """Remember all entries, for ``restore_entries``. Raises LabError."""
    ref = as_ref(which)
    with require(ref, raw=True) as opened:
        return Snapshot(ref, opened.info.id, tuple(opened.items(opened.info.max_entries)))


def restore_entries(before: Snapshot) -> int:
    """Make a map's entries what they were; returns how many were written or deleted. Another map since then: none."""
    with require(before.ref, raw=True) as opened:
        if opened.info.id != before.id:
            return 0
        now = dict(opened.items(opened.info.max_entries))
        then = dict(before.entries)
        changed = 0
        for key in now.keys() - then.keys():
            opened.delete(key)
            changed += 1
        for key, value in then.items():
            if now.get(key) != value:
                opened.update(key, value)
                changed += 1
        return changed
