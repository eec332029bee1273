# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a network as it is to a network as it is wanted: pure, and the same for one namespace or a thousand.

The order of a plan: namespaces, links that are in the way, new links, sysctls, settings and addresses, routes. Within
each part the steps of one namespace stand together, because neighbours are sent to the kernel in one batch.
"""

from __future__ import annotations

import ipaddress
import typing as t
from dataclasses import replace

from .._core.errors import Refused
from .._core.plan import Forget, Plan, Step
from .state import Interface, Now, Ref, Route, Want, link_key, sysctl_key
from .steps import (
    FOLDER_KEY,
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


def plan(now: Now, want: Want) -> Plan:
    """The steps from ``now`` to ``want``. Raises Refused when a foreign interface bears a wanted name."""
    return _Present(now, want).plan() if want.present else _Absent(now, want).plan()


def satisfies(seen: Route, wanted: Route) -> bool:
    """Whether a seen route is the wanted one; a wanted metric of 0 is any (IPv6 gives 1024 by itself)."""
    return (seen.to, seen.via) == (wanted.to, wanted.via) and wanted.metric in (0, seen.metric)


def settle(now: Interface, want: Interface) -> Interface:
    """The interface after its plan has run: what is wanted, and what nobody named as it is."""
    wanted_paths = {path for path, _value in want.sysctls}
    missing = {route for route in want.routes if not _has(now, route)}
    replaced = {seen for seen in now.routes for wanted in missing if _in_the_way(seen, wanted)}
    extra_routes = {seen for seen in now.routes if not any(satisfies(seen, wanted) for wanted in want.routes)}
    replaced |= extra_routes if want.exclusive else set()
    wanted_neighbours = {address for address, _mac in want.neighbours}
    others = frozenset(pair for pair in now.neighbours if pair[0] not in wanted_neighbours and not want.exclusive)
    return replace(
        now,
        up=want.up,
        mtu=now.mtu if want.mtu is None else want.mtu,
        mac=now.mac if want.mac is None else want.mac,
        master=now.master if want.master is None else want.master,
        addresses=want.addresses if want.exclusive else now.addresses | want.addresses,
        routes=(now.routes - replaced) | missing,
        neighbours=want.neighbours | others,
        sysctls=want.sysctls | frozenset(pair for pair in now.sysctls if pair[0] not in wanted_paths),
    )


def _has(now: Interface, wanted: Route) -> bool:
    return any(satisfies(seen, wanted) for seen in now.routes | now.implied)


def _in_the_way(seen: Route, wanted: Route) -> bool:
    """A route of this interface to the same destination by another gateway would make the wanted one a duplicate."""
    return seen.to == wanted.to and seen.via != wanted.via and wanted.metric in (0, seen.metric)


def fresh(want: Interface) -> Interface:
    """The interface as its create request leaves it: down, and with nothing on it."""
    return Interface(
        netns=want.netns, name=want.name, kind=want.kind, up=False, mtu=want.mtu, mac=want.mac, peer=want.peer,
        master="", parent=want.parent, vlan=want.vlan,
    )  # fmt: skip


def sysctl_steps(now: Interface, after: Interface, adopted: t.Optional[Interface]) -> list[Step]:
    """The interface's own sysctls; before it goes up, because some count from then on only."""
    old = dict(now.sysctls)
    return [
        SetSysctl(after.netns, path, old.get(path, ""), value, adopted)
        for path, value in sorted(after.sysctls)
        if old.get(path) != value
    ]


def setting_steps(now: Interface, after: Interface, adopted: t.Optional[Interface]) -> list[Step]:
    """Settings, addresses and neighbours of one interface, then up: all that routes need to be there."""
    netns, name = after.ref
    steps: list[Step] = [
        SetLink(netns, adopted, name, setting, getattr(now, setting), getattr(after, setting))
        for setting in ("mtu", "mac", "master")
        if (getattr(now, setting) or "") != (getattr(after, setting) or "")
    ]
    removed = sorted(now.addresses - after.addresses)
    steps += [SetAddress(netns, adopted, name, address, add=False) for address in removed]
    # Deleting the first IPv4 address of a network takes the later ones of that network with it (ip-address(8)).
    lost = {address for address in now.addresses & after.addresses if _same_network(address, removed)}
    steps += [SetAddress(netns, adopted, name, address) for address in sorted((after.addresses - now.addresses) | lost)]
    if now.up != after.up:
        steps.append(SetLink(netns, adopted, name, "up", now.up, after.up))
    known, wanted = dict(now.neighbours), dict(after.neighbours)
    steps += [
        SetNeighbour(netns, adopted, name, address, known[address], add=False)
        for address in sorted(known.keys() - wanted.keys())
    ]
    steps += [
        SetNeighbour(netns, adopted, name, address, mac, known.get(address, ""))
        for address, mac in sorted(wanted.items())
        if known.get(address) != mac
    ]
    return steps


def _same_network(address: str, removed: t.Sequence[str]) -> bool:
    network = ipaddress.ip_interface(address).network
    return network.version == 4 and any(ipaddress.ip_interface(other).network == network for other in removed)


def route_steps(now: Interface, after: Interface, adopted: t.Optional[Interface]) -> list[Step]:
    """The routes out of one interface: what is in the way goes first, link routes come before those by a gateway."""
    netns, name = after.ref
    gone = sorted(now.routes - after.routes)
    new = sorted(after.routes - now.routes, key=lambda route: (bool(route.via), route))
    return [
        *(SetRoute(netns, adopted, name, route, add=False) for route in gone),
        *(SetRoute(netns, adopted, name, route) for route in new),
    ]


def create_step(one: Interface, other: t.Optional[Interface]) -> CreateLink:
    """How to make an interface. A pair is made from inside a lab's namespace where it can be: see the module's text."""
    if other is not None and not one.netns:
        one, other = other, one
    return CreateLink(one.netns, None, one, other)


def rebuild_steps(*interfaces: t.Optional[Interface]) -> tuple[Step, ...]:
    """What makes deleted interfaces again as they were seen: the undo of a deletion."""
    ends = [interface for interface in interfaces if interface is not None]
    steps: list[Step] = [create_step(ends[0], ends[1] if len(ends) > 1 else None)]
    for build in (sysctl_steps, setting_steps, route_steps):
        for end in ends:
            steps += build(fresh(end), end, None)
    return tuple(steps)


def _by_namespace(interfaces: t.Iterable[Interface]) -> list[Interface]:
    """Stable: the order within a namespace is kept."""
    return sorted(interfaces, key=lambda interface: interface.netns)


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
        absent = [name for name in self.want.namespaces if self.now.namespaces[name] != "present"]
        self._namespaces(absent)
        current = self._links()
        settled = {ref: settle(seen, self.wanted[ref]) for ref, seen in current.items()}
        ordered = _by_namespace(settled.values())
        for name in self.want.namespaces:
            self._namespace_sysctls(name, absent)
        for after in ordered:
            self.steps += sysctl_steps(current[after.ref], after, self._adopted_now(after.ref))
        for name in sorted({"", *self.want.namespaces, *(interface.netns for interface in ordered)}):
            if name in self.want.namespaces and name not in self.now.loopback:
                seen = Interface(name, "lo", "loopback", up=False)
                foreign = name not in absent and netns_key(name) not in self.now.claimed
                self.steps.append(SetLink(name, seen if foreign else None, "lo", "up", False, True))
            here = [after for after in ordered if after.netns == name]
            for build in (setting_steps, route_steps):
                for after in here:
                    self.steps += build(current[after.ref], after, self._adopted_now(after.ref))
        return self.finish({name: "present" for name in self.now.namespaces}, settled.values())

    def _adopted_now(self, ref: Ref) -> t.Optional[Interface]:
        seen = self.now.interfaces.get(ref)
        return None if seen is None or ref in self.made else self.adopted(seen)

    def _namespaces(self, absent: list[str]) -> None:
        for name, kind in sorted(self.now.namespaces.items()):
            if kind != "present" and name not in self.want.namespaces:
                self.steps.append(NeedNamespace(name))
        if absent and not self.now.folder:
            self.steps.append(MakeFolder())
        self.steps += [CreateNamespace(name, stray=self.now.namespaces[name] == "stray") for name in absent]

    def _links(self) -> dict[Ref, Interface]:
        """Plan the links that have to go and those that have to be made; returns what there is then."""
        self.made: set[Ref] = set()
        creates: list[tuple[Interface, t.Optional[Interface]]] = []
        for one, other in self.pairs():
            ends = [end for end in (one, other) if end is not None]
            if all(self._is_as_made(end) for end in ends):
                continue
            for end in ends:
                seen = self.now.interfaces.get(end.ref)
                if seen is not None and (end.parent is None or (end.netns, end.parent) not in self.made):
                    self._refuse_foreign(seen, end)
                    self.delete(seen, None)
            creates.append((one, other))
            self.made |= {end.ref for end in ends}
        creates.sort(key=lambda pair: (pair[0].kind == "vlan", create_step(*pair).netns))
        self.steps += [create_step(*pair) for pair in creates]
        current = {}
        for ref, wanted in self.wanted.items():
            seen = self.now.interfaces.get(ref)
            state = fresh(wanted) if ref in self.made or seen is None else seen
            if state.master and (state.netns, state.master) in self.made:
                state = replace(state, master="")  # the bridge that it was in has gone
            current[ref] = state
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
        kept: list[Interface] = []
        for one, other in self.pairs():
            kept += self._interfaces([end for end in (one, other) if end is not None])
        namespaces = dict(self.now.namespaces)
        for name in self.want.namespaces:
            self._namespace(name, namespaces)
        stay = set(self.now.others) | {name for name, kind in namespaces.items() if kind != "absent"}
        if FOLDER_KEY in self.now.claimed and not any(netns_key(name) in self.now.claimed for name in stay):
            self.steps.append(Forget(FOLDER_KEY) if stay or not self.now.folder else RemoveFolder())
        return self.finish(namespaces, kept)

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
        return [self._put_back(end) for end in seen if end not in going]

    def _put_back(self, seen: Interface) -> Interface:
        saved = self.now.saved.get(seen.key)
        if saved is None:
            self.warnings.append(f"The interface {seen} was there before the lab and stays.")
            return seen
        after = settle(seen, saved)
        for build in (sysctl_steps, setting_steps, route_steps):
            self.steps += build(seen, after, None)
        self.steps.append(Forget(seen.key))
        return after

    def _namespace(self, name: str, namespaces: dict[str, str]) -> None:
        kind = self.now.namespaces[name]
        ours = netns_key(name) in self.now.claimed
        if kind != "absent" and (ours or self.want.force):
            self.steps.append(RemoveNamespace(name, kind))
            namespaces[name] = "absent"
            return
        if ours:
            self.steps.append(Forget(netns_key(name)))
        if kind != "present":
            return
        self.warnings.append(f"The network namespace {name} was there before the lab and stays.")
        if link_key((name, "lo")) in self.now.saved:
            if name in self.now.loopback:
                self.steps.append(SetLink(name, None, "lo", "up", True, False))
            self.steps.append(Forget(link_key((name, "lo"))))
        old = dict(self.now.sysctls.get(name, frozenset()))
        for path, value in sorted(self.now.saved_sysctls.get(name, frozenset())):
            if old.get(path) != value:
                self.steps.append(SetSysctl(name, path, old.get(path, ""), value))
            self.steps.append(Forget(sysctl_key(name, path)))
