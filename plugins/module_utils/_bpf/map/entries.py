# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The entries of a BPF map by the bpf system call: open, look up, list, write and delete, as bytes."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import typing as t
from dataclasses import dataclass

from ..._core.errors import KernelRefused, LabError
from ..._kernel import lookup, syscall
from ..._kernel.syscall import Handle, call
from .layout import DEVICES, FIXED, KEYLESS, NATIVE, OBJECTS, shape_of

MAP_LOOKUP_ELEM, MAP_UPDATE_ELEM, MAP_DELETE_ELEM, MAP_GET_NEXT_KEY = 1, 2, 3, 4


@dataclass(frozen=True)
class MapRef:
    """Which map: pinned at ``path``, or by ``id``, or the one called ``name`` of ``program``.

    ``program`` is a pin's path, an id, or a program's name.
    """

    path: str = ""
    id: int = 0
    program: str = ""
    name: str = ""

    def __str__(self) -> str:
        if self.path:
            return self.path
        return f"the map {self.name} of the program {self.program}" if self.program else f"the map with id {self.id}"

    def find(self) -> t.Optional[int]:
        """A descriptor of the map, or None when there is no such pin, id, program or map. Raises BadInput."""
        if self.program:
            return lookup.map_of(self.program, self.name)
        return lookup.map_at(self.path) if self.path else lookup.map_by_id(self.id)


class Map:
    """An open map. A context manager: it closes its descriptor."""

    def __init__(self, handle: int, label: str, raw: bool = False) -> None:
        self.handle = Handle(handle)
        self.label = label
        self.shape = shape_of(handle, label, raw)
        self.info = self.shape.info

    @classmethod
    def open(cls, ref: MapRef, raw: bool = False) -> t.Optional[Map]:
        """Open the map, or None when it is not there. ``raw``: bytes, even where the map has BTF."""
        handle = ref.find()
        return None if handle is None else cls(handle, str(ref), raw)

    def __enter__(self) -> Map:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.handle.close()

    def require_keys(self) -> None:
        """Raise LabError for a map without entries that can be listed or set by key."""
        if self.info.type in KEYLESS:
            raise LabError(f"{self.label} is a {self.info.type}: it has no entries that can be read or set by key.")

    def lookup(self, key: bytes) -> t.Optional[bytes]:
        """The value of a key, None when there is none (or, in a trie, only a shorter prefix's)."""
        return self.lookup_all([key])[key]

    def lookup_all(self, keys: t.Iterable[bytes]) -> dict[bytes, t.Optional[bytes]]:
        """The values of some keys."""
        if self.info.type != "lpm_trie":
            return {key: self._lookup(key) for key in keys}
        there = dict(self.items(self.info.max_entries))  # a trie's lookup finds a shorter prefix too
        return {key: there.get(self.shape.canonical(key)) for key in keys}

    def _lookup(self, key: bytes) -> t.Optional[bytes]:
        source = ctypes.create_string_buffer(key, len(key))
        room = ctypes.create_string_buffer(max(self.shape.room, 1))
        try:
            self._call(MAP_LOOKUP_ELEM, source, room, 0, "look up an entry")
        except KernelRefused as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return room.raw[: self.shape.room]

    def keys(self) -> t.Iterator[bytes]:
        """The keys, each once; a map that changes meanwhile may show some late or not at all."""
        self.require_keys()
        seen: set[bytes] = set()
        room = ctypes.create_string_buffer(max(self.info.key_size, 1))
        last: t.Any = None
        while True:
            try:
                self._call(MAP_GET_NEXT_KEY, last, room, 0, "list the entries")
            except KernelRefused as error:
                if error.errno == errno.ENOENT:
                    return
                raise
            key = room.raw[: self.info.key_size]
            if key in seen:
                return  # a hash begins again when the key that we stood on was deleted
            seen.add(key)
            yield key
            last = ctypes.create_string_buffer(key, len(key))

    def items(self, limit: int) -> list[tuple[bytes, bytes]]:
        """Up to ``limit`` entries; keys in the form of ``canonical``."""
        found = []
        for key in self.keys():
            value = self._lookup(key)
            if value is not None:
                found.append((self.shape.canonical(key), value))
            if len(found) >= limit:
                break
        return found

    def update(self, key: bytes, value: bytes) -> None:
        """Set an entry. Raises KernelRefused."""
        opened = None
        at = 4 if self.info.type in DEVICES and len(value) == 8 else 0
        number = int.from_bytes(value[at : at + 4], NATIVE)
        if self.info.type in OBJECTS or (at and number):
            # Read as an id, written as a descriptor. A devmap's program may be none.
            opened = syscall.map_fd(number) if OBJECTS.get(self.info.type) == "map" else syscall.program_fd(number)
            value = value[:at] + opened.to_bytes(4, NATIVE)
        try:
            source = ctypes.create_string_buffer(key, len(key))
            room = ctypes.create_string_buffer(value, len(value))
            self._call(MAP_UPDATE_ELEM, source, room, 0, f"set the entry {self._show(key)}")
        finally:
            if opened is not None:
                os.close(opened)

    def delete(self, key: bytes) -> None:
        """Delete an entry; one that is not there is no error. What cannot be deleted is set to zero."""
        if self.info.type in FIXED:
            self.update(key, bytes(self.shape.room))
            return
        try:
            source = ctypes.create_string_buffer(key, len(key))
            self._call(MAP_DELETE_ELEM, source, None, 0, f"delete the entry {self._show(key)}")
        except KernelRefused as error:
            if error.errno != errno.ENOENT:
                raise

    def put(self, key: bytes, value: t.Optional[bytes]) -> None:
        """Set an entry, or (None) delete it. Raises KernelRefused."""
        if value is None:
            self.delete(key)
        else:
            self.update(key, value)

    def _call(self, command: int, key: t.Any, value: t.Any, flags: int, doing: str) -> None:
        addresses = [ctypes.addressof(buffer) if buffer is not None else 0 for buffer in (key, value)]
        try:
            call(command, struct.pack("=IxxxxQQQ", self.handle.fd, *addresses, flags), f"{doing} of {self.label}")
        except KernelRefused as error:
            fix = {
                errno.E2BIG: f"It holds {self.info.max_entries} entries and no more: delete some, or make it larger.",
                errno.EPERM: "It is read-only for programs outside of the kernel, or frozen, or you are not root.",
            }.get(error.errno)
            if fix and command != MAP_LOOKUP_ELEM:
                raise KernelRefused(f"{doing} of {self.label}", error.errno, error.said, fix) from error
            raise

    def _show(self, key: bytes) -> str:
        return repr(self.shape.key.decode(key))


def require(ref: MapRef, raw: bool = False) -> Map:
    """Open a map that has to be there. Raises LabError when it is not."""
    found = Map.open(ref, raw)
    if found is None:
        raise LabError(
            f"There is no map at {ref.path}." if ref.path else f"There is not {ref}.", "Load its program first."
        )
    return found


def as_ref(which: t.Union[str, int, MapRef]) -> MapRef:
    """A reference from a pin's path or an id."""
    if isinstance(which, MapRef):
        return which
    return MapRef(id=which) if isinstance(which, int) else MapRef(path=which)
