# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps that make and remove folders, mounts and pins, and move somebody's pins aside, each with the way back."""

from __future__ import annotations

import ctypes
import errno
import os
import typing as t
from dataclasses import dataclass

from ..._core import files, mounts
from ..._core.errors import KernelRefused, LabError
from ..._core.host import Host
from ..._core.plan import Done, Key, Learned, Note, Step, make, restored, save, unmade
from ..._kernel import syscall
from ..._kernel.syscall import Handle

# The mark of a folder of ours is in the request that makes it: the sticky bit, which means nothing where only root
# writes. That of a mount is the name of what is mounted, which the kernel's own file systems do not look at.
STICKY = 0o1000
SOURCE = "ebpf.lab"
NEW = "_ebpf_lab_new"  # how the name of a pin ends that is about to replace another; a bpffs takes no dots
BUSY = "Close what is open in it, then run again."

_libc = ctypes.CDLL(None, use_errno=True)


def dir_key(path: str) -> Key:
    """The journal's key of a folder."""
    return f"dir:{path}"


def mount_key(path: str) -> Key:
    """The journal's key of a mount."""
    return f"mount:{path}"


def pin_key(path: str) -> Key:
    """The journal's key of a pin that was loaded from an object."""
    return f"pin:{path}"


@dataclass(frozen=True)
class MakeFolder(Step):
    """Make one folder. ``lasting``: it is on a disk, not on a bpffs. ``mode`` is without the mark; -1 the usual one."""

    path: str
    lasting: bool = False
    mode: int = -1

    def title(self) -> str:
        return f"make the folder {self.path}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (make(dir_key(self.path), {"marked": True, "lasting": self.lasting}, lasting=self.lasting),)

    def apply(self, host: Host, learned: Learned) -> Done:
        mode = self.mode if self.mode >= 0 else 0o755 if self.lasting else 0o700
        try:
            os.mkdir(self.path, mode | STICKY)
        except FileExistsError:
            raise LabError(f"{self.title()}: something of that name is there by now.", "Run again.") from None
        except OSError as error:
            raise files.failed(self.title(), error) from error
        # On which file system, should somebody mount another one over it.
        noted = {} if self.lasting else {"device": mounts.device(self.path)}
        return Done(undo=(RemoveFolder(self.path),), learned={dir_key(self.path): noted})


@dataclass(frozen=True)
class RemoveFolder(Step):
    """Remove a folder of ours that is empty by now."""

    path: str

    def title(self) -> str:
        return f"remove the folder {self.path}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (unmade(dir_key(self.path)),)

    def apply(self, host: Host, learned: Learned) -> Done:
        entry = host.journal.claimed(dir_key(self.path))
        lasting = entry is not None and not entry.boot
        try:
            mode = os.stat(self.path).st_mode & 0o777
            os.rmdir(self.path)
        except FileNotFoundError:
            return Done()
        except OSError as error:
            if error.errno == errno.ENOTEMPTY:
                raise LabError(f"{self.title()}: somebody has put something into it.", "Look at it.") from error
            raise files.failed(self.title(), error) from error
        return Done(undo=(MakeFolder(self.path, lasting, mode),))


@dataclass(frozen=True)
class MountFilesystem(Step):
    """Mount one of the kernel's own file systems; ``filesystem`` is its type, ``name`` what people call it."""

    path: str
    filesystem: str
    name: str
    magic: int
    options: str = ""

    def title(self) -> str:
        return f"mount {self.name} at {self.path}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (make(mount_key(self.path), {"source": SOURCE}),)

    def apply(self, host: Host, learned: Learned) -> Done:
        kind = self.filesystem.encode()
        place, options = os.fsencode(self.path), self.options.encode()
        if _libc.mount(SOURCE.encode(), place, kind, ctypes.c_ulong(0), options) != 0:
            fix = f"The kernel needs to have {self.name}, and the caller to be root."
            raise KernelRefused(self.title(), ctypes.get_errno(), fix=fix)
        return Done(undo=(Unmount(self),), learned={mount_key(self.path): {"device": mounts.device(self.path)}})


@dataclass(frozen=True)
class Unmount(Step):
    """Unmount a file system that we mounted; who keeps it busy is named."""

    mount: MountFilesystem

    def title(self) -> str:
        return f"unmount {self.mount.name} from {self.mount.path}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (unmade(mount_key(self.mount.path)),)

    def apply(self, host: Host, learned: Learned) -> Done:
        if _libc.umount2(os.fsencode(self.mount.path), 0) != 0:
            error = ctypes.get_errno()
            if error in (errno.EINVAL, errno.ENOENT):  # nothing is mounted there any more
                return Done()
            if error == errno.EBUSY:
                users = mounts.users(self.mount.path)
                who = f"It is used by {', '.join(users)}." if users else ""
                raise KernelRefused(self.title(), error, fix=f"{who} {BUSY}".strip())
            raise KernelRefused(self.title(), error)
        return Done(undo=(self.mount,))


def handle_name(what: t.Union[syscall.ProgramInfo, syscall.MapInfo, syscall.LinkInfo]) -> str:
    """The name under which a run holds a kernel object: "program 17"."""
    kind = {syscall.ProgramInfo: "program", syscall.MapInfo: "map"}.get(type(what), "link")
    return f"{kind} {what.id}"


def hold(path: str) -> t.Optional[tuple[str, Handle]]:
    """What is pinned at ``path``, held, with the name for it; None when nothing is. Raises KernelRefused."""
    try:
        handle = Handle(syscall.get_pinned(path))
    except KernelRefused as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    what = syscall.describe(handle.fd)
    if what is None:
        handle.close()
        raise LabError(f"{path} is no BPF object.", "Remove it by hand.")
    return handle_name(what), handle


@dataclass(frozen=True)
class PinObject(Step):
    """Pin what the run holds under ``held`` at ``path``, in place of a pin of ours that may be there, in one step.

    ``value`` is what the journal notes of it, with its ``id``; ``what`` says in words what it is.
    """

    path: str
    held: str
    value: t.Mapping[str, t.Any]
    what: str = ""
    key: Key = ""

    def __hash__(self) -> int:
        return hash((self.path, self.held, self.key))

    def title(self) -> str:
        return f"pin {self.what or self.held} at {self.path}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (make(self.key or pin_key(self.path), dict(self.value)),)

    def apply(self, host: Host, learned: Learned) -> Done:
        handle = learned.handle(self.held)
        noted = {self.key or pin_key(self.path): dict(self.value)}
        before = hold(self.path) if os.path.lexists(self.path) else None
        if before is None:
            syscall.pin(handle.fd, self.path)
            return Done(undo=(Unpin(self.path, self.key),), learned=noted)
        new = f"{self.path}{NEW}"
        remove_pin(new)
        syscall.pin(handle.fd, new)
        try:
            os.rename(new, self.path)
        except OSError as error:
            remove_pin(new)
            raise files.failed(self.title(), error) from error
        entry = host.journal.claimed(self.key or pin_key(self.path))
        value = entry.value if entry is not None else None
        again = PinObject(self.path, before[0], value or {}, key=self.key)
        return Done(undo=(again,), learned=noted, handles=dict([before]))


@dataclass(frozen=True)
class Unpin(Step):
    """Remove a pin of ours. What nothing else holds goes with it, when the run is over."""

    path: str
    key: Key = ""

    def title(self) -> str:
        return f"unpin {self.path}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (unmade(self.key or pin_key(self.path)),)

    def apply(self, host: Host, learned: Learned) -> Done:
        before = hold(self.path)
        remove_pin(f"{self.path}{NEW}")  # of a run that was killed
        remove_pin(self.path)
        if before is None:
            return Done()
        entry = host.journal.claimed(self.key or pin_key(self.path))
        value = (entry.value if entry is not None else None) or {}
        return Done(undo=(PinObject(self.path, before[0], value, key=self.key),), handles=dict([before]))


def remove_pin(path: str) -> None:
    """Remove a pin; one that is not there is no error. Raises LabError."""
    files.remove(path)


@dataclass(frozen=True)
class SetAside(Step):
    """Move somebody's pin aside, to ``kept``, where it lives until it is put back. ``id`` is what it is a pin of.

    ``folder`` is that of the programs for whose sake it is done.
    """

    path: str
    kept: str
    id: int
    folder: str = ""

    def title(self) -> str:
        return f"move the pin {self.path}, which the lab did not make, to {self.kept}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        before = {"kept": self.kept, "id": self.id, **({"folder": self.folder} if self.folder else {})}
        return (save(pin_key(self.path), before, None),)

    def apply(self, host: Host, learned: Learned) -> Done:
        rename_pin(self.path, self.kept, self.title())
        return Done(undo=(PutBack(self.path, self.kept, self.folder),))


@dataclass(frozen=True)
class PutBack(Step):
    """Put a pin that was moved aside back to its place, which is free by now."""

    path: str
    kept: str
    folder: str = ""

    def title(self) -> str:
        return f"put the pin {self.path} back, which was there before the lab"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (restored(pin_key(self.path)),)

    def apply(self, host: Host, learned: Learned) -> Done:
        what = syscall.at(self.kept)
        rename_pin(self.kept, self.path, self.title())
        return Done(undo=(SetAside(self.path, self.kept, what.id if what is not None else 0, self.folder),))


def rename_pin(old: str, new: str, doing: str) -> None:
    """Rename a pin to a place that is free. Raises LabError."""
    if os.path.lexists(new):
        raise LabError(f"{doing}: {new} is there by now.", "Look whose it is, and remove it.")
    try:
        os.rename(old, new)
    except OSError as error:
        raise files.failed(doing, error) from error
