# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How folders, mounts and pins that a killed run was about to make are told from those of others."""

from __future__ import annotations

import os
import stat
import typing as t

from ..._core import mounts
from ..._core.errors import LabError
from ..._core.host import Host
from ..._core.journal import Entry
from ..._core.own_files import is_plain
from ..._core.plan import Key
from ..._core.resource import UNKNOWN, Kind
from ..._kernel import syscall
from .folders import hider_of
from .steps import NEW, SOURCE, STICKY, remove_pin


class FolderKind(Kind):
    """Marked: the sticky bit is in the request that makes it. Later on it is the one on that file system."""

    prefix = "dir:"
    way = "marked"

    def look(self, host: Host, entries: t.Mapping[Key, Entry]) -> dict[Key, t.Any]:
        return {key: _folder(key[len(self.prefix) :], entry) for key, entry in entries.items()}

    def is_same(self, noted: t.Any, seen: t.Any) -> bool:
        noted = noted or {}
        if noted.get("marked"):
            return bool(seen["marked"])
        return noted.get("device") in (None, seen["device"])

    def identity(self, coming: t.Any, seen: t.Any) -> t.Any:
        # A disk may have another number after a reboot.
        return {} if (coming or {}).get("lasting") else {"device": seen["device"]}


def _folder(path: str, entry: Entry) -> t.Optional[dict[str, t.Any]]:
    device = (entry.value or {}).get("device")
    try:
        found = os.lstat(path)
    except OSError:
        found = None
    elsewhere = device is not None and (found is None or device != mounts.device(path))
    if device is not None and elsewhere and mounts.hiding(path, device) is not None:
        return {"device": device, "marked": False}  # it is there, under what hides it
    if found is None or not stat.S_ISDIR(found.st_mode):
        return None
    return {"device": mounts.device(path), "marked": bool(found.st_mode & STICKY)}


class MountKind(Kind):
    """Marked: the request names as the source of the mount what nobody else does."""

    prefix = "mount:"
    way = "marked"

    def look(self, host: Host, entries: t.Mapping[Key, Entry]) -> dict[Key, t.Any]:
        found: dict[Key, t.Any] = {}
        listed = mounts.mounts()
        for key, entry in entries.items():
            device = (entry.value or {}).get("device")
            here = [mount for mount in listed if mount.path == key[len(self.prefix) :]]
            # Hidden ones are there too; the one that is ours counts, if any is.
            here.sort(key=lambda mount: (mount.device == device, mount.source == SOURCE))
            found[key] = {"device": here[-1].device, "source": here[-1].source} if here else None
        return found

    def is_same(self, noted: t.Any, seen: t.Any) -> bool:
        noted = noted or {}
        return all(noted.get(name) in (None, seen[name]) for name in ("device", "source"))

    def identity(self, coming: t.Any, seen: t.Any) -> t.Any:
        return {"device": seen["device"]}


class PinKind(Kind):
    """Named: it is made without a name, its id is noted, and then it gets its pin. Somebody's pin is told by its id."""

    prefix = "pin:"
    way = "named"

    def look(self, host: Host, entries: t.Mapping[Key, Entry]) -> dict[Key, t.Any]:
        return {key: _pin(host, key[len(self.prefix) :]) for key in entries}

    def is_same(self, noted: t.Any, seen: t.Any) -> bool:
        return bool((noted or {}).get("id", 0) == seen["id"])

    def is_back(self, saved: t.Any, seen: t.Any) -> bool:
        if seen is not None and saved["id"] == seen["id"]:
            return True
        return not os.path.lexists(saved["kept"])  # somebody took it: there is nothing to put back

    def sweep(self, host: Host, key: Key, entry: Entry) -> None:
        path = key[len(self.prefix) :]
        if is_plain(path):
            remove_pin(f"{path}{NEW}")


def _pin(host: Host, path: str) -> t.Any:
    if not is_plain(path) or hider_of(host, path) is not None:
        return UNKNOWN
    try:
        what = syscall.at(path)
    except LabError:
        what = None
    if what is None:
        return {"id": -1} if os.path.lexists(path) else None
    return {"id": what.id}
