# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps that put a BPF filter at an interface's clsact hook and take it away, each with the way back."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ..._core.errors import BadInput, KernelRefused, LabError
from ..._core.host import Host
from ..._core.plan import Note, Step
from ..._kernel import syscall
from ..._kernel.rtnl import tc
from ..._kernel.syscall import Handle, closing
from ..xdp.steps import find_link, find_program

TYPE = "sched_cls"


@dataclass(frozen=True)
class Slot:
    """A filter's place: an interface's hook, a priority and a handle."""

    interface: str
    netns: str
    direction: str
    priority: int
    handle: int

    @property
    def key(self) -> str:
        """The journal's key."""
        return f"tc:{self.netns}:{self.interface}:{self.direction}:{self.priority}:{self.handle}"

    def __str__(self) -> str:
        where = f" in the namespace {self.netns}" if self.netns else ""
        return f"{self.direction} of {self.interface}{where}"


def qdisc_key(netns: str, interface: str) -> str:
    """The journal's key of an interface's clsact qdisc."""
    return f"qdisc:{netns}:{interface}"


def _request(host: Host, netns: str, message: t.Any, doing: str) -> None:
    (answer,) = host.netlink(netns).request([message])
    if answer.error:
        raise KernelRefused(doing, answer.error, answer.said)


def wrong_type(program: str, kind: str) -> BadInput:
    """A program of another type cannot be a filter."""
    right = "a filter is of the type sched_cls: load it with type: classifier"
    return BadInput("program", program, f"is a program of the type {kind}", right)


def ensure_clsact(host: Host, netns: str, interface: str, index: int) -> None:
    """Give an interface the clsact qdisc, when it has none: an earlier step of the same run may have swept it away."""
    if not tc.qdisc(host.netlink(netns), index):
        _request(host, netns, tc.make_clsact(index), f"add the clsact qdisc to {interface}")
        host.journal.write([Note("claim", qdisc_key(netns, interface), {"ifindex": index})])


def sweep_clsact(host: Host, netns: str, interface: str, index: int) -> None:
    """Take our clsact qdisc away once nobody has a filter on it: filters go with it."""
    netlink = host.netlink(netns)
    ours = host.journal.claimed(qdisc_key(netns, interface)) is not None
    if ours and not any(tc.filters(netlink, index, direction) for direction in tc.HOOKS):
        if tc.qdisc(netlink, index) == "clsact":
            _request(host, netns, tc.remove_clsact(index), f"remove the clsact qdisc of {interface}")
        host.journal.write([Note("release", qdisc_key(netns, interface))])


@dataclass(frozen=True)
class MakeClsact(Step):
    """Give an interface the clsact qdisc, whose hooks filters are attached to."""

    libraries: t.ClassVar[tuple[str, ...]] = ("pyroute2",)

    interface: str
    netns: str

    def title(self) -> str:
        return f"add the clsact qdisc to {self.interface}" + (f" in the namespace {self.netns}" if self.netns else "")

    def apply(self, host: Host) -> None:
        link = find_link(host, self.netns, self.interface)
        ensure_clsact(host, self.netns, self.interface, link.index)

    def undo(self, host: Host) -> None:
        link = find_link(host, self.netns, self.interface)
        sweep_clsact(host, self.netns, self.interface, link.index)

    def notes(self) -> tuple[Note, ...]:
        return (Note("claim", qdisc_key(self.netns, self.interface)),)


@dataclass(frozen=True)
class SweepClsact(Step):
    """Take our clsact qdisc away, whose last filter somebody else has taken."""

    libraries: t.ClassVar[tuple[str, ...]] = ("pyroute2",)

    interface: str
    netns: str

    def title(self) -> str:
        where = f" in the namespace {self.netns}" if self.netns else ""
        return f"remove the empty clsact qdisc of {self.interface}{where}"

    def apply(self, host: Host) -> None:
        link = find_link(host, self.netns, self.interface)
        sweep_clsact(host, self.netns, self.interface, link.index)

    def undo(self, host: Host) -> None:
        link = find_link(host, self.netns, self.interface)
        ensure_clsact(host, self.netns, self.interface, link.index)


@dataclass(frozen=True)
class _Change(Step):
    """A change of one slot; the program that was there is held until the call is over."""

    libraries: t.ClassVar[tuple[str, ...]] = ("pyroute2",)

    slot: Slot

    def current(self, host: Host) -> tuple[int, t.Optional[tc.Filter]]:
        """The interface's index and what is in the slot."""
        link = find_link(host, self.slot.netns, self.slot.interface)
        here = tc.filters(host.netlink(self.slot.netns), link.index, self.slot.direction)
        mine = (self.slot.priority, self.slot.handle)
        return link.index, next((entry for entry in here if (entry.priority, entry.handle) == mine), None)

    def set(self, host: Host, handle: int, name: str) -> None:
        """Put a program into the slot, in place of what is there; -1 takes that away."""
        index, now = self.current(host)
        held = Handle(syscall.program_fd(now.id)) if now is not None and now.id else None
        place = (index, self.slot.direction, self.slot.priority, self.slot.handle)
        if handle >= 0:
            ensure_clsact(host, self.slot.netns, self.slot.interface, index)
            message = tc.set_filter(*place, handle, name, now is not None)
        elif now is not None:
            message = tc.remove_filter(*place)
        else:
            return
        _request(host, self.slot.netns, message, self.title())
        if handle < 0:
            sweep_clsact(host, self.slot.netns, self.slot.interface, index)
        host.kept[self, "before"] = (held, now.name if now is not None else "")
        if held is not None:
            host.kept[self, "handle"] = held

    def undo(self, host: Host) -> None:
        held, name = host.kept.pop((self, "before"), (None, ""))
        self.set(host, -1 if held is None else held.fd, name)


@dataclass(frozen=True)
class AttachFilter(_Change):
    """Put ``program`` into the slot, in place of the program ``replaces`` (0: the slot is free)."""

    program: str
    replaces: int = 0

    def title(self) -> str:
        instead = f" in place of the program {self.replaces}" if self.replaces else ""
        return f"attach {self.program} to {self.slot}{instead}, priority {self.slot.priority}"

    def apply(self, host: Host) -> None:
        wanted = find_program(self.program, TYPE)
        if wanted is None:
            raise LabError(f"program: {self.program} is not there.", "Load it first, with type: classifier.")
        if wanted.type != TYPE:
            raise wrong_type(self.program, wanted.type)
        _index, now = self.current(host)
        if now is not None and now.id not in (self.replaces, wanted.id):
            raise LabError(f"interface: somebody put another filter at {self.slot} in the meantime.", "Run again.")
        with closing(syscall.program_fd(wanted.id)) as handle:
            self.set(host, handle, wanted.name)
        host.journal.write([Note("claim", self.slot.key, {"id": wanted.id, "program": self.program})])

    def notes(self) -> tuple[Note, ...]:
        return (Note("claim", self.slot.key),)


@dataclass(frozen=True)
class DetachFilter(_Change):
    """Take our filter away."""

    id: int

    def title(self) -> str:
        return f"detach the program {self.id} from {self.slot}"

    def apply(self, host: Host) -> None:
        _index, now = self.current(host)
        if now is not None and now.id != self.id:
            raise LabError(f"interface: somebody put another filter at {self.slot} in the meantime.", "Run again.")
        self.set(host, -1, "")

    def notes(self) -> tuple[Note, ...]:
        return (Note("release", self.slot.key),)
