# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is of a map, of its entries and of its pin."""

from __future__ import annotations

import os
import socket
import typing as t
from dataclasses import replace

from ..._core.errors import BadInput, KernelRefused
from ..._core.host import Host
from ..._core.plan import Key
from ..._kernel.netns import in_netns
from ..._kernel.syscall import MapInfo
from ..interface import dictionary
from ..pin import folders
from ..pin.kept import KEPT, kept_for
from .entries import Map, MapRef
from .layout import DEVICES, Shape
from .state import MapState, Saved, Wanted, by_name, entry_key, map_key


def observe(host: Host, want: Wanted) -> MapState:
    """The map, the entries that are named (all when ``exclusive``), and our notes. Raises BadInput for bad entries."""
    state = _pin(host, want.pin)
    opened = Map.open(want.ref, want.raw)
    if opened is None:
        return replace(state, kept=_kept(host, 0))
    with opened:
        found = replace(
            state,
            shape=opened.shape,
            ours=_is_ours(host, opened.info),
            used=_is_used(host, opened.info),
            names=_indexes(want.netns, opened.shape, [entry["value"] for entry in want.listed()]),
            saved=_saved(host, opened.info),
            kept=_kept(host, opened.info.id),
        )
        if not want.present:
            return replace(found, entries=opened.lookup_all(found.saved))
        if not want.asks:
            return found
        opened.require_keys()
        entries: dict[bytes, t.Optional[bytes]] = {}
        if want.exclusive:
            entries.update(opened.items(opened.info.max_entries))
        missing = [key for key in _wanted_keys(want, opened.shape) if key not in entries]
        entries.update(dict.fromkeys(missing) if want.exclusive else opened.lookup_all(missing))
        return replace(found, entries=entries)


def _pin(host: Host, path: str) -> MapState:
    """What is pinned at ``path``, and the folders around it."""
    if not path:
        return MapState(folders=folders.look(host, KEPT))
    claim = host.journal.claimed(map_key(path))
    opened = Map.open(MapRef(path=path), raw=True)
    if opened is not None:
        opened.handle.close()
    return MapState(
        pinned=opened.info if opened is not None else None,
        claim=None if claim is None else dictionary(claim.value),
        folders=folders.look(host, os.path.dirname(path), KEPT),
    )


def _wanted_keys(want: Wanted, shape: Shape) -> list[bytes]:
    keys = [shape.encode_key(f"entries[{at}].key", entry["key"]) for at, entry in enumerate(want.listed())]
    gone = [shape.encode_key(f"absent_keys[{at}]", key) for at, key in enumerate(want.keys_gone())]
    for option, listed in (("entries", keys), ("absent_keys", [*keys, *gone])):
        twice = next((key for key in listed if listed.count(key) > 1), None)
        if twice is not None:
            raise BadInput(option, shape.key.decode(twice), "is there twice", "name each key once")
    return [*keys, *gone]


def _saved(host: Host, info: MapInfo) -> dict[bytes, Saved]:
    """The entries of a foreign map as they were before we changed them."""
    prefix = f"entry:{info.id}:"
    found = {}
    for key, entry in host.journal.entries.items():
        if key.startswith(prefix) and entry.has_saved:
            before = dictionary(entry.saved)
            wrote = tuple(_bytes(dictionary(value).get("value")) for value in entry.wrote)
            kept, netns = str(before.get("kept", "")), str(before.get("netns", ""))
            found[bytes.fromhex(key[len(prefix) :])] = Saved(_bytes(before.get("value")), wrote, kept, netns)
    return found


def _bytes(text: t.Any) -> t.Optional[bytes]:
    return bytes.fromhex(text) if isinstance(text, str) else None


def _kept(host: Host, number: int) -> dict[str, Key]:
    """The pins kept for the map with this id, and those of whose places nothing is noted any more."""
    places = kept_for(host, "entry:")
    mine = entry_key(number, b"")
    return {
        path: place for path, place in places.items() if place.startswith(mine) or host.journal.saved(place) is None
    }


def _is_ours(host: Host, info: MapInfo) -> bool:
    """Whether the map is one that we made. That a program of ours uses it, or a pin of ours names it, is no sign."""
    for key, entry in host.journal.entries.items():
        value = dictionary(entry.value)
        if not entry.claimed or value.get("id") != info.id:
            continue
        if (key.startswith("pin:") and "map_ids" not in value) or (key.startswith("map:") and value.get("made")):
            return True
    return False


def _is_used(host: Host, info: MapInfo) -> bool:
    """Whether a program that we loaded has the map, and may have written into it."""
    claims = host.journal.claims("pin:").values()
    return any(info.id in (dictionary(entry.value).get("map_ids") or ()) for entry in claims)


def _indexes(netns: str, shape: Shape, values: t.Sequence[t.Any]) -> dict[str, int]:
    """The indexes of the interfaces that a devmap's values name, as far as they are in the namespace."""
    if shape.info.type not in DEVICES:
        return {}
    wanted = {by_name(value) for value in values}

    def look() -> dict[str, int]:
        return {name: index for index, name in socket.if_nameindex() if name in wanted}

    try:
        return in_netns(netns, look)
    except KernelRefused:
        return {}
