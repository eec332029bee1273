# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all changes that rtnetlink makes share: neighbours go to the kernel in one batch, each has its own answer."""

from __future__ import annotations

import errno
import functools
import os
import typing as t
from dataclasses import dataclass

from ..._core.errors import KernelRefused, LabError
from ..._core.plan import BatchStep, Done, Learned, Note, Outcome, Step, save
from ..._kernel.rtnl import read
from .state import Interface, Ref

if t.TYPE_CHECKING:
    from ..._core.host import Host
    from ..._kernel.rtnl.socket import Netlink

# What the kernel answers when the thing to delete is gone already, which is what was wanted.
GONE = (errno.ENODEV, errno.ENXIO, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENOENT)


class Seen:
    """A namespace as it is now, each dump made when somebody asks; for requests whose answers were lost."""

    def __init__(self, netlink: Netlink) -> None:
        self.netlink = netlink

    @functools.cached_property
    def links(self) -> dict[str, read.Link]:
        """By name."""
        return read.links(self.netlink)

    @functools.cached_property
    def addresses(self) -> set[tuple[int, str]]:
        """Index of the link, and the address as CIDR."""
        return {(address.index, address.text) for address in read.addresses(self.netlink)}

    @functools.cached_property
    def routes(self) -> list[read.RouteSeen]:
        """Those of the main table."""
        return read.routes(self.netlink)

    @functools.cached_property
    def neighbours(self) -> dict[tuple[int, str], str]:
        """The MAC by index of the link and address."""
        return {(index, address): mac for index, address, mac in read.neighbours(self.netlink)}

    def index(self, name: str) -> int:
        """A link's index, 0 for none."""
        return self.links[name].index if name in self.links else 0


@dataclass(frozen=True)
class Adopted:
    """An interface that is not ours: as it was ``before`` us, which the journal keeps, and ``after`` the plan."""

    before: Interface
    after: Interface

    def note(self) -> Note:
        """What the journal keeps."""
        return save(self.before.key, self.before.to_saved(), self.after.to_saved())


@dataclass(frozen=True)
class Request(BatchStep):
    """A change made by one rtnetlink request; neighbours in one namespace go to the kernel in one batch."""

    libraries: t.ClassVar[tuple[str, ...]] = ("pyroute2",)

    netns: str
    adopted: t.Optional[Adopted]

    def message(self, host: Host, held: list[int]) -> t.Any:
        """The pyroute2 message; descriptors that must stay open until it is sent go into ``held``."""
        raise NotImplementedError

    def took_effect(self, seen: Seen) -> bool:
        """Whether the namespace is as the request wants it."""
        raise NotImplementedError

    def inverse(self) -> tuple[Step, ...]:
        """What takes it back."""
        raise NotImplementedError

    def learns(self) -> dict[str, t.Any]:
        """The identities of what is there then, by key."""
        return {}

    def deletes(self) -> bool:
        """Whether it takes something away; what is gone already, say with the link that went down, is no failure."""
        return not getattr(self, "add", True)

    def cause(self, code: int) -> str:
        """What to tell the reader about a refusal, when we know more than the kernel says."""
        return ""

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return () if self.adopted is None else (self.adopted.note(),)

    def group(self) -> t.Hashable:
        return ("netlink", self.netns)

    @classmethod
    def apply_many(cls, host: Host, steps: t.Sequence[t.Any], learned: Learned) -> list[Outcome]:
        netlink = host.netlink(steps[0].netns)
        held: list[int] = []
        messages: list[t.Any] = []
        refused: dict[int, LabError] = {}
        try:
            for place, step in enumerate(steps):
                try:
                    messages.append(step.message(host, held))
                except LabError as error:
                    refused[place] = error
            answers = iter(netlink.request(messages))
        finally:
            for handle in held:
                os.close(handle)
        seen = Seen(netlink)
        return [
            refused[place] if place in refused else step.outcome(next(answers), seen)
            for place, step in enumerate(steps)
        ]

    def outcome(self, answer: t.Any, seen: Seen) -> Outcome:
        """What became of it, from the kernel's answer, or from a look where that was lost."""
        if answer.lost and not self.took_effect(seen):
            return KernelRefused(self.title(), errno.ENOBUFS)
        if answer.error and not (self.deletes() and answer.error in GONE):
            return KernelRefused(self.title(), answer.error, answer.said, self.cause(answer.error))
        return Done(undo=self.inverse(), learned=self.learns())


def index_of(host: Host, ref: Ref) -> int:
    """A link's index, read once a socket and kept until a link is deleted in its namespace."""
    netlink = host.netlink(ref[0])
    known = netlink.indexes
    if ref[1] not in known:
        known.update({name: link.index for name, link in read.links(netlink).items()})
    if ref[1] not in known:
        where = f" in the network namespace {ref[0]}" if ref[0] else ""
        raise KernelRefused(f"look up the interface {ref[1]}{where}", errno.ENODEV)
    return known[ref[1]]
