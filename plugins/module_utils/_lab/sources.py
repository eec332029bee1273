# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's source files on the host. What a student wrote is never lost: it is kept beside what replaces it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import typing as t
from dataclasses import dataclass

from .._bpf.folders import Sweep, existing, making, ours_and_empty
from .._core.errors import LabError
from .._core.host import Host
from .._core.plan import Forget, Note, Plan, Step


def digest_of(content: str) -> str:
    """The SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True)
class SourceState:
    """``found`` maps each path to its content, None where there is no file; ``written`` to the digest that we wrote.

    ``ours`` are the folders that we made, inner first, ``others`` the files in the folder that are not the lab's.
    """

    found: t.Mapping[str, t.Optional[str]]
    written: t.Mapping[str, str]
    folders: frozenset[str]
    empty: tuple[str, ...] = ()
    ours: tuple[str, ...] = ()
    others: frozenset[str] = frozenset()


@dataclass(frozen=True)
class SourcesResource:
    """Files with exactly these contents in one folder; ``present`` False: none of ours there."""

    folder: str
    contents: t.Mapping[str, str]
    present: bool = True

    def observe(self, host: Host) -> SourceState:
        """Read the files."""
        written = {
            key[len("file:") :]: entry.value["written"]
            for key, entry in host.journal.claims(f"file:{self.folder}/").items()
            if entry.value and "written" in entry.value
        }
        paths = {f"{self.folder}/{name}" for name in self.contents} if self.present else set(written)
        return SourceState(
            {path: _read(path) for path in sorted(paths)},
            written,
            existing(self.folder),
            ours_and_empty(host, self.folder),
            ours=tuple(
                folder
                for folder in sorted(existing(self.folder), key=len, reverse=True)
                if host.journal.claimed(f"dir:{folder}") is not None
            ),
            others=frozenset(
                path
                for path in (f"{self.folder}/{name}" for name in _names(self.folder))
                if host.journal.claimed(f"file:{path}") is None
            ),
        )

    def plan(self, now: SourceState) -> Plan:
        """Write what differs; what was edited is kept beside it."""
        if not self.present:
            return self._plan_absent(now)
        steps: list[Step] = []
        for name, content in sorted(self.contents.items()):
            path = f"{self.folder}/{name}"
            old = now.found[path]
            if old != content or now.written.get(path) != digest_of(content):
                edited = old not in (None, content) and digest_of(old or "") != now.written.get(path)
                steps.append(WriteSource(path, content, old, edited))
        if steps:
            steps = [*making(self.folder, now.folders, volatile=False), *steps]
        after = {f"{self.folder}/{name}": content for name, content in sorted(self.contents.items())}
        return Plan(dict(now.found), after, tuple(steps))

    def _plan_absent(self, now: SourceState) -> Plan:
        steps: list[Step] = []
        warnings = []
        after: dict[str, t.Optional[str]] = {}
        for path, content in sorted(now.found.items()):
            if content is not None and digest_of(content) != now.written[path]:
                warnings.append(f"{path} was edited and stays.")
                steps.append(Forget(f"file:{path}"))
                after[path] = content
            else:
                steps.append(RemoveSource(path, content))
                after[path] = None
        if now.others or warnings:
            warnings += [f"{path} is not the lab's and stays." for path in sorted(now.others)]
            steps += [Forget(f"dir:{folder}") for folder in now.ours]
        if not steps and now.empty:
            steps = [Sweep(self.folder)]
        return Plan(dict(now.found), after, tuple(steps), tuple(warnings))

    def facts(self, host: Host, now: SourceState) -> dict[str, t.Any]:
        """Where the files are."""
        files = sorted(path for path, content in now.found.items() if content is not None)
        return {"folder": self.folder, "files": files}


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _read(path: str) -> t.Optional[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LabError(f"read {path}: {error.strerror}.") from error


def _write(path: str, content: str) -> None:
    temporary = f"{path}.ebpf-lab-new"
    try:
        with open(temporary, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(content)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise LabError(f"write {path}: {error.strerror}.") from error


def _keep(host: Host, path: str) -> None:
    """Rename a file to a backup of its own beside it."""
    number, backup = 1, f"{path}.{time.strftime('%Y-%m-%d_%H%M%S')}~"
    while os.path.lexists(backup):  # two of the same second
        number, backup = number + 1, f"{backup.rstrip('~').partition('_again')[0]}_again{number}~"
    try:
        os.rename(path, backup)
    except OSError as error:
        raise LabError(f"keep {path} as {backup}: {error.strerror}.") from error
    host.kept["backup", path] = backup


def _unkeep(host: Host, path: str) -> None:
    os.replace(host.kept.pop(("backup", path)), path)


@dataclass(frozen=True)
class KeepFile(Step):
    """Keep somebody's file as a backup beside the one that takes its place."""

    path: str

    def title(self) -> str:
        return f"keep {self.path}, which the lab did not make, as a backup"

    def apply(self, host: Host) -> None:
        _keep(host, self.path)

    def undo(self, host: Host) -> None:
        _unkeep(host, self.path)


@dataclass(frozen=True)
class WriteSource(Step):
    """Write one file; with ``edited`` what is there is somebody's work, and is kept beside it under another name."""

    path: str
    content: str
    old: t.Optional[str]
    edited: bool

    def title(self) -> str:
        return f"write {self.path}" + (", keeping the edited one as a backup" if self.edited else "")

    def apply(self, host: Host) -> None:
        if self.edited:
            _keep(host, self.path)
        _write(self.path, self.content)

    def undo(self, host: Host) -> None:
        if self.edited:
            _unkeep(host, self.path)
        elif self.old is None:
            os.unlink(self.path)
        else:
            _write(self.path, self.old)

    def notes(self) -> tuple[Note, ...]:
        return (Note("claim", f"file:{self.path}", {"written": digest_of(self.content)}, volatile=False),)


@dataclass(frozen=True)
class RemoveSource(Step):
    """Remove a file that is as we wrote it, and the folders of ours that this empties."""

    path: str
    content: t.Optional[str]

    def title(self) -> str:
        return f"remove {self.path}"

    def apply(self, host: Host) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        Sweep(os.path.dirname(self.path)).apply(host)

    def undo(self, host: Host) -> None:
        Sweep(os.path.dirname(self.path)).undo(host)
        if self.content is not None:
            _write(self.path, self.content)

    def notes(self) -> tuple[Note, ...]:
        return (Note("release", f"file:{self.path}"),)
