# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders and the mount that the lab made, gone: what is left of them when everybody else has taken away his own."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ..._core.host import Host
from ..._core.plan import NOTHING, AnyStep, Forecast, Plan, forecast
from ..._core.resource import Kind, Resource
from .folders import Folders, emptying, look
from .kinds import FolderKind, MountKind


@dataclass(frozen=True)
class FoldersResource(Resource[Folders]):
    """None of ours at ``paths`` and above, unless something of somebody else's is in them."""

    paths: tuple[str, ...]

    def kinds(self) -> tuple[Kind, ...]:
        """Folders and mounts."""
        return (FolderKind(), MountKind())

    def takes_away(self) -> bool:
        """It only does."""
        return True

    def observe(self, host: Host) -> Folders:
        """List them."""
        return look(host, *self.paths)

    def plan(self, now: Folders, coming: Forecast = NOTHING) -> Plan:
        """Remove what is empty by then, inner first."""
        steps: list[AnyStep] = []
        for path in sorted(self.paths, key=lambda path: -path.count("/")):
            steps += emptying(path, now, (), forecast(steps, coming))
        left = sorted(set(now.inside) - {step.path for step in steps if hasattr(step, "path")})
        return Plan(before=sorted(now.inside), after=left, steps=tuple(steps))

    def result(self, now: Folders) -> dict[str, t.Any]:
        """Those that are left."""
        return {"folders": sorted(now.inside)}
