# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs and maps as a user names them: by a pin's path, by an id, or by a name."""

from __future__ import annotations

import contextlib
import errno
import os
import typing as t

from .._core.errors import BadInput, KernelRefused
from . import syscall
from .syscall import MapInfo, ProgramInfo, closing

NAME = 15  # characters of a name that the kernel keeps


def programs() -> t.Iterator[ProgramInfo]:
    """All loaded programs; one that goes while we look is left out."""
    return (info for info in map(syscall.program_by_id, syscall.program_ids()) if info is not None)


def maps() -> t.Iterator[MapInfo]:
    """All maps; one that goes while we look is left out."""
    for number in syscall.map_ids():
        with contextlib.suppress(KernelRefused), closing(syscall.map_fd(number)) as handle:
            yield syscall.map_info(handle)


def program(which: str, kind: str = "", option: str = "program") -> t.Optional[ProgramInfo]:
    """A loaded program by its pin's path, its id or its name; None when there is none.

    ``kind`` is the type of the programs that are looked through for a name, "" for any. Raises BadInput for ``option``
    when the name fits several of them, or something else is pinned at the path.
    """
    if which.startswith("/"):
        what = syscall.at(which)
        if what is not None and not isinstance(what, ProgramInfo):
            raise BadInput(option, which, "is the pin of a map or a link", "name a program's pin")
        return what
    if which.isdigit():
        return syscall.program_by_id(int(which))
    found = [info for info in programs() if kind in ("", info.type) and info.name == which[:NAME]]
    if len(found) > 1:
        ids = ", ".join(str(info.id) for info in found)
        raise BadInput(option, which, f"is the name of {len(found)} programs (ids {ids})", "give an id or a pin")
    return found[0] if found else None


def map_at(path: str) -> t.Optional[int]:
    """A descriptor of the map that is pinned at ``path``, None when nothing is. Raises BadInput for anything else."""
    if os.path.isdir(path):
        raise BadInput("path", path, "is a folder", "name the map in it")
    try:
        handle = syscall.get_pinned(path)
    except KernelRefused as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        if error.errno == errno.EACCES and os.path.exists(path):  # so says the kernel outside of a bpffs
            raise BadInput("path", path, "is no pin", "give the pin of a map on a bpffs") from error
        raise
    kind = syscall.kind_of(handle)
    if kind != "map":
        os.close(handle)
        raise BadInput("path", path, f"is a pinned {kind}, not a map", "give the pin of a map")
    return handle


def map_by_id(number: int) -> t.Optional[int]:
    """A descriptor of the map with this id, None when there is none."""
    try:
        return syscall.map_fd(number)
    except KernelRefused as error:
        if error.errno == errno.ENOENT:
            return None
        raise


def map_of(which: str, name: str) -> t.Optional[int]:
    """A descriptor of the map ``name`` of a program, None when there is no such program. Raises BadInput."""
    info = program(which)
    if info is None:
        return None
    found = []
    for number in info.map_ids:
        with closing(syscall.map_fd(number)) as handle:
            found.append(syscall.map_info(handle))
    fitting = [entry for entry in found if entry.name == name[:NAME]]
    if len(fitting) > 1:
        ids = " and ".join(str(entry.id) for entry in fitting)
        raise BadInput("name", name, f"fits the maps {ids} of the program {which}", "give the id")
    if not fitting:
        names = ", ".join(sorted(entry.name for entry in found)) or "none"
        raise BadInput("name", name, f"is no map of the program {which}", f"its maps are {names}")
    return map_by_id(fitting[0].id)
