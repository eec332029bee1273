# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders that the lab makes, on disk and on bpffs, and the bpffs mount itself: made when missing, gone when empty.

What exists is observed once (``Folders``); what has to be made, and what an end empties, is planned from that.
"""

from __future__ import annotations

import ctypes
import os
import typing as t
from dataclasses import dataclass, field

from ..._core import files, mounts
from ..._core.errors import BadInput, Refused
from ..._core.host import Host
from ..._core.own_files import file_key, is_plain, temporary_key
from ..._core.plan import NOTHING, Forecast, Key, Step
from .steps import MakeFolder, MountFilesystem, RemoveFolder, Unmount, dir_key, mount_key

MOUNT = "/sys/fs/bpf"
MAGIC = 0xCAFE4A11  # BPF_FS_MAGIC, linux/magic.h
# The kernel itself puts these into the root of each new bpffs when it has BPF_PRELOAD.
PRELOADED = frozenset({"progs.debug", "maps.debug"})
BPFFS = MountFilesystem(MOUNT, "bpf", "bpffs", MAGIC, "mode=0700")
THINGS = ("pin", "map", "kept", "file", "dir", "mount")  # the kinds of keys whose place is a path

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


def above(path: str) -> t.Iterator[str]:
    """``path`` and the folders above it, inner first, without the root."""
    while path != "/":
        yield path
        path = os.path.dirname(path)


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
class Folders:
    """Some folders and those above them: which exist, and what is in those that are ours.

    ``inside`` has the names in each folder that we made, and in the bpffs that we mounted; ``bpffs`` are those paths
    whose nearest existing folder lies on a bpffs.
    """

    exist: frozenset[str] = frozenset()
    inside: t.Mapping[str, frozenset[str]] = field(default_factory=dict)
    bpffs: frozenset[str] = frozenset()

    def exists(self, path: str, coming: Forecast = NOTHING) -> bool:
        """Whether a folder will be there after what is coming."""
        told = coming.get(dir_key(path)) or coming.get(mount_key(path))
        return path in self.exist if told is None else told.what == "made"


def look(host: Host, *paths: str) -> Folders:
    """What there is of ``paths`` and of the folders above them. Raises Refused for what another mount hides."""
    for path in paths:
        refuse_hidden(host, path)
    exist: set[str] = set()
    inside: dict[str, frozenset[str]] = {}
    for path in dict.fromkeys(folder for one in paths for folder in above(one)):
        if not os.path.isdir(path):
            continue
        exist.add(path)
        ours = host.journal.claimed(dir_key(path)) is not None and not os.path.islink(path)
        mounted = _is_our_mount(host, path)
        if ours or mounted:
            names = frozenset(os.listdir(path)) - (PRELOADED if mounted else frozenset())
            inside[path] = frozenset(name for name in names if not is_left_over(host, path, name))
    return Folders(frozenset(exist), inside, frozenset(path for path in paths if is_bpffs(nearest(path))))


def on_bpffs(host: Host) -> list[str]:
    """The folders below the usual place of the bpffs that were made on this run's behalf."""
    claims = host.journal.claims(dir_key(f"{MOUNT}/"), owner=host.journal.owner)
    places = (key.partition(":")[2] for key in claims)
    return sorted(path for path in places if is_plain(path))


def is_left_over(host: Host, folder: str, name: str) -> bool:
    """Whether a killed run has left it, and the next one removes it before it does anything else."""
    file = f"{folder}/{name[len(files.TEMPORARY) :]}" if name.startswith(files.TEMPORARY) else ""
    return any(key in host.journal.entries for key in (temporary_key(f"{folder}/{name}"), file_key(file)))


def hider_of(host: Host, path: str) -> t.Optional[tuple[str, mounts.MountPoint]]:
    """The place of ours at ``path`` or above that another mount hides, and that mount."""
    for place in above(path):
        for key in (dir_key(place), mount_key(place)):
            claim = host.journal.claimed(key)
            device = (claim.value or {}).get("device") if claim is not None else None
            if device is None or (os.path.lexists(place) and mounts.device(place) == device):
                continue
            hider = mounts.hiding(place, device)
            if hider is not None:
                return place, hider
    return None


def refuse_hidden(host: Host, path: str) -> None:
    """Raise Refused for what lies in a place of ours that another mount hides: it would be taken for gone, and stay."""
    found = hider_of(host, path)
    if found is not None:
        place, hider = found
        raise Refused(
            f"Somebody mounted a {hider.filesystem} at {hider.path}, which hides the lab's {place}: what is in "
            "there can be neither seen nor removed.",
            f"Run umount {hider.path}, then run again.",
        )


def _is_our_mount(host: Host, path: str) -> bool:
    """Whether what is seen at ``path`` is the mount that the journal claims."""
    claim = host.journal.claimed(mount_key(path))
    if claim is None or mounts.at(path) is None:
        return False
    return bool((claim.value or {}).get("device") in (None, mounts.device(path)))


def making(path: str, now: Folders, coming: Forecast = NOTHING, *, lasting: bool = False) -> tuple[Step, ...]:
    """The steps that make ``path`` and what is missing above it."""
    missing = []
    for folder in above(path):
        if now.exists(folder, coming):
            break
        missing.append(MakeFolder(folder, lasting))
    return tuple(reversed(missing))


def making_on_bpffs(option: str, path: str, now: Folders, coming: Forecast = NOTHING) -> tuple[Step, ...]:
    """The steps that make ``path``, and mount the bpffs that it is to lie on. Raises Refused where there is none."""
    mounted = coming.get(mount_key(MOUNT))
    if path in now.bpffs and not (mounted is not None and mounted.what == "removed"):
        return making(path, now, coming)
    if not path.startswith(f"{MOUNT}/"):
        raise Refused(f"{option}: {path} is not on a bpffs.", f"Choose a folder below {MOUNT}, or mount one there.")
    mount = () if mounted is not None and mounted.what == "made" else (mounting(BPFFS, now),)
    fresh = Folders(exist=frozenset({MOUNT}))  # what is at the place now will be hidden
    return (*mount, *making(path, fresh, {key: told for key, told in coming.items() if told.what == "made"}))


def mounting(step: MountFilesystem, now: Folders) -> MountFilesystem:
    """``step``, when there is a place to mount at: the kernel makes it, so that its lack tells of another mount."""
    if step.path not in now.exist:
        raise Refused(
            f"{step.path} does not exist, so {step.name} cannot be mounted there: the kernel has no {step.name}, or "
            "another mount hides its folder.",
            "Run findmnt --submounts /sys to see what is mounted there, and unmount what does not belong there.",
        )
    return step


def emptying(path: str, now: Folders, gone: t.Collection[str] = (), coming: Forecast = NOTHING) -> tuple[Step, ...]:
    """The steps that remove our folders and our mount at ``path`` and above, as far as nothing is in them then.

    ``gone`` are the paths that the caller's own steps remove; what is coming tells of those of others.
    """
    steps: list[Step] = []
    away = set(gone)
    for folder in above(path):
        if folder not in now.inside:
            if now.exists(folder, coming):
                break  # somebody else's: it stays, and so does what it is in
            continue
        if not now.exists(folder, coming):
            away.add(folder)
            continue
        if any(not _gone(f"{folder}/{name}", away, coming) for name in now.inside[folder]) or _made(folder, coming):
            break
        step: Step = Unmount(BPFFS) if folder == MOUNT else RemoveFolder(folder)
        steps.append(step)
        away.add(folder)
    return tuple(steps)


def _keys(path: str) -> t.Iterator[Key]:
    return (f"{kind}:{path}" for kind in THINGS)


def _gone(path: str, away: t.Collection[str], coming: Forecast) -> bool:
    told = [coming[key].what for key in _keys(path) if key in coming]
    return path in away or (bool(told) and all(what == "removed" for what in told))


def _made(folder: str, coming: Forecast) -> bool:
    """Whether somebody else's step puts something into the folder."""
    for key, told in coming.items():
        kind, _colon, path = key.partition(":")
        if kind in THINGS and told.what == "made" and os.path.dirname(path) == folder:
            return True
    return False
