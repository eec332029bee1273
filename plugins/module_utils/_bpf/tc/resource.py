# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A BPF filter at an interface's clsact hook as a resource: attached, replaced in one step, and detached.

The journal says which slot and which qdisc are ours. Filters in other slots are nobody's business here: they are left
where they are, and keep the qdisc from being taken away.
"""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from ..._core.errors import BadInput, Refused
from ..._core.host import Host
from ..._core.plan import Forget, Plan, Step
from ..._kernel import netns as namespaces
from ..._kernel.rtnl import tc
from ..._kernel.rtnl.read import links
from ..._kernel.syscall import ProgramInfo, program_by_id
from ..._net.management import lifelines
from ..._net.names import interface_name, netns_name
from ..pin.folders import check_pin_path
from ..xdp.steps import find_program
from .steps import TYPE, AttachFilter, DetachFilter, MakeClsact, Slot, SweepClsact, qdisc_key, wrong_type


@dataclass(frozen=True)
class FilterState:
    """An interface's hooks. ``here`` are the filters of the direction, ``others`` those of the other one.

    ``qdisc`` is "clsact", "ingress" or "". ``claimed`` and ``qdisc_claimed`` say what of it is ours. ``stale`` are the
    journal's keys of what went with the interface. ``carries`` says what would be cut off, "" for nothing.
    """

    exists: bool
    qdisc: str = ""
    qdisc_claimed: bool = False
    here: tuple[tc.Filter, ...] = ()
    others: tuple[tc.Filter, ...] = ()
    claimed: bool = False
    wanted: t.Optional[ProgramInfo] = None
    carries: str = ""
    stale: tuple[str, ...] = ()


@dataclass(frozen=True)
class FilterResource:
    """``program`` (a pinned path, an id or a name) in ``slot``; ``present`` False: nothing of ours there.

    ``force``: the interface may be one that this host is reached by.
    """

    slot: Slot
    program: str = ""
    present: bool = True
    force: bool = False

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> FilterResource:
        """From the parameters of ``tc_attachment``. Raises BadInput."""
        present = params.get("state", "present") == "present"
        netns = params.get("netns") or ""
        if netns and not netns.startswith("/"):
            netns_name("netns", netns)
        program = str(params.get("program") or "")
        if present and not program:
            right = "give its pinned path, such as /sys/fs/bpf/ebpf/tc_filter, its id or its name"
            raise BadInput("program", params.get("program"), "names no program", right)
        priority, handle = params.get("priority") or 1, params.get("handle") or 1
        if not 0 < priority < 1 << 16:
            raise BadInput("priority", priority, "is out of range", "give 1 to 65535")
        if not 0 < handle < 1 << 32:
            raise BadInput("handle", handle, "is out of range", "give 1 to 4294967295")
        interface = interface_name("interface", params["interface"])
        return cls(
            slot=Slot(interface, netns, params.get("direction") or "ingress", priority, handle),
            program=check_pin_path("program", program) if program.startswith("/") else program,
            present=present,
            force=bool(params.get("force")),
        )

    @classmethod
    def absent(cls, key: str) -> FilterResource:
        """The filter of a journal's key ``tc:NETNS:INTERFACE:DIRECTION:PRIORITY:HANDLE``, gone."""
        # An interface's name holds no colon; a namespace's may.
        rest, direction, priority, handle = key.rsplit(":", 3)
        netns, _colon, interface = rest[len("tc:") :].rpartition(":")
        return cls(Slot(interface, netns, direction, int(priority), int(handle)), present=False)

    def observe(self, host: Host) -> FilterState:
        """A link dump, a qdisc dump and two filter dumps."""
        slot = self.slot
        claim = host.journal.claimed(slot.key)
        made = host.journal.claimed(qdisc_key(slot.netns, slot.interface))
        wanted = find_program(self.program, TYPE) if self.program else None
        if slot.netns.startswith("/"):
            there = os.path.exists(slot.netns)
        else:
            there = not slot.netns or namespaces.kind(slot.netns) == "present"
        link = links(host.netlink(slot.netns)).get(slot.interface) if there else None
        keys = (slot.key if claim else "", qdisc_key(slot.netns, slot.interface) if made else "")
        if link is None:
            return FilterState(False, wanted=wanted, stale=tuple(filter(None, keys)))
        netlink = host.netlink(slot.netns)
        by_direction = {name: tuple(tc.filters(netlink, link.index, name)) for name in tc.HOOKS}
        qdisc = tc.qdisc(netlink, link.index)
        carries = ""
        if self.present and not self.force and namespaces.is_own(slot.netns):
            carries = lifelines(host).get(slot.interface, "")
        # An interface that was made anew has nothing of ours on it, whatever the journal says of the old one.
        ours = made is not None and qdisc == "clsact" and (made.value or {}).get("ifindex", link.index) == link.index
        mine = any(
            (entry.priority, entry.handle) == (slot.priority, slot.handle) for entry in by_direction[slot.direction]
        )
        stale = (keys[0] if not mine else "", keys[1] if not ours else "")
        return FilterState(
            True,
            qdisc=qdisc,
            qdisc_claimed=ours,
            here=by_direction.pop(slot.direction),
            others=next(iter(by_direction.values())),
            claimed=claim is not None and mine,
            wanted=wanted,
            carries=carries,
            stale=tuple(filter(None, stale)),
        )

    def plan(self, now: FilterState, program_pending: bool = False, interface_pending: bool = False) -> Plan:
        """Attach when the slot is free or has another program of ours.

        ``program_pending``: an earlier part of the same plan loads the program anew, so its id is not known.
        ``interface_pending``: an earlier part makes the interface anew, so nothing is on it.
        """
        if interface_pending:
            now = FilterState(True, wanted=now.wanted)
        mine = self._in_slot(now)
        before = self._describe(mine, now)
        if not self.present:
            return self._plan_absent(now, mine, before)
        wanted = None if program_pending else now.wanted
        if wanted is not None and wanted.type != TYPE:
            raise wrong_type(self.program, wanted.type)
        if mine is not None and wanted is not None and mine.id == wanted.id and mine.direct:
            return Plan(before=before, after=before)
        if now.carries:
            raise Refused(
                f"interface: {self.slot.interface} carries {now.carries} of this host.",
                "A filter that drops packets there cuts the host off; say force: true if you mean it.",
            )
        self._may_use(now, mine)
        steps: list[Step] = []
        if not now.qdisc:
            steps.append(MakeClsact(self.slot.interface, self.slot.netns))
        steps.append(AttachFilter(self.slot, self.program, mine.id if mine is not None else 0))
        after = {
            "state": "attached",
            "program": self.program,
            "id": wanted.id if wanted is not None else "of the program when it is loaded",
            "priority": self.slot.priority,
        }
        return Plan(before=before, after=after, steps=tuple(steps), warnings=self._warnings(now, program_pending))

    def _in_slot(self, now: FilterState) -> t.Optional[tc.Filter]:
        place = (self.slot.priority, self.slot.handle)
        return next((entry for entry in now.here if (entry.priority, entry.handle) == place), None)

    def _describe(self, mine: t.Optional[tc.Filter], now: FilterState) -> dict[str, t.Any]:
        if mine is None:
            return {"state": "detached"}
        ours = now.wanted is not None and now.wanted.id == mine.id
        name = self.program if ours else mine.name
        return {"state": "attached", "program": name, "id": mine.id, "priority": mine.priority}

    def _may_use(self, now: FilterState, mine: t.Optional[tc.Filter]) -> None:
        where = str(self.slot)
        if now.qdisc == "ingress" and self.slot.direction == "egress":
            raise Refused(
                f"direction: {self.slot.interface} has an ingress qdisc, which has no hook for egress.",
                "The clsact qdisc takes its place: remove the old one by tc qdisc del dev INTERFACE ingress.",
            )
        same_wanted = mine is not None and now.wanted is not None and mine.id == now.wanted.id
        if mine is not None and not now.claimed and not same_wanted:
            raise Refused(
                f"priority: {self.slot.priority} at {where} has a filter that the lab did not attach ({mine.kind} "
                f"{mine.name}).",
                "Choose another priority.",
            )
        for entry in now.here:
            if entry.priority == self.slot.priority and (entry.kind, entry.protocol) != ("bpf", tc.ETH_P_ALL):
                raise Refused(
                    f"priority: {self.slot.priority} at {where} has {entry.kind} filters, and the kernel takes one "
                    "kind and protocol for a priority.",
                    "Choose another priority.",
                )

    def _warnings(self, now: FilterState, program_pending: bool) -> tuple[str, ...]:
        found = []
        if not now.exists:
            found.append(f"interface: there is no {self.slot.interface} yet; the run needs it.")
        if now.wanted is None and not program_pending:
            found.append(f"program: {self.program} is not loaded yet; the run needs it.")
        earlier = [entry for entry in now.here if entry.priority < self.slot.priority]
        if earlier:
            found.append(
                f"priority: the filter {earlier[0].name or earlier[0].kind} (priority {earlier[0].priority}) at "
                f"{self.slot} is asked first, and its verdict can be the last word."
            )
        return tuple(found)

    def _plan_absent(self, now: FilterState, mine: t.Optional[tc.Filter], before: dict[str, t.Any]) -> Plan:
        steps: list[Step] = [Forget(key) for key in now.stale]
        after, warnings = before, []
        if mine is not None and now.claimed:
            steps.append(DetachFilter(self.slot, mine.id))
            after = {"state": "detached"}
        elif mine is not None:
            warnings.append(f"priority: the filter {mine.name or mine.kind} at {self.slot} is not ours and stays.")
        if now.qdisc_claimed and not now.here and not now.others:
            steps.append(SweepClsact(self.slot.interface, self.slot.netns))
        return Plan(before=before, after=after, steps=tuple(steps), warnings=tuple(warnings))

    def facts(self, host: Host, now: FilterState) -> dict[str, t.Any]:
        """What is attached, as the module returns it."""
        return {
            "interface": self.slot.interface,
            "netns": self.slot.netns,
            "direction": self.slot.direction,
            "attached": self._in_slot(now) is not None,
            "qdisc": now.qdisc,
            "filters": describe(now.here),
        }


def describe(filters: t.Sequence[tc.Filter]) -> list[dict[str, t.Any]]:
    """Filters in the order in which the kernel asks them, plain JSON types."""
    found = []
    for entry in filters:
        program = program_by_id(entry.id) if entry.id else None
        found.append(
            {
                "kind": entry.kind,
                "priority": entry.priority,
                "handle": entry.handle,
                "id": entry.id,
                "name": program.name if program is not None else entry.name,
                "tag": program.tag if program is not None else "",
            }
        )
    return found
