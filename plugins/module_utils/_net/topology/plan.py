# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a network as it is to a network as it is wanted: pure, and the same for one namespace or a thousand.

The order of a plan: namespaces, links that are in the way, new links, sysctls, settings and addresses, routes. Within
each part the steps of one namespace stand together, because neighbours are sent to the kernel in one batch.
"""

from __future__ import annotations

import functools
import ipaddress
import typing as t
from collections import defaultdict
from dataclasses import replace

from ..._core.errors import Refused
from ..._core.plan import Forget, Plan, Step
from ..management import refuse_takeovers
from .state import Interface, Now, Ref, Route, Want, interface_of, link_key, satisfies, sysctl_key
from .steps import (
    FOLDER_KEY,
    LIES,
    CreateLink,
    CreateNamespace,
    DeleteLink,
    MakeFolder,
    NeedNamespace,
    RemoveFolder,
    RemoveNamespace,
    SetAddress,
    SetLink,
    SetNeighbour,
    SetRoute,
    SetSysctl,
    netns_key,
)

IPV6_MTU = 1280  # bytes; RFC 8200, section 5


def plan(now: Now, want: Want) -> Plan:
    """The steps from ``now`` to ``want``. Raises Refused for what is foreign, and for what would cut this host off."""
    return _Present(now, want).plan() if want.present else _Absent(now, want).plan()


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
        master="", parent=want.parent, vlan=want.vlan,
    )  # fmt: skip


def sysctl_steps(now: Interface, after: Interface, foreign: bool) -> list[Step]:
    """The interface's own sysctls; before it goes up, because some count from then on only."""
    old = dict(now.sysctls)
    return [
        SetSysctl(after.netns, path, old.get(path, ""), value, sysctl_key(after.netns, path) if foreign else "")
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


def clear_steps(now: Interface, after: Interface, adopted: t.Optional[Interface]) -> list[Step]:
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


def setting_steps(now: Interface, after: Interface, adopted: t.Optional[Interface]) -> list[Step]:
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


def route_steps(now: Interface, after: Interface, adopted: t.Optional[Interface]) -> list[Step]:
    """The missing routes out of one interface: those on the link come before those by a gateway."""
    netns, name = after.ref
    missing = after.routes - (surviving(now, after).routes if now.routes else now.routes)
    ordered = sorted(missing, key=lambda route: (bool(route.via), route))
    return [SetRoute(netns, adopted, name, route) for route in ordered]


def falling_first(changes: list[tuple[Interface, Interface]]) -> list[tuple[Interface, Interface]]:
    """What goes down first and a VLAN before its parent, then the rest as it is, so that each way back is open too."""
    rising = {after.ref for now, after in changes if after.up and not now.up}  # these take their VLANs up with them
    order: dict[bool, list[tuple[Interface, Interface]]] = {True: [], False: []}
    for now, after in changes:
        falls = now.up and not after.up and (after.netns, after.parent or "") not in rising
        order[falls].append((now, after))
    return [*reversed(order[True]), *order[False]]


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
        steps += sysctl_steps(fresh(end), end, False)
    for build in (setting_steps, route_steps):
        for end in ends:
            steps += build(fresh(end), end, None)
    return tuple(steps)


class _Both:
    """What the two directions share."""

    def __init__(self, now: Now, want: Want) -> None:
        self.now = now
        self.want = want
        self.steps: list[Step] = []
        self.warnings: list[str] = []
        self.wanted = {interface.ref: interface for interface in want.interfaces}

    def ours(self, interface: Interface) -> bool:
        return interface.key in self.now.claimed

    def adopted(self, seen: Interface) -> t.Optional[Interface]:
        """The interface to keep in the journal when it is changed, which is one that we did not make."""
        return None if self.ours(seen) else seen

    def pairs(self) -> t.Iterator[tuple[Interface, t.Optional[Interface]]]:
        """Each wanted interface once: a veth with its other end, the others alone."""
        done: set[Ref] = set()
        for interface in self.want.interfaces:
            if interface.ref not in done:
                other = self.wanted[interface.peer] if interface.peer else None
                done.add(other.ref if other else interface.ref)
                yield interface, other

    def _depth(self, interface: Interface) -> int:
        """How many VLANs it stands on, itself included: each is made after its parent."""
        depth = 0
        while interface.kind == "vlan":
            depth += 1
            parent = self.wanted.get((interface.netns, interface.parent or ""))
            if parent is None:
                break
            interface = parent
        return depth

    def delete(self, one: Interface, other: t.Optional[Interface]) -> None:
        """Delete what was seen; from the caller's namespace where it can be, so that many go as one group."""
        if other is not None and one.netns and not other.netns:
            one, other = other, one
        complete = one.kind != "veth" or other is not None  # half a pair cannot be made again
        self.steps.append(DeleteLink(one.netns, None, one, other, rebuild_steps(one, other) if complete else ()))

    def shown(self, namespaces: t.Mapping[str, str], interfaces: t.Iterable[Interface]) -> dict[str, t.Any]:
        return {
            "namespaces": sorted(name for name, kind in namespaces.items() if kind == "present"),
            "interfaces": [interface.as_dict() for interface in sorted(interfaces, key=lambda one: one.ref)],
        }

    def finish(self, namespaces: t.Mapping[str, str], interfaces: t.Iterable[Interface]) -> Plan:
        before = self.shown(self.now.namespaces, self.now.interfaces.values())
        return Plan(before, self.shown(namespaces, interfaces), tuple(self.steps), tuple(self.warnings))


class _Present(_Both):
    """Make and repair."""

    def plan(self) -> Plan:
        refuse_takeovers(self.want, self.now)
        absent = [name for name in self.want.namespaces if self.now.namespaces[name] != "present"]
        self._namespaces(absent)
        current = self._links()
        settled = {ref: settle(seen, self.wanted[ref]) for ref, seen in current.items()}
        # Within a namespace the wanted order is kept, but for a VLAN, which can only go up after its parent.
        ordered = sorted(settled.values(), key=lambda after: (after.netns, self._depth(self.wanted[after.ref])))
        for name in self.want.namespaces:
            self._namespace_sysctls(name, absent)
        for after in ordered:
            self.steps += sysctl_steps(current[after.ref], after, self._adopted_now(after.ref) is not None)
        here_in: dict[str, list[Interface]] = defaultdict(list)
        for after in ordered:
            here_in[after.netns].append(after)
        for name in sorted({*self.want.namespaces, *here_in}):
            if name in self.want.namespaces and name not in self.now.loopback:
                seen = Interface(name, "lo", "loopback", up=False)
                foreign = name not in absent and netns_key(name) not in self.now.claimed
                self.steps.append(SetLink(name, seen if foreign else None, "lo", "up", False, True))
            here = falling_first([(current[after.ref], after) for after in here_in[name]])
            for build in (clear_steps, setting_steps, route_steps):
                for now, after in here:
                    self.steps += build(now, after, self._adopted_now(after.ref))
        return self.finish({name: "present" for name in self.now.namespaces}, settled.values())

    def _adopted_now(self, ref: Ref) -> t.Optional[Interface]:
        seen = self.now.interfaces.get(ref)
        return None if seen is None or ref in self.made else self.adopted(seen)

    def _namespaces(self, absent: list[str]) -> None:
        for name, kind in sorted(self.now.namespaces.items()):
            if kind in LIES:
                self._name_that_lies(name, kind)
            if kind != "present" and name not in self.want.namespaces:
                self.steps.append(NeedNamespace(name))
                self.warnings.append(f"The network namespace {name} has to be made by an earlier task of the play.")
        if absent and not self.now.folder:
            self.steps.append(MakeFolder())
        self.steps += [RemoveNamespace(name, self.now.namespaces[name]) for name in absent if self._lies(name)]
        self.steps += [CreateNamespace(name, stray=self.now.namespaces[name] == "stray") for name in absent]

    def _lies(self, name: str) -> bool:
        return self.now.namespaces[name] in LIES

    def _name_that_lies(self, name: str, kind: str) -> None:
        """A name of the lab's own is taken away and given anew; raises Refused for anybody else's."""
        ours = netns_key(name) in self.now.claimed
        if not ours or (kind == "twin" and name not in self.want.namespaces):
            raise Refused(
                f"netns: the name {name} in /run/netns stands for {LIES[kind]}, so what is meant for it would change "
                "that one.",
                f"Choose another name, or take this one away with 'ip netns del {name}', which leaves what it stands "
                "for as it is.",
            )

    def _links(self) -> dict[Ref, Interface]:
        """Plan the links that have to go and those that have to be made; returns what there is then."""
        self.made: set[Ref] = set()
        creates: list[tuple[Interface, t.Optional[Interface]]] = []
        for one, other in sorted(self.pairs(), key=lambda pair: self._depth(pair[0])):
            ends = [end for end in (one, other) if end is not None]
            if not all(self._is_as_made(end) for end in ends):
                creates.append((one, other))
                self.made |= {end.ref for end in ends}
        for one, other in reversed(creates):  # a VLAN before the link that it stands on, which would take it along
            for end in (one, other):
                seen = self.now.interfaces.get(end.ref) if end is not None else None
                if end is not None and seen is not None:
                    self._refuse_foreign(seen, end)
                    self.delete(seen, None)
        steps = [(self._depth(pair[0]), create_step(*pair)) for pair in creates]
        steps.sort(key=lambda item: (item[0], item[1].netns, item[1].interface.parent or ""))
        self.steps += [step for _depth, step in steps]
        current = {}
        for ref, wanted in self.wanted.items():
            seen = self.now.interfaces.get(ref)
            state = fresh(wanted) if ref in self.made or seen is None else seen
            if state.master and (state.netns, state.master) in self.made:
                state = replace(state, master="")  # the bridge that it was in has gone
            current[ref] = state
        for ref, wanted in self.wanted.items():
            parent = (wanted.netns, wanted.parent or "")
            if not wanted.up and parent in self.wanted and self.wanted[parent].up and not current[parent].up:
                current[ref] = replace(current[ref], up=True)  # the kernel sets it up together with its parent
        return current

    def _is_as_made(self, want: Interface) -> bool:
        """Whether the interface is there and is what only making it anew could change."""
        seen = self.now.interfaces.get(want.ref)
        if seen is None or seen.kind != want.kind or seen.peer != want.peer:
            return False
        if want.kind == "vlan" and (want.netns, want.parent) in self.made:
            return False
        return (seen.parent, seen.vlan) == (want.parent, want.vlan)

    def _refuse_foreign(self, seen: Interface, want: Interface) -> None:
        if self.ours(seen):
            return
        raise Refused(
            f"name: an interface {seen} is there already, and it is not ours: a {seen.kind or 'device'}"
            + (", whose peer is not the wanted one" if seen.kind == want.kind == "veth" else "")
            + ".",
            "Choose another name for the lab's interface, or remove that one if nobody needs it.",
        )

    def _namespace_sysctls(self, name: str, absent: list[str]) -> None:
        old = dict(self.now.sysctls.get(name, frozenset()))
        foreign = name not in absent and netns_key(name) not in self.now.claimed
        for path, value in sorted(self.want.sysctls.get(name, frozenset())):
            if old.get(path) != value:
                saved = sysctl_key(name, path) if foreign else ""
                self.steps.append(SetSysctl(name, path, old.get(path, ""), value, saved=saved))


class _Absent(_Both):
    """Take away what the lab made, put back what it changed, leave what was there before."""

    def plan(self) -> Plan:
        staying: list[Interface] = []
        # VLANs before veths before bridges, whatever the order they were named in, so that undoing can make them again.
        standing = sorted(self.pairs(), key=lambda pair: (self._depth(pair[0]), pair[0].kind != "bridge"))
        for one, other in reversed(standing):
            staying += self._interfaces([end for end in (one, other) if end is not None])
        staying = self._released(staying)
        kept = self._put_back(sorted(staying, key=self._depth))
        namespaces = dict(self.now.namespaces)
        self.inside = self._keys_inside()
        for name in self.want.namespaces:
            self._namespace(name, namespaces)
        stay = set(self.now.others) | {name for name, kind in namespaces.items() if kind != "absent"}
        if FOLDER_KEY in self.now.claimed and not any(netns_key(name) in self.now.claimed for name in stay):
            self.steps.append(Forget(FOLDER_KEY) if stay or not self.now.folder else RemoveFolder())
        return self.finish(namespaces, kept)

    def _keys_inside(self) -> dict[str, set[str]]:
        """The journal's entries of what goes with each namespace."""
        found: dict[str, set[str]] = defaultdict(set)
        for key in {*self.now.claimed, *self.now.saved}:
            if key.startswith("link:"):
                found[key[len("link:") :].rpartition("/")[0]].add(key)
        for name, pairs in self.now.saved_sysctls.items():
            found[name] |= {sysctl_key(name, path) for path, _value in pairs}
        return found

    def _interfaces(self, wanted: list[Interface]) -> list[Interface]:
        """Plan one interface or pair; returns what stays."""
        seen = [self.now.interfaces[end.ref] for end in wanted if end.ref in self.now.interfaces]
        going = [end for end in seen if self.want.force or self.ours(end)]
        if len(seen) == 2 and going and seen[0].peer == seen[1].ref:
            self.delete(seen[0], seen[1])
            return []
        for end in going:
            self.delete(end, None)
        there = {end.ref for end in seen}
        for end in wanted:
            if end.ref not in there and (end.key in self.now.claimed or end.key in self.now.saved):
                self.steps.append(Forget(end.key))
        return [end for end in seen if end not in going]

    def _released(self, staying: list[Interface]) -> list[Interface]:
        """What stays is taken out of the bridges that go before they go, so that undoing can put it in again."""
        gone = {end.ref for step in self.steps if isinstance(step, DeleteLink) for end in step.ends()}
        ports = [seen for seen in staying if seen.master and (seen.netns, seen.master) in gone]
        self.steps = [*(SetLink(port.netns, None, port.name, "master", port.master, "") for port in ports), *self.steps]
        return [replace(seen, master="") if seen in ports else seen for seen in staying]

    def _put_back(self, staying: list[Interface]) -> list[Interface]:
        """Plan what was there before back to what it was; parents come before the VLANs on them."""
        changes: list[tuple[Interface, Interface]] = []
        forget: list[Step] = []
        for seen in staying:
            saved = self.now.saved.get(seen.key)
            sysctls = frozenset(
                pair
                for pair in self.now.saved_sysctls.get(seen.netns, frozenset())
                if interface_of(pair[0]) == seen.name
            )
            if saved is None and not sysctls:
                self.warnings.append(f"The interface {seen} was there before the lab and stays.")
            want = replace(saved or Interface(*seen.ref, seen.kind, seen.up), sysctls=sysctls)
            risen = {after.ref for now, after in changes if after.up and not now.up}
            now = replace(seen, up=True) if (seen.netns, seen.parent or "") in risen and not want.up else seen
            changes.append((now, settle(now, want)))
            forget += [Forget(sysctl_key(seen.netns, path)) for path, _value in sorted(sysctls)]
            forget += [Forget(seen.key)] if saved else []
        for now, after in changes:
            self.steps += sysctl_steps(now, after, False)
        for build in (clear_steps, setting_steps, route_steps):
            for now, after in falling_first(changes):
                self.steps += build(now, after, None)
        self.steps += forget
        return [after for _now, after in changes]

    def _namespace(self, name: str, namespaces: dict[str, str]) -> None:
        kind = self.now.namespaces[name]
        named = {interface.key for interface in self.want.interfaces}
        ours = netns_key(name) in self.now.claimed
        if kind != "absent" and (ours or self.want.force):
            self.steps.append(RemoveNamespace(name, kind, tuple(sorted(self.inside[name]))))
            namespaces[name] = "absent"
            return
        if ours:
            self.steps.append(Forget(netns_key(name)))
        if kind != "present":
            self.steps += [Forget(key) for key in sorted(self.inside[name]) if key not in named]
            return
        self.warnings.append(f"The network namespace {name} was there before the lab and stays.")
        if link_key((name, "lo")) in self.now.saved:
            if name in self.now.loopback:
                self.steps.append(SetLink(name, None, "lo", "up", True, False))
            self.steps.append(Forget(link_key((name, "lo"))))
        old = dict(self.now.sysctls.get(name, frozenset()))
        for path, value in sorted(self.now.saved_sysctls.get(name, frozenset())):
            if path not in old:
                continue
            if old.get(path) != value:
                self.steps.append(SetSysctl(name, path, old.get(path, ""), value))
            self.steps.append(Forget(sysctl_key(name, path)))
