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
import shutil
import stat
import typing as t

from .errors import LabError

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


def inode(path: str) -> int:
    """The number of what is at ``path``, 0 for nothing: a file that is written anew by a rename has another one."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


def digest(content: bytes) -> str:
    """The SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sha256_of(path: str, *, follow: bool = True) -> t.Optional[str]:
    """The SHA-256 of a file in hexadecimal; None when no file is there. Raises LabError."""
    content = read(path, follow=follow)
    return None if content is None else digest(content)


def temporary(path: str) -> str:
    """Where what is to be at ``path`` is made before it is renamed: a name that the next run finds again."""
    return os.path.join(os.path.dirname(path), f"{TEMPORARY}{os.path.basename(path)}"[:255])


def sweep(path: str) -> None:
    """Remove what a killed run left at ``temporary(path)``, of whatever kind."""
    remove_tree(temporary(path))


def remove_tree(path: str) -> None:
    """Remove what is at ``path``, of whatever kind; nothing there is no error. Raises LabError."""
    try:
        if kind(path) == "folder":
            shutil.rmtree(path)
        else:
            remove(path)
    except OSError as error:
        raise failed(f"remove {path}", error) from error


def write(path: str, content: bytes, *, durable: bool = False, mode: int = 0o644) -> None:
    """Make the file hold ``content`` by a rename; ``durable``: it is on the disk by then. Raises LabError."""
    new = temporary(path)
    sweep(path)
    try:
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        with open(handle, "wb") as file:
            os.fchmod(handle, mode)  # whatever the umask is
            file.write(content)
            if durable:
                file.flush()
                os.fsync(handle)
        os.replace(new, path)
        if durable:
            sync_folder(os.path.dirname(path))  # the rename itself has to be on the disk
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise failed(f"write {path}", error) from error


def sync_folder(path: str) -> None:
    """Have the names in a folder on the disk."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def remove(path: str) -> None:
    """Remove a file; one that is not there is no error."""
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise failed(f"remove {path}", error) from error
