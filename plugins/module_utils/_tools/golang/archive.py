# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Go release's archive, unpacked with nothing of it outside of its folder."""

from __future__ import annotations

import os
import posixpath
import shutil
import stat
import tarfile
import zlib

from ..._core.errors import LabError


def unpack(archive: str, target: str, name: str) -> None:
    """Unpack a release's archive, whose one top folder is ``go``, as ``target``.

    Raises LabError for an archive that is broken, that has another top folder, a path or link that leaves it, or
    anything that is neither file, folder nor link.
    """
    target = os.path.realpath(target)
    try:
        with tarfile.open(archive, "r|*") as tar:
            for member in tar:
                _write(tar, member, target, name)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise LabError(f"{name} is not a whole archive: {error}.", "Nothing was changed.") from error
    if not os.path.isdir(target):
        raise LabError(f"{name} is not a Go release: it has no folder go.", "Nothing was changed.")


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: str, name: str) -> None:
    parts = member.name.rstrip("/").split("/")
    if parts[0] != "go" or ".." in parts or "" in parts:
        raise LabError(f"{name} holds {member.name!r}, which would be written outside of its folder.", "Refused.")
    path = os.path.join(target, *parts[1:])
    above = os.path.dirname(path)
    if os.path.realpath(above) != above and len(parts) > 1:
        raise LabError(f"{name} holds {member.name!r}, which would be written through a link.", "Refused.")
    if member.isdir():
        os.makedirs(path, exist_ok=True)
    elif member.issym():
        end = posixpath.normpath(posixpath.join(*parts[:-1], member.linkname))
        if member.linkname.startswith("/") or end.split("/")[0] != "go":
            raise LabError(f"{name} holds {member.name!r}, a link that leaves its folder.", "Refused.")
        os.makedirs(above, exist_ok=True)
        os.symlink(member.linkname, path)
    elif member.isreg():
        os.makedirs(above, exist_ok=True)
        source = tar.extractfile(member)
        if source is None:
            raise LabError(f"{name} holds {member.name!r}, which has no content.", "Refused.")
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as file:
            shutil.copyfileobj(source, file)
        os.chmod(path, stat.S_IMODE(member.mode) & 0o755 | 0o444)
        os.utime(path, (member.mtime, member.mtime))  # Go's build cache looks at it
    else:
        raise LabError(f"{name} holds {member.name!r}, which is neither file, folder nor link.", "Refused.")
