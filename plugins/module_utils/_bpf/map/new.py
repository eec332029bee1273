# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps made from a playbook: their keys' and values' types as written in YAML, as BTF, and the map itself.

A type is ``u8`` to ``u64``, ``s8`` to ``s64``, ``bool`` or ``char``, one of those with a length as in ``char[16]``, or
a dictionary of members, laid out as C does it. BTF's layout is that of the kernel's Documentation/bpf/btf.rst.
"""

from __future__ import annotations

import ctypes
import re
import struct
import typing as t
from dataclasses import dataclass, field

from ..._core.errors import BadInput
from ..._kernel.btf import ARRAY, INT, MAGIC, STRUCT
from ..._kernel.syscall import MAP_TYPES, call, closing

MAP_CREATE, BTF_LOAD = 0, 18
BPF_F_NO_PREALLOC = 1  # a trie is made with it, and with nothing else (kernel/bpf/lpm_trie.c)
_INTEGER = re.compile(r"([us])(8|16|32|64)")
_ARRAY = re.compile(r"(\w+)\[(\d+)\]")
_MEMBER = re.compile(r"[A-Za-z_]\w*")
# The kernel takes no BTF for these (map_check_no_btf).
UNTYPED = {"prog_array", "devmap", "devmap_hash", "cpumap", "xskmap", "queue", "stack", "ringbuf", "perf_event_array"}


@dataclass(frozen=True)
class Laid:
    """A type in a blob: its number, its size and its alignment in bytes."""

    number: int
    size: int
    align: int


@dataclass
class Builder:
    """Collects types and their names; ``blob`` is what BPF_BTF_LOAD takes."""

    types: list[bytes] = field(default_factory=list)
    names: bytes = b"\0"
    known: dict[str, Laid] = field(default_factory=dict)

    def add(self, option: str, wanted: t.Any) -> Laid:
        """Add a type as written in YAML. Raises BadInput."""
        if isinstance(wanted, dict) and wanted:
            return self._struct(option, wanted)
        right = "write u8 to u64, s8 to s64, bool, char, one of those as char[16], or a dictionary of members"
        if not isinstance(wanted, str):
            raise BadInput(option, wanted, "is no type", right)
        array = _ARRAY.fullmatch(wanted)
        if array is not None and int(array[2]):
            element = self.add(option, array[1])
            index = self.add(option, "u32")
            number = self._type("", ARRAY, 0, 0, struct.pack("=III", element.number, index.number, int(array[2])))
            return Laid(number, element.size * int(array[2]), element.align)
        if wanted in self.known:
            return self.known[wanted]
        integer = _INTEGER.fullmatch(wanted)
        if integer is None and wanted not in ("bool", "char"):
            raise BadInput(option, wanted, "is no type", right)
        size = int(integer[2]) // 8 if integer is not None else 1
        # Bit 24 and up: 1 signed, 4 bool. A char is told by its name.
        encoding = 4 if wanted == "bool" else int(integer is not None and integer[1] == "s")
        number = self._type(wanted, INT, 0, size, struct.pack("=I", encoding << 24 | 8 * size))
        self.known[wanted] = Laid(number, size, size)
        return self.known[wanted]

    def _struct(self, option: str, wanted: t.Mapping[str, t.Any]) -> Laid:
        offset, align, members = 0, 1, []
        for name, kind in wanted.items():
            if not isinstance(name, str) or not _MEMBER.fullmatch(name):
                raise BadInput(option, name, "is no name for a member", "use letters, digits and '_'")
            laid = self.add(f"{option}.{name}", kind)
            offset = -(-offset // laid.align) * laid.align
            members.append((name, laid.number, offset))
            offset += laid.size
            align = max(align, laid.align)
        size = -(-offset // align) * align
        body = b"".join(struct.pack("=III", self._name(name), kind, 8 * at) for name, kind, at in members)
        return Laid(self._type("", STRUCT, len(members), size, body), size, align)

    def _name(self, name: str) -> int:
        if not name:
            return 0
        self.names += name.encode() + b"\0"
        return len(self.names) - len(name) - 1

    def _type(self, name: str, kind: int, length: int, size: int, body: bytes) -> int:
        self.types.append(struct.pack("=III", self._name(name), kind << 24 | length, size) + body)
        return len(self.types)

    def blob(self) -> bytes:
        """All of it: header, types, names."""
        types = b"".join(self.types)
        header = struct.pack("=HBBIIIII", MAGIC, 1, 0, 24, 0, len(types), len(types), len(self.names))
        return header + types + self.names


@dataclass(frozen=True)
class NewMap:
    """A map to be made. Sizes are bytes; ``btf`` is empty for a map without types, else a blob with the two numbers."""

    type: str
    name: str
    key_size: int
    value_size: int
    max_entries: int
    flags: int = 0
    btf: bytes = b""
    key_type: int = 0
    value_type: int = 0

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any], name: str) -> NewMap:
        """From the parameters of ``bpf_map``. Raises BadInput."""
        kind = params["type"]
        sizes, numbers = {}, {}
        builder = Builder()
        for part in ("key", "value"):
            written, size = params.get(f"{part}_type"), params.get(f"{part}_size")
            if written is not None and size is not None:
                raise BadInput(f"{part}_size", size, f"is given beside {part}_type", "give one of them")
            if written is not None:
                laid = builder.add(f"{part}_type", written)
                sizes[part], numbers[part] = laid.size, laid.number
            else:
                sizes[part], numbers[part] = cls._size(kind, part, size), 0
        entries = params.get("max_entries")
        if not isinstance(entries, int) or not 0 < entries < 1 << 32:
            raise BadInput("max_entries", entries, "is no number of entries", "say how many the map can hold")
        typed = all(numbers.values()) and kind not in UNTYPED
        return cls(
            type=kind,
            name=re.sub(r"\W", "_", name)[:15],
            key_size=sizes["key"],
            value_size=sizes["value"],
            max_entries=entries,
            flags=(params.get("flags") or 0) | (BPF_F_NO_PREALLOC if kind == "lpm_trie" else 0),
            btf=builder.blob() if typed else b"",
            key_type=numbers["key"] if typed else 0,
            value_type=numbers["value"] if typed else 0,
        )

    @staticmethod
    def _size(kind: str, part: str, size: t.Optional[int]) -> int:
        """The size that is given, or the only one that the kernel takes for this type."""
        if kind == "ringbuf" or (part == "key" and kind in ("queue", "stack")):
            return 0
        if size is None and (kind in UNTYPED - {"queue", "stack"} or (part == "key" and kind.endswith("array"))):
            return 4
        if size is None or not 0 < size < 1 << 31:
            right = f"say how many bytes the {part} has, or give {part}_type"
            raise BadInput(f"{part}_size", size, f"is no size of a {part}", right)
        return size

    def create(self) -> int:
        """Make the map; returns its descriptor. Raises KernelRefused."""
        doing = f"make the map {self.name}"
        number = MAP_TYPES.index(self.type)
        head = struct.pack("=7I", number, self.key_size, self.value_size, self.max_entries, self.flags, 0, 0)
        head += self.name.encode().ljust(16, b"\0") + struct.pack("=I", 0)
        if not self.btf:
            return call(MAP_CREATE, head, doing)[0]
        room = ctypes.create_string_buffer(self.btf, len(self.btf))
        loading = struct.pack("=QQIII", ctypes.addressof(room), 0, len(self.btf), 0, 0)
        with closing(call(BTF_LOAD, loading, f"load the types of the map {self.name}")[0]) as types:
            return call(MAP_CREATE, head + struct.pack("=III", types, self.key_type, self.value_type), doing)[0]
