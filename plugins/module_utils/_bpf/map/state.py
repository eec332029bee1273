# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is seen of a map and of our notes on it, and how it is shown."""

from __future__ import annotations

import os
import socket
import typing as t
from dataclasses import dataclass, field

from ..._core.errors import BadInput, KernelRefused
from ..._core.host import Host
from ..._kernel.netns import in_netns
from ..._kernel.syscall import MapInfo
from ..pin.folders import check_pin_path, existing, is_bpffs, nearest, ours_and_empty
from .entries import Map, MapRef
from .layout import DEVICES, Shape
from .steps import pin_key

SHOWN = 1000  # entries in a diff and in the result


@dataclass(frozen=True)
class MapState:
    """The map (``shape`` None: not there yet) with those of its entries that matter, and what is pinned at the path.

    ``entries`` has None for a key that is asked for and not there. ``saved`` are entries of a foreign map that we
    changed, as they were; ``stale`` the journal's keys of such entries of maps that are gone. ``names`` are the
    interfaces that a devmap's values name, with their indexes.
    """

    shape: t.Optional[Shape] = None
    entries: t.Mapping[bytes, t.Optional[bytes]] = field(default_factory=dict)
    ours: bool = False
    pinned: t.Optional[MapInfo] = None
    claim: t.Optional[dict[str, t.Any]] = None
    mounted: bool = True
    folders: frozenset[str] = frozenset()
    empty: tuple[str, ...] = ()
    saved: t.Mapping[bytes, t.Optional[bytes]] = field(default_factory=dict)
    stale: tuple[str, ...] = ()
    names: t.Mapping[str, int] = field(default_factory=dict)


def observe_pin(host: Host, path: str) -> MapState:
    """What is pinned at ``path``, and the folders around it."""
    claim = host.journal.claimed(pin_key(path))
    opened = Map.open(MapRef(path=path), raw=True)
    if opened is not None:
        opened.handle.close()
    return MapState(
        pinned=opened.info if opened is not None else None,
        claim=None if claim is None else claim.value or {},
        mounted=is_bpffs(nearest(path)),
        folders=existing(os.path.dirname(path)),
        empty=ours_and_empty(host, os.path.dirname(path)),
    )


def saved_entries(host: Host, info: MapInfo) -> dict[bytes, t.Optional[bytes]]:
    """The entries of a foreign map as they were before we changed them."""
    prefix = f"entry:{info.id}:"
    found = {}
    for key, entry in host.journal.entries.items():
        if key.startswith(prefix) and entry.has_saved:
            value = entry.saved["value"]
            found[bytes.fromhex(key[len(prefix) :])] = None if value is None else bytes.fromhex(value)
    return found


def stale_entries(host: Host, label: str) -> tuple[str, ...]:
    """The journal's keys of saved entries of a map that is gone."""
    entries = host.journal.entries.items()
    return tuple(key for key, entry in entries if key.startswith("entry:") and entry.saved["map"] == label)


def indexes(netns: str, shape: Shape, values: t.Sequence[t.Any]) -> dict[str, int]:
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


def ref_from_params(params: t.Mapping[str, t.Any], pin_too: bool = False) -> tuple[MapRef, str]:
    """Which map the parameters name, and (``pin_too``) the path at which it is to be pinned. Raises BadInput."""
    path, number = params.get("path") or "", params.get("id") or 0
    program, name = str(params.get("program") or ""), params.get("name") or ""
    ways = [option for option in ("path", "id", "program") if params.get(option)]
    right = "give a pinned path, an id, or a program and the map's name"
    if not ways:
        raise BadInput("path", None, "names no map", right)
    if len(ways) > (2 if pin_too and path else 1):
        raise BadInput(ways[-1], params[ways[-1]], f"is given beside {ways[-2]}", right)
    if bool(program) != bool(name):
        wrong = "name" if program else "program"
        raise BadInput(wrong, params.get(wrong), "is missing", "a map is named by its program and its name together")
    if number < 0:
        raise BadInput("id", number, "is no id", right)
    path = check_pin_path("path", path) if path else ""
    if number or program:
        return MapRef(id=number, program=program, name=name), path
    return MapRef(path=path), path if pin_too and params.get("state") == "absent" else ""


def is_ours(host: Host, info: MapInfo) -> bool:
    """Whether the map is one that we made, or a program's that we loaded."""
    for key, entry in host.journal.entries.items():
        value = entry.value or {}
        if not entry.claimed or not isinstance(value, dict):
            continue
        if info.id in value.get("map_ids", ()):
            return True
        if key.startswith(("pin:", "map:")) and "map_ids" not in value and value.get("id") == info.id:
            return True
    return False


def by_name(value: t.Any) -> str:
    """The interface that a devmap's value names, "" when it gives an index."""
    value = value.get("ifindex") if isinstance(value, dict) else value
    return value if isinstance(value, str) and not value.isdigit() else ""


def with_index(value: t.Any, index: int) -> t.Any:
    return {**value, "ifindex": index} if isinstance(value, dict) else index


def public(info: MapInfo) -> dict[str, t.Any]:
    names = ("id", "type", "name", "key_size", "value_size", "max_entries", "flags")
    return {name: getattr(info, name) for name in names}


def shown(shape: Shape, entries: t.Mapping[bytes, t.Optional[bytes]]) -> list[dict[str, t.Any]]:
    there = sorted((key, value) for key, value in entries.items() if value is not None)
    return [{"key": shape.key.decode(key), "value": shape.decode_value(value)} for key, value in there[:SHOWN]]
