# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The values that the network planners work on: what an interface is, what a topology is, what was seen of it."""

from __future__ import annotations

import typing as t
from dataclasses import astuple, dataclass, field

from ..sysctl.kinds import key_of, name_of, path_of, place_of

if t.TYPE_CHECKING:
    from ..management import Lifeline

SYSCTL = "/proc/sys/net"
# What tells our links and namespaces from others of the same name: see kinds.py.
LAB_GROUP = 0x65627066  # the link group (IFLA_GROUP) in which a link of ours is made
GOING_GROUP = LAB_GROUP + 1  # the one in which many are deleted together
GROUPS = (LAB_GROUP, GOING_GROUP)
ALIAS = "ebpf.lab"  # the alias of the lo of a namespace of ours
FOLDER_KEY = "namespaces:/run/netns"
# An interface is known by its namespace ("" is the caller's) and its name.
Ref = tuple[str, str]


@dataclass(frozen=True, order=True)
class Route:
    """A route out of an interface: ``to`` has a prefix length; ``via`` "" is on the link; ``metric`` 0 the default.

    ``protocol`` (who made it, RTPROT_* in rtnetlink(7); static when we do) and ``source``, the preferred source
    address, are carried along for putting a foreign route back; they do not make it another route.
    """

    to: str
    via: str = ""
    metric: int = 0
    protocol: int = field(default=4, compare=False)
    source: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.to + (f" via {self.via}" if self.via else "") + (f" metric {self.metric}" if self.metric else "")


def satisfies(seen: Route, wanted: Route) -> bool:
    """Whether a seen route is the wanted one; a wanted metric of 0 is any (IPv6 gives 1024 by itself)."""
    return (seen.to, seen.via) == (wanted.to, wanted.via) and wanted.metric in (0, seen.metric)


@dataclass(frozen=True)
class Interface:
    """An interface as wanted or as seen. In a wanted one, None and empty strings mean "whatever it is".

    ``kind`` is veth, bridge or vlan (seen: whatever the kernel says). ``addresses`` are CIDR texts, ``neighbours``
    pairs of address and MAC, ``sysctls`` pairs of a path below /proc/sys/net and its value. ``exclusive`` (wanted
    only): other addresses, routes and neighbours than these are taken away. ``implied`` (seen only): the routes that
    the kernel made because of the addresses. ``secondary`` (seen only): the IPv4 addresses that came later than another
    one of their network. ``group`` is the link group, which tells ours from others and is nobody's wish.
    """

    netns: str
    name: str
    kind: str
    up: bool = True
    mtu: t.Optional[int] = None
    mac: t.Optional[str] = None
    peer: t.Optional[Ref] = None
    master: t.Optional[str] = None
    parent: t.Optional[str] = None
    vlan: int = 0
    addresses: frozenset[str] = frozenset()
    routes: frozenset[Route] = frozenset()
    neighbours: frozenset[tuple[str, str]] = frozenset()
    sysctls: frozenset[tuple[str, str]] = frozenset()
    exclusive: bool = False
    implied: frozenset[Route] = frozenset()
    secondary: frozenset[str] = frozenset()
    group: int = 0

    @property
    def ref(self) -> Ref:
        """Namespace and name."""
        return (self.netns, self.name)

    @property
    def key(self) -> str:
        """The journal's key."""
        return link_key(self.ref)

    def __str__(self) -> str:
        return self.name + (f" in {self.netns}" if self.netns else "")

    def as_dict(self) -> dict[str, t.Any]:
        """Plain JSON types, sorted, for diffs and return values."""
        peer = None if self.peer is None else {"netns": self.peer[0], "name": self.peer[1]}
        return {
            "netns": self.netns,
            "name": self.name,
            "kind": self.kind,
            "up": self.up,
            "mtu": self.mtu,
            "mac": self.mac,
            "peer": peer,
            "master": self.master,
            "parent": self.parent,
            "vlan": self.vlan or None,
            "addresses": sorted(self.addresses),
            "routes": [str(route) for route in sorted(self.routes)],
            "neighbours": [" ".join(pair) for pair in sorted(self.neighbours)],
            "sysctls": dict(sorted(self.sysctls)),
        }

    def to_saved(self) -> dict[str, t.Any]:
        """What the journal keeps of an interface that was there before us; ``from_saved`` reads it."""
        routes = [list(astuple(route)) for route in sorted(self.routes)]
        return {**self.as_dict(), "routes": routes, "neighbours": [list(pair) for pair in sorted(self.neighbours)]}


def link_key(ref: Ref) -> str:
    """The journal's key of an interface."""
    return f"link:{ref[0]}/{ref[1]}"


def ref_of(key: str) -> Ref:
    """Namespace and name from an interface's key."""
    netns, _slash, name = key[len("link:") :].rpartition("/")
    return netns, name


def netns_key(name: str) -> str:
    """The journal's key of a namespace."""
    return f"netns:{name}"


def is_made(noted: t.Any) -> bool:
    """Whether what is noted of the mount at /run/netns says that the folder is ours as well."""
    return isinstance(noted, dict) and bool(noted.get("made"))


def peer_of(noted: t.Any) -> str:
    """The key of the other end, from what is noted of a veth of ours; "" for other links."""
    return str(noted.get("peer", "")) if isinstance(noted, dict) else ""


def sysctl_key(netns: str, path: str) -> str:
    """The journal's key of a sysctl, a namespace's or an interface's."""
    return key_of(netns, name_of(f"{SYSCTL}/{path}"))


def interface_of(path: str) -> str:
    """The interface that a path such as ipv4/conf/veth1/rp_filter is about, "" when it is a namespace's own."""
    parts = path.split("/")
    return parts[2] if len(parts) == 4 and parts[1] == "conf" else ""


def interface_sysctl_of(key: str) -> t.Optional[tuple[str, str]]:
    """Namespace and path of an interface's sysctl from its journal key; None for any other key."""
    place = place_of(key)
    path = path_of(place[1])[len(SYSCTL) + 1 :] if place is not None else ""
    return (place[0], path) if place is not None and interface_of(path) else None


def from_saved(saved: t.Mapping[str, t.Any]) -> Interface:
    """The interface that ``to_saved`` wrote down, wanted back exactly; sysctls have journal entries of their own.

    Raises TypeError, KeyError and the like for anything else.
    """
    peer = saved["peer"]
    return Interface(
        netns=saved["netns"],
        name=saved["name"],
        kind=saved["kind"],
        up=saved["up"],
        mtu=saved["mtu"],
        mac=saved["mac"],
        peer=None if peer is None else (peer["netns"], peer["name"]),
        master=saved["master"] or "",
        parent=saved["parent"],
        vlan=saved["vlan"] or 0,
        addresses=frozenset(saved["addresses"]),
        routes=frozenset(Route(*route) for route in saved["routes"]),
        neighbours=frozenset((address, mac) for address, mac in saved["neighbours"]),
        exclusive=True,
    )


@dataclass(frozen=True)
class Want:
    """A whole topology as asked for. ``sysctls`` are per namespace, as in Interface. ``present`` False: take it away.

    ``force`` lets ``present`` False take away what bears the names but was not made by the lab, and ``present`` True
    take over what this host is reached by.
    """

    namespaces: tuple[str, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    sysctls: t.Mapping[str, frozenset[tuple[str, str]]] = field(default_factory=dict)
    present: bool = True
    force: bool = False


@dataclass(frozen=True)
class Now:
    """What was seen. ``namespaces`` maps each name to its kind, see netns.kind; ``loopback`` tells which have lo up.

    ``claimed`` holds the journal's keys that are ours, ``peers`` the other end's key for each of a pair of ours;
    ``saved`` are the interfaces as they were before we changed them, ``saved_sysctls`` the same for sysctls, of the
    namespaces themselves and of the wanted interfaces. ``folder`` is whether /run/netns is a mount point, ``exists``
    that there is such a folder, ``made`` that we made it, ``others`` the names in it that nobody here asked about.
    ``lifelines`` are what this host is reached by, in those namespaces of the wanted ones that are our ``own``.
    """

    namespaces: t.Mapping[str, str] = field(default_factory=dict)
    loopback: frozenset[str] = frozenset()
    interfaces: t.Mapping[Ref, Interface] = field(default_factory=dict)
    sysctls: t.Mapping[str, frozenset[tuple[str, str]]] = field(default_factory=dict)
    claimed: frozenset[str] = frozenset()
    peers: t.Mapping[str, str] = field(default_factory=dict)
    saved: t.Mapping[str, Interface] = field(default_factory=dict)
    saved_sysctls: t.Mapping[str, frozenset[tuple[str, str]]] = field(default_factory=dict)
    folder: bool = False
    exists: bool = False
    made: bool = False
    others: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset({""})
    lifelines: tuple[Lifeline, ...] = ()
