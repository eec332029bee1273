# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody's thing that is in the way is never lost: it is kept beside what takes its place."""

from __future__ import annotations

import os
import time
import typing as t
from dataclasses import dataclass

from .files import failed
from .plan import Done, Learned, Step

if t.TYPE_CHECKING:
    from .host import Host


def backup_of(path: str) -> str:
    """A free name beside ``path``, with the time in it."""
    number, backup = 1, f"{path}.{time.strftime('%Y-%m-%d_%H%M%S')}~"
    while os.path.lexists(backup):  # two of the same second
        number, backup = number + 1, f"{backup.rstrip('~').partition('_again')[0]}_again{number}~"
    return backup


@dataclass(frozen=True)
class KeepFile(Step):
    """Keep what somebody has at a path, of whatever kind, as a backup beside what takes its place."""

    path: str

    def title(self) -> str:
        return f"keep {self.path}, which the lab did not make, as a backup"

    def apply(self, host: Host, learned: Learned) -> Done:
        backup = backup_of(self.path)
        rename(self.path, backup, f"keep {self.path} as {os.path.basename(backup)}")
        return Done(undo=(PutBack(backup, self.path),))


@dataclass(frozen=True)
class PutBack(Step):
    """Give a backup its first name again."""

    backup: str
    path: str

    def title(self) -> str:
        return f"put {self.path} back"

    def apply(self, host: Host, learned: Learned) -> Done:
        rename(self.backup, self.path, self.title())
        return Done(undo=(PutBack(self.path, self.backup),))


def rename(old: str, new: str, doing: str) -> None:
    """Rename within a file system. Raises LabError."""
    try:
        os.rename(old, new)
    except OSError as error:
        raise failed(doing, error) from error
