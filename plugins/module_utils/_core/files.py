# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files where others have their hands too: what is at a path, read and written as bytes, and kept beside.

A link is never followed to write, nothing is opened that is no file, and a reader never sees half of one.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import tempfile
import time
import typing as t
from dataclasses import dataclass

from .errors import LabError
from .host import Host
from .plan import Step

TEMPORARY = ".ebpf-lab-"  # what the names of our temporary files and folders begin with

_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "symbolic link",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFBLK: "device",
    stat.S_IFCHR: "device",
}
_FIXES = {
    errno.EPERM: "It or its folder is marked immutable or append-only (see lsattr): chattr -i -a takes that away.",
    errno.EBUSY: "Something is mounted there: unmount it.",
    errno.EROFS: "The file system is mounted read-only: see findmnt.",
    errno.ENOSPC: "The file system is full: see df.",
}


def failed(doing: str, error: OSError) -> LabError:
    """The failure of an operation on files, with what to do about it where that can be told."""
    return LabError(f"{doing}: {error.strerror}.", _FIXES.get(error.errno or 0, ""))


def kind(path: str) -> str:
    """What is at a path: "file", "folder", "symbolic link" and so on; "" for nothing."""
    try:
        return _KINDS.get(stat.S_IFMT(os.lstat(path).st_mode), "unknown thing")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise failed(f"look at {path}", error) from error


def read(path: str, *, follow: bool = False, limit: int = -1) -> t.Optional[bytes]:
    """The content, its first ``limit`` bytes; None when no file is there. ``follow``: a link to a file is one."""
    try:
        if not stat.S_ISREG((os.stat if follow else os.lstat)(path).st_mode):
            return None
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            return file.read(limit)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise failed(f"read {path}", error) from error


def digest(content: bytes) -> str:
    """The SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sha256_of(path: str, *, follow: bool = True) -> t.Optional[str]:
    """The SHA-256 of a file in hexadecimal; None when no file is there. Raises LabError."""
    content = read(path, follow=follow)
    return None if content is None else digest(content)


def write(path: str, content: bytes, *, durable: bool = False) -> None:
    """Make the file hold ``content`` by a rename, readable for everybody; ``durable``: it is on the disk by then."""
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=TEMPORARY, dir=os.path.dirname(path))
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise failed(f"write {path}", error) from error


def remove(path: str) -> None:
    """Remove a file; one that is not there is no error."""
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise failed(f"remove {path}", error) from error


def keep(host: Host, path: str) -> None:
    """Rename what is at ``path`` to a backup of its own beside it."""
    number, backup = 1, f"{path}.{time.strftime('%Y-%m-%d_%H%M%S')}~"
    while os.path.lexists(backup):  # two of the same second
        number, backup = number + 1, f"{backup.rstrip('~').partition('_again')[0]}_again{number}~"
    try:
        os.rename(path, backup)
    except OSError as error:
        raise failed(f"keep {path} as {os.path.basename(backup)}", error) from error
    host.kept["backup", path] = backup


def unkeep(host: Host, path: str) -> None:
    """Take ``keep`` back."""
    try:
        os.rename(host.kept.pop(("backup", path)), path)
    except OSError as error:
        raise failed(f"put {path} back", error) from error


@dataclass(frozen=True)
class KeepFile(Step):
    """Keep what somebody has at a path, of whatever kind, as a backup beside what takes its place."""

    path: str

    def title(self) -> str:
        return f"keep {self.path}, which the lab did not make, as a backup"

    def apply(self, host: Host) -> None:
        keep(host, self.path)

    def undo(self, host: Host) -> None:
        unkeep(host, self.path)
