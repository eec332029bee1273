# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make and delete links. A link of ours is made in our group, by which it is known: see kinds.py."""

from __future__ import annotations

import errno
import typing as t
from dataclasses import dataclass

from ..._core.errors import KernelRefused, LabError
from ..._core.plan import Done, Learned, Note, Outcome, Step, make, release
from ..._kernel import netns
from .requests import GONE, Request, Seen, index_of
from .state import GOING_GROUP, GROUPS, LAB_GROUP, Interface

if t.TYPE_CHECKING:
    from ..._core.host import Host
    from ..._kernel.rtnl.write import NewLink


@dataclass(frozen=True)
class CreateLink(Request):
    """Make a veth pair (``peer`` given), a bridge or a VLAN, with MTU, MAC and group; the rest is set by later steps.

    Both ends are ours when they are made in our group, and somebody's, made again, when not.
    """

    interface: Interface
    peer: t.Optional[Interface] = None

    def title(self) -> str:
        if self.peer is not None:
            return f"create the veth pair {self.interface} and {self.peer}"
        if self.interface.kind == "vlan":
            return f"create the VLAN {self.interface} ({self.interface.vlan} on {self.interface.parent})"
        return f"create the {self.interface.kind} {self.interface}"

    def message(self, host: Host, held: list[int]) -> t.Any:
        from ..._kernel.rtnl import write as messages

        one, other = self.interface, self.peer
        if other is not None:
            handle = netns.opened(other.netns)
            held.append(handle)
            return messages.create_veth(_new(one), _new(other), handle)
        if one.kind == "vlan":
            parent = index_of(host, (one.netns, one.parent or ""))
            return messages.create_vlan(_new(one), parent, one.vlan)
        return messages.create_link(_new(one), one.kind, [])

    def took_effect(self, seen: Seen) -> bool:
        link = seen.links.get(self.interface.name)
        return link is not None and (link.kind, link.group) == (self.interface.kind, self.interface.group)

    def cause(self, code: int) -> str:
        if code == errno.EEXIST:
            return "An interface of one of these names appeared in the meantime."
        if code == errno.EOPNOTSUPP:
            return f"This kernel has no {self.interface.kind} interfaces: it needs the module {self.interface.kind}."
        return ""

    def inverse(self) -> tuple[Step, ...]:
        return (DeleteLink(self.netns, None, self.interface, self.peer),)

    def group(self) -> t.Hashable:
        # A VLAN's request names its parent by index, so the parent has to be there before the batch is written.
        return ("create links", self.netns, self.interface.parent)

    def ends(self) -> tuple[Interface, ...]:
        """The interfaces that are made: one, or a veth's two."""
        return (self.interface, self.peer) if self.peer else (self.interface,)

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return tuple(make(key, value) for key, value in self.learns().items())

    def learns(self) -> dict[str, t.Any]:
        found: dict[str, t.Any] = {}
        for end, other in zip(self.ends(), reversed(self.ends())):
            if end.group in GROUPS:
                found[end.key] = {"group": LAB_GROUP, **({"peer": other.key} if other is not end else {})}
        return found


def _new(interface: Interface) -> NewLink:
    from ..._kernel.rtnl.write import NewLink

    return NewLink(interface.name, interface.mtu, interface.mac, interface.group)


@dataclass(frozen=True)
class DeleteLink(Request):
    """Delete a link, and with a veth its other end; several of one namespace are deleted as a group.

    ``interface`` and ``peer`` are as they were seen, so that undoing makes them again; ``rebuild`` is how. ``also`` is
    the key of a peer that was not looked at.
    """

    interface: Interface
    peer: t.Optional[Interface] = None
    rebuild: tuple[Step, ...] = ()
    also: str = ""

    def title(self) -> str:
        return f"delete {self.interface}" + (f" and its peer {self.peer}" if self.peer else "")

    def ends(self) -> tuple[Interface, ...]:
        """The interfaces that go: one, or a veth's two."""
        return (self.interface, self.peer) if self.peer else (self.interface,)

    def message(self, host: Host, held: list[int]) -> t.Any:
        from ..._kernel.rtnl import write as messages

        return messages.delete_link(self.interface.name)

    def took_effect(self, seen: Seen) -> bool:
        return self.interface.name not in seen.links

    def deletes(self) -> bool:
        return True

    def inverse(self) -> tuple[Step, ...]:
        return self.rebuild or (CannotRebuild(self.interface.name),)

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        keys = {end.key: None for end in self.ends()}
        return tuple(release(key) for key in ({**keys, self.also: None} if self.also else keys))

    def group(self) -> t.Hashable:
        return ("delete links", self.netns)

    @classmethod
    def apply_many(cls, host: Host, steps: t.Sequence[t.Any], learned: Learned) -> list[Outcome]:
        # Links of other namespaces go along: none is known by its index any more.
        host.forget_indexes()
        if len(steps) == 1:
            return super().apply_many(host, steps, learned)
        return _delete_group(host, steps)


def _delete_group(host: Host, steps: t.Sequence[DeleteLink]) -> list[Outcome]:
    """Move links into a group of their own and delete that: the kernel waits for its readers once, not once a link."""
    from ..._kernel.rtnl import write as messages

    netlink = host.netlink(steps[0].netns)
    moved = netlink.request([messages.set_link(step.interface.name, group=GOING_GROUP) for step in steps])
    (whole,) = netlink.request([messages.delete_group(GOING_GROUP)])
    seen = Seen(netlink)
    if whole.lost or (whole.error and whole.error not in GONE):
        # Those that are still there are moved back: a step that failed has changed nothing.
        left = [step.interface for step in steps if not step.took_effect(seen)]
        netlink.request([messages.set_link(one.name, group=one.group) for one in left])
        return [
            KernelRefused(step.title(), whole.error or errno.ENOBUFS, whole.said)
            if step.interface in left
            else Done(undo=step.inverse())
            for step in steps
        ]
    return [step.outcome(answer, seen) for step, answer in zip(steps, moved)]


@dataclass(frozen=True)
class CannotRebuild(Step):
    """What undoing comes to when one end of a pair was deleted."""

    name: str

    def title(self) -> str:
        return f"make {self.name} again"

    def apply(self, host: Host, learned: Learned) -> Done:
        raise LabError("one end alone does not tell how the pair was made.")
