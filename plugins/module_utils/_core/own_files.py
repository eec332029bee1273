# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are ours: written, removed and put back by a rename, and told from those of others by their digest.

The journal notes a file under ``file:PATH``, with its digest in ``sha256`` or ``written`` among whatever else its
owner needs to know; a file of somebody's that ours replaced is saved there as a whole.
"""

from __future__ import annotations

import base64
import os
import stat
import typing as t
from dataclasses import dataclass

from . import files
from .errors import LabError, Refused
from .plan import NOTHING, Done, Forecast, Key, Learned, Note, Step, make, release, restored, save, unmade
from .resource import UNKNOWN, Kind

if t.TYPE_CHECKING:
    from .host import Host
    from .journal import Entry

COMING = "coming"  # marks what is noted before the file is there: nothing else is taken for it
KEPT_BYTES = 4 << 20  # of a foreign file that is replaced: more does not belong in the journal
Value = t.Mapping[str, t.Any]


def file_key(path: str) -> Key:
    """The journal's key of a file."""
    return f"file:{path}"


def temporary_key(path: str) -> Key:
    """The journal's key of what only a run needs; ``path`` is the thing's own."""
    return f"temporary:{path}"


def digest_of(value: t.Any) -> str:
    """The digest that a note is about; "" when it is about none."""
    found = value if isinstance(value, dict) else {}
    return str(found.get("sha256") or found.get("written") or "")


def coming_digest(path: str, now: t.Optional[str], coming: Forecast = NOTHING) -> t.Optional[str]:
    """The digest of a file after what is coming: "" when it cannot be told before; None for no file."""
    told = coming.get(file_key(path))
    if told is None:
        return now
    return None if told.what == "removed" else digest_of(told.value)


def is_plain(path: str) -> bool:
    """Whether a path from the journal is one that we write: absolute, and without ``..``."""
    return path.startswith("/") and os.path.normpath(path) == path and "\0" not in path


def saved_file(path: str) -> t.Optional[dict[str, t.Any]]:
    """Somebody's file as the journal keeps it; None when there is none. Raises Refused when it is too big."""
    content = files.read(path, limit=KEPT_BYTES + 1)
    if content is None:
        return None
    if len(content) > KEPT_BYTES:
        raise Refused(f"{path} is there, and is too big to be kept in the journal.", "Move it away by hand.")
    text = base64.b64encode(content).decode("ascii")
    return {"sha256": files.digest(content), "mode": stat.S_IMODE(os.lstat(path).st_mode), "content": text}


@dataclass(frozen=True)
class WriteFile(Step):
    """Make a file of ours hold ``content``; ``value`` is what is noted of it. ``batch``: neighbours are one batch.

    ``before`` is somebody's file that it replaces, as ``saved_file`` returns it.
    """

    path: str
    content: bytes
    value: Value
    before: t.Optional[Value] = None
    batch: bool = False

    def title(self) -> str:
        return f"write {self.path}"

    def group(self) -> t.Optional[t.Hashable]:
        return "files" if self.batch else None

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return written(self.path, self.value, self.before)

    def apply(self, host: Host, learned: Learned) -> Done:
        back = way_back(host, self.path, self.before)
        files.write(self.path, self.content)
        return Done(undo=(back,), learned={file_key(self.path): dict(self.value)})


@dataclass(frozen=True)
class RemoveFile(Step):
    """Remove a file of ours."""

    path: str

    def title(self) -> str:
        return f"remove {self.path}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (unmade(file_key(self.path)),)

    def apply(self, host: Host, learned: Learned) -> Done:
        refuse_odd(self.path)
        if not os.path.lexists(self.path):
            return Done()
        back = way_back(host, self.path)
        files.remove(self.path)
        return Done(undo=(back,))


@dataclass(frozen=True)
class RestoreFile(Step):
    """Put somebody's file back in the place of ours. ``saved`` is what the journal keeps of it."""

    path: str
    saved: Value

    def title(self) -> str:
        return f"put {self.path} back as it was before the lab"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (unmade(file_key(self.path)), restored(file_key(self.path)))

    def apply(self, host: Host, learned: Learned) -> Done:
        refuse_odd(self.path)
        back = way_back(host, self.path, self.saved)
        files.write(self.path, base64.b64decode(self.saved["content"]), mode=self.saved["mode"])
        return Done(undo=(back,))


def written(path: str, value: Value, before: t.Optional[Value] = None) -> tuple[Note, ...]:
    """The notes of a step that puts a file in place by a rename."""
    made = make(file_key(path), {**value, COMING: True}, lasting=True)
    if before is None:
        return (made,)
    return (save(file_key(path), dict(before), {"sha256": digest_of(dict(value))}, lasting=True), made)


def way_back(host: Host, path: str, before: t.Optional[Value] = None) -> Step:
    """The step that makes the file what it is now; ``before``: what is there now is, or was, somebody's."""
    content = files.read(path)
    entry = host.journal.claimed(file_key(path))
    if content is None:
        return RemoveFile(path)
    if before is not None and files.digest(content) == before["sha256"]:
        return RestoreFile(path, before)
    value = entry.value if entry is not None and isinstance(entry.value, dict) else {"sha256": files.digest(content)}
    return WriteFile(path, content, value, before)


def refuse_odd(path: str) -> None:
    """Raise Refused for a path that the journal cannot have from us."""
    if not is_plain(path):
        raise Refused(f"The journal names the file {path}, which no run of the lab has written.", "Look at it by hand.")


def is_ours(host: Host, path: str) -> bool:
    """Whether the file at ``path`` is as we wrote it."""
    claim = host.journal.claimed(file_key(path))
    digest = digest_of(claim.value) if claim is not None else ""
    return bool(digest) and files.sha256_of(path, follow=False) == digest


class FileKind(Kind):
    """Named: its digest is noted, then it gets its name. Later on what bears the name is the plan's matter."""

    prefix = "file:"
    way = "named"

    def look(self, host: Host, entries: t.Mapping[Key, Entry]) -> dict[Key, t.Any]:
        return {key: self._seen(key, entry) for key, entry in entries.items()}

    def _seen(self, key: Key, entry: Entry) -> t.Any:
        path = key[len(self.prefix) :]
        if not is_plain(path):
            return None
        noted = (entry.value, entry.coming, entry.saved)
        if not any(isinstance(value, dict) and digest_of(value) for value in noted):
            return UNKNOWN  # noted by somebody who does it otherwise
        try:
            there = files.kind(path)
            digest = files.sha256_of(path, follow=False) if there == "file" else None
        except LabError:
            return UNKNOWN
        return {"kind": there, "sha256": digest} if there else None

    def is_same(self, noted: t.Any, seen: t.Any) -> bool:
        if not isinstance(noted, dict) or not noted.get(COMING):
            return True
        return bool(digest_of(noted) == seen["sha256"])

    def identity(self, coming: t.Any, seen: t.Any) -> t.Any:
        return {name: value for name, value in coming.items() if name != COMING}

    def is_back(self, saved: t.Any, seen: t.Any) -> bool:
        if not isinstance(saved, dict):
            return False
        return seen is not None and saved.get("sha256") == seen["sha256"]

    def sweep(self, host: Host, key: Key, entry: Entry) -> None:
        path = key[len(self.prefix) :]
        if is_plain(path):
            files.sweep(path)


TEMPORARY_NAMES = (files.TEMPORARY, "ebpf_lab_staging", "ebpf_lab_try_")  # how the names of temporary things begin


class TemporaryKind(Kind):
    """What only a run needs: a folder or a file of a name that nobody else gives."""

    prefix = "temporary:"
    way = "temporary"

    def look(self, host: Host, entries: t.Mapping[Key, Entry]) -> dict[Key, t.Any]:
        paths = {key: key[len(self.prefix) :] for key in entries}
        return {key: True if self._ours(path) and os.path.lexists(path) else None for key, path in paths.items()}

    def sweep(self, host: Host, key: Key, entry: Entry) -> None:
        path = key[len(self.prefix) :]
        if self._ours(path):
            files.remove_tree(path)

    @staticmethod
    def _ours(path: str) -> bool:
        return is_plain(path) and os.path.basename(path).startswith(TEMPORARY_NAMES)


def temporary_notes(path: str, *, lasting: bool = False) -> tuple[Note, Note]:
    """The notes of a step that makes a temporary thing and removes it itself."""
    return (make(temporary_key(path), lasting=lasting), release(temporary_key(path)))
