# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What it takes to bring one interface from what it is to what it is to be, and what else the kernel will do then."""

from __future__ import annotations

import functools
import ipaddress
import typing as t
from dataclasses import replace

from ..._core.plan import Step
from .link_steps import CreateLink
from .requests import Adopted
from .state import LAB_GROUP, Interface, Route, satisfies
from .steps import SetAddress, SetLink, SetNeighbour, SetRoute, SetSysctl

IPV6_MTU = 1280  # bytes; RFC 8200, section 5


def settle(now: Interface, want: Interface) -> Interface:
    """The interface after its plan has run: what is wanted, and what nobody named as it is."""
    wanted_paths = {path for path, _value in want.sysctls}
    mtu = now.mtu if want.mtu is None else want.mtu
    addresses = want.addresses if want.exclusive else now.addresses | want.addresses
    # What nobody named goes when the kernel takes it: routes with the link that goes down, IPv6 with a small MTU.
    routes = frozenset() if now.up and not want.up else now.routes
    if (mtu or IPV6_MTU) < IPV6_MTU:
        addresses = frozenset(address for address in addresses if ":" not in address)
        routes = frozenset(route for route in routes if ":" not in route.to)
    there = routes | _implied(now, want.up, addresses)
    missing = {wanted for wanted in want.routes if not any(satisfies(seen, wanted) for seen in there)}
    replaced = {seen for seen in routes for wanted in missing if _in_the_way(seen, wanted)}
    if want.exclusive:
        replaced |= {seen for seen in routes if not any(satisfies(seen, wanted) for wanted in want.routes)}
    wanted_neighbours = {address for address, _mac in want.neighbours}
    others = frozenset(pair for pair in now.neighbours if pair[0] not in wanted_neighbours and not want.exclusive)
    others = others if want.up or not now.up else frozenset()
    return replace(
        now,
        up=want.up,
        mtu=mtu,
        mac=now.mac if want.mac is None else want.mac,
        master=now.master if want.master is None else want.master,
        addresses=addresses,
        routes=(routes - replaced) | missing,
        neighbours=want.neighbours | others,
        sysctls=want.sysctls | frozenset(pair for pair in now.sysctls if pair[0] not in wanted_paths),
    )


def _implied(now: Interface, up: bool, addresses: frozenset[str]) -> frozenset[Route]:
    """The routes that the kernel will have made: an address that is new, or whose link goes up, brings one."""
    if not up:
        return frozenset()
    held = {_network(address) for address in addresses}
    lost = {_network(address) for address in now.addresses - addresses} - held
    new = {_network(address) for address in (addresses - now.addresses if now.up else addresses)}
    new = {network for network in new if not network.endswith("/32") or ":" in network}  # IPv4 hosts bring none
    kept = frozenset(route for route in now.implied if now.up and route.to not in lost)
    return kept | {Route(network, metric=256 if ":" in network else 0) for network in new}


@functools.cache
def _network(address: str) -> str:
    return str(ipaddress.ip_interface(address).network)


def _in_the_way(seen: Route, wanted: Route) -> bool:
    """A route of this interface to the same destination by another gateway would make the wanted one a duplicate."""
    return seen.to == wanted.to and seen.via != wanted.via and wanted.metric in (0, seen.metric)


def fresh(want: Interface) -> Interface:
    """The interface as its create request leaves it: down, and with nothing on it."""
    return Interface(
        netns=want.netns, name=want.name, kind=want.kind, up=False, mtu=want.mtu, mac=want.mac, peer=want.peer,
        master="", parent=want.parent, vlan=want.vlan, group=LAB_GROUP,
    )  # fmt: skip


def sysctl_steps(now: Interface, after: Interface, way: str = "") -> list[Step]:
    """The interface's own sysctls; before it goes up, because some count from then on only. ``way`` as in SetSysctl."""
    old = dict(now.sysctls)
    return [
        SetSysctl(after.netns, path, old.get(path, ""), value, way)
        for path, value in sorted(after.sysctls)
        if old.get(path) != value
    ]


def surviving(now: Interface, after: Interface) -> Interface:
    """What is left of ``now`` when all that has to go is gone, with what the kernel takes along.

    Going down takes routes, neighbours and IPv6 addresses; a new MAC takes the neighbours; an MTU below 1280 turns
    IPv6 off (RFC 8200); the first IPv4 address of a network takes the later ones, the last of all the routes. All of
    that is taken away and put back by steps of its own, so that undoing it brings it back as well.
    """
    goes_down = now.up and not after.up
    # On the way up nothing is lost, but setting the link down again, to undo that, would take IPv6 addresses.
    no_ipv6 = now.up != after.up or (now.mtu != after.mtu and (after.mtu or IPV6_MTU) < IPV6_MTU)
    first = {_network(address) for address in now.addresses - after.addresses - now.secondary if ":" not in address}
    addresses = frozenset(
        address
        for address in now.addresses & after.addresses
        if not (no_ipv6 and ":" in address) and not (address in now.secondary and _network(address) in first)
    )
    had_ipv4, has_ipv4 = (any(":" not in address for address in some) for some in (now.addresses, addresses))
    no_ipv4 = goes_down or (had_ipv4 and not has_ipv4)
    return replace(
        now,
        addresses=addresses,
        routes=frozenset(route for route in now.routes & after.routes if not (no_ipv6 if ":" in route.to else no_ipv4)),
        neighbours=frozenset() if goes_down or now.mac != after.mac else now.neighbours & after.neighbours,
    )


def clear_steps(now: Interface, after: Interface, adopted: t.Optional[Adopted]) -> list[Step]:
    """Take away what has to go, in the order that makes its undoing possible: gateways before what leads to them."""
    if not (now.addresses or now.routes or now.neighbours):
        return []
    netns, name = after.ref
    kept = surviving(now, after)
    routes = sorted(now.routes - kept.routes, key=lambda route: (not route.via, route))
    addresses = sorted(now.addresses - kept.addresses, key=lambda address: (address not in now.secondary, address))
    return [
        *(SetRoute(netns, adopted, name, route, add=False) for route in routes),
        *(SetNeighbour(netns, adopted, name, *pair, add=False) for pair in sorted(now.neighbours - kept.neighbours)),
        *(SetAddress(netns, adopted, name, address, add=False) for address in addresses),
    ]


def setting_steps(now: Interface, after: Interface, adopted: t.Optional[Adopted]) -> list[Step]:
    """Settings, addresses, up or down, and neighbours of one interface: all that routes need to be there."""
    netns, name = after.ref
    kept = surviving(now, after) if now.addresses or now.neighbours else now
    steps: list[Step] = [
        SetLink(netns, adopted, name, setting, getattr(now, setting), getattr(after, setting))
        for setting in ("mtu", "mac", "master")
        if (getattr(now, setting) or "") != (getattr(after, setting) or "")
    ]
    turn: list[Step] = [SetLink(netns, adopted, name, "up", now.up, after.up)] if now.up != after.up else []
    addresses = [SetAddress(netns, adopted, name, address) for address in sorted(after.addresses - kept.addresses)]
    steps += [*addresses, *turn] if after.up else [*turn, *addresses]
    missing = sorted(after.neighbours - kept.neighbours)
    return [*steps, *(SetNeighbour(netns, adopted, name, *pair) for pair in missing)]


def route_steps(now: Interface, after: Interface, adopted: t.Optional[Adopted]) -> list[Step]:
    """The missing routes out of one interface: those on the link come before those by a gateway."""
    netns, name = after.ref
    missing = after.routes - (surviving(now, after).routes if now.routes else now.routes)
    ordered = sorted(missing, key=lambda route: (bool(route.via), route))
    return [SetRoute(netns, adopted, name, route) for route in ordered]


def falling_first(changes: list[tuple[Interface, Interface]]) -> list[tuple[Interface, Interface]]:
    """What goes down first and a VLAN before its parent, then the rest as it is, so that each way back is open too.

    Last what the kernel has set up by then, together with what it stands on, and what is to be down. In ``changes`` a
    VLAN comes after its parent.
    """
    rising = {after.ref for now, after in changes if after.up and not now.up}  # these take their VLANs up with them
    first: list[tuple[Interface, Interface]] = []
    rest: list[tuple[Interface, Interface]] = []
    last: list[tuple[Interface, Interface]] = []
    for now, after in changes:
        falls = now.up and not after.up
        lifted = (after.netns, after.parent or "") in rising
        rising |= {after.ref} if lifted else set()  # and those the ones on them
        (last if falls and lifted else first if falls else rest).append((now, after))
    return [*reversed(first), *rest, *reversed(last)]


def create_step(one: Interface, other: t.Optional[Interface]) -> CreateLink:
    """How to make an interface. A pair is made from inside a lab's namespace where it can be: see the module's text."""
    if other is not None and not one.netns:
        one, other = other, one
    return CreateLink(one.netns, None, one, other)


def rebuild_steps(*interfaces: t.Optional[Interface]) -> tuple[Step, ...]:
    """What makes deleted interfaces again as they were seen: the undo of a deletion."""
    ends = [interface for interface in interfaces if interface is not None]
    steps: list[Step] = [create_step(ends[0], ends[1] if len(ends) > 1 else None)]
    for end in ends:
        steps += sysctl_steps(fresh(end), end)
    for build in (setting_steps, route_steps):
        for end in ends:
            steps += build(fresh(end), end, None)
    return tuple(steps)
