# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A map as a resource: made or found, pinned, and with the entries that a playbook asks for."""

from __future__ import annotations

import functools
import typing as t
from dataclasses import dataclass, replace

from ..._core.host import Host
from ..._core.plan import NOTHING, Forecast, Plan
from ..._core.resource import Kind, Resource
from ..pin.kept import KeptKind
from ..pin.kinds import FolderKind, MountKind
from .kinds import EntryKind, MapPinKind
from .observe import observe
from .options import checked
from .plan import plan_absent, plan_present
from .state import MapState, Wanted, public, shown


@dataclass(frozen=True)
class MapResource(Wanted, Resource[MapState]):
    """What is ``Wanted`` of one map."""

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> MapResource:
        """From the parameters of ``bpf_map``. Raises BadInput."""
        return cls(**checked(params))

    def kinds(self) -> tuple[Kind, ...]:
        return (EntryKind(), MapPinKind(), KeptKind(), FolderKind(), MountKind())

    def takes_away(self) -> bool:
        return not self.present

    def observe(self, host: Host) -> MapState:
        return observe(host, self)

    def plan(self, now: MapState, coming: Forecast = NOTHING) -> Plan:
        if self.present:
            return plan_present(self, now, coming, functools.partial(replace, self))
        return plan_absent(self, now, coming)

    def result(self, now: MapState) -> dict[str, t.Any]:
        """The map and the entries that were asked for."""
        if now.shape is None:
            return {"map": None, "entries": []}
        return {"map": public(now.shape.info), "entries": shown(now.shape, now.entries)}
