# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is mounted, and whether it can be seen: the one reader of the kernel's list of mounts (proc_pid_mountinfo(5)).

The list also has the mounts that another one hides, at the same place or at a folder above it, so a line in it proves
nothing about what a path leads to.
"""

from __future__ import annotations

import contextlib
import os
import re
import typing as t
from dataclasses import dataclass

MOUNTINFO = "/proc/self/mountinfo"


@dataclass(frozen=True)
class MountPoint:
    """One line of the list. ``number`` is the mount's id, ``device`` its file system's, as MAJOR:MINOR; ``source``
    is the name of what was mounted."""

    number: int
    device: str
    path: str
    filesystem: str
    source: str = ""

    @property
    def visible(self) -> bool:
        """Whether its path leads to it; if not, another mount hides it."""
        return _number_at(self.path) == self.number


def mounts() -> list[MountPoint]:
    """All mounts of this process' mount namespace, hidden ones too, in the order of mounting."""
    found = []
    with open(MOUNTINFO, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields, _dash, rest = line.partition(" - ")
            number, _parent, device, _root, path = fields.split(" ")[:5]
            plain = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)
            filesystem, source = rest.split(" ")[:2]
            found.append(MountPoint(int(number), device, plain, filesystem, source))
    return found


def visible(filesystem: str) -> list[str]:
    """Where file systems of this kind can be seen, each place once, in the order of mounting."""
    return [mount.path for mount in mounts() if mount.filesystem == filesystem and mount.visible]


def at(path: str) -> t.Optional[MountPoint]:
    """The mount that is seen at ``path``, None when ``path`` is no mount point."""
    mount = containing(path)
    return mount if mount is not None and mount.path == os.path.realpath(path) else None


def containing(path: str) -> t.Optional[MountPoint]:
    """The mount in which ``path`` lies; None when there is no such path."""
    number = _number_at(path)
    return next((mount for mount in mounts() if mount.number == number), None)


def device(path: str) -> str:
    """The file system on which ``path`` lies, as the list of mounts writes it."""
    number = os.stat(path).st_dev
    return f"{os.major(number)}:{os.minor(number)}"


def hiding(path: str, number: str) -> t.Optional[MountPoint]:
    """What hides the file system ``number`` on which ``path`` was made; None when it can be seen, or is gone."""
    listed = [mount for mount in mounts() if mount.device == number and f"{path}/".startswith(f"{mount.path}/")]
    if not listed or any(mount.visible for mount in listed):
        return None
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return containing(path)


def _number_at(path: str) -> t.Optional[int]:
    """The id of the mount that a path leads to, from the file descriptor's own data (proc_pid_fdinfo(5))."""
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        with open(f"/proc/self/fdinfo/{handle}", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("mnt_id:"))
    finally:
        os.close(handle)


def users(path: str) -> list[str]:
    """The processes that keep a mount busy: those that stand in it or have a file of it open, as "sleep (123)"."""
    found = []
    for name in sorted(os.listdir("/proc")):
        if name.isdigit() and any(f"{place}/".startswith(f"{path}/") for place in _places(f"/proc/{name}")):
            try:
                with open(f"/proc/{name}/comm", encoding="utf-8", errors="backslashreplace") as file:
                    found.append(f"{file.read().strip()} ({name})")
            except OSError:
                continue
    return found


def _places(process: str) -> t.Iterator[str]:
    """Where a process stands, and the files that it has open."""
    links = [f"{process}/cwd", f"{process}/root"]
    with contextlib.suppress(OSError):
        links += [f"{process}/fd/{number}" for number in os.listdir(f"{process}/fd")]
    for link in links:
        try:
            yield os.readlink(link)
        except OSError:
            continue
