# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A BPF filter at an interface's clsact hook as a resource: attached, replaced in one step, and detached.

The journal says which slot and which qdisc are ours. Filters in other slots are nobody's business here: they are left
where they are, and keep the qdisc from being taken away.
"""

from __future__ import annotations

import functools
import typing as t
from dataclasses import dataclass, replace

from ..._core.host import Host
from ..._core.plan import NOTHING, Forecast, Key, Plan
from ..._core.resource import Kind, Resource
from .kinds import FilterKind, QdiscKind
from .observe import observe
from .options import checked
from .plan import in_slot, plan_absent, plan_present
from .state import FilterState, Slot, Wanted


@dataclass(frozen=True)
class FilterResource(Wanted, Resource[FilterState]):
    """What is ``Wanted`` of one slot."""

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> FilterResource:
        """From the parameters of ``tc_attachment``. Raises BadInput."""
        return cls(**checked(params))

    @classmethod
    def absent(cls, key: Key) -> FilterResource:
        """The filter of a journal's key, gone."""
        return cls(Slot.of(key), present=False)

    def kinds(self) -> tuple[Kind, ...]:
        return (QdiscKind(), FilterKind())

    def takes_away(self) -> bool:
        return not self.present

    def observe(self, host: Host) -> FilterState:
        return observe(host, self)

    def plan(self, now: FilterState, coming: Forecast = NOTHING) -> Plan:
        if self.present:
            return plan_present(self, now, coming, functools.partial(replace, self))
        return plan_absent(self, now, coming)

    def result(self, now: FilterState) -> dict[str, t.Any]:
        filters = []
        for entry in now.here:  # in the order in which the kernel asks them
            program = now.programs.get(entry.id)
            filters.append(
                {
                    "kind": entry.kind,
                    "priority": entry.priority,
                    "handle": entry.handle,
                    "id": entry.id,
                    "name": program.name if program is not None else entry.name,
                    "tag": program.tag if program is not None else "",
                }
            )
        return {
            "interface": self.slot.interface,
            "netns": self.slot.netns,
            "direction": self.slot.direction,
            "attached": in_slot(self, now) is not None,
            "qdisc": now.qdisc,
            "filters": filters,
        }
