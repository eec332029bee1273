# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's source files on the host. What a student wrote is never lost: it is kept beside what replaces it."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, field

from .._bpf.pin import folders
from .._bpf.pin.folders import Folders, emptying, making
from .._bpf.pin.kinds import FolderKind
from .._bpf.pin.steps import dir_key
from .._core import files
from .._core.backup import KeepFile
from .._core.files import digest
from .._core.host import Host
from .._core.own_files import FileKind, RemoveFile, WriteFile, file_key, is_ours, is_plain
from .._core.plan import NOTHING, Forecast, Forget, Plan, Step
from .._core.resource import Kind, Resource
from .._core.text import one_line


@dataclass(frozen=True)
class SourceState:
    """``found`` maps each path to its content, None where there is no file; ``written`` to the digest that we wrote.

    ``there`` are the paths at which something else than a file is, with its kind; ``replaced`` is the kind of what
    stands where the folder should be. ``strangers`` are, by folder, the paths of what is neither the lab's nor was.
    """

    found: t.Mapping[str, t.Optional[bytes]]
    written: t.Mapping[str, str]
    folders: Folders
    there: t.Mapping[str, str] = field(default_factory=dict)
    replaced: str = ""
    strangers: t.Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def edited(self, path: str) -> bool:
        """Whether somebody's work is at ``path``."""
        content = self.found[path]
        return path in self.there or (content is not None and digest(content) != self.written.get(path))

    def describe(self) -> dict[str, t.Optional[str]]:
        """For the diff."""
        return {path: self.describe_one(path) for path in self.found}

    def describe_one(self, path: str) -> t.Optional[str]:
        """For the diff: the text of one file."""
        return f"(a {self.there[path]})" if path in self.there else _text(self.found[path])


@dataclass(frozen=True)
class KeepEdited(KeepFile):
    """Keep what somebody made of a source."""

    def title(self) -> str:
        return f"keep the edited {self.path} as a backup"


@dataclass(frozen=True)
class SourcesResource(Resource[SourceState]):
    """Files with exactly these contents in one folder; ``present`` False: none of ours there."""

    folder: str
    contents: t.Mapping[str, bytes]
    present: bool = True

    def kinds(self) -> tuple[Kind, ...]:
        return (FolderKind(), FileKind())

    def takes_away(self) -> bool:
        return not self.present

    def observe(self, host: Host) -> SourceState:
        """Read the files."""
        written = {}
        for key, entry in host.journal.claims(file_key(f"{self.folder}/")).items():
            path = key[len("file:") :]
            if is_plain(path) and isinstance(entry.value, dict) and "written" in entry.value:
                written[path] = entry.value["written"]
        paths = sorted({f"{self.folder}/{name}" for name in self.contents} if self.present else set(written))
        kind = files.kind(self.folder)
        replaced = kind if kind != "folder" else ""
        kinds = {path: "" if replaced else files.kind(path) for path in paths}
        seen = folders.look(host, os.path.dirname(self.folder) if replaced else self.folder)
        ours = dict.fromkeys([*([self.folder] if written and not replaced else []), *seen.inside])
        return SourceState(
            {path: files.read(path) if kinds[path] == "file" else None for path in paths},
            written,
            seen,
            there={path: what for path, what in kinds.items() if what not in ("", "file")},
            replaced=replaced,
            strangers={folder: _strangers(host, folder, written) for folder in ours},
        )

    def plan(self, now: SourceState, coming: Forecast = NOTHING) -> Plan:
        """Write what differs; what was edited is kept beside it."""
        if not self.present:
            return self._plan_absent(now, coming)
        kept: list[Step] = []
        writes: list[Step] = []
        for name, content in sorted(self.contents.items()):
            path = f"{self.folder}/{name}"
            old = now.found[path]
            if old == content and now.written.get(path) == digest(content):
                continue
            if old != content and now.edited(path):
                kept.append(KeepEdited(path))
            writes.append(WriteFile(path, content, {"written": digest(content)}, batch=True))
        away: list[Step] = [KeepFile(self.folder)] if now.replaced else []
        made = making(self.folder, now.folders, coming, lasting=True) if away or writes else ()
        after = {f"{self.folder}/{name}": _text(content) for name, content in sorted(self.contents.items())}
        return Plan(now.describe(), after, (*away, *made, *kept, *writes))

    def _plan_absent(self, now: SourceState, coming: Forecast) -> Plan:
        """Remove what is as we wrote it; what is not stays, with a word that says so, and so do the folders above."""
        steps: list[Step] = []
        warnings = []
        after: dict[str, t.Optional[str]] = {}
        gone = []
        if now.replaced:
            warnings.append(f"{self.folder} is a {now.replaced}, which the lab did not make, and stays.")
        for path in sorted(now.found):
            if now.edited(path):
                warnings.append(f"{path} was edited and stays.")
            if now.edited(path) or now.replaced:
                steps.append(Forget(file_key(path)))
                after[path] = now.describe_one(path)
            else:
                steps.append(RemoveFile(path))
                gone.append(path)
                after[path] = None
        strangers = dict.fromkeys(path for inside in now.strangers.values() for path in inside if path not in now.found)
        warnings += [f"{one_line(path)} is not the lab's and stays." for path in strangers]
        away = emptying(self.folder, now.folders, gone, coming)
        if warnings:  # what somebody's things are in is his
            removed = {getattr(step, "path", "") for step in away}
            steps += [Forget(dir_key(folder)) for folder in now.folders.inside if folder not in removed]
        return Plan(now.describe(), after, (*steps, *away), tuple(warnings))

    def result(self, now: SourceState) -> dict[str, t.Any]:
        """Where the files are."""
        found = sorted(path for path, content in now.found.items() if content is not None)
        return {"folder": self.folder, "files": found}


def _strangers(host: Host, folder: str, written: t.Collection[str]) -> tuple[str, ...]:
    """What is in a folder and is neither the lab's nor, at first, was."""
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise files.failed(f"list {folder}", error) from error
    paths = [os.path.join(folder, name) for name in names if not folders.is_left_over(host, folder, name)]
    ours = {path for path in paths if path in written or host.journal.claimed(dir_key(path)) is not None}
    return tuple(path for path in paths if path not in ours and not is_ours(host, path))


def _text(content: t.Optional[bytes]) -> t.Optional[str]:
    return None if content is None else os.fsdecode(content)
