# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put staged files in their places, all of them or none, and take them away again with what they replaced put back."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import typing as t
from dataclasses import dataclass, field, replace

from ..._core.errors import LabError, Refused
from ..._core.plan import Note, Step
from . import receipt
from .receipt import Entry, Receipt

if t.TYPE_CHECKING:
    from ..._core.host import Host

_HIDDEN = ".ebpf.lab-"


@dataclass(frozen=True)
class Staged:
    """What a step before put ready: a tree as it is to be below ``/``, and what to say about it."""

    root: str
    about: dict[str, t.Any]

    def files(self) -> dict[str, str]:
        """The staged path of each final path."""
        found = {}
        for folder, folders, files in os.walk(self.root):
            links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
            for name in files + links:
                path = os.path.join(folder, name)
                found[os.path.join("/", os.path.relpath(path, self.root))] = path
        return found


def offer(host: Host, tool: str, staged: Staged) -> None:
    """Hand what is staged to the Place step of the same plan."""
    host.kept[("staged", tool)] = staged


def _claim(tool: str) -> Note:
    return Note("claim", f"tool:{tool}", {"receipt": receipt.path_of(tool)}, volatile=False)


def refusal(foreign: t.Sequence[str]) -> Refused:
    """The error for files that are in the way and not ours."""
    names = ", ".join(sorted(foreign)[:3]) + (", …" if len(foreign) > 3 else "")
    return Refused(
        f"{names} would be overwritten, and this lab did not put it there.",
        "Give another prefix, or overwrite: true (what was there is then kept, and put back by state: absent).",
    )


def is_foreign(path: str, placed: t.Optional[Receipt]) -> bool:
    """Whether something lies at ``path`` that is not from this receipt."""
    return os.path.lexists(path) and (placed is None or path not in placed.files)


@dataclass(frozen=True)
class Place(Step):
    """Put what is staged for ``tool`` in place. Foreign files are replaced only with ``overwrite``, and kept aside."""

    tool: str
    key: str
    where: str
    overwrite: bool = False

    def title(self) -> str:
        """See Step."""
        return f"install {self.tool} to {self.where}"

    def notes(self) -> tuple[Note, ...]:
        """See Step: the receipt, which holds the rest, is found by the claim."""
        return (_claim(self.tool),)

    def apply(self, host: Host) -> None:
        """See Step."""
        staged: Staged = host.kept[("staged", self.tool)]
        old = receipt.read(self.tool)
        files = staged.files()
        ours = old.files if old else {}
        foreign = [path for path in files if path not in ours and Entry.of(path) is not None]
        if foreign and not self.overwrite:
            raise refusal(foreign)
        kept = _Kept(old)
        host.kept[("replaced", self.tool)] = kept
        try:
            self._place(staged, files, old, kept, foreign)
        except BaseException as error:
            kept.put_back(self.tool)
            if isinstance(error, OSError):
                raise LabError(f"{self.title()}: {error.filename or self.where}: {error.strerror}.") from error
            raise

    def _place(
        self, staged: Staged, files: t.Mapping[str, str], old: t.Optional[Receipt], kept: _Kept, foreign: list[str]
    ) -> None:
        saved = dict(old.saved) if old else {}
        for number, path in enumerate(foreign, start=len(saved)):
            saved[path] = _copy(path, os.path.join(receipt.FOLDER, f"saved-{self.tool}"), f"{number}")
        folders = list(old.folders if old else ())
        stale = [path for path in (old.files if old else {}) if path not in files]
        new = Receipt(
            self.key, {path: _entry(source) for path, source in files.items()}, (), saved, staged.about, complete=False
        )
        # Before the first change, on the disk: a killed run must know which files are ours, old and new.
        union = {**(old.files if old else {}), **new.files}
        receipt.write(self.tool, replace(new, files=union, folders=tuple(folders)))
        # All the space is taken before the first file is replaced: a full disk changes nothing.
        hidden: dict[str, str] = {}
        try:
            for path, source in files.items():
                folders += _make_folders(os.path.dirname(path), kept)
                hidden[path] = _copy(source, os.path.dirname(path), _HIDDEN + os.path.basename(path), own=True)
            receipt.write(self.tool, replace(new, files=union, folders=tuple(folders)))
            for path in [*files, *stale]:
                kept.keep(path)
            for path in files:
                os.replace(hidden.pop(path), path)
        finally:
            for path in hidden.values():
                os.unlink(path)
        for path in stale:
            _put_away(path, saved)
        receipt.write(self.tool, replace(new, folders=tuple(folders), complete=True))

    def undo(self, host: Host) -> None:
        """See Step."""
        kept: _Kept = host.kept[("replaced", self.tool)]
        kept.put_back(self.tool)


@dataclass(frozen=True)
class Remove(Step):
    """Take ``tool`` away: each file that is still as we placed it, and the folders that we made for them."""

    tool: str
    where: str

    def title(self) -> str:
        """See Step."""
        return f"remove {self.tool} from {self.where}"

    def notes(self) -> tuple[Note, ...]:
        """See Step."""
        return (Note("release", f"tool:{self.tool}", volatile=False),)

    def apply(self, host: Host) -> None:
        """See Step."""
        old = receipt.read(self.tool)
        if old is None:
            return
        kept = _Kept(old)
        host.kept[("replaced", self.tool)] = kept
        try:
            for path, entry in old.files.items():
                if Entry.of(path) == entry or not old.complete:
                    kept.keep(path)
                    _put_away(path, old.saved)
            for folder in reversed(old.folders):
                with contextlib.suppress(OSError):  # somebody else put a file there, or removed it
                    os.rmdir(folder)
        except OSError as error:
            kept.put_back(self.tool)
            raise LabError(f"{self.title()}: {error.filename}: {error.strerror}.") from error
        shutil.rmtree(os.path.join(receipt.FOLDER, f"saved-{self.tool}"), ignore_errors=True)
        receipt.write(self.tool, None)

    def undo(self, host: Host) -> None:
        """See Step."""
        kept: _Kept = host.kept[("replaced", self.tool)]
        kept.put_back(self.tool)


@dataclass
class _Kept:
    """What a step replaced or removed, until the whole call has succeeded."""

    receipt: t.Optional[Receipt]
    copies: dict[str, str] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    store: str = ""

    def keep(self, path: str) -> None:
        """Remember what is at ``path``, which may be nothing."""
        if not self.store:
            os.makedirs(receipt.FOLDER, mode=0o700, exist_ok=True)
            self.store = tempfile.mkdtemp(prefix=".kept-", dir=receipt.FOLDER)
        there = os.path.lexists(path)
        self.copies[path] = _copy(path, self.store, f"{len(self.copies)}") if there else ""

    def put_back(self, tool: str) -> None:
        """Make it all as it was."""
        for path, copy in self.copies.items():
            if copy:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                os.replace(_copy(copy, os.path.dirname(path), _HIDDEN + os.path.basename(path)), path)
            else:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
        for folder in reversed(self.folders):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        self.close()
        if self.receipt is None:
            shutil.rmtree(os.path.join(receipt.FOLDER, f"saved-{tool}"), ignore_errors=True)
        receipt.write(tool, self.receipt)

    def close(self) -> None:
        """Forget it: the call has succeeded."""
        if self.store:
            shutil.rmtree(self.store, ignore_errors=True)
            self.store = ""
            for folder in (receipt.FOLDER, os.path.dirname(receipt.FOLDER)):
                with contextlib.suppress(OSError):  # not empty: receipts are still there
                    os.rmdir(folder)


def _entry(path: str) -> Entry:
    entry = Entry.of(path)
    if entry is None:
        raise LabError(f"{path} is gone, and this run had just put it there.", "Another program removed it; run again.")
    return entry


def _copy(source: str, folder: str, name: str, own: bool = False) -> str:
    """Copy a file or link into ``folder``, to the disk. ``own``: it becomes root's, not writable by others."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    target = os.path.join(folder, name)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(target)
    shutil.copy2(source, target, follow_symlinks=False)
    status = os.lstat(source)
    if own:
        os.chown(target, 0, 0, follow_symlinks=False)
    else:
        os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
    if stat.S_ISREG(status.st_mode):
        os.chmod(target, (stat.S_IMODE(status.st_mode) | 0o444) & 0o755 if own else stat.S_IMODE(status.st_mode))
        with open(target, "rb") as file:
            os.fsync(file.fileno())
    return target


def _make_folders(folder: str, kept: _Kept) -> list[str]:
    """Make ``folder`` with what is missing above it; returns those made, the uppermost first."""
    missing = []
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    missing.reverse()
    for path in missing:
        os.mkdir(path)
        os.chmod(path, 0o755)  # whatever root's umask is
        kept.folders.append(path)
    return missing


def _put_away(path: str, saved: t.Mapping[str, str]) -> None:
    """Remove ``path``, or put back what it had replaced."""
    if path in saved and os.path.lexists(saved[path]):
        os.replace(_copy(saved[path], os.path.dirname(path), _HIDDEN + os.path.basename(path)), path)
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
