# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mount of tracefs as a resource: a lab mounts it when nobody has, and unmounts what it mounted."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ..._core.host import Host
from ..._core.plan import NOTHING, Forecast, Forget, Plan, Step
from ..._core.resource import Kind, Resource
from ..pin import folders
from ..pin.folders import Folders, lies_on, mounting
from ..pin.kinds import MountKind
from ..pin.steps import MountFilesystem, Unmount, mount_key
from .trace import FOLDERS

MAGIC = 0x74726163  # TRACEFS_MAGIC, linux/magic.h
PLACE = FOLDERS[0]
TRACEFS = MountFilesystem(PLACE, "tracefs", "tracefs", MAGIC)


@dataclass(frozen=True)
class TracefsState:
    """Where tracefs can be read, "" for nowhere; whether the mount is ours; the folders down to its usual place."""

    mounted: str
    claimed: bool
    folders: Folders


@dataclass(frozen=True)
class TracefsResource(Resource[TracefsState]):
    """Tracefs is mounted; ``present`` False: not by us."""

    present: bool = True

    def kinds(self) -> tuple[Kind, ...]:
        return (MountKind(),)

    def takes_away(self) -> bool:
        return not self.present

    def observe(self, host: Host) -> TracefsState:
        """Two statfs calls; they mount nothing."""
        mounted = next((path for path in FOLDERS if lies_on(path, MAGIC)), "")
        return TracefsState(mounted, host.journal.claimed(mount_key(PLACE)) is not None, folders.look(host, PLACE))

    def plan(self, now: TracefsState, coming: Forecast = NOTHING) -> Plan:
        """Mount it when it is nowhere; unmount it when we did. Its buffers and settings stay: they are the kernel's."""
        before: dict[str, t.Any] = {"tracefs": now.mounted or None}
        if self.present:
            steps: tuple[Step, ...] = () if now.mounted else (mounting(TRACEFS, now.folders),)
            return Plan(before, {"tracefs": now.mounted or PLACE}, steps)
        if not now.claimed:
            return Plan(before, before)
        if now.mounted != PLACE:
            return Plan(before, before, (Forget(mount_key(PLACE)),))
        return Plan(before, {"tracefs": None}, (Unmount(TRACEFS),))

    def result(self, now: TracefsState) -> dict[str, t.Any]:
        """Where it is."""
        return {"tracefs": now.mounted}
