# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What planning a topology and planning its absence share."""

from __future__ import annotations

import typing as t

from ..._core.plan import AnyStep, Plan
from .changes import rebuild_steps
from .link_steps import DeleteLink
from .state import Interface, Now, Ref, Want


class Planner:
    """What the two directions share."""

    def __init__(self, now: Now, want: Want) -> None:
        self.now = now
        self.want = want
        self.steps: list[AnyStep] = []
        self.warnings: list[str] = []
        self.wanted = {interface.ref: interface for interface in want.interfaces}

    def ours(self, interface: Interface) -> bool:
        """Whether we made it."""
        return interface.key in self.now.claimed

    def pairs(self) -> t.Iterator[tuple[Interface, t.Optional[Interface]]]:
        """Each wanted interface once: a veth with its other end, the others alone."""
        done: set[Ref] = set()
        for interface in self.want.interfaces:
            if interface.ref not in done:
                other = self.wanted[interface.peer] if interface.peer else None
                done.add(other.ref if other else interface.ref)
                yield interface, other

    def depth(self, interface: Interface) -> int:
        """How many VLANs it stands on, itself included: each is made after its parent."""
        depth = 0
        while interface.kind == "vlan":
            depth += 1
            parent = self.wanted.get((interface.netns, interface.parent or ""))
            if parent is None:
                break
            interface = parent
        return depth

    def delete(self, one: Interface, other: t.Optional[Interface]) -> None:
        """Delete what was seen; from the caller's namespace where it can be, so that many go as one group."""
        if other is not None and one.netns and not other.netns:
            one, other = other, one
        complete = one.kind != "veth" or other is not None  # half a pair cannot be made again
        also = "" if other is not None else self.now.peers.get(one.key, "")
        rebuild = rebuild_steps(one, other) if complete else ()
        self.steps.append(DeleteLink(one.netns, None, one, other, rebuild, also))

    def _shown(self, namespaces: t.Mapping[str, str], interfaces: t.Iterable[Interface]) -> dict[str, t.Any]:
        return {
            "namespaces": sorted(name for name, kind in namespaces.items() if kind == "present"),
            "interfaces": [interface.as_dict() for interface in sorted(interfaces, key=lambda one: one.ref)],
        }

    def finish(self, namespaces: t.Mapping[str, str], interfaces: t.Iterable[Interface]) -> Plan:
        """The plan, with what there will be."""
        before = self._shown(self.now.namespaces, self.now.interfaces.values())
        return Plan(before, self._shown(namespaces, interfaces), tuple(self.steps), tuple(self.warnings))
