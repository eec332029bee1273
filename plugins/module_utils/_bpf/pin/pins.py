# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pins: what is pinned in a folder, whose it is, and the steps that put pins in place and remove them."""

from __future__ import annotations

import contextlib
import os
import typing as t
from dataclasses import dataclass

from ..._core.errors import LabError
from ..._core.host import Host
from ..._core.plan import Note, Step
from ..._kernel import syscall
from ..._kernel.syscall import Handle, MapInfo, ProgramInfo
from .folders import MOUNT, ensure, sweep, unsweep

# Where a foreign program or map is kept alive that the user let us replace.
KEPT = f"{MOUNT}/ebpf_lab_kept"

RDONLY_PROG = 1 << 7


class Shaped(t.Protocol):
    """What decides whether one map can take another's place."""

    @property
    def type(self) -> str: ...

    @property
    def key_size(self) -> int: ...

    @property
    def value_size(self) -> int: ...

    @property
    def max_entries(self) -> int: ...

    @property
    def flags(self) -> int: ...


@dataclass(frozen=True)
class Pin:
    """One pin. ``claim`` is what we noted when we made it, None for a foreign one."""

    path: str
    what: t.Union[ProgramInfo, MapInfo, None]
    claim: t.Optional[dict[str, t.Any]] = None

    @property
    def intact(self) -> bool:
        """Whether it is the very object that we pinned there: a tag or a name is no identity, the id is."""
        if self.claim is None or self.what is None or self.claim.get("id") != self.what.id:
            return False
        return isinstance(self.what, MapInfo) or self.claim.get("map_ids") == list(self.what.map_ids)

    def describe(self) -> dict[str, t.Any]:
        """For the diff: where it comes from when it is ours, else what it is."""
        if self.intact and self.claim is not None:
            return {"object": self.claim["object"], "sha256": self.claim["sha256"]}
        if self.what is None:
            return {"state": "another BPF object"}
        return {"state": f"not loaded by the lab: {self.what.type} {self.what.name}, id {self.what.id}"}


def claim_of(host: Host, path: str) -> t.Optional[dict[str, t.Any]]:
    """What we noted of the pin at ``path``; {} when the run that claimed it did not get to loading."""
    entry = host.journal.claimed(f"pin:{path}")
    return None if entry is None else entry.value or {}


def pins_in(host: Host, folder: str) -> dict[str, Pin]:
    """The pins in a folder by their names; folders in it are left out."""
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found = {}
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            continue
        what = syscall.at(path)
        known = what if isinstance(what, (ProgramInfo, MapInfo)) else None
        found[name] = Pin(path, known, claim_of(host, path))
    return found


def folders_in(folder: str) -> list[str]:
    """The folders in a folder."""
    try:
        return [entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []


class Held:
    """What was pinned at one path before each of a run's changes, the last one last; None where nothing was."""

    def __init__(self) -> None:
        self.handles: list[t.Optional[Handle]] = []

    def close(self) -> None:
        """Let all of them go."""
        while self.handles:
            handle = self.handles.pop()
            if handle is not None:
                handle.close()


def keep(host: Host, path: str) -> None:
    """Hold on to what is pinned at ``path`` until the call is over, so that it can be pinned again."""
    held = host.kept.setdefault(("pins", path), Held())
    try:
        held.handles.append(Handle(syscall.get_pinned(path)))
    except LabError:
        held.handles.append(None)


def put_back(host: Host, path: str) -> None:
    """Make ``path`` what it was at the last ``keep``."""
    handle = host.kept["pins", path].handles.pop()
    if handle is None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return
    temporary = f"{path}_back"
    syscall.pin(handle.fd, temporary)
    os.rename(temporary, path)  # replaces what is there in one step
    handle.close()


def fits(wanted: Shaped, found: object) -> bool:
    """Whether a map can stand in for one that an object defines, or that is to be made."""
    if not isinstance(found, MapInfo):
        return False
    # The kernel adds BPF_F_RDONLY_PROG to a devmap, and refuses it from us (kernel/bpf/devmap.c).
    flags = found.flags & ~RDONLY_PROG if found.type.startswith("devmap") else found.flags
    shape = (wanted.type, wanted.key_size, wanted.value_size, wanted.max_entries, wanted.flags)
    return (found.type, found.key_size, found.value_size, found.max_entries, flags) == shape


def kept_path(what: t.Union[ProgramInfo, MapInfo]) -> str:
    """Where a foreign object is kept alive; ids are unique on a host while the object lives."""
    return f"{KEPT}/{'program' if isinstance(what, ProgramInfo) else 'map'}_{what.id}"


def keep_foreign(host: Host, path: str, kept: str) -> None:
    """Move a foreign pin aside."""
    ensure(host, os.path.dirname(kept))
    os.rename(path, kept)


@dataclass(frozen=True)
class Unpin(Step):
    """Remove a pin of ours, put back the foreign one that it replaced, and remove what that empties.

    The claim is released when it runs, not at the end of the plan: a later step may pin another object's program there.
    """

    path: str

    def title(self) -> str:
        return f"unpin {self.path}"

    def apply(self, host: Host) -> None:
        keep(host, self.path)
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
            saved = host.journal.saved(f"pin:{self.path}")
            if saved is not None and os.path.lexists(saved.saved["kept"]):
                os.rename(saved.saved["kept"], self.path)
                host.kept["restored", self.path] = saved.saved["kept"]
                sweep(host, os.path.dirname(saved.saved["kept"]))
        except OSError as error:
            raise LabError(f"{self.title()}: {error.strerror}.") from error
        host.journal.write([Note("release", f"pin:{self.path}")])
        sweep(host, os.path.dirname(self.path))

    def undo(self, host: Host) -> None:
        unsweep(host, os.path.dirname(self.path))
        kept = host.kept.pop(("restored", self.path), None)
        if kept is not None:
            unsweep(host, os.path.dirname(kept))
            os.rename(self.path, kept)
        put_back(host, self.path)
