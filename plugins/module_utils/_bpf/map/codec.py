# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes of a map as plain values and back: by BTF where the map has it, as hexadecimal text where it has not.

Integers, booleans, enumerators by name, floats, arrays as lists, arrays of ``char`` as text, structs and unions as
dictionaries with the members of anonymous ones in their parent's. Padding is not shown and written as zero.
"""

from __future__ import annotations

import struct
import sys
import typing as t
from dataclasses import dataclass

from ..._core.errors import BadInput
from ..._kernel.btf import ARRAY, DATASEC, ENUM, ENUM64, FLOAT, INT, PTR, STRUCT, UNION, Btf, Type

SIGNED, BOOL = 1, 4  # bits of an INT's encoding, linux/btf.h
_FLOATS = {4: "=f", 8: "=d"}


class Codec(t.Protocol):
    """Turns ``size`` bytes into a plain value and back."""

    @property
    def size(self) -> int:
        """How many bytes."""

    def decode(self, raw: bytes) -> t.Any:
        """Plain JSON types."""

    def encode(self, option: str, value: t.Any) -> bytes:
        """The bytes of a value. Raises BadInput naming ``option`` and where in the value it is wrong."""


@dataclass(frozen=True)
class Bytes:
    """Bytes without a type: "01 00 00 00" when read; when written also a list of bytes, or an integer of that size."""

    size: int

    def decode(self, raw: bytes) -> str:
        return raw.hex(" ")

    def encode(self, option: str, value: t.Any) -> bytes:
        right = f'write {self.size} bytes as "{bytes(min(self.size, 4)).hex(" ")}{" …" if self.size > 4 else ""}"'
        if isinstance(value, int) and not isinstance(value, bool) and self.size in (1, 2, 4, 8):
            return integer(option, value, self.size, value < 0)
        try:
            if isinstance(value, str):
                text = value[2:] if value[:2] in ("0x", "0X") else value
                raw = bytes.fromhex(text.replace(":", " "))
            elif isinstance(value, list):
                raw = bytes(value)
            else:
                raise ValueError
        except (ValueError, TypeError):
            raise BadInput(option, value, "is not bytes in hexadecimal", right) from None
        if len(raw) != self.size:
            raise BadInput(option, value, f"has {len(raw)} bytes", right)
        return raw


@dataclass(frozen=True)
class Number:
    """An unsigned integer in the byte order of the host, where the map's type says so and no BTF does."""

    size: int

    def decode(self, raw: bytes) -> int:
        return int.from_bytes(raw, _order())

    def encode(self, option: str, value: t.Any) -> bytes:
        return integer(option, value, self.size, False)


@dataclass(frozen=True)
class Device:
    """A devmap's value: an interface's index, and with eight bytes the id of a program that runs on the way out."""

    size: int

    def decode(self, raw: bytes) -> t.Any:
        index = int.from_bytes(raw[:4], _order())
        return index if self.size == 4 else {"ifindex": index, "program": int.from_bytes(raw[4:], _order())}

    def encode(self, option: str, value: t.Any) -> bytes:
        if self.size == 4 or not isinstance(value, dict):
            return integer(option, value, 4, False).ljust(self.size, b"\0")
        _only_known(option, value, ("ifindex", "program"))
        index = integer(f"{option}.ifindex", value.get("ifindex"), 4, False)
        return index + integer(f"{option}.program", value.get("program", 0), 4, False)


@dataclass(frozen=True)
class Typed:
    """A BTF type. ``size`` is the map's, which for a data section is the one that counts."""

    btf: Btf
    type: int
    size: int

    def decode(self, raw: bytes) -> t.Any:
        return _decode(self.btf, self.type, raw)

    def encode(self, option: str, value: t.Any) -> bytes:
        return _encode(self.btf, self.type, value, option).ljust(self.size, b"\0")


def _order() -> t.Any:
    return sys.byteorder


def integer(option: str, value: t.Any, size: int, signed: bool) -> bytes:
    """The bytes of an integer, in the host's order; text such as "0x10" and "16" is one too. Raises BadInput."""
    low, high = (-(1 << (8 * size - 1)), (1 << (8 * size - 1)) - 1) if signed else (0, (1 << (8 * size)) - 1)
    right = f"give an integer from {low} to {high}"
    if isinstance(value, str):
        try:
            value = int(value, 0)
        except ValueError:
            raise BadInput(option, value, "is not an integer", right) from None
    if not isinstance(value, (int, bool)):
        raise BadInput(option, value, "is not an integer", right)
    if not low <= value <= high:
        raise BadInput(option, value, f"does not fit into {size} {'bytes' if size > 1 else 'byte'}", right)
    return int(value).to_bytes(size, _order(), signed=signed)


def _decode(btf: Btf, number: int, raw: bytes) -> t.Any:
    kind = btf.resolve(number)
    size = btf.size_of(number)
    raw = raw[:size]
    if kind.kind == INT:
        value = int.from_bytes(raw, _order(), signed=bool(kind.encoding & SIGNED))
        return bool(value) if kind.encoding & BOOL and value in (0, 1) else value
    if kind.kind in (ENUM, ENUM64):
        return _enumerator(kind, int.from_bytes(raw, _order(), signed=_signed(kind)))
    if kind.kind == FLOAT and size in _FLOATS:
        return struct.unpack(_FLOATS[size], raw)[0]
    if kind.kind == PTR:
        return int.from_bytes(raw, _order())
    if kind.kind == ARRAY:
        text = _text(raw) if _is_char(btf, kind.target) else None
        if text is not None:
            return text
        step = btf.size_of(kind.target)
        return [_decode(btf, kind.target, raw[at : at + step]) for at in range(0, size, step)] if step else []
    if kind.kind in (STRUCT, UNION):
        return _decode_members(btf, kind, raw)
    if kind.kind == DATASEC:
        found = {}
        for member in kind.members:
            variable = btf.types[member.type]
            found[variable.name] = _decode(btf, variable.target, raw[member.offset : member.offset + member.size])
        return found
    return raw.hex(" ")


def _decode_members(btf: Btf, kind: Type, raw: bytes) -> dict[str, t.Any]:
    found: dict[str, t.Any] = {}
    for member in kind.members:
        if member.size:  # a bit field's width
            value: t.Any = _get_bits(raw, member.offset, member.size)
            if btf.resolve(member.type).kind == INT and btf.resolve(member.type).encoding & SIGNED:
                value -= (value >> (member.size - 1)) << member.size
        else:
            at = member.offset // 8
            value = _decode(btf, member.type, raw[at : at + btf.size_of(member.type)])
        if member.name:
            found[member.name] = value
        elif isinstance(value, dict):
            found.update(value)
    return found


def _encode(btf: Btf, number: int, value: t.Any, where: str) -> bytes:
    kind = btf.resolve(number)
    size = btf.size_of(number)
    if kind.kind == INT:
        return integer(where, value, size, bool(kind.encoding & SIGNED))
    if kind.kind in (ENUM, ENUM64):
        names = {member.name: member.offset for member in kind.members}
        if isinstance(value, str) and value in names:
            return names[value].to_bytes(size, _order(), signed=names[value] < 0)
        if isinstance(value, str) and not value.lstrip("-").isdigit():
            raise BadInput(where, value, f"is no enumerator of {kind.name or 'it'}", f"it has {', '.join(names)}")
        return integer(where, value, size, _signed(kind))
    if kind.kind == FLOAT and size in _FLOATS:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise BadInput(where, value, "is no number", "give one such as 1.5")
        return struct.pack(_FLOATS[size], value)
    if kind.kind == PTR:
        return integer(where, value, size, False)
    if kind.kind == ARRAY:
        return _encode_array(btf, kind, value, where)
    if kind.kind in (STRUCT, UNION):
        _only_known(where, value, sorted(_names(btf, kind)))
        return _encode_members(btf, kind, value, where)
    if kind.kind == DATASEC:
        variables = {btf.types[member.type].name: member for member in kind.members}
        _only_known(where, value, sorted(variables))
        buffer = bytearray(max((member.offset + member.size for member in kind.members), default=0))
        for name, member in variables.items():
            if name not in value:
                raise BadInput(where, value, f"lacks {name}", f"give all of {', '.join(variables)}")
            raw = _encode(btf, btf.types[member.type].target, value[name], f"{where}.{name}")
            buffer[member.offset : member.offset + len(raw)] = raw
        return bytes(buffer)
    return Bytes(size).encode(where, value)


def _encode_array(btf: Btf, kind: Type, value: t.Any, where: str) -> bytes:
    if _is_char(btf, kind.target) and isinstance(value, str):
        text = value.encode()
        if len(text) > kind.count or b"\0" in text:
            raise BadInput(where, value, f"has {len(text)} bytes", f"text for char[{kind.count}] has no more")
        return text.ljust(kind.count, b"\0")
    if not isinstance(value, list) or len(value) != kind.count:
        what = f"has {len(value)} elements" if isinstance(value, list) else "is not a list"
        raise BadInput(where, value, what, f"give a list of {kind.count}")
    return b"".join(_encode(btf, kind.target, element, f"{where}[{at}]") for at, element in enumerate(value))


def _encode_members(btf: Btf, kind: Type, value: t.Mapping[str, t.Any], where: str) -> bytes:
    """A struct needs all its members, a union at least one; several of a union must be the same bytes."""
    buffer, written = bytearray(kind.size), bytearray(kind.size)
    given = 0
    for member in kind.members:
        target = btf.resolve(member.type)
        inner = _names(btf, target) if not member.name and target.kind in (STRUCT, UNION) else set()
        if not (member.name in value if member.name else inner & set(value)):
            if kind.kind == STRUCT and (member.name or inner):
                missing = member.name or " or ".join(sorted(inner))
                raise BadInput(where, value, f"lacks {missing}", f"give all of {', '.join(sorted(_names(btf, kind)))}")
            continue
        given += 1
        if member.size:
            _put_bits(buffer, member.offset, member.size, value[member.name], f"{where}.{member.name}")
            continue
        if member.name:
            raw = _encode(btf, member.type, value[member.name], f"{where}.{member.name}")
        else:
            raw = _encode_members(btf, target, {name: value[name] for name in inner & set(value)}, where)
        at = member.offset // 8
        for position, byte in enumerate(raw, at):
            if written[position] and buffer[position] != byte:
                raise BadInput(where, value, "has members of a union that contradict", "give one of them")
            buffer[position], written[position] = byte, 1
    if kind.kind == UNION and not given and kind.members:
        raise BadInput(
            where, value, "has no member of the union", f"give one of {', '.join(sorted(_names(btf, kind)))}"
        )
    return bytes(buffer)


def _names(btf: Btf, kind: Type) -> set[str]:
    """The names of a struct's or union's members, with those of its anonymous ones."""
    found: set[str] = set()
    for member in kind.members:
        target = btf.resolve(member.type)
        if member.name:
            found.add(member.name)
        elif target.kind in (STRUCT, UNION):
            found |= _names(btf, target)
    return found


def _only_known(where: str, value: t.Any, names: t.Sequence[str]) -> None:
    right = f"give a dictionary with {', '.join(names)}"
    if not isinstance(value, dict):
        raise BadInput(where, value, "is not a dictionary", right)
    for name in value:
        if name not in names:
            raise BadInput(f"{where}.{name}", value[name], "is no member", right)


def _signed(kind: Type) -> bool:
    return any(member.offset < 0 for member in kind.members)


def _enumerator(kind: Type, value: int) -> t.Union[str, int]:
    return next((member.name for member in kind.members if member.offset == value), value)


def _is_char(btf: Btf, number: int) -> bool:
    element = btf.resolve(number)
    return element.kind == INT and element.name == "char"


def _text(raw: bytes) -> t.Optional[str]:
    """The text in an array of char; None when it is not just that, so that nothing is lost when it is written back."""
    text = raw.rstrip(b"\0")
    try:
        found = text.decode()
    except UnicodeDecodeError:
        return None
    return found if found.isprintable() else None


def _window(offset: int, width: int) -> tuple[slice, int]:
    """The bytes that a bit field lies in, and how far it is shifted in the integer that they make."""
    part = slice(offset // 8, (offset + width + 7) // 8)
    bits = offset % 8
    if _order() == "big":
        bits = 8 * (part.stop - part.start) - bits - width
    return part, bits


def _get_bits(raw: bytes, offset: int, width: int) -> int:
    part, shift = _window(offset, width)
    return int.from_bytes(raw[part], _order()) >> shift & ((1 << width) - 1)


def _put_bits(buffer: bytearray, offset: int, width: int, value: t.Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not -(1 << (width - 1)) <= value < 1 << width:
        raise BadInput(where, value, f"does not fit into {width} bits", f"give an integer below {1 << width}")
    part, shift = _window(offset, width)
    mask = ((1 << width) - 1) << shift
    old = int.from_bytes(buffer[part], _order())
    buffer[part] = (old & ~mask | value << shift & mask).to_bytes(part.stop - part.start, _order())


def summed(codec: Codec, raws: t.Sequence[bytes]) -> t.Any:
    """The sum over the CPUs: integers are added, members and elements each for itself; text must be the same on all.

    Bytes without a type are added as unsigned integers when they have the size of one. Raises BadInput otherwise.
    """
    if isinstance(codec, Bytes):
        if codec.size not in (1, 2, 4, 8):
            raise BadInput("sum_per_cpu", True, f"has no sum for {codec.size} bytes without BTF", "leave it out")
        codec = Number(codec.size)
    values = [codec.decode(raw) for raw in raws]
    return _sum(values)


def _sum(values: t.Sequence[t.Any]) -> t.Any:
    first = values[0]
    if isinstance(first, dict):
        return {name: _sum([value[name] for value in values]) for name in first}
    if isinstance(first, list) and all(isinstance(value, list) for value in values):
        return [_sum(column) for column in zip(*values)]
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return sum(values)
    return first if all(value == first for value in values) else list(values)
