# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tool that is to be installed or removed when its turn comes: what it consists of is known only then."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ..._core.host import Host
from ..._core.plan import NOTHING, Forecast, Later, Plan
from ..._core.resource import Resource
from ..builds.steps import RemoveTemporary, staged
from .plan import Offer, installing, removing
from .state import Installed, look


@dataclass(frozen=True)
class Offered:
    """What is there, and what is to be."""

    now: Installed
    offer: Offer


@dataclass(frozen=True)
class Installing(Resource[Offered]):
    """A tool's files as they are staged in the build directory ``build``, which is gone then; or as ``given``.

    ``key`` is the digest of what they were made from.
    """

    tool: str
    key: str
    overwrite: bool
    build: str = ""
    given: t.Optional[t.Callable[[Host], Offer]] = None

    def observe(self, host: Host) -> Offered:
        """Look at what is staged, and at its places."""
        offer = staged(host, self.build) if self.given is None else self.given(host)
        return Offered(look(host, self.tool, *(item.path for item in offer.items)), offer)

    def plan(self, now: Offered, coming: Forecast = NOTHING) -> Plan:
        """Place all files, and remove what there was of it else."""
        steps = installing(now.now, now.offer, self.key, self.overwrite)
        return Plan(steps=(*steps, *((RemoveTemporary(self.build),) if self.build else ())))

    def result(self, now: Offered) -> dict[str, t.Any]:
        """Which files there are."""
        return {"files": sorted(now.now.files)}

    def later(self, where: str) -> Later:
        """As a part of a plan."""
        return Later(self, f"install {self.tool} to {where}")


@dataclass(frozen=True)
class Removing(Resource[Installed]):
    """Nothing of a tool, and what it had replaced put back."""

    tool: str

    def observe(self, host: Host) -> Installed:
        """Look at all that is noted of it."""
        return look(host, self.tool)

    def plan(self, now: Installed, coming: Forecast = NOTHING) -> Plan:
        """Take it away."""
        return Plan(steps=removing(now))

    def result(self, now: Installed) -> dict[str, t.Any]:
        """Which files are left."""
        return {"files": sorted(now.files)}

    def later(self, where: str) -> Later:
        """As a part of a plan."""
        return Later(self, f"remove {self.tool} from {where}")
