# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps that remove what somebody left in a folder that the lab made for its own pins."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..._core import files
from ..._core.errors import LabError
from ..._core.host import Host
from ..._core.plan import Done, Learned, Note, Step, unmade
from ..._core.text import one_line
from ..._kernel import syscall
from .steps import dir_key, hold, pin_key, remove_pin


@dataclass(frozen=True)
class RemoveForeignPin(Step):
    """Remove somebody's pin in a folder of ours; what nothing else holds goes with it. ``what`` it is, in words."""

    path: str
    what: str

    def title(self) -> str:
        return f"unpin {one_line(self.path)} ({self.what}), which the lab did not make"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (unmade(pin_key(self.path)),)

    def apply(self, host: Host, learned: Learned) -> Done:
        try:
            before = hold(self.path)
        except LabError:  # no BPF object, or one that cannot be opened
            before = None
        remove_pin(self.path)
        if before is None:
            return Done()
        return Done(undo=(PinForeign(self.path, before[0]),), handles=dict([before]))


@dataclass(frozen=True)
class PinForeign(Step):
    """Pin again what was somebody's pin."""

    path: str
    held: str

    def title(self) -> str:
        return f"pin the {self.held} at {one_line(self.path)} again"

    def apply(self, host: Host, learned: Learned) -> Done:
        syscall.pin(learned.handle(self.held).fd, self.path)
        return Done(undo=(RemoveForeignPin(self.path, self.held),))


@dataclass(frozen=True)
class RemoveForeignFolder(Step):
    """Remove somebody's folder in a folder of ours, empty by now."""

    path: str

    def title(self) -> str:
        return f"remove the folder {one_line(self.path)}, which the lab did not make"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (unmade(dir_key(self.path)),)

    def apply(self, host: Host, learned: Learned) -> Done:
        try:
            mode = os.stat(self.path).st_mode & 0o7777
            os.rmdir(self.path)
        except FileNotFoundError:
            return Done()
        except OSError as error:
            raise files.failed(self.title(), error) from error
        return Done(undo=(MakeForeignFolder(self.path, mode),))


@dataclass(frozen=True)
class MakeForeignFolder(Step):
    """Make somebody's folder again."""

    path: str
    mode: int

    def title(self) -> str:
        return f"make the folder {one_line(self.path)} again"

    def apply(self, host: Host, learned: Learned) -> Done:
        try:
            os.mkdir(self.path, self.mode)
        except OSError as error:
            raise files.failed(self.title(), error) from error
        return Done(undo=(RemoveForeignFolder(self.path),))
