# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a map's keys and values are: their types, and the rules that differ by the map's type.

Values of a per-CPU map come in slots of a multiple of eight bytes for each possible CPU; a trie takes keys for equal
that differ behind the prefix (kernel/bpf/hashtab.c, arraymap.c, lpm_trie.c, devmap.c).
"""

from __future__ import annotations

import ctypes
import struct
import sys
import typing as t
from dataclasses import dataclass

from ..._core.errors import BadInput
from ..._kernel import syscall
from ..._kernel.btf import Btf
from ..._kernel.syscall import MapInfo, call, closing
from .codec import Bytes, Codec, Device, Number, Typed, summed

BTF_GET_FD_BY_ID = 19

PER_CPU = {"percpu_hash", "percpu_array", "lru_percpu_hash"}
# Their keys are positions: every entry is always there, and what cannot be deleted is set to zero.
FIXED = {"array", "percpu_array"}
# Keys that the kernel itself reads as a 32-bit position.
INDEXED = FIXED | {
    "prog_array", "perf_event_array", "cgroup_array", "array_of_maps", "devmap", "cpumap", "xskmap", "sockmap",
    "reuseport_sockarray", "devmap_hash",
}  # fmt: skip
# Written with a descriptor of a program or map, read with its id.
OBJECTS = {"prog_array": "program", "array_of_maps": "map", "hash_of_maps": "map"}
DEVICES = {"devmap", "devmap_hash"}
NUMBERS = {*OBJECTS, "cpumap", "xskmap"}
# Nothing that a playbook could list or set by key.
KEYLESS = {"queue", "stack", "ringbuf", "user_ringbuf", "bloom_filter", "arena", "struct_ops", "stack_trace",
           "perf_event_array", "sk_storage", "inode_storage", "task_storage", "cgrp_storage", "cgroup_storage",
           "percpu_cgroup_storage", "insn_array"}  # fmt: skip

NATIVE: t.Any = sys.byteorder


def possible_cpus() -> int:
    """How many CPUs this kernel could have: as many slots a per-CPU value has."""
    with open("/sys/devices/system/cpu/possible", encoding="ascii") as file:
        last = file.read().strip().rpartition(",")[2].rpartition("-")[2]
    return int(last) + 1


RDONLY_PROG = 1 << 7


class Definition(t.Protocol):
    """What decides whether one map can take another's place."""

    @property
    def type(self) -> str: ...

    @property
    def key_size(self) -> int: ...

    @property
    def value_size(self) -> int: ...

    @property
    def max_entries(self) -> int: ...

    @property
    def flags(self) -> int: ...


def fits(wanted: Definition, found: object) -> bool:
    """Whether a map can stand in for one that an object defines, or that is to be made."""
    if not isinstance(found, MapInfo):
        return False
    # The kernel adds BPF_F_RDONLY_PROG to a devmap, and refuses it from us (kernel/bpf/devmap.c).
    flags = found.flags & ~RDONLY_PROG if found.type.startswith("devmap") else found.flags
    definition = (wanted.type, wanted.key_size, wanted.value_size, wanted.max_entries, wanted.flags)
    return (found.type, found.key_size, found.value_size, found.max_entries, flags) == definition


def reference(kind: str, value: t.Optional[bytes]) -> t.Optional[tuple[str, int]]:
    """The "program" or "map" that a value of a map of this type names, with its id; None when it names none."""
    at = 4 if kind in DEVICES else 0
    if value is None or (kind not in OBJECTS and not (at and len(value) == 8)):
        return None
    number = int.from_bytes(value[at : at + 4], NATIVE)
    return (OBJECTS.get(kind, "program"), number) if number else None


@dataclass(frozen=True)
class Shape:
    """What a map's keys and values are. ``cpus`` is 0 for a map that is not per-CPU; ``label`` names it in errors."""

    label: str
    info: MapInfo
    key: Codec
    value: Codec
    cpus: int = 0

    @property
    def slot(self) -> int:
        """The bytes that one value takes in a system call."""
        return (self.info.value_size + 7) & ~7 if self.cpus else self.info.value_size

    @property
    def room(self) -> int:
        """The bytes that the values of all CPUs take in a system call."""
        return self.slot * (self.cpus or 1)

    def canonical(self, key: bytes) -> bytes:
        """A trie's key with the bits behind its prefix set to zero: the kernel takes those for equal."""
        if self.info.type != "lpm_trie":
            return key
        data = key[4:]
        spare = max(8 * len(data) - int.from_bytes(key[:4], NATIVE), 0)
        return key[:4] + (int.from_bytes(data, "big") >> spare << spare).to_bytes(len(data), "big")

    def slots(self, raw: bytes) -> list[bytes]:
        """The values of the CPUs."""
        return [raw[at : at + self.info.value_size] for at in range(0, self.room, self.slot)]

    def decode_value(self, raw: bytes, sum_per_cpu: bool = False) -> t.Any:
        """A value as plain types: of a per-CPU map the list of them, or their sum."""
        if not self.cpus:
            return self.value.decode(raw)
        slots = self.slots(raw)
        return summed(self.value, slots) if sum_per_cpu else [self.value.decode(slot) for slot in slots]

    def encode_key(self, option: str, value: t.Any) -> bytes:
        """The bytes of a key, in the form of ``canonical``. Raises BadInput."""
        return self.canonical(self.key.encode(option, value))

    def encode_value(self, option: str, value: t.Any) -> bytes:
        """The bytes of a value; for a per-CPU map a list with one for each CPU, or one for all. Raises BadInput."""
        if not self.cpus:
            return self.value.encode(option, value)
        if isinstance(value, list) and len(value) == self.cpus:
            try:
                each = [self.value.encode(f"{option}[{at}]", one) for at, one in enumerate(value)]
                return b"".join(one.ljust(self.slot, b"\0") for one in each)
            except BadInput:
                # An array may be of just as many elements as there are CPUs: then it is one value for all.
                if not isinstance(value[0], int):
                    raise
        return self.value.encode(option, value).ljust(self.slot, b"\0") * self.cpus


def shape_of(handle: int, label: str, raw: bool) -> Shape:
    """The shape of the map behind a descriptor; ``raw``: bytes, even where the map has BTF."""
    info = syscall.map_info(handle)
    cpus = possible_cpus() if info.type in PER_CPU else 0
    if raw:
        return Shape(label, info, Bytes(info.key_size), Bytes(info.value_size), cpus)
    btf = Btf(btf_blob(info.btf_id)) if info.btf_id and info.btf_value_type_id else None
    key: Codec = Bytes(info.key_size)
    value: Codec = Bytes(info.value_size)
    if btf is not None and info.btf_key_type_id:
        key = Typed(btf, info.btf_key_type_id, info.key_size)
    elif info.key_size == 4 and info.type in INDEXED:
        key = Number(4)
    if btf is not None:
        value = Typed(btf, info.btf_value_type_id, info.value_size)
    elif info.type in DEVICES:
        value = Device(info.value_size)
    elif info.value_size == 4 and info.type in NUMBERS:
        value = Number(4)
    return Shape(label, info, key, value, cpus)


def btf_blob(number: int) -> bytes:
    """The BTF with this id. Raises KernelRefused."""
    handle = call(BTF_GET_FD_BY_ID, struct.pack("=I", number), f"open the BTF with id {number}")[0]
    with closing(handle):
        size = 0
        for _attempt in range(2):  # the first answer tells the size: struct bpf_btf_info
            room = ctypes.create_string_buffer(max(size, 1))
            info = ctypes.create_string_buffer(struct.pack("=QII", ctypes.addressof(room) if size else 0, size, 0), 32)
            attributes = struct.pack("=IIQ", handle, 32, ctypes.addressof(info))
            call(syscall.OBJ_GET_INFO_BY_FD, attributes, f"read the BTF with id {number}")
            size = struct.unpack_from("=I", info.raw, 8)[0]
    return room.raw[:size]
