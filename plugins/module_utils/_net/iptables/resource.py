# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies and flushes of named chains or whole tables as one resource, and the way back from the journal."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ..._core.host import Host
from ..._core.plan import NOTHING, Forecast, Plan
from ..._core.resource import Kind, Resource
from . import observe
from .kinds import IptablesKind
from .plan import plan_present
from .restore import plan_restored
from .state import State, Want


@dataclass(frozen=True)
class FlushResource(Want, Resource[State]):
    """What is wanted, as a resource."""

    def kinds(self) -> tuple[Kind, ...]:
        return (IptablesKind(),)

    def takes_away(self) -> bool:
        return self.state == "restored"

    def observe(self, host: Host) -> State:
        return observe.observe(host, self)

    def plan(self, now: State, coming: Forecast = NOTHING) -> Plan:
        return plan_restored(self, now) if self.state == "restored" else plan_present(self, now)

    def result(self, now: State) -> dict[str, t.Any]:
        """``tables``: each with its chains, their policies and how many rules they have."""
        return {
            "tables": [
                {
                    **place._asdict(),
                    "chains": [
                        {"name": name, "policy": chain.policy, "rules": len(chain.rules)}
                        for name, chain in chains.items()
                    ],
                }
                for place, chains in now.tables.items()
            ]
        }
