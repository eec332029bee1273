# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""tc filters that somebody else left at the hooks of the lab's own interfaces."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._bpf.tc.steps import Slot, qdisc_key
from .._bpf.xdp.steps import find_link
from .._core.errors import KernelRefused
from .._core.host import Host
from .._core.plan import Note, Plan, Step
from .._kernel import netns, syscall
from .._kernel.rtnl import tc
from .._kernel.rtnl.read import links
from .._kernel.syscall import Handle
from .._net.topology.state import Ref


@dataclass(frozen=True)
class StrayFiltersResource:
    """No filters at the hooks of one interface but those of the lab, and no hooks that the lab did not make."""

    ref: Ref

    def observe(self, host: Host) -> tuple[str, tuple[str, ...]]:
        """The kind of the qdisc ("": leave it alone), and what is strange about it."""
        where, name = self.ref
        here = not where or netns.kind(where) == "present"
        link = links(host.netlink(where)).get(name) if here else None
        kind = tc.qdisc(host.netlink(where), link.index) if link is not None else ""
        if link is None or not kind:
            return "", ()
        found = [] if host.journal.claimed(qdisc_key(where, name)) is not None else [f"{kind} qdisc"]
        for direction in tc.HOOKS:
            for entry in tc.filters(host.netlink(where), link.index, direction):
                slot = Slot(name, where, direction, entry.priority, entry.handle)
                if host.journal.claimed(slot.key) is None:
                    found.append(f"{direction} filter {entry.name or entry.kind}, priority {entry.priority}")
        return kind, tuple(found)

    def plan(self, now: tuple[str, tuple[str, ...]]) -> Plan:
        """Remove the hooks with all that is on them; the lab's own filters are attached again by their parts."""
        kind, found = now
        steps = (RemoveHooks(*self.ref, kind, found),) if found else ()
        return Plan(before=list(found), after=[], steps=steps)

    def facts(self, host: Host, now: tuple[str, tuple[str, ...]]) -> dict[str, t.Any]:
        """What is there that is not the lab's."""
        return {"strays": list(now[1])}


@dataclass(frozen=True)
class RemoveHooks(Step):
    """Remove an interface's clsact or ingress qdisc. Taking that back brings its BPF filters back, and no others."""

    netns: str
    interface: str
    kind: str
    found: tuple[str, ...]

    def title(self) -> str:
        where = f"{self.interface} in the namespace {self.netns}" if self.netns else self.interface
        return f"remove what the lab did not attach to {where}: {', '.join(self.found)}"

    def apply(self, host: Host) -> None:
        link = find_link(host, self.netns, self.interface)
        netlink = host.netlink(self.netns)
        held = []
        for direction in tc.HOOKS:
            for entry in tc.filters(netlink, link.index, direction):
                if entry.id:
                    held.append((direction, entry, Handle(syscall.program_fd(entry.id))))
        host.kept[self, "held"] = _Held([handle for _direction, _entry, handle in held])
        host.kept[self, "filters"] = held
        message = tc.remove_clsact(link.index)
        message["attrs"] = [("TCA_KIND", self.kind)]
        self._request(host, message)

    def undo(self, host: Host) -> None:
        link = find_link(host, self.netns, self.interface)
        self._request(host, tc.make_clsact(link.index))
        for direction, entry, handle in host.kept.pop((self, "filters")):
            place = (link.index, direction, entry.priority, entry.handle)
            self._request(host, tc.set_filter(*place, handle.fd, entry.name, False))

    def _request(self, host: Host, message: t.Any) -> None:
        (answer,) = host.netlink(self.netns).request([message])
        if answer.error:
            raise KernelRefused(self.title(), answer.error, answer.said)

    def notes(self) -> tuple[Note, ...]:
        return (Note("release", qdisc_key(self.netns, self.interface)),)


class _Held:
    """Keeps programs alive until the call is over."""

    def __init__(self, handles: list[Handle]) -> None:
        self._handles = handles

    def close(self) -> None:
        for handle in self._handles:
            handle.close()
