# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps that put a BPF filter at an interface's clsact hook and take it away, each with the way back."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ..._core.errors import BadInput, KernelRefused, LabError
from ..._core.host import Host
from ..._core.plan import Done, Key, Learned, Note, Step, make, unmade
from ..._kernel import lookup, syscall
from ..._kernel.rtnl import tc
from ..._kernel.syscall import Handle, closing
from ..interface import need, place
from .state import Slot, qdisc_key

TYPE = "sched_cls"


def request(host: Host, netns: str, message: t.Any, doing: str) -> None:
    """One request to the kernel. Raises KernelRefused."""
    (answer,) = host.netlink(netns).request([message])
    if answer.error:
        raise KernelRefused(doing, answer.error, answer.said)


def wrong_type(program: str, kind: str) -> BadInput:
    """A program of another type cannot be a filter."""
    right = "a filter is of the type sched_cls: load it with type: classifier"
    return BadInput("program", program, f"is a program of the type {kind}", right)


@dataclass(frozen=True)
class MakeClsact(Step):
    """Give an interface the clsact qdisc, whose hooks filters are attached to."""

    libraries: t.ClassVar[tuple[str, ...]] = ("pyroute2",)

    interface: str
    netns: str

    @property
    def key(self) -> Key:
        """The journal's."""
        return qdisc_key(self.netns, self.interface)

    def title(self) -> str:
        return f"add the clsact qdisc to {place(self.netns, self.interface)}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (make(self.key, {"new": True}),)

    def apply(self, host: Host, learned: Learned) -> Done:
        link = need(host, self.netns, self.interface)
        request(host, self.netns, tc.make_clsact(link.index), self.title())
        return Done(undo=(RemoveClsact(self.interface, self.netns),), learned={self.key: {"ifindex": link.index}})


@dataclass(frozen=True)
class RemoveClsact(MakeClsact):
    """Take our clsact qdisc away, at which nobody has a filter any more: filters would go with it."""

    def title(self) -> str:
        return f"remove the empty clsact qdisc of {place(self.netns, self.interface)}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (unmade(self.key),)

    def apply(self, host: Host, learned: Learned) -> Done:
        link = need(host, self.netns, self.interface)
        netlink = host.netlink(self.netns)
        if tc.qdisc(netlink, link.index) != "clsact":
            return Done()
        if any(tc.filters(netlink, link.index, direction) for direction in tc.HOOKS):
            raise LabError(f"{self.title()}: there is a filter at it.", "Look whose it is.")
        request(host, self.netns, tc.remove_clsact(link.index), self.title())
        return Done(undo=(MakeClsact(self.interface, self.netns),))


@dataclass(frozen=True)
class _Change(Step):
    """A change of one slot."""

    libraries: t.ClassVar[tuple[str, ...]] = ("pyroute2",)

    slot: Slot

    def current(self, host: Host, expected: t.Collection[int]) -> tuple[int, t.Optional[tc.Filter]]:
        """The interface's index and what is in the slot. Raises LabError when that is none of ``expected``."""
        link = need(host, self.slot.netns, self.slot.interface)
        here = tc.filters(host.netlink(self.slot.netns), link.index, self.slot.direction)
        now = next((entry for entry in here if self.slot.holds(entry)), None)
        if now is not None and now.id not in expected:
            raise LabError(f"interface: somebody put another filter at {self.slot} in the meantime.", "Run again.")
        return link.index, now

    def set(self, host: Host, index: int, handle: int, name: str, now: t.Optional[tc.Filter]) -> None:
        """Put a program into the slot, in place of what is there. Raises KernelRefused."""
        where = (index, self.slot.direction, self.slot.priority, self.slot.handle)
        request(host, self.slot.netns, tc.set_filter(*where, handle, name, now is not None), self.title())

    def undone(self, host: Host, now: t.Optional[tc.Filter], old: t.Optional[Handle], new: int) -> Done:
        """The way back to the filter ``now`` from the program ``new``, 0 for none."""
        if now is None or old is None:
            return Done(undo=(DetachFilter(self.slot, new),))
        entry = host.journal.claimed(self.slot.key)
        again = AttachAgain(self.slot, now.id, now.name, new, None if entry is None else entry.value)
        return Done(undo=(again,), handles={f"program {now.id}": old})


def hold(now: t.Optional[tc.Filter]) -> t.Optional[Handle]:
    """The program of a BPF filter, held."""
    return Handle(syscall.program_fd(now.id)) if now is not None and now.id else None


@dataclass(frozen=True)
class AttachFilter(_Change):
    """Put ``program`` into the slot, in place of the program ``replaces`` (0: the slot is free).

    ``id`` is the program's as far as it is known.
    """

    program: str
    replaces: int = 0
    id: int = 0

    def title(self) -> str:
        instead = f" in place of the program {self.replaces}" if self.replaces else ""
        return f"attach {self.program} to {self.slot}{instead}, priority {self.slot.priority}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (make(self.slot.key, {"id": self.id, "program": self.program}),)

    def apply(self, host: Host, learned: Learned) -> Done:
        wanted = lookup.program(self.program, TYPE)
        if wanted is None or (self.id and wanted.id != self.id):
            why = "is not there" if wanted is None else "is another one by now"
            raise LabError(f"program: {self.program} {why}.", "Load it first, with type: classifier.")
        if wanted.type != TYPE:
            raise wrong_type(self.program, wanted.type)
        index, now = self.current(host, (self.replaces, wanted.id))
        old = hold(now)
        try:
            with closing(syscall.program_fd(wanted.id)) as handle:
                self.set(host, index, handle, wanted.name, now)
        except LabError:
            if old is not None:
                old.close()
            raise
        done = self.undone(host, now, old, wanted.id)
        value = {"id": wanted.id, "program": self.program, "ifindex": index}
        return Done(done.undo, {self.slot.key: value}, done.handles)


@dataclass(frozen=True)
class DetachFilter(_Change):
    """Take our filter away."""

    id: int

    def title(self) -> str:
        return f"detach the program {self.id} from {self.slot}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (unmade(self.slot.key),)

    def apply(self, host: Host, learned: Learned) -> Done:
        index, now = self.current(host, (self.id,))
        if now is None:
            return Done()
        old = hold(now)
        try:
            message = tc.remove_filter(index, self.slot.direction, self.slot.priority, self.slot.handle)
            request(host, self.slot.netns, message, self.title())
        except KernelRefused:
            if old is not None:
                old.close()
            raise
        return self.undone(host, now, old, 0)


@dataclass(frozen=True)
class AttachAgain(_Change):
    """Put the program ``id``, which the run holds, back into the slot, in place of ``replaces``.

    ``name`` is the filter's; ``value`` what the journal noted of it when it was ours.
    """

    id: int
    name: str
    replaces: int = 0
    value: t.Any = None

    def __hash__(self) -> int:
        return hash((self.slot, self.id))

    def title(self) -> str:
        return f"attach the program {self.id} to {self.slot} again, priority {self.slot.priority}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (unmade(self.slot.key),) if self.value is None else (make(self.slot.key, self.value),)

    def apply(self, host: Host, learned: Learned) -> Done:
        index, now = self.current(host, (self.replaces, self.id))
        self.set(host, index, learned.handle(f"program {self.id}").fd, self.name, now)
        return Done(learned={} if self.value is None else {self.slot.key: self.value})
