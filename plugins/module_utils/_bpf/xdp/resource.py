# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The XDP program of one interface as a resource: attached, replaced in one step, and detached in its own mode.

The journal's claim on the interface's slot notes the program that we attached; a foreign program that the user let us
replace is kept alive by a pin of ours, and comes back when ours goes.
"""

from __future__ import annotations

import functools
import typing as t
from dataclasses import dataclass, replace

from ..._core.host import Host
from ..._core.plan import NOTHING, Forecast, Plan
from ..._core.resource import Kind, Resource
from ..pin.kept import KeptKind
from ..pin.kinds import FolderKind, MountKind
from .kinds import SlotKind
from .observe import observe
from .options import checked
from .plan import plan_absent, plan_present
from .state import AttachmentState, Wanted


@dataclass(frozen=True)
class AttachmentResource(Wanted, Resource[AttachmentState]):
    """What is ``Wanted`` of one slot."""

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> AttachmentResource:
        """From the parameters of ``xdp_attachment``. Raises BadInput."""
        return cls(**checked(params))

    def kinds(self) -> tuple[Kind, ...]:
        return (SlotKind(), KeptKind(), FolderKind(), MountKind())

    def takes_away(self) -> bool:
        return not self.present

    def observe(self, host: Host) -> AttachmentState:
        return observe(host, self)

    def plan(self, now: AttachmentState, coming: Forecast = NOTHING) -> Plan:
        if self.present:
            return plan_present(self, now, coming, functools.partial(replace, self))
        return plan_absent(self, now, coming)

    def result(self, now: AttachmentState) -> dict[str, t.Any]:
        result: dict[str, t.Any] = {"interface": self.interface, "netns": self.netns, "attached": bool(now.id)}
        if now.id:
            claim = now.claim or {}
            result["mode"] = now.mode
            result["mode_reason"] = claim.get("reason") if now.ours else "it was attached so by somebody else"
            result["program"] = {
                "id": now.id,
                "name": now.attached.name if now.attached is not None else "",
                "tag": now.attached.tag if now.attached is not None else "",
                "ours": now.ours,
            }
        return result
