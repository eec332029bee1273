# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""BPF type format: the types of an object's or a map's data, and the maps that an object defines by them.

Layouts are those of the kernel's uapi header linux/btf.h and of its documentation (Documentation/bpf/btf.rst).
"""

from __future__ import annotations

import os
import struct
import typing as t
from dataclasses import dataclass

from .._core.errors import LabError
from .syscall import MAP_TYPES

MAGIC = 0xEB9F
(INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO, VAR, DATASEC, FLOAT,
 DECL_TAG, TYPE_TAG, ENUM64) = range(1, 20)  # fmt: skip
# Bytes that follow the twelve of a type: fixed, and for each of its members.
_FIXED = {INT: 4, ARRAY: 12, VAR: 4, DECL_TAG: 4}
_EACH = {STRUCT: 12, UNION: 12, ENUM: 8, FUNC_PROTO: 8, DATASEC: 12, ENUM64: 12}
_TRANSPARENT = {TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG}


@dataclass(frozen=True)
class Member:
    """A struct's member, an enumerator or a data section's variable. ``offset`` is bits in a struct, else bytes."""

    name: str
    type: int
    offset: int
    size: int = 0


@dataclass(frozen=True)
class Type:
    """One type. ``size`` is bytes; ``target`` the type it refers to; ``count`` an array's length.

    ``encoding`` is an INT's: bit 0 signed, bit 1 char, bit 2 bool.
    """

    kind: int
    name: str
    size: int = 0
    target: int = 0
    count: int = 0
    encoding: int = 0
    members: tuple[Member, ...] = ()


class Btf:
    """The types of one BTF blob by their numbers; number 0 is void. Raises LabError when the blob is none."""

    def __init__(self, blob: bytes) -> None:
        try:
            self.types = list(self._parse(blob))
        except (struct.error, IndexError, ValueError) as error:
            raise LabError(f"The BTF of this object cannot be read: {error}.") from error

    @staticmethod
    def _parse(blob: bytes) -> t.Iterator[Type]:
        order = "<" if blob[:2] == struct.pack("<H", MAGIC) else ">"
        magic, _version, _flags, header, types_at, types_size, names_at, names_size = struct.unpack_from(
            f"{order}HBBIIIII", blob
        )
        if magic != MAGIC:
            raise ValueError("it does not begin with BTF's magic number")
        names = blob[header + names_at : header + names_at + names_size]

        def name(at: int) -> str:
            return os.fsdecode(names[at : names.index(b"\0", at)])

        yield Type(0, "void")
        at, end = header + types_at, header + types_at + types_size
        while at < end:
            name_at, info, size = struct.unpack_from(f"{order}III", blob, at)
            kind, length, flag = (info >> 24) & 0x1F, info & 0xFFFF, bool(info >> 31)
            at += 12
            label = name(name_at)
            if kind in (STRUCT, UNION):
                members = []
                for number in range(length):
                    member, target, offset = struct.unpack_from(f"{order}III", blob, at + 12 * number)
                    # With kind_flag the upper byte is a bit field's width.
                    width, offset = (offset >> 24, offset & 0xFFFFFF) if flag else (0, offset)
                    members.append(Member(name(member), target, offset, width))
                yield Type(kind, label, size=size, members=tuple(members))
            elif kind == DATASEC:
                triples = [struct.unpack_from(f"{order}III", blob, at + 12 * number) for number in range(length)]
                yield Type(kind, label, size=size, members=tuple(Member("", a, b, c) for a, b, c in triples))
            elif kind == ENUM:
                pairs = [struct.unpack_from(f"{order}I{'i' if flag else 'I'}", blob, at + 8 * n) for n in range(length)]
                yield Type(kind, label, size=size, members=tuple(Member(name(a), 0, b) for a, b in pairs))
            elif kind == INT:
                detail = struct.unpack_from(f"{order}I", blob, at)[0]
                yield Type(kind, label, size=size, encoding=(detail >> 24) & 0xF)
            elif kind == ARRAY:
                element, _index, count = struct.unpack_from(f"{order}III", blob, at)
                yield Type(kind, label, target=element, count=count)
            elif kind in (FLOAT, ENUM64):
                yield Type(kind, label, size=size)
            else:
                yield Type(kind, label, target=size)
            at += _FIXED.get(kind, 0) + _EACH.get(kind, 0) * length

    def resolve(self, number: int) -> Type:
        """The type behind typedefs and qualifiers."""
        found = self.types[number]
        for _depth in range(64):
            if found.kind not in _TRANSPARENT:
                break
            found = self.types[found.target]
        return found

    def size_of(self, number: int) -> int:
        """The size of a type in bytes; a pointer has eight."""
        found = self.resolve(number)
        if found.kind == ARRAY:
            return found.count * self.size_of(found.target)
        return 8 if found.kind == PTR else found.size

    def holds(self, number: int, names: t.Collection[str], depth: int = 32) -> bool:
        """Whether a type is, or has a member that is, a struct of one of these names."""
        found = self.resolve(number)
        if found.kind == ARRAY:
            return self.holds(found.target, names, depth)
        if found.kind not in (STRUCT, UNION):
            return False
        return found.name in names or (depth > 0 and any(self.holds(m.type, names, depth - 1) for m in found.members))


@dataclass(frozen=True)
class MapDefinition:
    """A map as an object defines it; sizes are bytes. ``legacy`` marks one that libbpf 1.0 and newer refuse.

    ``pin_by_name``: it says LIBBPF_PIN_BY_NAME, so the loader pins it below /sys/fs/bpf by itself. ``timers``: its
    values hold a bpf_timer or a bpf_wq.
    """

    name: str
    type: str = ""
    key_size: int = 0
    value_size: int = 0
    max_entries: int = 0
    flags: int = 0
    legacy: bool = False
    pin_by_name: bool = False
    timers: bool = False

    @property
    def needs_pin(self) -> bool:
        """Whether it is of no use once no descriptor and no pin is left of it, be it used by a program or not.

        The kernel then empties a prog_array, and cancels timers and starts no new ones.
        """
        return self.type == "prog_array" or self.timers


def map_definitions(btf: Btf) -> list[MapDefinition]:
    """The maps of the data section ``.maps``, each a variable of a struct whose members' types are the definition."""
    found = []
    sections = [kind for kind in btf.types if kind.kind == DATASEC and kind.name == ".maps"]
    for variable in (btf.types[member.type] for section in sections for member in section.members):
        values: dict[str, int] = {}
        value = None
        for member in btf.resolve(variable.target).members:
            pointer = btf.resolve(member.type)
            if pointer.kind != PTR:
                continue
            if member.name in ("key", "value"):
                values[f"{member.name}_size"] = btf.size_of(pointer.target)
                value = pointer.target if member.name == "value" else value
            else:  # __uint(): a pointer to an array of as many elements as the number says
                values[member.name] = btf.resolve(pointer.target).count
        kind = values.get("type", 0)
        found.append(
            MapDefinition(
                name=variable.name,
                type=MAP_TYPES[kind] if kind < len(MAP_TYPES) else f"type {kind}",
                key_size=values.get("key_size", 0),
                value_size=values.get("value_size", 0),
                max_entries=values.get("max_entries", 0),
                flags=values.get("map_flags", 0),
                pin_by_name=values.get("pinning", 0) == 1,
                timers=value is not None and btf.holds(value, ("bpf_timer", "bpf_wq")),
            )
        )
    return found
