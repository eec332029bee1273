# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clsact hook of an interface: what is on it, and the requests that change it.

Numbers are those of the kernel's include/uapi/linux/pkt_sched.h, pkt_cls.h and rtnetlink.h. A filter is told from
others at its hook by priority and handle.
"""

from __future__ import annotations

import os
import socket
import struct
import typing as t
from dataclasses import dataclass

from .socket import Netlink, attributes

RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
RTM_NEWTFILTER, RTM_DELTFILTER, RTM_GETTFILTER = 44, 45, 46
TCA_KIND, TCA_OPTIONS, TCA_CHAIN = 1, 2, 11
TCA_BPF_NAME, TCA_BPF_FLAGS, TCA_BPF_ID = 7, 8, 11
ACT_DIRECT = 1  # TCA_BPF_FLAG_ACT_DIRECT: the program's return value is the verdict
TC_H_CLSACT = 0xFFFFFFF1
QDISC_HANDLE = 0xFFFF0000
HOOKS = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}
ETH_P_ALL = 0x0003
EXCLUSIVE, CREATE = 0x200, 0x400  # NLM_F_EXCL, NLM_F_CREATE
HEADER = struct.Struct("=BxHiIII")  # struct tcmsg: family, interface, handle, parent, info


@dataclass(frozen=True)
class Filter:
    """A filter at a hook. ``protocol`` is an EtherType in host order; ``id`` and ``name`` are those of a BPF filter.

    ``direct``: the program's return value is the verdict.
    """

    kind: str
    priority: int
    handle: int
    protocol: int
    chain: int = 0
    id: int = 0
    name: str = ""
    direct: bool = False


def qdisc(netlink: Netlink, index: int) -> str:
    """The kind of qdisc that an interface's hooks belong to: "clsact", "ingress", or "" for none."""
    for body in netlink.dump(RTM_GETQDISC, HEADER.pack(0, 0, index, 0, 0, 0)):
        _family, _pad, where, _handle, parent, _info = HEADER.unpack_from(body)
        if where == index and parent == TC_H_CLSACT:
            return _text(dict(attributes(body, HEADER.size)).get(TCA_KIND, b""))
    return ""


def hooks(kind: str) -> tuple[str, ...]:
    """The hooks that a kind of qdisc has. An ingress qdisc shows its filters wherever one looks."""
    return {"clsact": tuple(HOOKS), "ingress": ("ingress",)}.get(kind, ())


def filters(netlink: Netlink, index: int, direction: str) -> list[Filter]:
    """The filters at a hook, in the order in which the kernel asks them; none without a qdisc."""
    found = []
    for body in netlink.dump(RTM_GETTFILTER, HEADER.pack(0, 0, index, 0, HOOKS[direction], 0)):
        _family, _pad, _index, handle, _parent, info = HEADER.unpack_from(body)
        if not handle:
            continue  # the entry of the priority itself
        values = dict(attributes(body, HEADER.size))
        options = dict(attributes(values.get(TCA_OPTIONS, b""), 0))
        kind = _text(values.get(TCA_KIND, b""))
        of_bpf = options if kind == "bpf" else {}
        found.append(
            Filter(
                kind=kind,
                priority=info >> 16,
                handle=handle,
                protocol=socket.ntohs(info & 0xFFFF),
                chain=_number(values.get(TCA_CHAIN, b"")),
                id=_number(of_bpf.get(TCA_BPF_ID, b"")),
                name=_text(of_bpf.get(TCA_BPF_NAME, b"")),
                direct=bool(_number(of_bpf.get(TCA_BPF_FLAGS, b"")) & ACT_DIRECT),
            )
        )
    return found


def _text(value: bytes) -> str:
    return os.fsdecode(value.rstrip(b"\0"))


def _number(value: bytes) -> int:
    return int(struct.unpack_from("=I", value)[0]) if len(value) >= 4 else 0


def _message(kind: int, flags: int, fields: t.Mapping[str, int], attributes: list[tuple[str, t.Any]]) -> t.Any:
    # Imported late, as everything is that a run without a change does not need.
    from . import write as messages

    return messages.message("tcmsg", kind, flags, fields, attributes)


def make_clsact(index: int, kind: str = "clsact") -> t.Any:
    """Give an interface its hooks; those of an "ingress" qdisc are one."""
    fields = {"index": index, "handle": QDISC_HANDLE, "parent": TC_H_CLSACT}
    return _message(RTM_NEWQDISC, CREATE | EXCLUSIVE, fields, [("TCA_KIND", kind)])


def remove_clsact(index: int, kind: str = "clsact") -> t.Any:
    """Take the hooks away, and all filters at them."""
    fields = {"index": index, "handle": QDISC_HANDLE, "parent": TC_H_CLSACT}
    return _message(RTM_DELQDISC, 0, fields, [("TCA_KIND", kind)])


def _at(index: int, direction: str, priority: int, handle: int) -> dict[str, int]:
    info = priority << 16 | socket.htons(ETH_P_ALL)
    return {"index": index, "parent": HOOKS[direction], "handle": handle, "info": info}


def set_filter(index: int, direction: str, priority: int, handle: int, fd: int, name: str, replace: bool) -> t.Any:
    """Put the program behind the descriptor ``fd`` at a hook; ``replace`` one that is there, in one step."""
    options = [("TCA_BPF_FD", fd), ("TCA_BPF_NAME", os.fsencode(name)), ("TCA_BPF_FLAGS", ACT_DIRECT)]
    flags = CREATE if replace else CREATE | EXCLUSIVE
    attributes = [("TCA_KIND", "bpf"), ("TCA_OPTIONS", {"attrs": options})]
    return _message(RTM_NEWTFILTER, flags, _at(index, direction, priority, handle), attributes)


def remove_filter(index: int, direction: str, priority: int, handle: int) -> t.Any:
    """Take a filter away."""
    return _message(RTM_DELTFILTER, 0, _at(index, direction, priority, handle), [("TCA_KIND", "bpf")])
