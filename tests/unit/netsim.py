# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small kernel for the network planner's steps: it does what Linux does to links, and refuses what Linux refuses."""

from __future__ import annotations

import copy
import ipaddress
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.ebpf.lab.plugins.module_utils._core.journal import Entry
from ansible_collections.ebpf.lab.plugins.module_utils._core.plan import Forget, Step
from ansible_collections.ebpf.lab.plugins.module_utils._net.topology import observe, steps
from ansible_collections.ebpf.lab.plugins.module_utils._net.topology.state import (
    Interface,
    Now,
    Ref,
    Route,
    Want,
    from_saved,
    interface_of,
)


class Refused(Exception):
    """What the kernel would not do."""


def network(address: str) -> str:
    return str(ipaddress.ip_interface(address).network)


@dataclass
class World:
    """Links by namespace and name, each with its state as seen; ``stray`` are plain files in /run/netns."""

    links: dict[Ref, Interface] = field(default_factory=dict)
    namespaces: set[str] = field(default_factory=lambda: {""})
    stray: set[str] = field(default_factory=set)
    loopback: set[str] = field(default_factory=lambda: {""})
    sysctls: dict[tuple[str, str], str] = field(default_factory=dict)
    folder: bool = False
    journal: dict[str, Entry] = field(default_factory=dict)
    removed: list[World] = field(default_factory=list)
    undoing: bool = False  # then what is gone already need not be deleted

    def __eq__(self, other: object) -> bool:
        return isinstance(other, World) and self.visible() == other.visible()

    def visible(self) -> t.Any:
        """All but the journal; which address of a network came first is not put back."""
        links = {ref: replace(link, secondary=frozenset(), sysctls=frozenset()) for ref, link in self.links.items()}
        return links, self.namespaces, self.stray, self.loopback, self.sysctls, self.folder

    # what observe.py does on the real one

    def observe(self, want: Want) -> Now:
        named = {*want.namespaces, *(interface.netns for interface in want.interfaces if interface.netns)}
        kinds = {n: "present" if n in self.namespaces else "stray" if n in self.stray else "absent" for n in named}
        saved_sysctls = observe._saved_sysctls(self.journal, want)
        interfaces = {}
        for wanted in want.interfaces:
            seen = self.links.get(wanted.ref)
            if seen is not None:
                paths = {path for path, _value in wanted.sysctls} | {p for p, _v in saved_sysctls.get(wanted.netns, ())}
                values = {(p, self.sysctls[wanted.netns, p]) for p in paths if interface_of(p) == wanted.name}
                peer = seen.peer if seen.peer == wanted.peer else None
                interfaces[wanted.ref] = replace(seen, peer=peer, sysctls=frozenset(values))
        return Now(
            namespaces=kinds,
            loopback=frozenset(self.loopback & named),
            interfaces=interfaces,
            sysctls={
                name: frozenset((path, self.sysctls[name, path]) for path, _value in pairs)
                for name, pairs in want.sysctls.items()
                if name in self.namespaces
            },
            claimed=frozenset(key for key, entry in self.journal.items() if entry.claimed),
            saved={k: from_saved(e.saved) for k, e in self.journal.items() if e.has_saved and k.startswith("link:")},
            saved_sysctls=saved_sysctls,
            folder=self.folder,
            others=frozenset((self.namespaces | self.stray) - {""} - named),
        )

    # what converge.py does around the steps

    def run(self, plan_steps: t.Sequence[Step]) -> None:
        notes = [note for step in plan_steps for note in step.notes()]
        for note in notes:
            entry = self.journal.get(note.key, Entry())
            if note.action == "claim":
                self.journal[note.key] = replace(entry, claimed=True)
            elif note.action == "save" and not entry.has_saved:
                self.journal[note.key] = replace(entry, has_saved=True, saved=note.value)
        for step in plan_steps:
            self.apply(step)
        for key, action in {note.key: note.action for note in notes}.items():
            if action == "release":
                self.journal.pop(key, None)

    def undo(self, done: t.Sequence[Step]) -> None:
        self.undoing = True
        for step in reversed(done):
            if isinstance(step, steps.RemoveNamespace) and step.before == "present":
                self._restore(step.name, self.removed.pop())
            elif isinstance(step, steps.RemoveNamespace) and step.before == "stray":
                self.stray.add(step.name)
            else:
                for inverse in step.inverse():
                    self.apply(inverse)
        self.undoing = False

    def _restore(self, name: str, before: World) -> None:
        """The namespace that a descriptor kept alive has its name again."""
        self.namespaces.add(name)
        self.links.update({ref: link for ref, link in before.links.items() if ref not in self.links})
        self.loopback |= before.loopback & {name}
        self.sysctls.update({key: value for key, value in before.sysctls.items() if key[0] == name})

    # what the kernel does

    def apply(self, step: Step) -> None:
        getattr(self, "_" + type(step).__name__)(step)

    def _Forget(self, step: Forget) -> None:
        pass

    def _NeedNamespace(self, step: steps.NeedNamespace) -> None:
        if step.name not in self.namespaces:
            raise Refused(f"no namespace {step.name}")

    def _MakeFolder(self, step: steps.MakeFolder) -> None:
        self.folder = True

    def _RemoveFolder(self, step: steps.RemoveFolder) -> None:
        if not (self.namespaces - {""}) | self.stray:
            self.folder = False

    def _CreateNamespace(self, step: steps.CreateNamespace) -> None:
        if not self.folder or step.name in self.namespaces:
            raise Refused(f"create {step.name}")
        self.stray.discard(step.name)
        self.namespaces.add(step.name)
        self.sysctls[step.name, "ipv4/ip_forward"] = "0"

    def _RemoveNamespace(self, step: steps.RemoveNamespace) -> None:
        self.stray.discard(step.name)
        if step.before == "present":
            self.removed.append(copy.deepcopy(self))
        if step.name in self.namespaces:
            self.delete_namespace(step.name)
        if step.after == "stray":
            self.stray.add(step.name)

    def delete_namespace(self, name: str) -> None:
        for ref in [ref for ref in self.links if ref[0] == name]:
            self.delete_link(ref)
        self.namespaces.discard(name)
        self.loopback.discard(name)
        self.sysctls = {key: value for key, value in self.sysctls.items() if key[0] != name}

    def add_link(self, one: Interface, peer: t.Optional[Ref]) -> None:
        if one.netns not in self.namespaces or one.ref in self.links:
            raise Refused(f"create {one}")
        if one.kind == "vlan" and (one.netns, one.parent) not in self.links:
            raise Refused(f"{one} has no parent")
        mac = one.mac or "02:" + ":".join(f"{ord(c):02x}" for c in f"{one.name:>5}"[-5:])
        self.links[one.ref] = Interface(
            one.netns, one.name, one.kind, False, one.mtu or 1500, mac, peer, "", one.parent, one.vlan
        )
        for name in ("rp_filter", "forwarding"):
            self.sysctls[one.netns, f"ipv4/conf/{one.name}/{name}"] = "0"

    def _CreateLink(self, step: steps.CreateLink) -> None:
        self.add_link(step.interface, step.peer.ref if step.peer else None)
        if step.peer:
            self.add_link(step.peer, step.interface.ref)

    def _DeleteLink(self, step: steps.DeleteLink) -> None:
        self.delete_link(step.interface.ref)

    def delete_link(self, ref: Ref) -> None:
        link = self.links.pop(ref, None)  # the real step takes "gone already" for an answer
        if link is None:
            return
        for other in list(self.links.values()):
            if other.netns == link.netns and other.parent == link.name:
                self.delete_link(other.ref)
            elif other.netns == link.netns and other.master == link.name:
                self.links[other.ref] = replace(other, master="")
        self.sysctls = {k: v for k, v in self.sysctls.items() if (k[0], interface_of(k[1])) != ref}
        if link.peer:
            self.delete_link(link.peer)

    def _link(self, step: t.Any) -> Interface:
        if (step.netns, step.name) not in self.links:
            raise Refused(f"{step.title()}: no such link")
        return self.links[step.netns, step.name]

    def change(self, ref: Ref, **settings: t.Any) -> None:
        """Change a link, and what follows from it."""
        link = replace(self.links[ref], **settings)
        firsts: set[str] = set()
        secondary = set()
        for address in sorted(link.addresses, key=lambda a: (a in link.secondary, a)):
            if ":" not in address and network(address) in firsts:
                secondary.add(address)
            firsts.add(network(address))
        implied = {Route(network(a), metric=256 if ":" in a else 0) for a in link.addresses if link.up}
        implied = {route for route in implied if not (route.to.endswith("/32") and ":" not in route.to)}
        self.links[ref] = replace(link, secondary=frozenset(secondary), implied=frozenset(implied))

    def _SetLink(self, step: steps.SetLink) -> None:
        if step.name == "lo":
            (self.loopback.add if step.new else self.loopback.discard)(step.netns)
        elif step.setting == "up":
            self._link(step)
            self.set_up((step.netns, step.name), step.new)
        elif step.setting == "mac":
            self._link(step)
            self.change((step.netns, step.name), mac=step.new, neighbours=frozenset())
        elif step.setting == "mtu":
            self.set_mtu(self._link(step).ref, step.new)
        else:
            self._link(step)
            if step.new and self.links.get((step.netns, step.new), Interface("", "", "")).kind != "bridge":
                raise Refused(f"{step.title()}: no such bridge")
            self.change((step.netns, step.name), master=step.new or "")

    def set_mtu(self, ref: Ref, mtu: int) -> None:
        link = self.links[ref]
        some = link if mtu >= 1280 else self._without_ipv6(link)
        self.change(ref, mtu=mtu, addresses=some.addresses, routes=some.routes)

    def _without_ipv6(self, link: Interface) -> Interface:
        return replace(
            link,
            addresses=frozenset(a for a in link.addresses if ":" not in a),
            routes=frozenset(r for r in link.routes if ":" not in r.to),
        )

    def set_up(self, ref: Ref, up: bool) -> None:
        link = self.links[ref]
        if link.up == up:
            return
        if up and link.kind == "vlan" and not self.links[link.netns, link.parent or ""].up:
            raise Refused(f"{link} cannot go up before its parent")
        if up:
            self.change(ref, up=True)
        else:
            kept = self._without_ipv6(link).addresses
            self.change(ref, up=False, addresses=kept, routes=frozenset(), neighbours=frozenset())
        for other in list(self.links.values()):
            if other.netns == link.netns and other.parent == link.name:
                self.set_up(other.ref, up)

    def _SetAddress(self, step: steps.SetAddress) -> None:
        link = self._link(step)
        if self.undoing and not step.add and step.address not in link.addresses:
            return
        if step.add == (step.address in link.addresses):
            raise Refused(f"{step.title()}: is there: {step.address in link.addresses}")
        if step.add and ":" in step.address and (link.mtu or 1500) < 1280:
            raise Refused(f"{step.title()}: the MTU is too small")
        (self.add_address if step.add else self.delete_address)(link.ref, step.address)

    def add_address(self, ref: Ref, address: str) -> None:
        link = self.links[ref]
        late = {address} if any(network(other) == network(address) for other in link.addresses) else set()
        self.change(ref, addresses=link.addresses | {address}, secondary=link.secondary | late)

    def delete_address(self, ref: Ref, address: str) -> None:
        link = self.links[ref]
        gone = {address}
        if ":" not in address and address not in link.secondary:
            gone |= {other for other in link.secondary if network(other) == network(address)}
        left = link.addresses - gone
        routes = link.routes
        if ":" not in address and not any(":" not in other for other in left):
            routes = frozenset(route for route in routes if ":" in route.to)
        self.change(ref, addresses=left, routes=routes)

    def _SetRoute(self, step: steps.SetRoute) -> None:
        link, route = self._link(step), step.route
        if not step.add:
            if not any((seen.to, seen.via) == (route.to, route.via) for seen in link.routes) and not self.undoing:
                raise Refused(f"{step.title()}: no such route")
            same = {r for r in link.routes if (r.to, r.via) == (route.to, route.via) and route.metric in (0, r.metric)}
            self.change(link.ref, routes=link.routes - same)
            return
        metric = route.metric or (1024 if ":" in route.to else 0)
        table = [seen for other in self.links.values() if other.netns == step.netns
                 for seen in other.routes | other.implied]  # fmt: skip
        if not link.up or any((seen.to, seen.metric) == (route.to, metric) for seen in table):
            raise Refused(f"{step.title()}: down, or there already")
        near = [r.to for r in link.routes | link.implied if not r.via and (":" in r.to) == (":" in route.to)]
        if route.via and not any(ipaddress.ip_address(route.via) in ipaddress.ip_network(to) for to in near):
            raise Refused(f"{step.title()}: the gateway cannot be reached")
        self.change(link.ref, routes=link.routes | {replace(route, metric=metric)})

    def _SetNeighbour(self, step: steps.SetNeighbour) -> None:
        link = self._link(step)
        known = dict(link.neighbours)
        if self.undoing and not step.add and step.address not in known:
            return
        if not link.up or (not step.add and step.address not in known):
            raise Refused(step.title())
        known.pop(step.address, None)
        if step.add:
            known[step.address] = step.mac
        self.change(link.ref, neighbours=frozenset(known.items()))

    def _SetSysctl(self, step: steps.SetSysctl) -> None:
        if (step.netns, step.path) not in self.sysctls:
            raise Refused(f"{step.title()}: no such key")
        self.sysctls[step.netns, step.path] = step.new
