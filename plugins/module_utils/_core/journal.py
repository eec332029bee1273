# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal: what this host was like before, and which objects are ours. One JSON file, one lock a host.

An entry is written before the change that it is about, atomically and fsynced, so that a run that was killed at any
moment leaves a journal from which the host can be put back.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import time
import typing as t
from dataclasses import asdict, dataclass, replace

from .errors import LabError
from .plan import Note

PATH = "/var/lib/ebpf.lab/journal.json"
LOCK = "/run/lock/ebpf.lab.lock"
LOCK_WAIT = 120.0
FORMAT = 1


@dataclass(frozen=True)
class Entry:
    """``saved``: a foreign value from before (``has_saved`` because None may be that value). ``claimed``: ours.

    ``value`` is what the maker noted with its claim. ``boot`` is the boot id for a volatile entry, "" for a lasting
    one. ``owner`` is the lab on whose behalf it was written.
    """

    saved: t.Any = None
    has_saved: bool = False
    claimed: bool = False
    value: t.Any = None
    boot: str = ""
    owner: str = ""


def boot_id() -> str:
    """The kernel's id of this boot (random at each boot, see proc(5) on /proc/sys/kernel/random)."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


class Journal:
    """Read at once, written by ``write``. Outdated volatile entries are not shown: their objects went with the boot."""

    def __init__(self, path: str = PATH, owner: str = "", boot: t.Optional[str] = None) -> None:
        self.path = path
        self.owner = owner
        self.boot = boot_id() if boot is None else boot
        self.entries: dict[str, Entry] = {}
        self.reload()

    def reload(self) -> None:
        """Read the file again; a missing one is an empty journal. Raises LabError when it cannot be understood."""
        try:
            with open(self.path, encoding="utf-8") as file:
                content = json.load(file)
            if content.get("format") != FORMAT:
                raise ValueError(f"format {content.get('format')!r}, not {FORMAT}")
            loaded = {key: Entry(**fields) for key, fields in content["entries"].items()}
        except FileNotFoundError:
            loaded = {}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise LabError(
                f"The journal {self.path} cannot be read: {error}.",
                "It holds what this host was like before the lab; restore it from a backup, or move it away and put "
                "the host's own settings back by hand.",
            ) from error
        self.entries = {key: entry for key, entry in loaded.items() if entry.boot in ("", self.boot)}

    def saved(self, key: str) -> t.Optional[Entry]:
        """The entry that holds the foreign value of ``key``, or None."""
        entry = self.entries.get(key)
        return entry if entry is not None and entry.has_saved else None

    def claimed(self, key: str) -> t.Optional[Entry]:
        """The entry that says that ``key`` is ours, or None."""
        entry = self.entries.get(key)
        return entry if entry is not None and entry.claimed else None

    def claims(self, prefix: str = "", owner: t.Optional[str] = None) -> dict[str, Entry]:
        """All that is ours below ``prefix``; of one lab when ``owner`` is given."""
        return {
            key: entry
            for key, entry in self.entries.items()
            if entry.claimed and key.startswith(prefix) and owner in (None, entry.owner)
        }

    def write(self, notes: t.Iterable[Note]) -> None:
        """Take ``notes`` in and put the file on the disk, when that changes anything."""
        entries = dict(self.entries)
        for note in notes:
            boot = self.boot if note.volatile else ""
            entry = entries.get(note.key, Entry(boot=boot, owner=self.owner))
            if note.action == "release":
                entries.pop(note.key, None)
            elif note.action == "claim":
                entries[note.key] = replace(entry, claimed=True, value=note.value, boot=boot, owner=self.owner)
            elif not entry.has_saved:
                entries[note.key] = replace(entry, saved=note.value, has_saved=True)
        self.replace_all(entries)

    def replace_all(self, entries: t.Mapping[str, Entry]) -> None:
        """Put exactly ``entries`` on the disk. An empty journal is no file, so that a lab leaves no trace."""
        if dict(entries) == self.entries:
            return
        folder = os.path.dirname(self.path)
        if not entries:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
            with contextlib.suppress(OSError):  # other files of ours may still be there
                os.rmdir(folder)
        else:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            content = {"format": FORMAT, "entries": {key: asdict(entry) for key, entry in entries.items()}}
            handle, temporary = tempfile.mkstemp(prefix=".journal-", dir=folder)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump(content, file, indent=1, sort_keys=True)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, self.path)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary)
                raise
            directory = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(directory)  # the rename itself must be on the disk before the change is made
            finally:
                os.close(directory)
        self.entries = dict(entries)


@contextlib.contextmanager
def locked(path: str = LOCK, wait: float = LOCK_WAIT) -> t.Iterator[None]:
    """Hold the host's one lock. Waits ``wait`` seconds for another run to end, then raises LabError."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    deadline = time.monotonic() + wait
    with open(path, "a+", encoding="ascii") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LabError(
                        f"Another run has been changing this host for more than {wait:g} seconds ({path} is locked).",
                        "Wait for it to end, then run again.",
                    ) from None
                time.sleep(0.1)
        yield  # the file stays: unlinking a lock file lets two holders in
