# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mount of tracefs as a resource: a lab mounts it when nobody has, and unmounts what it mounted."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ..._core.host import Host
from ..._core.plan import Forget, Note, Plan, Step
from ..pin.folders import Mount, existing, lies_on, mounting, unmount
from .trace import FOLDERS

MAGIC = 0x74726163  # TRACEFS_MAGIC, linux/magic.h
PLACE = FOLDERS[0]


@dataclass(frozen=True)
class MountTracefs(Mount):
    """Mount tracefs at its usual place."""

    path: str = PLACE
    filesystem: str = "tracefs"
    name: str = "tracefs"
    magic: int = MAGIC


@dataclass(frozen=True)
class UnmountTracefs(Step):
    """Unmount the tracefs that we mounted. Its buffers and settings are the kernel's and stay as they are."""

    path: str = PLACE

    def title(self) -> str:
        return f"unmount tracefs from {self.path}"

    def apply(self, host: Host) -> None:
        unmount(self.path)

    def inverse(self) -> tuple[Step, ...]:
        return (MountTracefs(self.path),)

    def notes(self) -> tuple[Note, ...]:
        return (Note("release", f"mount:{self.path}"),)


@dataclass(frozen=True)
class TracefsState:
    """Where tracefs can be read, "" for nowhere; whether the mount is ours; the folders down to its usual place."""

    mounted: str
    claimed: bool
    folders: frozenset[str] = frozenset({PLACE})


@dataclass(frozen=True)
class TracefsResource:
    """Tracefs is mounted; ``present`` False: not by us."""

    present: bool = True

    def observe(self, host: Host) -> TracefsState:
        """Two statfs calls; they mount nothing."""
        mounted = next((path for path in FOLDERS if lies_on(path, MAGIC)), "")
        return TracefsState(mounted, host.journal.claimed(f"mount:{PLACE}") is not None, existing(PLACE))

    def plan(self, now: TracefsState) -> Plan:
        """Mount it when it is nowhere; unmount it when we did."""
        before: dict[str, t.Any] = {"tracefs": now.mounted or None}
        if self.present:
            steps: tuple[Step, ...] = () if now.mounted else (mounting(MountTracefs(), now.folders),)
            return Plan(before, {"tracefs": now.mounted or PLACE}, steps)
        if not now.claimed:
            return Plan(before, before)
        if now.mounted != PLACE:
            return Plan(before, before, (Forget(f"mount:{PLACE}"),))
        return Plan(before, {"tracefs": None}, (UnmountTracefs(),))

    def facts(self, host: Host, now: TracefsState) -> dict[str, t.Any]:
        """Where it is."""
        return {"tracefs": now.mounted}
