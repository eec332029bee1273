# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How pins and entries of maps that a killed run was about to write are told from those of others."""

from __future__ import annotations

import typing as t

from ..._core.errors import LabError
from ..._core.host import Host
from ..._core.journal import Entry
from ..._core.plan import Key
from ..._core.resource import Kind
from ..pin.kept import is_kept
from ..pin.kinds import PinKind


class MapPinKind(PinKind):
    """Named: the map is made without a pin, its id is noted, and then it is pinned."""

    prefix = "map:"


class EntryKind(Kind):
    """By its value. Those of a map that is gone are over: there is nothing to be put back into."""

    prefix = "entry:"

    def look(self, host: Host, entries: t.Mapping[Key, Entry]) -> dict[Key, t.Any]:
        from .entries import Map, MapRef  # not before there is an entry: most runs have none

        keys: dict[int, dict[bytes, Key]] = {}
        for key in entries:
            try:
                _entry, map_id, text = key.split(":")
                keys.setdefault(int(map_id), {})[bytes.fromhex(text)] = key
            except ValueError:
                continue
        found: dict[Key, t.Any] = dict.fromkeys(entries)
        for number, mine in keys.items():
            try:
                opened = Map.open(MapRef(id=number), raw=True)
                if opened is not None:
                    with opened:
                        seen = opened.lookup_all(mine)
                    for raw, value in seen.items():
                        found[mine[raw]] = {"value": None if value is None else value.hex()}
            except LabError:
                continue
        return found

    def is_same(self, noted: t.Any, seen: t.Any) -> bool:
        return isinstance(noted, dict) and noted.get("value") == seen["value"]

    def is_back(self, saved: t.Any, seen: t.Any) -> bool:
        return seen is None or self.is_same(saved, seen) or not is_kept(saved)
