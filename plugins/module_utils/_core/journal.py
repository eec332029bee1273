# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal: what this host was like before, and which things are ours.

A file of lines, each a JSON object of entries as they are from then on (null: no more), so that a line is added before
a change and one after it. What a killed run had begun can be told from what it had made; settle.py decides it by
looking. The lines are made one when a run has ended; a journal without entries is no file.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import typing as t
from dataclasses import asdict, dataclass, fields, replace

from . import files
from .errors import LabError
from .plan import Key, Note

PATH = "/var/lib/ebpf.lab/journal.jsonl"
FORMAT = 2
_HEADER = {"ebpf.lab journal": FORMAT}


@dataclass(frozen=True)
class Entry:
    """What is noted of one key.

    ``claimed``: the thing is ours, ``value`` is its identity. ``about``: a run was about to make it, as ``coming``.
    ``saved``: somebody's value from before (``has_saved`` because None may be one), ``wrote`` what we may have made of
    it; ``saving``: a run was about to. ``boot`` is the boot's id for what a reboot takes away, "" for the rest;
    ``owner`` the lab on whose behalf it was written.
    """

    claimed: bool = False
    value: t.Any = None
    about: bool = False
    coming: t.Any = None
    has_saved: bool = False
    saved: t.Any = None
    saving: bool = False
    wrote: tuple[t.Any, ...] = ()
    boot: str = ""
    owner: str = ""

    @property
    def open(self) -> bool:
        """Whether a run was about to do something and did not say that it had."""
        return self.about or self.saving

    def without(self, part: str) -> t.Optional[Entry]:
        """Without its claim ("unmade") or without the value from before ("restored"); None when nothing is left."""
        if part == "unmade":
            left = replace(self, claimed=False, value=None, about=False, coming=None)
        else:
            left = replace(self, has_saved=False, saved=None, saving=False, wrote=())
        return left if left.claimed or left.has_saved else None

    def as_dict(self) -> dict[str, t.Any]:
        """As it stands in the file: without what is as in an empty one."""
        empty = asdict(Entry())
        return {name: value for name, value in asdict(self).items() if value != empty[name]}

    @classmethod
    def from_dict(cls, value: t.Mapping[str, t.Any]) -> Entry:
        """The inverse. Raises TypeError and ValueError for what was not written by ``as_dict``."""
        entry = cls(**{**value, "wrote": tuple(value.get("wrote", ()))})
        for one in fields(cls):
            wanted = {"bool": bool, "str": str, "tuple[t.Any, ...]": tuple}.get(str(one.type))
            if wanted is not None and not isinstance(getattr(entry, one.name), wanted):
                raise ValueError(f"{one.name} is {getattr(entry, one.name)!r:.60}")
        return entry


Entries = t.Mapping[Key, Entry]
Patch = t.Mapping[Key, t.Optional[Entry]]


def boot_id() -> str:
    """The kernel's id of this boot (random at each boot, see proc(5) on /proc/sys/kernel/random)."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


class Journal:
    """Read at once, written by ``patch``. Volatile entries of another boot are not shown: their things went with it."""

    def __init__(self, path: str = PATH, owner: str = "", boot: t.Optional[str] = None) -> None:
        self.path = path
        self.owner = owner
        self.boot = boot_id() if boot is None else boot
        self.entries: dict[Key, Entry] = {}
        self._size = 0  # bytes of whole lines in the file
        self._lines = 0  # whole lines behind the header
        self._stale = False  # whether the file has entries of another boot
        self._handle = -1
        self._inode = 0
        self.reload()

    def reload(self) -> None:
        """Read the file again; a missing one is an empty journal. Raises LabError when it cannot be understood."""
        self.close()
        self._inode = files.inode(self.path)
        folder = os.path.dirname(self.path)
        if os.path.lexists(folder) and not os.path.isdir(folder):
            raise self._unreadable(f"{folder} is a {files.kind(folder)}")
        content = files.read(self.path, follow=True)
        if content is None and files.kind(self.path):
            raise self._unreadable(f"it is a {files.kind(self.path)}")
        try:
            loaded, self._lines, self._size = _parse(content)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise self._unreadable(str(error)) from error
        self.entries = {key: entry for key, entry in loaded.items() if entry.boot in ("", self.boot)}
        self._stale = len(loaded) > len(self.entries)

    @property
    def read_at(self) -> tuple[int, int]:
        """What tells the file as it was read from what another run has made of it: its inode and its size."""
        return self._inode, self._size

    @property
    def written(self) -> bool:
        """Whether there is a file, be it with entries that are over, or the folder that a killed run made for it."""
        return self._size > 0 or os.path.isdir(os.path.dirname(self.path))

    def _unreadable(self, why: str) -> LabError:
        return LabError(
            f"The journal {self.path} cannot be read: {why:.300}.",
            "It holds what this host was like before the lab; restore it from a backup, or move it away and put the "
            "host's own settings back by hand.",
        )

    def saved(self, key: Key) -> t.Optional[Entry]:
        """The entry that holds somebody's value of ``key``, or None."""
        entry = self.entries.get(key)
        return entry if entry is not None and entry.has_saved else None

    def claimed(self, key: Key) -> t.Optional[Entry]:
        """The entry that says that ``key`` is ours, or None."""
        entry = self.entries.get(key)
        return entry if entry is not None and entry.claimed else None

    def claims(self, prefix: str = "", owner: t.Optional[str] = None) -> dict[Key, Entry]:
        """All that is ours below ``prefix``; of one lab when ``owner`` is given."""
        return {
            key: entry
            for key, entry in self.entries.items()
            if entry.claimed and key.startswith(prefix) and owner in (None, entry.owner)
        }

    def begin(self, notes: t.Iterable[Note]) -> dict[Key, t.Optional[Entry]]:
        """Write what is about to happen; returns what was noted of the keys before. Raises LabError."""
        patch: dict[Key, t.Optional[Entry]] = {}
        before: dict[Key, t.Optional[Entry]] = {}
        for note in notes:
            before.setdefault(note.key, self.entries.get(note.key))
            if note.action not in ("make", "save"):
                continue
            entry = patch.get(note.key) or self.entries.get(note.key) or Entry(boot=self.boot, owner=self.owner)
            if note.lasting:
                entry = replace(entry, boot="")
            if note.action == "make":
                patch[note.key] = replace(entry, about=True, coming=note.value)
            else:
                first = entry if entry.has_saved else replace(entry, has_saved=True, saved=note.value)
                patch[note.key] = replace(first, saving=True, wrote=(*entry.wrote, note.wrote))
        self.patch(patch)
        return before

    def finish(self, notes: t.Iterable[Note], learned: t.Mapping[Key, t.Any]) -> None:
        """Write that it has happened, with the identities that were learned."""
        patch: dict[Key, t.Optional[Entry]] = {}
        for note in notes:
            entry = patch[note.key] if note.key in patch else self.entries.get(note.key)
            if note.action == "release":
                patch[note.key] = None
            elif note.action in ("unmade", "restored"):
                patch[note.key] = None if entry is None else entry.without(note.action)
            elif note.action == "make":
                boot = "" if note.lasting else self.boot
                value = learned.get(note.key, note.value)
                made = replace(entry or Entry(), claimed=True, value=value, about=False, coming=None)
                patch[note.key] = replace(made, boot=boot, owner=self.owner)
            elif entry is not None:
                patch[note.key] = replace(entry, saving=False, wrote=entry.wrote[-1:])
        self.patch(patch)

    def suppose(self, patch: Patch) -> None:
        """Take entries in for this call alone, until the file is read again."""
        for key, entry in patch.items():
            if entry is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = entry

    def patch(self, patch: Patch) -> None:
        """Take entries in and add a line to the file, when that changes anything. Raises LabError: nothing changed."""
        changed = {key: entry for key, entry in patch.items() if self.entries.get(key) != entry}
        if not changed:
            return
        line = _line({key: None if entry is None else entry.as_dict() for key, entry in changed.items()})
        # What a reboot takes away need not be on the disk before it: both are lost together.
        lasting = any((entry or self.entries.get(key) or Entry(boot="-")).boot == "" for key, entry in changed.items())
        self._append(line if self._size else _line(_HEADER) + line, lasting)
        self._lines += 1
        for key, entry in changed.items():
            if entry is None:
                del self.entries[key]
            else:
                self.entries[key] = entry

    def _append(self, line: bytes, durable: bool) -> None:
        try:
            if self._handle < 0:
                self._handle = self._opened()
            try:
                if os.write(self._handle, line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # a full disk takes a part of it
                if durable:
                    os.fsync(self._handle)
            except OSError:
                os.ftruncate(self._handle, self._size)
                raise
            if durable and not self._size:
                files.sync_folder(os.path.dirname(self.path))
        except OSError as error:
            raise files.failed(f"write the journal {self.path}", error) from error
        self._size += len(line)

    def _opened(self) -> int:
        """A descriptor of the file, made when there is none, without half a line that a killed run has left."""
        os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if os.fstat(handle).st_size != self._size:
            os.ftruncate(handle, self._size)
        return handle

    def close(self) -> None:
        """Close the file; what is written next opens it again."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def compact(self) -> None:
        """Make the lines one; without entries there is no file, and no folder when nothing else is in it."""
        self.close()
        if self._lines == 1 and self.entries and not self._stale:
            return
        if self.entries:
            content = {key: entry.as_dict() for key, entry in sorted(self.entries.items())}
            whole = _line(_HEADER) + _line(content)
            files.write(self.path, whole, durable=True, mode=0o600)
            self._lines, self._size = 1, len(whole)
        else:
            files.remove(self.path)
            files.sweep(self.path)
            with contextlib.suppress(OSError):  # other files of ours may still be there
                os.rmdir(os.path.dirname(self.path))
            self._lines, self._size = 0, 0
        self._stale = False


def _line(value: t.Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"


def _parse(content: t.Optional[bytes]) -> tuple[dict[Key, Entry], int, int]:
    """The entries, the lines behind the header, the bytes of all. Raises ValueError, TypeError, AttributeError."""
    if content is None:
        return {}, 0, 0
    lines = content.split(b"\n")
    torn = lines.pop()  # what a killed write has left behind the last whole line, mostly nothing
    if not lines:
        if not _line(_HEADER).startswith(torn):
            raise ValueError("it does not begin as one")
        return {}, 0, 0
    header = json.loads(lines[0])
    if header != _HEADER:
        raise ValueError(f"it begins with {header!r:.60}, not with {_HEADER}")
    entries: dict[Key, Entry] = {}
    for line in lines[1:]:
        for key, value in json.loads(line).items():
            if value is None:
                entries.pop(key, None)
            else:
                entries[key] = Entry.from_dict(value)
    return entries, len(lines) - 1, len(content) - len(torn)
