# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wanted at an interface's hooks, what is seen there, and what of it is ours."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ..._core.plan import Key
from ..._kernel.rtnl import tc
from ..._kernel.syscall import ProgramInfo
from ..interface import place


@dataclass(frozen=True)
class Slot:
    """A filter's place: an interface's hook, a priority and a handle."""

    interface: str
    netns: str
    direction: str
    priority: int
    handle: int

    @classmethod
    def of(cls, key: Key) -> Slot:
        """The place of a key ``tc:NETNS:INTERFACE:DIRECTION:PRIORITY:HANDLE``. Raises ValueError for another text."""
        # An interface's name holds no colon; a namespace's may.
        rest, direction, priority, handle = key.rsplit(":", 3)
        netns, _colon, interface = rest.partition(":")[2].rpartition(":")
        return cls(interface, netns, direction, int(priority), int(handle))

    @property
    def key(self) -> Key:
        """The journal's."""
        return f"tc:{self.netns}:{self.interface}:{self.direction}:{self.priority}:{self.handle}"

    def holds(self, seen: tc.Filter) -> bool:
        """Whether a filter of the same hook is in this very place."""
        return (seen.priority, seen.handle) == (self.priority, self.handle)

    def __str__(self) -> str:
        return f"{self.direction} of {place(self.netns, self.interface)}"


def qdisc_key(netns: str, interface: str) -> Key:
    """The journal's key of an interface's clsact qdisc."""
    return f"qdisc:{netns}:{interface}"


@dataclass(frozen=True)
class Wanted:
    """``program`` (a pinned path, an id or a name) in ``slot``; ``present`` False: nothing of ours there.

    ``force``: the interface may be one that this host is reached by. ``was`` is what ``program`` named before earlier
    steps of the plan: somebody may have attached that one, and it is no foreign one.
    """

    slot: Slot
    program: str = ""
    present: bool = True
    force: bool = False
    was: int = 0


@dataclass(frozen=True)
class FilterState:
    """An interface's hooks. ``here`` are the filters of the direction, ``others`` those of the other one.

    ``qdisc`` is "clsact", "ingress" or "". ``claim`` is what we noted of our filter in the place, ``qdisc_claimed``
    whether the qdisc is ours. ``programs`` are those of the filters, by id. ``carries`` says what would be cut off, ""
    for nothing.
    """

    exists: bool
    qdisc: str = ""
    qdisc_claimed: bool = False
    here: tuple[tc.Filter, ...] = ()
    others: tuple[tc.Filter, ...] = ()
    claim: t.Optional[dict[str, t.Any]] = None
    wanted: t.Optional[ProgramInfo] = None
    programs: t.Mapping[int, ProgramInfo] = field(default_factory=dict)
    carries: str = ""
