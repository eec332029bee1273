# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The entries of a map listed as plain values, and kept to be put back."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ..._core.errors import BadInput
from ..._core.host import Host
from .entries import MapRef, as_ref, require
from .layout import Shape
from .options import ref_from_params
from .state import public


def dump(
    which: t.Union[str, int, MapRef], limit: int = 1000, sum_per_cpu: bool = False, raw: bool = False
) -> list[dict[str, t.Any]]:
    """Up to ``limit`` entries of a map, by its pin's path or its id: dictionaries with ``key`` and ``value``.

    Sorted by key, so that two dumps can be compared. Raises LabError.
    """
    with require(as_ref(which), raw) as opened:
        return show(opened.shape, opened.items(limit), sum_per_cpu)


def show(shape: Shape, items: t.Sequence[tuple[bytes, bytes]], sum_per_cpu: bool = False) -> list[dict[str, t.Any]]:
    """Entries as plain values, integers sorted by number and everything else by its bytes."""
    found = [(shape.key.decode(key), shape.decode_value(value, sum_per_cpu), key) for key, value in items]
    numbers = all(isinstance(key, int) for key, _value, _raw in found)
    found.sort(key=lambda entry: entry[0] if numbers else entry[2])
    return [{"key": key, "value": value} for key, value, _raw in found]


def gather(host: Host, params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The module bpf_map_info. Raises BadInput, LabError."""
    ref, _pin = ref_from_params(params)
    limit = params["limit"]
    if limit < 0:
        raise BadInput("limit", limit, "is negative", "give the number of entries to list")
    with require(ref, params["format"] == "bytes") as opened:
        # One more than asked for tells whether there are more.
        items = opened.items(limit + 1)
        shape = opened.shape
        return {
            "map": {**public(shape.info), "btf": bool(shape.info.btf_id), "cpus": shape.cpus},
            "entries": show(shape, items[:limit], params["sum_per_cpu"]),
            "truncated": len(items) > limit,
        }


@dataclass(frozen=True)
class Snapshot:
    """All entries of one map at a moment, as bytes; ``id`` makes sure that they go back into the same map."""

    ref: MapRef
    id: int
    entries: tuple[tuple[bytes, bytes], ...]
    type: str = ""


def snapshot(which: t.Union[str, int, MapRef]) -> Snapshot:
    """Remember all entries, for ``restore_entries``. Raises LabError."""
    ref = as_ref(which)
    with require(ref, raw=True) as opened:
        return Snapshot(ref, opened.info.id, tuple(opened.items(opened.info.max_entries)), opened.info.type)


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
