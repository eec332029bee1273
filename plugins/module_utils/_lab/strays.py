# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pins that somebody else left in the folder that the lab made for its own."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from .._bpf.pin.folders import sweep, unsweep
from .._bpf.pin.pins import keep, put_back
from .._core.errors import LabError
from .._core.host import Host
from .._core.plan import Plan, Step
from .._core.text import one_line
from .._kernel import syscall
from .._kernel.syscall import LinkInfo


@dataclass(frozen=True)
class StrayState:
    """The foreign pins below the folder with what they are, and the foreign folders, inner first."""

    pins: t.Mapping[str, str]
    folders: tuple[str, ...] = ()


@dataclass(frozen=True)
class StrayPinsResource:
    """No pins and folders below ``folder`` but those of the lab. A folder that the lab did not make is left alone."""

    folder: str

    def observe(self, host: Host) -> StrayState:
        """Walk the folder."""
        pins, folders = {}, []
        if host.journal.claimed(f"dir:{self.folder}") is not None:
            for folder, _folders, names in os.walk(self.folder, topdown=False):
                paths = [os.path.join(folder, name) for name in sorted(names)]
                pins.update({path: _what(path) for path in paths if not _ours(host, path)})
                if folder != self.folder and host.journal.claimed(f"dir:{folder}") is None:
                    folders.append(folder)
        return StrayState(pins, tuple(folders))

    def plan(self, now: StrayState) -> Plan:
        """Remove them all."""
        steps: list[Step] = [RemoveStray(path, what) for path, what in now.pins.items()]
        steps += [RemoveStrayFolder(path) for path in now.folders]
        return Plan(before=dict(now.pins), after={}, steps=tuple(steps))

    def facts(self, host: Host, now: StrayState) -> dict[str, t.Any]:
        """What is left."""
        return {"strays": sorted(now.pins)}


def _ours(host: Host, path: str) -> bool:
    return any(host.journal.claimed(f"{kind}:{path}") is not None for kind in ("pin", "map"))


def _what(path: str) -> str:
    try:
        what = syscall.at(path)
    except LabError:
        return "another BPF object"
    if what is None:
        return "gone"
    kind = "bpf_link" if isinstance(what, LinkInfo) else f"{what.type} {what.name}".strip()
    return f"{kind}, id {what.id}"


@dataclass(frozen=True)
class RemoveStray(Step):
    """Remove one foreign pin; what nothing else holds goes with it."""

    path: str
    what: str

    def title(self) -> str:
        return f"unpin {one_line(self.path)} ({self.what}), which the lab did not make"

    def apply(self, host: Host) -> None:
        keep(host, self.path)
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise LabError(f"{self.title()}: {error.strerror}.") from error
        sweep(host, os.path.dirname(self.path))

    def undo(self, host: Host) -> None:
        unsweep(host, os.path.dirname(self.path))
        put_back(host, self.path)


@dataclass(frozen=True)
class RemoveStrayFolder(Step):
    """Remove one foreign folder, empty by now."""

    path: str

    def title(self) -> str:
        return f"remove the folder {one_line(self.path)}, which the lab did not make"

    def apply(self, host: Host) -> None:
        try:
            os.rmdir(self.path)
        except OSError as error:
            raise LabError(f"{self.title()}: {error.strerror}.") from error
        sweep(host, os.path.dirname(self.path))

    def undo(self, host: Host) -> None:
        unsweep(host, os.path.dirname(self.path))
        os.makedirs(self.path, 0o700, exist_ok=True)
