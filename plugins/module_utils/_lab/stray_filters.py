# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""tc filters that somebody else left at the hooks of the lab's own interfaces."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._bpf.interface import becomes, dictionary, look, need, place
from .._bpf.tc.kinds import FilterKind, QdiscKind
from .._bpf.tc.state import Slot, qdisc_key
from .._bpf.tc.steps import AttachAgain, hold, request
from .._core.errors import LabError
from .._core.host import Host
from .._core.plan import NOTHING, Done, Forecast, Key, Learned, Note, Plan, Step, make, release
from .._core.resource import Kind, Resource
from .._kernel.rtnl import tc
from .._kernel.syscall import Handle
from .._net.topology.state import Ref


@dataclass(frozen=True)
class Hooks:
    """An interface's hooks: the kind of their qdisc ("": leave it alone), what is strange about them, in words, and
    the journal's keys of what is ours."""

    kind: str = ""
    strange: tuple[str, ...] = ()
    ours: tuple[Key, ...] = ()


@dataclass(frozen=True)
class StrayFiltersResource(Resource[Hooks]):
    """No filters at the hooks of one interface but those of the lab, and no hooks that the lab did not make."""

    ref: Ref

    def kinds(self) -> tuple[Kind, ...]:
        return (QdiscKind(), FilterKind())

    def observe(self, host: Host) -> Hooks:
        netns, name = self.ref
        link = look(host, netns, name)
        kind = tc.qdisc(host.netlink(netns), link.index) if link is not None else ""
        if link is None or not kind:
            return Hooks()
        qdisc = host.journal.claimed(qdisc_key(netns, name))
        ours = [] if qdisc is None else [qdisc_key(netns, name)]
        strange = [f"{kind} qdisc"] if qdisc is None else []
        for direction in tc.hooks(kind):
            for entry in tc.filters(host.netlink(netns), link.index, direction):
                key = Slot(name, netns, direction, entry.priority, entry.handle).key
                claim = host.journal.claimed(key)
                if claim is not None and dictionary(claim.value).get("id") == entry.id:
                    ours.append(key)
                else:
                    strange.append(f"{direction} filter {entry.name or entry.kind}, priority {entry.priority}")
        return Hooks(kind, tuple(strange), tuple(ours))

    def plan(self, now: Hooks, coming: Forecast = NOTHING) -> Plan:
        """Remove the hooks with all that is on them; the lab's own filters are attached again by their parts."""
        if not now.strange or becomes(coming, *self.ref):
            return Plan(before=[], after=[])
        return Plan(
            before=list(now.strange), after=[], steps=(RemoveHooks(*self.ref, now.kind, now.strange, now.ours),)
        )

    def result(self, now: Hooks) -> dict[str, t.Any]:
        return {"strays": list(now.strange)}


@dataclass(frozen=True)
class RemoveHooks(Step):
    """Remove an interface's clsact or ingress qdisc. Taking that back brings its BPF filters back, and no others."""

    libraries: t.ClassVar[tuple[str, ...]] = ("pyroute2",)

    netns: str
    interface: str
    kind: str
    strange: tuple[str, ...]
    ours: tuple[Key, ...]

    def title(self) -> str:
        where = place(self.netns, self.interface)
        return f"remove what the lab did not attach to {where}: {', '.join(self.strange)}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return tuple(release(key) for key in (qdisc_key(self.netns, self.interface), *self.ours))

    def apply(self, host: Host, learned: Learned) -> Done:
        link = need(host, self.netns, self.interface)
        again: list[Step] = [MakeHooks(self.netns, self.interface, self.kind, self.ours)]
        handles: dict[str, Handle] = {}
        for direction in tc.hooks(self.kind):
            for entry in tc.filters(host.netlink(self.netns), link.index, direction):
                held = hold(entry)
                if held is None:
                    continue
                slot = Slot(self.interface, self.netns, direction, entry.priority, entry.handle)
                claim = host.journal.claimed(slot.key) if slot.key in self.ours else None
                again.append(AttachAgain(slot, entry.id, entry.name, 0, None if claim is None else claim.value))
                if handles.setdefault(f"program {entry.id}", held) is not held:
                    held.close()
        try:
            request(host, self.netns, tc.remove_clsact(link.index, self.kind), self.title())
        except LabError:
            for handle in handles.values():
                handle.close()
            raise
        return Done(undo=tuple(again), handles=handles)


@dataclass(frozen=True)
class MakeHooks(Step):
    """Give an interface its clsact or ingress qdisc back."""

    libraries: t.ClassVar[tuple[str, ...]] = ("pyroute2",)

    netns: str
    interface: str
    kind: str
    ours: tuple[Key, ...]

    def title(self) -> str:
        return f"add the {self.kind} qdisc to {place(self.netns, self.interface)}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        key = qdisc_key(self.netns, self.interface)
        return (make(key, {"new": True}),) if key in self.ours else ()

    def apply(self, host: Host, learned: Learned) -> Done:
        link = need(host, self.netns, self.interface)
        request(host, self.netns, tc.make_clsact(link.index, self.kind), self.title())
        key = qdisc_key(self.netns, self.interface)
        return Done(learned={key: {"ifindex": link.index}} if key in self.ours else {})
