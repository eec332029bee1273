# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small kernel for the network planner's steps: it does what Linux does to links, and refuses what Linux refuses."""

from __future__ import annotations

import contextlib
import copy
import ipaddress
import typing as t
from dataclasses import dataclass, field, replace

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import LabError
from ansible_collections.ebpf.lab.plugins.module_utils._core.host import Host
from ansible_collections.ebpf.lab.plugins.module_utils._core.journal import Entry, Journal
from ansible_collections.ebpf.lab.plugins.module_utils._core.plan import Done, Forget, Learned, Outcome, Step
from ansible_collections.ebpf.lab.plugins.module_utils._core.resource import Kind
from ansible_collections.ebpf.lab.plugins.module_utils._core.run import Run
from ansible_collections.ebpf.lab.plugins.module_utils._core.settle import settle
from ansible_collections.ebpf.lab.plugins.module_utils._net.sysctl.kinds import Sysctls, path_of, place_of
from ansible_collections.ebpf.lab.plugins.module_utils._net.topology import (
    kinds,
    link_steps,
    namespace_steps,
    observe,
    steps,
)
from ansible_collections.ebpf.lab.plugins.module_utils._net.topology.state import (
    ALIAS,
    FOLDER_KEY,
    GOING_GROUP,
    GROUPS,
    SYSCTL,
    Interface,
    Now,
    Ref,
    Route,
    Want,
    interface_of,
    is_made,
    link_key,
    netns_key,
    peer_of,
    ref_of,
)

STEPS: tuple[type[Step], ...] = (
    *(namespace_steps.NeedNamespace, namespace_steps.MakeFolder, namespace_steps.RemoveFolder),
    *(namespace_steps.CreateNamespace, namespace_steps.RemoveNamespace, namespace_steps.NameAgain),
    *(link_steps.CreateLink, link_steps.DeleteLink),
    *(steps.SetLink, steps.SetAddress, steps.SetRoute, steps.SetNeighbour, steps.SetSysctl, steps.ForgetSaved),
    Forget,
)


class Refused(Exception):
    """What the kernel would not do."""


class Died(BaseException):
    """What a kill is here: nothing more is done, not even the undoing."""


class InMemory(Journal):
    """A journal without a file."""

    def _append(self, line: bytes, durable: bool) -> None:
        self._size += len(line)

    def __deepcopy__(self, memo: t.Any) -> InMemory:
        other = InMemory(self.path, boot=self.boot)
        other.entries, other._size = dict(self.entries), self._size
        return other


class Held:
    """A namespace that a run keeps alive: the world as it was when its name went."""

    def __init__(self, world: World) -> None:
        self.world = world

    def close(self) -> None:
        """Nothing to let go of."""


class Simulated(Host):
    """The host whose kernel is a world."""

    def __init__(self, world: World) -> None:
        super().__init__(journal=world.notes)
        self.world = world


def network(address: str) -> str:
    return str(ipaddress.ip_interface(address).network)


@dataclass
class World:
    """Links by namespace and name, each with its state as seen; ``stray`` are plain files in /run/netns.

    ``marked`` are the namespaces whose lo has our alias. ``folder``: /run/netns is a mount; ``exists``: it is there.
    After ``dies_after`` more changes the process is gone, in the midst of the next one where ``half``; after
    ``fails_after`` more of them one is refused.
    """

    links: dict[Ref, Interface] = field(default_factory=dict)
    namespaces: set[str] = field(default_factory=lambda: {""})
    stray: set[str] = field(default_factory=set)
    marked: set[str] = field(default_factory=set)
    loopback: set[str] = field(default_factory=lambda: {""})
    sysctls: dict[tuple[str, str], str] = field(default_factory=dict)
    folder: bool = False
    exists: bool = False
    notes: InMemory = field(default_factory=lambda: InMemory("/nowhere/journal", boot="boot1"))
    undoing: bool = False  # then what is gone already need not be deleted
    dies_after: t.Optional[int] = None
    half: bool = False
    fails_after: t.Optional[int] = None

    @property
    def journal(self) -> dict[str, Entry]:
        """What is noted."""
        return self.notes.entries

    def visible(self) -> t.Any:
        """All but the journal; which address of a network came first is not put back."""
        links = {ref: replace(link, secondary=frozenset(), sysctls=frozenset()) for ref, link in self.links.items()}
        return (
            *(links, self.namespaces, self.stray, self.marked, self.loopback, self.sysctls),
            {"folder": self.folder, "exists": self.exists},
        )

    # what observe.py and kinds.py do on the real one

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
        claims = {key: entry.value for key, entry in self.journal.items() if entry.claimed}
        others = {link_key(ref) for ref, link in self.links.items() if link.group not in GROUPS}
        return Now(
            namespaces=kinds,
            loopback=frozenset(self.loopback & named),
            interfaces=interfaces,
            sysctls={
                name: frozenset((path, self.sysctls[name, path]) for path, _value in pairs)
                for name, pairs in want.sysctls.items()
                if name in self.namespaces
            },
            claimed=frozenset(claims) - others - {netns_key(name) for name in self.namespaces - self.marked},
            peers={key: peer_of(value) for key, value in claims.items() if peer_of(value)},
            saved=observe._saved_links(self.journal),
            saved_sysctls=saved_sysctls,
            folder=self.folder,
            exists=self.exists,
            made=is_made(claims.get(FOLDER_KEY)),
            others=frozenset((self.namespaces | self.stray) - {""} - named),
        )

    def settle(self, stale: bool = True) -> None:
        """What converge does before it observes."""
        looking: tuple[Kind, ...] = (LooksAtFolder(), LooksAtNamespaces(), LooksAtLinks(), LooksAtSysctls())
        self.notes.patch(settle(Simulated(self), looking, stale))

    # what converge.py does around the steps

    def run(self, plan_steps: t.Sequence[t.Any]) -> Run:
        """Apply them all; the run can be undone."""
        run = Run(Simulated(self))
        with simulated():
            run.apply(plan_steps)
        return run

    def run_as_far_as_can_be(self, plan_steps: t.Sequence[t.Any]) -> list[str]:
        """As an end does; returns what could not be done."""
        with simulated():
            return [str(one) for one in Run(Simulated(self)).apply_as_far_as_can_be(plan_steps)]

    def undo(self, run: Run) -> list[str]:
        """Take a run back; returns what could not be."""
        self.undoing = True
        with simulated():
            left = run.undo()
        self.undoing = False
        return left

    def _restore(self, name: str, before: World) -> None:
        """The namespace that a descriptor kept alive has its name again."""
        self.namespaces.add(name)
        self.marked |= before.marked & {name}
        self.links.update({ref: link for ref, link in before.links.items() if ref not in self.links})
        self.loopback |= before.loopback & {name}
        self.sysctls.update({key: value for key, value in before.sysctls.items() if key[0] == name})

    def step(self, step: t.Any, learned: Learned) -> Done:
        """Make one change, or die before or in the midst of it."""
        if self.dies_after is not None and not isinstance(step, (Forget, steps.ForgetSaved)):
            self.dies_after -= 1
            if self.dies_after < 0:
                if self.half:
                    self._half(step)
                raise Died
        if isinstance(step, namespace_steps.RemoveNamespace) and step.before in namespace_steps.HOLDABLE:
            held = f"world {step.name} {id(self)}"
            ours = netns_key(step.name) in self.journal and self.journal[netns_key(step.name)].claimed
            done = Done(undo=step.inverse(held, ours), handles={held: Held(copy.deepcopy(self))})
        elif isinstance(step, namespace_steps.RemoveNamespace):
            done = Done(undo=step.inverse("", netns_key(step.name) in self.journal))
        elif isinstance(step, namespace_steps.NameAgain):
            done = Done(learned={netns_key(step.name): {"alias": ALIAS}} if step.ours else {})
            if step.held:
                self._restore(step.name, learned.handle(step.held).world)
            else:
                self.stray.add(step.name)
            return done
        else:
            done = Done(undo=getattr(step, "inverse", tuple)(), learned=getattr(step, "learns", dict)())
        self.apply(step)
        return done

    def _half(self, step: t.Any) -> None:
        """What a kill leaves of a step that is more than one system call."""
        if isinstance(step, namespace_steps.MakeFolder):
            self.exists = True
        elif isinstance(step, namespace_steps.CreateNamespace):
            self.stray.add(step.name)
        elif isinstance(step, namespace_steps.RemoveNamespace) and step.name in self.namespaces:
            self.delete_namespace(step.name)
            self.stray.add(step.name)
        elif isinstance(step, namespace_steps.RemoveFolder):
            self.folder = False
        elif isinstance(step, link_steps.DeleteLink) and step.interface.ref in self.links:
            self.change(step.interface.ref, group=GOING_GROUP)

    # what the kernel does

    def apply(self, step: Step) -> None:
        getattr(self, "_" + type(step).__name__)(step)

    def _Forget(self, step: Forget) -> None:
        pass

    def _ForgetSaved(self, step: steps.ForgetSaved) -> None:
        entry = self.journal.get(step.key)
        seen = LooksAtLinks().look(Simulated(self), {step.key: Entry(has_saved=True)}).get(step.key)
        if entry is not None and not LooksAtLinks().is_back(entry.saved, seen):
            raise Refused(f"{step.title()}: it is {seen}, and was {entry.saved}")

    def _NeedNamespace(self, step: namespace_steps.NeedNamespace) -> None:
        if step.name not in self.namespaces:
            raise Refused(f"no namespace {step.name}")

    def _MakeFolder(self, step: namespace_steps.MakeFolder) -> None:
        self.folder = self.exists = True

    def _RemoveFolder(self, step: namespace_steps.RemoveFolder) -> None:
        if (self.namespaces - {""}) | self.stray:
            raise Refused(f"{step.title()}: something is in it")
        self.folder, self.exists = False, self.exists and not step.made

    def _CreateNamespace(self, step: namespace_steps.CreateNamespace) -> None:
        if not self.folder or step.name in self.namespaces:
            raise Refused(f"create {step.name}")
        self.stray.discard(step.name)
        self.namespaces.add(step.name)
        self.marked.add(step.name)
        self.sysctls[step.name, "ipv4/ip_forward"] = "0"

    def _RemoveNamespace(self, step: namespace_steps.RemoveNamespace) -> None:
        self.stray.discard(step.name)
        if step.name in self.namespaces:
            self.delete_namespace(step.name)
        if step.after == "stray":
            self.stray.add(step.name)

    def delete_namespace(self, name: str) -> None:
        for ref in [ref for ref in self.links if ref[0] == name]:
            self.delete_link(ref)
        self.namespaces.discard(name)
        self.marked.discard(name)
        self.loopback.discard(name)
        self.sysctls = {key: value for key, value in self.sysctls.items() if key[0] != name}

    def add_link(self, one: Interface, peer: t.Optional[Ref]) -> None:
        if one.netns not in self.namespaces or one.ref in self.links:
            raise Refused(f"create {one}")
        if one.kind == "vlan" and (one.netns, one.parent) not in self.links:
            raise Refused(f"{one} has no parent")
        mac = one.mac or "02:" + ":".join(f"{ord(c):02x}" for c in f"{one.name:>5}"[-5:])
        self.links[one.ref] = Interface(
            one.netns, one.name, one.kind, False, one.mtu or 1500, mac, peer, "", one.parent, one.vlan, group=one.group
        )
        for name in ("rp_filter", "forwarding"):
            self.sysctls[one.netns, f"ipv4/conf/{one.name}/{name}"] = "0"

    def _CreateLink(self, step: link_steps.CreateLink) -> None:
        self.add_link(step.interface, step.peer.ref if step.peer else None)
        if step.peer:
            self.add_link(step.peer, step.interface.ref)

    def _DeleteLink(self, step: link_steps.DeleteLink) -> None:
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


class LooksAtLinks(kinds.Links):
    def look(self, host: Host, entries: t.Mapping[str, Entry]) -> dict[str, t.Any]:
        links = t.cast(Simulated, host).world.links
        here = {key: links[ref_of(key)] for key in entries if ref_of(key) in links}
        found: dict[str, t.Any] = {key: {**link.to_saved(), "group": link.group} for key, link in here.items()}
        for key in entries:
            if ref_of(key)[1] == "lo" and ref_of(key)[0] in t.cast(Simulated, host).world.namespaces:
                up = ref_of(key)[0] in t.cast(Simulated, host).world.loopback
                found[key] = {**Interface(*ref_of(key), "loopback", up).to_saved(), "group": 0}
        return found


class LooksAtNamespaces(kinds.Namespaces):
    def look(self, host: Host, entries: t.Mapping[str, Entry]) -> dict[str, t.Any]:
        world = t.cast(Simulated, host).world
        found: dict[str, t.Any] = {}
        for key in entries:
            name = key[len(self.prefix) :]
            if name in world.namespaces:
                found[key] = {"kind": "present", "alias": ALIAS if name in world.marked else ""}
            elif name in world.stray:
                found[key] = {"kind": "stray", "plain": True}
        return found


class LooksAtFolder(kinds.Folder):
    def look(self, host: Host, entries: t.Mapping[str, Entry]) -> dict[str, t.Any]:
        world = t.cast(Simulated, host).world
        return {FOLDER_KEY: {"mounted": world.folder}} if world.exists else {}


class LooksAtSysctls(Sysctls):
    def look(self, host: Host, entries: t.Mapping[str, Entry]) -> dict[str, t.Any]:
        places = {key: place_of(key) or ("", "") for key in entries}
        world = t.cast(Simulated, host).world
        return {
            key: world.sysctls.get((place[0], path_of(place[1])[len(SYSCTL) + 1 :])) for key, place in places.items()
        }


@contextlib.contextmanager
def simulated() -> t.Iterator[None]:
    """Within it the steps change the world of their host."""

    def apply_many(host: Simulated, batch: t.Sequence[Step], learned: Learned) -> list[Outcome]:
        if host.world.fails_after is None:
            return [host.world.step(step, learned) for step in batch]
        outcomes: list[Outcome] = []
        for step in batch:
            host.world.fails_after -= 1
            try:
                outcomes.append(host.world.step(step, learned) if host.world.fails_after else LabError("Busy."))
            except Refused as error:  # for what failed before
                outcomes.append(LabError(str(error)))
        return outcomes

    with pytest.MonkeyPatch.context() as patched:
        for one in STEPS:
            patched.setattr(one, "apply_many", staticmethod(apply_many))
        yield
