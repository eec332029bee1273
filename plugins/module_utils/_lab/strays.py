# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pins that somebody else left in the folder that the lab made for its own."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, field

from .._bpf.pin import folders
from .._bpf.pin.folders import Folders, emptying
from .._bpf.pin.foreign import RemoveForeignFolder, RemoveForeignPin
from .._bpf.pin.kinds import FolderKind, MountKind
from .._bpf.pin.pins import KEPT, told_of, words
from .._bpf.pin.steps import dir_key
from .._core.errors import LabError
from .._core.host import Host
from .._core.plan import NOTHING, Forecast, Plan, Step, forecast
from .._core.resource import Kind, Resource
from .._kernel import syscall


@dataclass(frozen=True)
class StrayState:
    """The foreign pins below the folder with what they are, and the foreign folders, inner first."""

    pins: t.Mapping[str, str]
    strange: tuple[str, ...] = ()
    folders: Folders = field(default_factory=Folders)


@dataclass(frozen=True)
class StrayPinsResource(Resource[StrayState]):
    """No pins and folders below ``folder`` but those of the lab. A folder that the lab did not make is left alone.

    ``ends``: nothing is pinned in it any more, so it goes as well, and the mount that the lab made for it.
    """

    folder: str
    ends: bool = False

    def kinds(self) -> tuple[Kind, ...]:
        return (FolderKind(), MountKind())

    def takes_away(self) -> bool:
        return self.ends

    def observe(self, host: Host) -> StrayState:
        """Walk the folder."""
        seen = folders.look(host, self.folder, KEPT)
        pins, strange = {}, []
        if self.folder in seen.inside:
            for folder, _folders, names in os.walk(self.folder, topdown=False):
                paths = [os.path.join(folder, name) for name in sorted(names)]
                pins.update({path: _what(path) for path in paths if not _ours(host, path)})
                if folder != self.folder and host.journal.claimed(dir_key(folder)) is None:
                    strange.append(folder)
        return StrayState(pins, tuple(strange), seen)

    def plan(self, now: StrayState, coming: Forecast = NOTHING) -> Plan:
        """Remove them all."""
        pins = {path: what for path, what in now.pins.items() if told_of(path, coming) is None}
        steps: list[Step] = [RemoveForeignPin(path, what) for path, what in pins.items()]
        steps += [RemoveForeignFolder(path) for path in now.strange]
        if self.ends:
            for place in (self.folder, KEPT):
                steps += emptying(place, now.folders, (), forecast(steps, coming))
        return Plan(before=dict(pins), after={}, steps=tuple(steps))

    def result(self, now: StrayState) -> dict[str, t.Any]:
        """What is left."""
        return {"strays": sorted(now.pins)}


def _ours(host: Host, path: str) -> bool:
    return any(host.journal.claimed(f"{kind}:{path}") is not None for kind in ("pin", "map"))


def _what(path: str) -> str:
    try:
        return words(syscall.at(path))
    except LabError:
        return words(None)
