# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps that put a tool's files in place and take them away, keep what was there before, and note the tool."""

from __future__ import annotations

import os
import shutil
import stat
import typing as t
from dataclasses import dataclass

from ..._core import files
from ..._core.backup import backup_of
from ..._core.errors import LabError
from ..._core.host import Host
from ..._core.plan import BatchStep, Done, Forget, Learned, Note, Outcome, Step, make, release, unmade
from .content import Content, checked, copy
from .state import ASIDE, PLACED, TOOL, Record, aside_of, temporary_key


def _held(path: str) -> str:
    """The name under which a run holds the file that it has replaced or removed."""
    return f"file {path}"


def _hold(path: str, content: t.Optional[Content]) -> dict[str, t.Any]:
    """A regular file, open, so that its content is there while the run lasts. Raises OSError."""
    return {_held(path): open(path, "rb")} if content is not None and content.sha256 else {}


def _in_place(path: str, note: Note) -> tuple[Note, ...]:
    """The notes of a step that makes ``temporary(path)`` and renames it to ``path``."""
    return (make(temporary_key(path), lasting=True), note, release(temporary_key(path)))


@dataclass(frozen=True)
class PlaceFile(BatchStep):
    """Put one file or link in place, by a rename, over ``instead``, which may be nothing.

    It is made from ``source``, a staged file; else from what the run holds (``held``), or from ``text``. ``foreign``:
    ``instead`` is not ours, and kept aside.
    """

    tool: str
    path: str
    content: Content
    source: str = ""
    text: str = ""
    held: bool = False
    instead: t.Optional[Content] = None
    foreign: bool = False

    def title(self) -> str:
        return f"place {self.path}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        value = {"tool": self.tool, **self.content.noted()}
        return _in_place(self.path, make(f"{PLACED}{self.path}", value, lasting=True))

    def group(self) -> t.Optional[t.Hashable]:
        return "place"

    @classmethod
    def apply_many(cls, host: Host, steps: t.Sequence[t.Any], learned: Learned) -> list[Outcome]:
        """All the space is taken before the first file is replaced: a full disk changes nothing."""
        try:
            for step in steps:
                step.prepare(learned)
        except BaseException:
            for step in steps:
                files.sweep(step.path)
            raise
        return [step.put() for step in steps]

    def prepare(self, learned: Learned) -> None:
        """Make what is to be renamed. Raises LabError."""
        new = files.temporary(self.path)
        try:
            files.sweep(self.path)
            if self.content.link:
                os.symlink(self.content.link, new)
            elif self.source:
                copy(self.source, new, root=True)
            else:
                self._write(new, learned)
        except OSError as error:
            raise files.failed(self.title(), error) from error

    def _write(self, new: str, learned: Learned) -> None:
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(handle, "wb") as target:
            if self.held:
                before = learned.handle(_held(self.path))
                before.seek(0)
                shutil.copyfileobj(before, target)
                status = os.fstat(before.fileno())
                os.fchown(handle, status.st_uid, status.st_gid)
                os.fchmod(handle, stat.S_IMODE(status.st_mode))
            else:
                target.write(self.text.encode())
                os.fchmod(handle, 0o644)
            target.flush()
            os.fsync(handle)

    def put(self) -> Outcome:
        """Rename it; what came in between is not replaced."""
        new = files.temporary(self.path)
        try:
            checked(self.path, self.instead, self.title())
            handles = {} if self.foreign else _hold(self.path, self.instead)
            os.replace(new, self.path)
        except (OSError, LabError) as error:
            files.sweep(self.path)
            return files.failed(self.title(), error) if isinstance(error, OSError) else error
        undo: Step = RemoveFile(self.tool, self.path, self.content)
        if self.instead is not None and self.foreign:
            undo = PutBack(self.tool, self.path, self.instead, self.content)
        elif self.instead is not None:
            undo = PlaceFile(self.tool, self.path, self.instead, held=True, instead=self.content)
        return Done(undo=(undo,), handles=handles)


@dataclass(frozen=True)
class RemoveFile(Step):
    """Remove a file of ours. One that somebody has changed is his, and stays."""

    tool: str
    path: str
    content: Content

    def title(self) -> str:
        return f"remove {self.path}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (unmade(f"{PLACED}{self.path}"),)

    def group(self) -> t.Optional[t.Hashable]:
        return "remove"

    def apply(self, host: Host, learned: Learned) -> Done:
        if Content.of(self.path) != self.content:
            return Done()
        try:
            handles = _hold(self.path, self.content)
        except OSError as error:
            raise files.failed(self.title(), error) from error
        files.remove(self.path)
        return Done(undo=(PlaceFile(self.tool, self.path, self.content, held=True),), handles=handles)


@dataclass(frozen=True)
class KeepAside(Step):
    """Keep a copy of somebody's file that one of ours is to replace."""

    tool: str
    path: str
    content: Content

    def title(self) -> str:
        return f"keep {self.path}, which the lab did not make"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        value = {"tool": self.tool, **self.content.noted()}
        return _in_place(aside_of(self.path), make(f"{ASIDE}{self.path}", value, lasting=True))

    def group(self) -> t.Optional[t.Hashable]:
        return "aside"

    def apply(self, host: Host, learned: Learned) -> Done:
        aside = aside_of(self.path)
        new = files.temporary(aside)
        try:
            os.makedirs(os.path.dirname(aside), mode=0o700, exist_ok=True)
            files.sweep(aside)
            copy(self.path, new)
            checked(new, self.content, self.title())
            os.replace(new, aside)
            files.sync_folder(os.path.dirname(aside))
        except (OSError, LabError) as error:
            files.sweep(aside)
            if isinstance(error, LabError):
                raise
            raise files.failed(self.title(), error) from error
        return Done(undo=(RemoveAside(self.tool, self.path, self.content),))


@dataclass(frozen=True)
class RemoveAside(Step):
    """Remove the copy of somebody's file: the file itself is in its place."""

    tool: str
    path: str
    content: Content

    def title(self) -> str:
        return f"remove the copy of {self.path}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (unmade(f"{ASIDE}{self.path}"),)

    def apply(self, host: Host, learned: Learned) -> Done:
        files.remove(aside_of(self.path))
        return Done(undo=(KeepAside(self.tool, self.path, self.content),))


@dataclass(frozen=True)
class PutBack(Step):
    """Put back somebody's file that ours, ``ours``, had replaced; beside a third one, should there be one by now."""

    tool: str
    path: str
    content: Content
    ours: t.Optional[Content] = None

    def title(self) -> str:
        return f"put {self.path} back, which was there before"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return _in_place(self.path, unmade(f"{PLACED}{self.path}"))

    def apply(self, host: Host, learned: Learned) -> Done:
        new = files.temporary(self.path)
        try:
            files.sweep(self.path)
            now = Content.of(self.path)
            there = now is None or now == self.ours
            copy(aside_of(self.path), new)
            handles = _hold(self.path, now) if there else {}
            os.replace(new, self.path if there else backup_of(self.path))
        except OSError as error:
            files.sweep(self.path)
            raise files.failed(self.title(), error) from error
        if not there:
            return Done()
        if now is None:
            return Done(undo=(RemoveFile(self.tool, self.path, self.content),))
        return Done((PlaceFile(self.tool, self.path, now, held=True, instead=self.content),), handles=handles)


@dataclass(frozen=True)
class RecordTool(Step):
    """Note from what the tool is made, or that it is being placed."""

    tool: str
    record: Record

    def __hash__(self) -> int:
        return hash((self.tool, self.record.key))

    def title(self) -> str:
        return f"note {f'from what {self.tool} is made' if self.record.key else f'that {self.tool} is being placed'}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (make(f"{TOOL}{self.tool}", self.record.noted(), lasting=True),)

    def apply(self, host: Host, learned: Learned) -> Done:
        before = host.journal.claimed(f"{TOOL}{self.tool}")
        if before is None:
            return Done(undo=(Forget(f"{TOOL}{self.tool}"),))
        return Done(undo=(RecordTool(self.tool, Record.from_noted(before.value)),))
