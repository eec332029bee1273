# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bpf(2) system call, as far as the lab needs it: pins, ids and what the kernel says about its objects.

A bpftool process costs a hundred times what one of these calls does, and reading is what a run mostly does. The
layouts of ``union bpf_attr`` and the info structures are those of the kernel's uapi header linux/bpf.h, whose fields
only ever get appended.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import struct
import typing as t
from dataclasses import dataclass

from .._core.errors import KernelRefused, LabError

# __NR_bpf by machine, from the kernel's syscall tables.
NUMBERS = {
    "x86_64": 321,
    "aarch64": 280,
    "riscv64": 280,
    "loongarch64": 280,
    "armv7l": 386,
    "armv8l": 386,
    "i386": 357,
    "i686": 357,
    "ppc64le": 361,
    "ppc64": 361,
    "s390x": 351,
}

# enum bpf_cmd
OBJ_PIN, OBJ_GET = 6, 7
PROG_GET_NEXT_ID, MAP_GET_NEXT_ID = 11, 12
PROG_GET_FD_BY_ID, MAP_GET_FD_BY_ID = 13, 14
OBJ_GET_INFO_BY_FD = 15
LINK_GET_FD_BY_ID, LINK_GET_NEXT_ID = 30, 31

# enum bpf_prog_type and bpf_map_type, by the names that bpftool prints.
PROGRAM_TYPES = (
    "unspec socket_filter kprobe sched_cls sched_act tracepoint xdp perf_event cgroup_skb cgroup_sock lwt_in lwt_out "
    "lwt_xmit sock_ops sk_skb cgroup_device sk_msg raw_tracepoint cgroup_sock_addr lwt_seg6local lirc_mode2 "
    "sk_reuseport flow_dissector cgroup_sysctl raw_tracepoint_writable cgroup_sockopt tracing struct_ops ext lsm "
    "sk_lookup syscall netfilter"
).split()
MAP_TYPES = (
    "unspec hash array prog_array perf_event_array percpu_hash percpu_array stack_trace cgroup_array lru_hash "
    "lru_percpu_hash lpm_trie array_of_maps hash_of_maps devmap sockmap cpumap xskmap sockhash cgroup_storage "
    "reuseport_sockarray percpu_cgroup_storage queue stack sk_storage devmap_hash struct_ops ringbuf inode_storage "
    "task_storage bloom_filter user_ringbuf cgrp_storage arena insn_array"
).split()
LINK_XDP = 6  # BPF_LINK_TYPE_XDP

_libc = ctypes.CDLL(None, use_errno=True)


def _name(names: t.Sequence[str], number: int) -> str:
    """The name of a type; one that is newer than this table by its number."""
    return names[number] if number < len(names) else f"type {number}"


def call(command: int, attributes: bytes, doing: str) -> tuple[int, bytes]:
    """One bpf(2) call: its result and the attributes as the kernel left them. Raises KernelRefused."""
    number = NUMBERS.get(platform.machine())
    if number is None:
        raise LabError(
            f"The bpf system call has no known number on {platform.machine()}.",
            f"Known are: {', '.join(sorted(NUMBERS))}.",
        )
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    result = _libc.syscall(ctypes.c_long(number), ctypes.c_int(command), buffer, ctypes.c_uint(len(attributes)))
    if result < 0:
        error = ctypes.get_errno()
        fix = "BPF needs root here (CAP_BPF or CAP_SYS_ADMIN)." if error == errno.EPERM else ""
        raise KernelRefused(doing, error, fix=fix)
    return result, buffer.raw


@contextlib.contextmanager
def closing(handle: int) -> t.Iterator[int]:
    """Close a descriptor at the end of a ``with`` block."""
    try:
        yield handle
    finally:
        os.close(handle)


class Handle:
    """A descriptor that a run can hold: closed with it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def close(self) -> None:
        """Close it, once."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def pin(handle: int, path: str) -> None:
    """Pin the object behind a descriptor at ``path`` on a bpffs. Raises KernelRefused."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    call(OBJ_PIN, struct.pack("=QII", ctypes.addressof(name), handle, 0), f"pin at {path}")


def get_pinned(path: str) -> int:
    """A new descriptor of what is pinned at ``path``. Raises KernelRefused (ENOENT: nothing is)."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    return call(OBJ_GET, struct.pack("=QII", ctypes.addressof(name), 0, 0), f"open the pin {path}")[0]


def kind_of(handle: int) -> str:
    """What a BPF descriptor stands for: "program", "map" or "link"."""
    target = os.readlink(f"/proc/self/fd/{handle}").rpartition(":")[2]
    return {"bpf-prog": "program", "bpf-map": "map", "bpf_link": "link", "bpf-link": "link"}.get(target, target)


def _ids(command: int, doing: str) -> t.Iterator[int]:
    last = 0
    while True:
        try:
            _result, raw = call(command, struct.pack("=III", last, 0, 0), doing)
        except KernelRefused as error:
            if error.errno == errno.ENOENT:
                return
            raise
        last = struct.unpack_from("=I", raw, 4)[0]
        yield last


def program_ids() -> t.Iterator[int]:
    """The ids of all loaded programs, ascending."""
    return _ids(PROG_GET_NEXT_ID, "list the loaded programs")


def map_ids() -> t.Iterator[int]:
    """The ids of all maps, ascending."""
    return _ids(MAP_GET_NEXT_ID, "list the maps")


def link_ids() -> t.Iterator[int]:
    """The ids of all bpf_links, ascending. None on a kernel that knows no link ids (before 5.8)."""
    try:
        yield from _ids(LINK_GET_NEXT_ID, "list the bpf_links")
    except KernelRefused as error:
        if error.errno != errno.EINVAL:
            raise


def _by_id(command: int, number: int, what: str) -> int:
    """A new descriptor by an id, of which the kernel has 32 bits: a larger one is nobody's. Raises KernelRefused."""
    doing = f"open the {what} with id {number}"
    if not 0 <= number < 1 << 32:
        raise KernelRefused(doing, errno.ENOENT)
    return call(command, struct.pack("=III", number, 0, 0), doing)[0]


def program_fd(number: int) -> int:
    """A new descriptor of the program with this id. Raises KernelRefused (ENOENT: there is none)."""
    return _by_id(PROG_GET_FD_BY_ID, number, "program")


def map_fd(number: int) -> int:
    """A new descriptor of the map with this id. Raises KernelRefused (ENOENT: there is none)."""
    return _by_id(MAP_GET_FD_BY_ID, number, "map")


def link_fd(number: int) -> int:
    """A new descriptor of the bpf_link with this id. Raises KernelRefused (ENOENT: there is none)."""
    return _by_id(LINK_GET_FD_BY_ID, number, "bpf_link")


def _info(handle: int, size: int, preset: bytes = b"") -> bytes:
    buffer = ctypes.create_string_buffer(preset.ljust(size, b"\0"), size)
    call(
        OBJ_GET_INFO_BY_FD,
        struct.pack("=IIQ", handle, size, ctypes.addressof(buffer)),
        "ask what a BPF object is",
    )
    return buffer.raw


def _text(raw: bytes) -> str:
    return os.fsdecode(raw.split(b"\0", 1)[0])


@dataclass(frozen=True)
class ProgramInfo:
    """What the kernel says about a program. ``name`` is cut at 15 characters; ``tag`` is the instructions' hash.

    ``loaded_ns`` counts from boot; ``run_time_ns`` and ``run_count`` stand still unless statistics are enabled.
    """

    id: int
    type: str
    name: str
    tag: str
    map_ids: tuple[int, ...]
    loaded_ns: int
    uid: int
    gpl_compatible: bool
    xlated_bytes: int
    jited_bytes: int
    btf_id: int
    run_time_ns: int
    run_count: int


def program_info(handle: int) -> ProgramInfo:
    """Describe the program behind a descriptor."""
    raw = _info(handle, 232)
    count = struct.unpack_from("=I", raw, 52)[0]
    maps: tuple[int, ...] = ()
    if count:
        numbers = (ctypes.c_uint32 * count)()
        ask = struct.pack("=52xIQ", count, ctypes.addressof(numbers))
        _info(handle, 232, ask)
        maps = tuple(numbers)
    kind, number, tag, jited, xlated, _jited_at, _xlated_at, loaded, uid = struct.unpack_from("=II8sIIQQQI", raw)
    return ProgramInfo(
        id=number,
        type=_name(PROGRAM_TYPES, kind),
        name=_text(raw[64:80]),
        tag=tag.hex(),
        map_ids=tuple(sorted(maps)),
        loaded_ns=loaded,
        uid=uid,
        gpl_compatible=bool(raw[84] & 1),
        xlated_bytes=xlated,
        jited_bytes=jited,
        btf_id=struct.unpack_from("=I", raw, 128)[0],
        run_time_ns=struct.unpack_from("=Q", raw, 192)[0],
        run_count=struct.unpack_from("=Q", raw, 200)[0],
    )


@dataclass(frozen=True)
class MapInfo:
    """What the kernel says about a map. Sizes are bytes; ``name`` is cut at 15 characters."""

    id: int
    type: str
    name: str
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    btf_id: int
    btf_key_type_id: int
    btf_value_type_id: int


def map_info(handle: int) -> MapInfo:
    """Describe the map behind a descriptor."""
    raw = _info(handle, 88)
    kind, number, key, value, entries, flags = struct.unpack_from("=6I", raw)
    btf, key_type, value_type = struct.unpack_from("=III", raw, 64)
    return MapInfo(
        number, _name(MAP_TYPES, kind), _text(raw[24:40]), key, value, entries, flags, btf, key_type, value_type
    )


@dataclass(frozen=True)
class LinkInfo:
    """What the kernel says about a bpf_link. ``ifindex`` is set for XDP links only, and counts in its own namespace."""

    id: int
    is_xdp: bool
    program_id: int
    ifindex: int


def link_info(handle: int) -> LinkInfo:
    """Describe the bpf_link behind a descriptor."""
    raw = _info(handle, 64)
    kind, number, program = struct.unpack_from("=III", raw)
    is_xdp = kind == LINK_XDP
    return LinkInfo(number, is_xdp, program, struct.unpack_from("=I", raw, 16)[0] if is_xdp else 0)


def xdp_links() -> list[LinkInfo]:
    """All bpf_links that hold an XDP program on an interface."""
    found = []
    for number in link_ids():
        with contextlib.suppress(KernelRefused):  # gone between the listing and the question
            with closing(link_fd(number)) as handle:
                info = link_info(handle)
            if info.is_xdp and info.ifindex:
                found.append(info)
    return found


def program_by_id(number: int) -> t.Optional[ProgramInfo]:
    """Describe the program with this id; None when there is none."""
    try:
        with closing(program_fd(number)) as handle:
            return program_info(handle)
    except KernelRefused as error:
        if error.errno == errno.ENOENT:
            return None
        raise


def program_at(path: str) -> t.Optional[ProgramInfo]:
    """Describe the program pinned at ``path``; None when nothing or something else is pinned there."""
    described = at(path)
    return described if isinstance(described, ProgramInfo) else None


def at(path: str) -> t.Union[ProgramInfo, MapInfo, LinkInfo, None]:
    """Describe what is pinned at ``path``; None when nothing is, or it is no BPF object."""
    try:
        handle = get_pinned(path)
    except KernelRefused as error:
        # ENOTDIR and EINVAL: not on a bpffs; EACCES: a plain file or folder of a bpffs.
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.EACCES, errno.EISDIR):
            return None
        raise
    with closing(handle):
        return describe(handle)


def describe(handle: int) -> t.Union[ProgramInfo, MapInfo, LinkInfo, None]:
    """Describe a program, map or link behind a descriptor; None for anything else."""
    kind = kind_of(handle)
    if kind == "program":
        return program_info(handle)
    if kind == "map":
        return map_info(handle)
    return link_info(handle) if kind == "link" else None
