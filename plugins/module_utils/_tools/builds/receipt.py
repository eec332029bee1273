# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The receipt of a tool that we placed: from what it was made, which files it consists of, what they replaced."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tempfile
import typing as t
from dataclasses import asdict, dataclass, field

from ..._core.errors import LabError

FOLDER = "/var/lib/ebpf.lab/tools"


@dataclass(frozen=True)
class Entry:
    """One file of a tool: ``sha256`` of a regular file, or ``link``'s target."""

    sha256: str = ""
    link: str = ""

    @classmethod
    def of(cls, path: str) -> t.Optional[Entry]:
        """What is at ``path`` now; None when there is nothing. Raises LabError for what is neither file nor link."""
        try:
            mode = os.lstat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
        if stat.S_ISLNK(mode):
            return cls(link=os.readlink(path))
        if not stat.S_ISREG(mode):
            raise LabError(f"{path} is in the way: it is neither a file nor a link.", "Move it away, then run again.")
        return cls(sha256=sha256(path))


@dataclass(frozen=True)
class Receipt:
    """``key`` is the digest of all that the tool was made from; ``about`` says it in words and values.

    ``files`` are ours by path, ``folders`` those that we made, ``saved`` the copies of foreign files that ours
    replaced, ``complete`` whether the placing came to its end.
    """

    key: str
    files: dict[str, Entry] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    saved: dict[str, str] = field(default_factory=dict)
    about: dict[str, t.Any] = field(default_factory=dict)
    complete: bool = True

    def damaged(self) -> tuple[str, ...]:
        """Those of ``files`` that are not as they were placed."""
        return tuple(path for path, entry in self.files.items() if Entry.of(path) != entry)


def sha256(path: str) -> str:
    """The digest of a file's content, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def digest_of(value: t.Any) -> str:
    """The digest of plain JSON types, the same for the same content."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def path_of(tool: str) -> str:
    """Where the receipt of ``tool`` lies."""
    return os.path.join(FOLDER, f"{tool}.json")


def read(tool: str) -> t.Optional[Receipt]:
    """The receipt of ``tool``, or None. Raises LabError when it cannot be understood."""
    try:
        with open(path_of(tool), encoding="utf-8") as file:
            content = json.load(file)
        files = {path: Entry(**entry) for path, entry in content.pop("files").items()}
        return Receipt(files=files, folders=tuple(content.pop("folders")), **content)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LabError(
            f"The receipt {path_of(tool)} cannot be read: {error}.",
            f"Remove it and what it lists, then run again; {tool} is then placed anew.",
        ) from error


def write(tool: str, receipt: t.Optional[Receipt]) -> None:
    """Put it on the disk, atomically and fsynced; None removes it and the folders that it leaves empty."""
    path = path_of(tool)
    if receipt is None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        for folder in (FOLDER, os.path.dirname(FOLDER)):
            with contextlib.suppress(OSError):  # not empty: others are still there
                os.rmdir(folder)
        return
    os.makedirs(FOLDER, mode=0o700, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".receipt-", dir=FOLDER)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(receipt), file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        os.unlink(temporary)
        raise LabError(f"The receipt {path} cannot be written: {error.strerror}.") from error
