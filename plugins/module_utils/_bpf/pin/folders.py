# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders that the lab makes, on disk and on bpffs, and the bpffs mount itself: made when missing, gone when empty."""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import typing as t
from dataclasses import dataclass

from ..._core import mounts
from ..._core.errors import BadInput, KernelRefused, LabError, Refused
from ..._core.host import Host
from ..._core.plan import Note, Step

MOUNT = "/sys/fs/bpf"
MAGIC = 0xCAFE4A11  # BPF_FS_MAGIC, linux/magic.h
# The kernel itself puts these into the root of each new bpffs when it has BPF_PRELOAD.
PRELOADED = frozenset({"progs.debug", "maps.debug"})

_libc = ctypes.CDLL(None, use_errno=True)


def lies_on(path: str, magic: int) -> bool:
    """Whether ``path`` exists and lies on a file system with this magic number (statfs(2))."""
    buffer = ctypes.create_string_buffer(256)
    if _libc.statfs(os.fsencode(path), buffer) != 0:
        return False
    return ctypes.c_uint32.from_buffer(buffer).value == magic or ctypes.c_ulong.from_buffer(buffer).value == magic


def is_bpffs(path: str) -> bool:
    """Whether ``path`` exists and lies on a bpffs."""
    return lies_on(path, MAGIC)


def nearest(path: str) -> str:
    """``path`` or the nearest folder above it that exists."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


def check_pin_path(option: str, path: str) -> str:
    """A folder or pin below a bpffs, normalised. Raises BadInput; looks at the text only."""
    right = f"give an absolute path below {MOUNT} such as {MOUNT}/ebpf"
    if not path.startswith("/"):
        raise BadInput(option, path, "is not an absolute path", right)
    normal = os.path.normpath(path)
    if normal in (MOUNT, "/"):
        raise BadInput(option, path, "is the root of the file system itself, which belongs to everybody", right)
    if "." in normal:
        raise BadInput(option, path, "holds a dot, which bpffs reserves for the kernel", right)
    return normal


@dataclass(frozen=True)
class Mount(Step):
    """Mount one of the kernel's own file systems; ``filesystem`` is its type, ``name`` what people call it."""

    path: str
    filesystem: str
    name: str
    magic: int
    options: str = ""

    def title(self) -> str:
        return f"mount {self.name} at {self.path}"

    def apply(self, host: Host) -> None:
        if lies_on(self.path, self.magic):
            return
        kind = self.filesystem.encode()
        result = _libc.mount(kind, os.fsencode(self.path), kind, ctypes.c_ulong(0), self.options.encode())
        if result != 0:
            fix = f"The kernel needs to have {self.name}, and the caller to be root."
            raise KernelRefused(self.title(), ctypes.get_errno(), fix=fix)
        host.kept["made", self.path] = True
        # Which one is ours, should somebody mount another one over it.
        host.journal.write([Note("claim", f"mount:{self.path}", {"device": mounts.device(self.path)})])

    def undo(self, host: Host) -> None:
        if host.kept.get(("made", self.path)) and not self.held():
            unmount(self.path)
            del host.kept["made", self.path]

    def held(self) -> bool:
        """Whether somebody's things would go with the mount."""
        return False

    def notes(self) -> tuple[Note, ...]:
        return (Note("claim", f"mount:{self.path}"),)


@dataclass(frozen=True)
class MountBpffs(Mount):
    """Mount a bpffs at its usual place."""

    path: str = MOUNT
    filesystem: str = "bpf"
    name: str = "bpffs"
    magic: int = MAGIC
    options: str = "mode=0700"

    def held(self) -> bool:
        try:
            return bool(set(os.listdir(self.path)) - PRELOADED)
        except OSError:
            return True


@dataclass(frozen=True)
class MakeFolder(Step):
    """Make one folder. ``volatile``: a reboot takes it away (bpffs)."""

    path: str
    volatile: bool = True

    def title(self) -> str:
        return f"make the folder {self.path}"

    def apply(self, host: Host) -> None:
        try:
            os.mkdir(self.path, 0o700 if self.volatile else 0o755)
        except FileExistsError:
            if os.path.isdir(self.path):
                return
            raise LabError(f"{self.title()}: something else of that name is there.", "Move it away.") from None
        except OSError as error:
            raise LabError(f"{self.title()}: {error.strerror}.") from error
        host.kept["made", self.path] = True
        if self.volatile:  # on which bpffs, should somebody mount another one over it
            host.journal.write([Note("claim", f"dir:{self.path}", {"device": mounts.device(self.path)})])

    def undo(self, host: Host) -> None:
        if host.kept.get(("made", self.path)):
            with contextlib.suppress(OSError):  # another part of the same run still has something in it
                os.rmdir(self.path)
                del host.kept["made", self.path]

    def notes(self) -> tuple[Note, ...]:
        return (Note("claim", f"dir:{self.path}", volatile=self.volatile),)


def making(path: str, exists: t.Collection[str], *, volatile: bool = True) -> tuple[Step, ...]:
    """The steps that make ``path`` and what is missing above it; ``exists`` are those folders above that are there."""
    missing = []
    while path not in exists and path != "/":
        missing.append(MakeFolder(path, volatile))
        path = os.path.dirname(path)
    return tuple(reversed(missing))


def mounting(step: Mount, exists: t.Collection[str]) -> Mount:
    """``step``, when there is a place to mount at; the kernel makes it, so ``exists`` without it tells of a mount."""
    if step.path not in exists:
        raise Refused(
            f"{step.path} does not exist, so {step.name} cannot be mounted there: the kernel has no {step.name}, or "
            "another mount hides its folder.",
            "Run findmnt --submounts /sys to see what is mounted there, and unmount what does not belong there.",
        )
    return step


def ensure(host: Host, path: str) -> None:
    """Make a folder on bpffs, and the mount, when an earlier step of the same run has just swept them away."""
    steps = making(path, existing(path))
    if not is_bpffs(nearest(path)):
        steps = (MountBpffs(), *making(path, {MOUNT}))
    for step in steps:
        step.apply(host)
        host.journal.write(step.notes())


def existing(path: str) -> frozenset[str]:
    """``path`` and the folders above it, as far as they exist."""
    found = set()
    while path != "/":
        if os.path.isdir(path):
            found.add(path)
        path = os.path.dirname(path)
    return frozenset(found)


def unmount(path: str) -> None:
    """Unmount what is mounted at ``path``. Raises KernelRefused (EBUSY: somebody uses it)."""
    if _libc.umount2(os.fsencode(path), 0) != 0:
        raise KernelRefused(f"unmount {path}", ctypes.get_errno(), fix="Close what is open in it, then run again.")


def ours_and_empty(host: Host, path: str) -> tuple[str, ...]:
    """The claimed folders and the claimed mount at ``path`` and above that hold nothing but each other, inner first."""
    found: list[str] = []
    while path != "/":
        if host.journal.claimed(f"dir:{path}") and os.path.isdir(path) and not os.path.islink(path):
            if set(os.listdir(path)) - {os.path.basename(inner) for inner in found[-1:]}:
                break
            found.append(path)
        elif _is_our_mount(host, path) and is_bpffs(path):
            if not set(os.listdir(path)) - PRELOADED - {os.path.basename(inner) for inner in found[-1:]}:
                found.append(path)
            break
        elif os.path.isdir(path):
            break
        path = os.path.dirname(path)
    return tuple(found)


def _is_our_mount(host: Host, path: str) -> bool:
    """Whether what is seen at ``path`` is the mount that the journal claims."""
    claim = host.journal.claimed(f"mount:{path}")
    if claim is None or mounts.at(path) is None:
        return False
    here = mounts.device(path)
    return bool((claim.value or {}).get("device", here) == here)


def sweep(host: Host, path: str) -> None:
    """After the last thing in a folder was removed: remove what ``ours_and_empty`` finds, forget what is gone."""
    for folder in ours_and_empty(host, path):
        mounted = host.journal.claimed(f"mount:{folder}") is not None
        mode = stat.S_IMODE(os.stat(folder).st_mode)
        if mounted:
            unmount(folder)
        else:
            try:
                os.rmdir(folder)
            except OSError as error:
                raise LabError(f"remove the folder {folder}: {error.strerror}.") from error
        host.kept.setdefault(("swept", path), []).append((folder, mounted, mode))
        host.journal.write([Note("release", f"{'mount' if mounted else 'dir'}:{folder}")])
    host.journal.write(Note("release", key) for key in _gone(host, path))


def _gone(host: Host, path: str) -> t.Iterator[str]:
    """The claims of folders and of a mount at ``path`` and above that somebody else has removed."""
    while path != "/":
        if host.journal.claimed(f"dir:{path}") and not os.path.isdir(path):
            yield f"dir:{path}"
        if host.journal.claimed(f"mount:{path}") and not _is_our_mount(host, path):
            yield f"mount:{path}"
        path = os.path.dirname(path)


def unsweep(host: Host, path: str) -> None:
    """Take ``sweep`` back, outermost first. The journal is put back by whoever undoes the run."""
    for folder, mounted, mode in reversed(host.kept.pop(("swept", path), [])):
        if mounted:
            MountBpffs(folder).apply(host)
        else:
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, 0o700)
                os.chmod(folder, mode)


@dataclass(frozen=True)
class Sweep(Step):
    """Remove the empty folders and the mount that we made and that somebody else has emptied."""

    path: str

    def title(self) -> str:
        return f"remove what is empty and ours at {self.path}"

    def apply(self, host: Host) -> None:
        sweep(host, self.path)

    def undo(self, host: Host) -> None:
        unsweep(host, self.path)
