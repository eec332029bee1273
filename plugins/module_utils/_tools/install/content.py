# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies at a path, as the journal notes it: the identity of an installed file."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import typing as t
from dataclasses import dataclass

from ..._core import files
from ..._core.errors import LabError


@dataclass(frozen=True)
class Content:
    """``sha256`` of a regular file, ``link``'s target, or ``other``: what else it is, such as "folder"."""

    sha256: str = ""
    link: str = ""
    other: str = ""

    @classmethod
    def of(cls, path: str) -> t.Optional[Content]:
        """What is at ``path`` now; None when there is nothing. Raises LabError when it cannot be read."""
        kind = files.kind(path)
        if kind == "symbolic link":
            try:
                return cls(link=os.readlink(path))
            except OSError as error:
                raise files.failed(f"read the link {path}", error) from error
        if kind != "file":
            return cls(other=kind) if kind else None
        found = files.sha256_of(path, follow=False)
        return None if found is None else cls(sha256=found)

    @classmethod
    def from_noted(cls, value: t.Any) -> t.Optional[Content]:
        """From what the journal has of it; None when it was not written by ``noted``."""
        if not isinstance(value, dict):
            return None
        found = cls(*(str(value.get(name, "")) for name in ("sha256", "link", "other")))
        return found if found != cls() else None

    def noted(self) -> dict[str, str]:
        """Plain JSON types, for the journal."""
        return {name: value for name, value in vars(self).items() if value}


def digest_of(value: t.Any) -> str:
    """The digest of plain JSON types, the same for the same content."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def copy(source: str, target: str, *, root: bool = False) -> None:
    """Copy a file or link to a free path, with its owner and times; it is on the disk then. Raises OSError.

    ``root``: it belongs to root then, and everybody may read it.
    """
    shutil.copy2(source, target, follow_symlinks=False)
    status = os.lstat(source)
    owner = (0, 0) if root else (status.st_uid, status.st_gid)
    os.chown(target, *owner, follow_symlinks=False)
    if stat.S_ISREG(status.st_mode):
        mode = stat.S_IMODE(status.st_mode)
        handle = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fchmod(handle, (mode | 0o444) & 0o755 if root else mode)
            os.fsync(handle)
        finally:
            os.close(handle)


def checked(path: str, wanted: t.Optional[Content], doing: str) -> None:
    """Raise LabError when something else than ``wanted`` is at ``path``: somebody has changed it meanwhile."""
    if Content.of(path) != wanted:
        raise LabError(f"{doing}: {path} has changed meanwhile.", "Look who works on it, then run again.")
