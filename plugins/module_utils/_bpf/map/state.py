# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wanted of a map, what is seen of it and of our notes on it, and how it is shown."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field

from ..._core.plan import Key
from ..._kernel.syscall import MapInfo
from ..pin.folders import Folders
from .entries import MapRef
from .layout import Shape
from .new import NewMap

SHOWN = 1000  # entries in a diff and in the result


def map_key(path: str) -> Key:
    """The journal's key of a pin that bpf_map made."""
    return f"map:{path}"


def entry_key(map_id: int, key: bytes) -> Key:
    """The journal's key of an entry of a map that is not ours; ids are not used twice in one boot."""
    return f"entry:{map_id}:{key.hex()}"


@dataclass(frozen=True)
class Wanted:
    """The map ``ref`` with ``entries``; without ``absent_keys``; with ``exclusive`` without any other.

    ``new``: it is made when it is not there, and pinned at ``pin``. ``pin`` without ``new``: the map that ``ref``
    finds is pinned there. ``present`` False: the pin that we made goes, and entries of a map that is not ours are put
    back. ``entries`` and ``absent_keys`` are JSON. ``netns`` is where a devmap's interfaces are. ``raw``: bytes only.
    ``as_loaded``: a prog_array is left as its object filled it. ``late``: what it depends on has been made by now.
    """

    ref: MapRef
    entries: str = "[]"
    absent_keys: str = "[]"
    exclusive: bool = False
    present: bool = True
    new: t.Optional[NewMap] = None
    pin: str = ""
    netns: str = ""
    raw: bool = False
    as_loaded: bool = False
    late: bool = False

    @property
    def asks(self) -> bool:
        """Whether anything is said about entries."""
        return self.exclusive or self.entries != "[]" or self.absent_keys != "[]"

    def listed(self) -> list[dict[str, t.Any]]:
        """The entries."""
        found: list[dict[str, t.Any]] = json.loads(self.entries)
        return found

    def keys_gone(self) -> list[t.Any]:
        """The keys that are to be absent."""
        found: list[t.Any] = json.loads(self.absent_keys)
        return found


@dataclass(frozen=True)
class Saved:
    """An entry of somebody's map as it was, None for none, and what we may have made of it.

    ``kept`` is the pin that keeps the program or map that it names, ``netns`` where it was written.
    """

    value: t.Optional[bytes]
    wrote: tuple[t.Optional[bytes], ...] = ()
    kept: str = ""
    netns: str = ""


@dataclass(frozen=True)
class MapState:
    """The map (``shape`` None: not there yet) with those of its entries that matter, and what is pinned at the path.

    ``entries`` has None for a key that is asked for and not there. ``ours``: we made it; ``used``: a program of ours
    has it, and may have written into it. ``saved`` are entries of a foreign map that we changed; ``kept`` the pins that
    keep what such entries named, with their places: those of this map, and those whose place has no use for them.
    ``names`` are the interfaces that a devmap's values name, with their indexes.
    """

    shape: t.Optional[Shape] = None
    entries: t.Mapping[bytes, t.Optional[bytes]] = field(default_factory=dict)
    ours: bool = False
    used: bool = False
    pinned: t.Optional[MapInfo] = None
    claim: t.Optional[dict[str, t.Any]] = None
    folders: Folders = field(default_factory=Folders)
    saved: t.Mapping[bytes, Saved] = field(default_factory=dict)
    kept: t.Mapping[str, Key] = field(default_factory=dict)
    names: t.Mapping[str, int] = field(default_factory=dict)

    @property
    def pinned_by_us(self) -> bool:
        """Whether what is pinned at the path is what we pinned there."""
        return self.claim is not None and self.pinned is not None and self.claim.get("id") == self.pinned.id


def by_name(value: t.Any) -> str:
    """The interface that a devmap's value names, "" when it gives an index."""
    value = value.get("ifindex") if isinstance(value, dict) else value
    return value if isinstance(value, str) and not value.isdigit() else ""


def with_index(value: t.Any, index: int) -> t.Any:
    """A devmap's value with the interface's index in place of its name."""
    return {**value, "ifindex": index} if isinstance(value, dict) else index


def public(info: MapInfo) -> dict[str, t.Any]:
    """A map for a reader."""
    names = ("id", "type", "name", "key_size", "value_size", "max_entries", "flags")
    return {name: getattr(info, name) for name in names}


def shown(shape: Shape, entries: t.Mapping[bytes, t.Optional[bytes]]) -> list[dict[str, t.Any]]:
    """Entries as plain values, sorted by the bytes of their keys; no more than anybody reads."""
    there = sorted((key, value) for key, value in entries.items() if value is not None)
    return [{"key": shape.key.decode(key), "value": shape.decode_value(value)} for key, value in there[:SHOWN]]
