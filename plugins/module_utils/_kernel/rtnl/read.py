# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a namespace holds, read from the kernel's dumps: links, addresses, routes, neighbours. Never writes.

Message layouts: ifinfomsg, ifaddrmsg, rtmsg and ndmsg in rtnetlink(7); attribute numbers from the kernel's
include/uapi/linux/{if_link,if_addr,rtnetlink,neighbour,net_namespace}.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import typing as t
from dataclasses import dataclass

from ..._core.errors import KernelRefused
from ..netns import opened
from .socket import Netlink, attributes

RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE, RTM_GETNEIGH, RTM_GETNSID = 18, 22, 26, 30, 90
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER, IFLA_LINKINFO = 1, 3, 4, 5, 10, 18
IFLA_IFALIAS, IFLA_GROUP = 20, 27
IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES, IFLA_EXT_MASK, IFLA_LINK_NETNSID, IFLA_XDP = 31, 32, 29, 37, 43
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_VLAN_ID = 1, 2, 1
IFLA_XDP_ATTACHED, IFLA_XDP_PROG_ID = 2, 4
XDP_MODES = {1: "native", 2: "generic", 3: "offload", 4: "multiple"}
RTEXT_FILTER_SKIP_STATS = 8
IFF_UP = 1
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS, IFA_F_SECONDARY, IFA_F_TENTATIVE = 1, 2, 8, 0x01, 0x40
RTA_DST, RTA_SRC, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_MULTIPATH = 1, 2, 4, 5, 6, 7, 9
RTA_TABLE, RTA_VIA = 15, 18
RT_TABLE_MAIN, RTN_UNICAST, RTPROT_KERNEL, RTPROT_RA, RTM_F_CLONED = 254, 1, 2, 9, 0x200
RTM_F_LOOKUP_TABLE, RTM_F_FIB_MATCH = 0x1000, 0x2000
NDA_DST, NDA_LLADDR, NUD_PERMANENT = 1, 2, 0x80


@dataclass(frozen=True)
class Link:
    """One link as the kernel describes it. ``peer_index`` and ``peer_nsid`` are IFLA_LINK and IFLA_LINK_NETNSID.

    ``xdp_mode`` is "" without an XDP program, else native, generic, offload or multiple; ``xdp_id`` its program's id.
    ``group`` and ``alias`` are what tells a link of ours from others, see _net/topology/kinds.py.
    """

    index: int
    name: str
    kind: str
    up: bool
    mtu: int
    mac: str
    master: int
    peer_index: int
    peer_nsid: t.Optional[int]
    vlan: int
    tx_queues: int
    rx_queues: int
    xdp_mode: str
    xdp_id: int
    group: int = 0
    alias: str = ""


def _number(value: bytes) -> int:
    return int.from_bytes(value[:4], "little" if struct.pack("=H", 1) == b"\1\0" else "big")


def _mac(value: bytes) -> str:
    return value.hex(":")


def links(netlink: Netlink) -> dict[str, Link]:
    """All links of the namespace by name."""
    request = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + struct.pack("=HHI", 8, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
    return {link.name: link for link in map(_link, netlink.dump(RTM_GETLINK, request))}


def _link(body: bytes) -> Link:
    index, flags = struct.unpack_from("=iI", body, 4)
    found = dict(attributes(body, 16))
    info = dict(attributes(found.get(IFLA_LINKINFO, b""), 0))
    kind = info.get(IFLA_INFO_KIND, b"").rstrip(b"\0").decode(errors="replace")
    vlan = 0
    if kind == "vlan":
        vlan = struct.unpack_from("=H", dict(attributes(info.get(IFLA_INFO_DATA, b""), 0))[IFLA_VLAN_ID])[0]
    xdp = dict(attributes(found.get(IFLA_XDP, b""), 0))
    nsid = found.get(IFLA_LINK_NETNSID)
    return Link(
        index=index,
        name=os.fsdecode(found[IFLA_IFNAME].rstrip(b"\0")),
        kind=kind,
        up=bool(flags & IFF_UP),
        mtu=_number(found.get(IFLA_MTU, b"")),
        mac=_mac(found.get(IFLA_ADDRESS, b"")),
        master=_number(found.get(IFLA_MASTER, b"")),
        peer_index=_number(found.get(IFLA_LINK, b"")),
        peer_nsid=None if nsid is None else struct.unpack("=i", nsid)[0],
        vlan=vlan,
        tx_queues=_number(found.get(IFLA_NUM_TX_QUEUES, b"")),
        rx_queues=_number(found.get(IFLA_NUM_RX_QUEUES, b"")),
        xdp_mode=XDP_MODES.get(_number(xdp.get(IFLA_XDP_ATTACHED, b"")), ""),
        xdp_id=_number(xdp.get(IFLA_XDP_PROG_ID, b"")),
        group=_number(found.get(IFLA_GROUP, b"")),
        alias=os.fsdecode(found.get(IFLA_IFALIAS, b"").rstrip(b"\0")),
    )


@dataclass(frozen=True)
class Address:
    """An address on a link: ``text`` is 192.168.100.1/24; ``tentative`` while duplicate detection goes on.

    ``secondary`` (IPv4 only): the kernel deletes it together with the first address of its network (ip-address(8)).
    """

    index: int
    text: str
    link_local: bool
    tentative: bool
    secondary: bool


def addresses(netlink: Netlink) -> list[Address]:
    """All addresses of the namespace, both families."""
    found = []
    for body in netlink.dump(RTM_GETADDR, struct.pack("=BBBBi", 0, 0, 0, 0, 0)):
        family, prefix, flags, _scope, index = struct.unpack_from("=BBBBi", body)
        if family not in (socket.AF_INET, socket.AF_INET6):
            continue
        values = dict(attributes(body, 8))
        # On a point-to-point link IFA_ADDRESS is the other side; IFA_LOCAL is ours where there is one.
        raw = values.get(IFA_LOCAL, values.get(IFA_ADDRESS, b""))
        flags |= _number(values.get(IFA_FLAGS, b""))
        text = f"{socket.inet_ntop(family, raw)}/{prefix}"
        link_local = family == socket.AF_INET6 and raw[0] == 0xFE and raw[1] & 0xC0 == 0x80
        secondary = family == socket.AF_INET and bool(flags & IFA_F_SECONDARY)  # the bit means another thing in IPv6
        found.append(Address(index, text, link_local, bool(flags & IFA_F_TENTATIVE), secondary))
    return found


@dataclass(frozen=True)
class RouteSeen:
    """A unicast route of the main table: ``to`` with prefix length, ``via`` "" when on the link itself."""

    index: int
    to: str
    via: str
    metric: int
    kernel: bool
    protocol: int
    source: str


def routes(netlink: Netlink, multipath: bool = False) -> list[RouteSeen]:
    """The main table's unicast routes of both families; ``kernel`` marks those that follow from addresses.

    ``multipath``: those with several next hops are among them too, once for each.
    """
    found = []
    for body in netlink.dump(RTM_GETROUTE, struct.pack("=BBBBBBBBI", 0, 0, 0, 0, 0, 0, 0, 0, 0)):
        family, bits, _src, _tos, table, protocol, _scope, kind, flags = struct.unpack_from("=BBBBBBBBI", body)
        if family not in (socket.AF_INET, socket.AF_INET6) or kind != RTN_UNICAST or flags & RTM_F_CLONED:
            continue
        values = dict(attributes(body, 12))
        if (_number(values[RTA_TABLE]) if RTA_TABLE in values else table) != RT_TABLE_MAIN:
            continue
        any_address = bytes(4 if family == socket.AF_INET else 16)
        hops = [(_number(values[RTA_OIF]), values)] if RTA_OIF in values else []
        if multipath and RTA_MULTIPATH in values:
            hops = list(_hops(values[RTA_MULTIPATH]))
        for index, hop in hops:
            found.append(
                RouteSeen(
                    index=index,
                    to=f"{socket.inet_ntop(family, values.get(RTA_DST, any_address))}/{bits}",
                    via=_gateway(family, hop),
                    metric=_number(values.get(RTA_PRIORITY, b"")),
                    kernel=protocol in (RTPROT_KERNEL, RTPROT_RA),
                    protocol=protocol,
                    source=socket.inet_ntop(family, values[RTA_PREFSRC]) if RTA_PREFSRC in values else "",
                )
            )
    return found


def _gateway(family: int, values: t.Mapping[int, bytes]) -> str:
    if RTA_VIA in values:  # a next hop of the other family
        return socket.inet_ntop(struct.unpack_from("=H", values[RTA_VIA])[0], values[RTA_VIA][2:])
    return socket.inet_ntop(family, values[RTA_GATEWAY]) if RTA_GATEWAY in values else ""


def _hops(body: bytes) -> t.Iterator[tuple[int, dict[int, bytes]]]:
    """Index and attributes of each next hop (struct rtnexthop in rtnetlink(7))."""
    offset = 0
    while offset + 8 <= len(body):
        length, _flags, _weight, index = struct.unpack_from("=HBBi", body, offset)
        if length < 8:
            return
        yield index, dict(attributes(body[offset : offset + length], 8))
        offset += (length + 3) & ~3


@dataclass(frozen=True)
class Way:
    """How packets to an address leave: the link, the gateway ("" for none), and the route that says so."""

    index: int
    via: str = ""
    prefix: int = 0
    metric: int = 0
    main: bool = True


def way(netlink: Netlink, address: str, source: str = "") -> t.Optional[Way]:
    """The way of a packet to ``address``; None for our own addresses. Raises KernelRefused when there is no way."""
    family, taken = _lookup(netlink, address, source, 0)
    kind, found = taken[7], dict(attributes(taken, 12))
    if kind != RTN_UNICAST or RTA_OIF not in found:
        return None
    _family, route = _lookup(netlink, address, source, RTM_F_LOOKUP_TABLE | RTM_F_FIB_MATCH)
    values = dict(attributes(route, 12))
    return Way(
        index=_number(found[RTA_OIF]),
        via=_gateway(family, found),
        prefix=route[1],
        metric=_number(values.get(RTA_PRIORITY, b"")),
        main=(_number(values[RTA_TABLE]) if RTA_TABLE in values else route[4]) == RT_TABLE_MAIN,
    )


def way_to(netlink: Netlink, address: str) -> int:
    """The index of the link that a packet to ``address`` would leave by. Raises KernelRefused when there is no way."""
    _family, answer = _lookup(netlink, address, "", 0)
    return _number(dict(attributes(answer, 12)).get(RTA_OIF, b""))


def _lookup(netlink: Netlink, address: str, source: str, flags: int) -> tuple[int, bytes]:
    """The address family, and the kernel's answer to the question for a route."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    asked = [(RTA_DST, socket.inet_pton(family, address))]
    asked += [(RTA_SRC, socket.inet_pton(family, source))] if source else []
    bits = 8 * len(asked[0][1])
    request = struct.pack("=BBBBBBBBI", family, bits, bits if source else 0, 0, 0, 0, 0, 0, flags)
    request += b"".join(struct.pack("=HH", 4 + len(raw), kind) + raw for kind, raw in asked)
    answer = netlink.get(RTM_GETROUTE, request)
    if answer is None:
        raise KernelRefused("ask for a route", errno.ENOENT)
    return family, answer


def neighbours(netlink: Netlink) -> list[tuple[int, str, str]]:
    """The permanent neighbour entries: link index, address, MAC."""
    found = []
    for body in netlink.dump(RTM_GETNEIGH, struct.pack("=BxHiHBB", 0, 0, 0, 0, 0, 0)):
        family, index, state = struct.unpack_from("=BxxxiH", body)
        if family in (socket.AF_INET, socket.AF_INET6) and state & NUD_PERMANENT:
            values = dict(attributes(body, 12))
            found.append((index, socket.inet_ntop(family, values[NDA_DST]), _mac(values.get(NDA_LLADDR, b""))))
    return found


def namespace_id(netlink: Netlink, netns: str) -> t.Optional[int]:
    """The number by which the socket's namespace knows ``netns``, or None when it has given it none yet."""
    handle = opened(netns)
    try:
        answer = netlink.get(RTM_GETNSID, struct.pack("=BxxxHHI", 0, 8, 3, handle))  # 3: NETNSA_FD
    finally:
        os.close(handle)
    if answer is None:
        return None
    nsid = int(struct.unpack("=i", dict(attributes(answer, 4))[1])[0])  # 1: NETNSA_NSID
    return None if nsid < 0 else nsid
