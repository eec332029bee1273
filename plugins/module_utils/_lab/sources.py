# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's source files on the host. What a student wrote is never lost: it is kept beside what replaces it."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, field

from .._bpf.object.resource import is_ours
from .._bpf.pin.folders import Sweep, existing, making, ours_and_empty
from .._core import files
from .._core.files import KeepFile, digest
from .._core.host import Host
from .._core.plan import Forget, Note, Plan, Step
from .._core.text import one_line


@dataclass(frozen=True)
class SourceState:
    """``found`` maps each path to its content, None where there is no file; ``written`` to the digest that we wrote.

    ``older``: to the one that we had written before, which is still there when a run was killed in between.
    ``there`` are the paths at which something else than a file is, with its kind; ``replaced`` is the kind of what
    stands where the folder should be. ``ours`` are the folders that we made, inner first, with what is in each of them
    and is not the lab's.
    """

    found: t.Mapping[str, t.Optional[bytes]]
    written: t.Mapping[str, str]
    folders: frozenset[str]
    empty: tuple[str, ...] = ()
    there: t.Mapping[str, str] = field(default_factory=dict)
    replaced: str = ""
    ours: t.Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    older: t.Mapping[str, str] = field(default_factory=dict)

    def edited(self, path: str) -> bool:
        """Whether somebody's work is at ``path``."""
        content = self.found[path]
        ours = (self.written.get(path), self.older.get(path))
        return path in self.there or (content is not None and digest(content) not in ours)

    def describe(self) -> dict[str, t.Optional[str]]:
        """For the diff."""
        return {path: self.describe_one(path) for path in self.found}

    def describe_one(self, path: str) -> t.Optional[str]:
        """For the diff: the text of one file."""
        return f"(a {self.there[path]})" if path in self.there else _text(self.found[path])


@dataclass(frozen=True)
class SourcesResource:
    """Files with exactly these contents in one folder; ``present`` False: none of ours there."""

    folder: str
    contents: t.Mapping[str, bytes]
    present: bool = True

    def observe(self, host: Host) -> SourceState:
        """Read the files."""
        claims = {
            key[len("file:") :]: entry.value
            for key, entry in host.journal.claims(f"file:{self.folder}/").items()
            if entry.value and "written" in entry.value
        }
        written = {path: value["written"] for path, value in claims.items()}
        paths = sorted({f"{self.folder}/{name}" for name in self.contents} if self.present else set(written))
        kind = files.kind(self.folder)
        replaced = kind if kind != "folder" else ""
        kinds = {path: "" if replaced else files.kind(path) for path in paths}
        return SourceState(
            {path: files.read(path) if kinds[path] == "file" else None for path in paths},
            written,
            existing(os.path.dirname(self.folder) if replaced else self.folder),
            ours_and_empty(host, self.folder),
            there={path: what for path, what in kinds.items() if what not in ("", "file")},
            replaced=replaced,
            ours={folder: _strangers(host, folder, written) for folder in _claimed(host, self.folder)},
            others=() if replaced else _strangers(host, self.folder, written),
            older={path: value["replaces"] for path, value in claims.items() if value.get("replaces")},
        )

    def plan(self, now: SourceState) -> Plan:
        """Write what differs; what was edited is kept beside it."""
        if not self.present:
            return self._plan_absent(now)
        steps: list[Step] = []
        for name, content in sorted(self.contents.items()):
            path = f"{self.folder}/{name}"
            old = now.found[path]
            if old != content or now.written.get(path) != digest(content):
                steps.append(WriteSource(path, content, old, old != content and now.edited(path)))
        if now.replaced:
            steps = [KeepFile(self.folder), *making(self.folder, now.folders, volatile=False), *steps]
        elif steps:
            steps = [*making(self.folder, now.folders, volatile=False), *steps]
        after = {f"{self.folder}/{name}": _text(content) for name, content in sorted(self.contents.items())}
        return Plan(now.describe(), after, tuple(steps))

    def _plan_absent(self, now: SourceState) -> Plan:
        """Remove what is as we wrote it; what is not stays, with a word that says so, and so do the folders above."""
        steps: list[Step] = []
        warnings = []
        after: dict[str, t.Optional[str]] = {}
        if now.replaced:
            warnings.append(f"{self.folder} is a {now.replaced}, which the lab did not make, and stays.")
        for path, content in sorted(now.found.items()):
            if now.edited(path):
                warnings.append(f"{path} was edited and stays.")
            if now.edited(path) or now.replaced:
                steps.append(Forget(f"file:{path}"))
                after[path] = now.describe_one(path)
            else:
                steps.append(RemoveSource(path, content))
                after[path] = None
        strangers = now.others if warnings or now.others else ()
        for folder, inside in now.ours.items():
            if not (now.replaced and folder == self.folder):
                strangers += tuple(path for path in inside if path not in strangers)
            if warnings or strangers or folder not in now.folders:
                steps.append(Forget(f"dir:{folder}"))
        warnings += [f"{one_line(path)} is not the lab's and stays." for path in strangers]
        if not steps and now.empty:
            steps = [Sweep(self.folder)]
        return Plan(now.describe(), after, tuple(steps), tuple(warnings))

    def facts(self, host: Host, now: SourceState) -> dict[str, t.Any]:
        """Where the files are."""
        found = sorted(path for path, content in now.found.items() if content is not None)
        return {"folder": self.folder, "files": found}


def _claimed(host: Host, folder: str) -> t.Iterator[str]:
    """The folders that we made: this one and those above, inner first."""
    while folder != "/":
        if host.journal.claimed(f"dir:{folder}") is not None:
            yield folder
        folder = os.path.dirname(folder)


def _strangers(host: Host, folder: str, written: t.Collection[str]) -> tuple[str, ...]:
    """What is in a folder and is neither the lab's nor, at first, was."""
    try:
        paths = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise files.failed(f"list {folder}", error) from error
    ours = {path for path in paths if path in written or host.journal.claimed(f"dir:{path}") is not None}
    return tuple(path for path in paths if path not in ours and not is_ours(host, path))


def _text(content: t.Optional[bytes]) -> t.Optional[str]:
    return None if content is None else os.fsdecode(content)


@dataclass(frozen=True)
class WriteSource(Step):
    """Write one file; with ``edited`` what is there is somebody's work, and is kept beside it under another name."""

    path: str
    content: bytes
    old: t.Optional[bytes]
    edited: bool

    def title(self) -> str:
        return f"write {self.path}" + (", keeping the edited one as a backup" if self.edited else "")

    def apply(self, host: Host) -> None:
        if self.edited:
            files.keep(host, self.path)
        try:
            files.write(self.path, self.content)
        except BaseException:
            if self.edited:
                files.unkeep(host, self.path)
            raise

    def undo(self, host: Host) -> None:
        if self.edited:
            files.remove(self.path)
            files.unkeep(host, self.path)
        elif self.old is None:
            files.remove(self.path)
        else:
            files.write(self.path, self.old)

    def notes(self) -> tuple[Note, ...]:
        value = {"written": digest(self.content)}
        if self.old is not None and not self.edited:
            value["replaces"] = digest(self.old)
        return (Note("claim", f"file:{self.path}", value, volatile=False),)


@dataclass(frozen=True)
class RemoveSource(Step):
    """Remove a file that is as we wrote it, and the folders of ours that this empties."""

    path: str
    content: t.Optional[bytes]

    def title(self) -> str:
        return f"remove {self.path}"

    def apply(self, host: Host) -> None:
        files.remove(self.path)
        Sweep(os.path.dirname(self.path)).apply(host)

    def undo(self, host: Host) -> None:
        Sweep(os.path.dirname(self.path)).undo(host)
        if self.content is not None:
            files.write(self.path, self.content)

    def notes(self) -> tuple[Note, ...]:
        return (Note("release", f"file:{self.path}"),)
