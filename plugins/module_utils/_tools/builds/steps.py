# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps that make something in a build directory, and the one that removes what only a run needs."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from ..._core import files
from ..._core.errors import LabError
from ..._core.host import Host
from ..._core.plan import Done, Key, Learned, Note, Step, make, release
from ..install.content import Content
from ..install.plan import Item, Offer
from ..install.state import BUILD, TEMPORARY
from . import build_dir
from .build_dir import BuildDir


@dataclass(frozen=True)
class InBuildDir(Step):
    """Make a tool's files in a build directory, from where they are installed. Without them there is no directory.

    ``fresh_root``: the directory that it is made in is not there yet.
    """

    root: str
    fresh_root: bool
    tool: t.ClassVar[str] = ""

    @property
    def key(self) -> Key:
        """The directory's place in the journal."""
        return f"{BUILD}{build_dir.path_of(self.tool, self.root)}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (make(self.key, {"fresh_root": self.fresh_root}, lasting=True),)

    def apply(self, host: Host, learned: Learned) -> Done:
        place = BuildDir(host.runner, self.tool, self.root)
        try:
            place.make()
            about = self.build(host, place)
        except BaseException as error:
            build_dir.remove(place.path, self.fresh_root)
            if isinstance(error, OSError):
                raise files.failed(f"{self.title()}: {error.filename or place.path}", error) from error
            raise
        value = {"fresh_root": self.fresh_root, "about": about}
        return Done(undo=(RemoveTemporary(self.key),), learned={self.key: value})

    def build(self, host: Host, place: BuildDir) -> dict[str, t.Any]:
        """Stage the tool's files in ``place``; returns what to say about them. Raises LabError, OSError."""
        raise NotImplementedError


def staged(host: Host, key: Key) -> Offer:
    """What a step before has made in the build directory ``key``. Raises LabError."""
    entry = host.journal.claimed(key)
    root = build_dir.stage_of(key[len(BUILD) :])
    items = []
    for folder, folders, names in os.walk(root):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in sorted(names + links):
            path = os.path.join(folder, name)
            content = Content.of(path)
            if content is None or content.other:
                raise LabError(f"{path}, which is to be installed, is neither a file nor a link.")
            items.append(Item(os.path.join("/", os.path.relpath(path, root)), content, path))
    return Offer(tuple(items), (entry.value if entry is not None else {}).get("about", {}))


@dataclass(frozen=True)
class RemoveTemporary(Step):
    """Remove what only a run needs: a build directory, or what was made before it got its name."""

    key: Key
    what: str = ""

    def title(self) -> str:
        return self.what or f"remove {self.key.partition(':')[2]}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (release(self.key),)

    def apply(self, host: Host, learned: Learned) -> Done:
        entry = host.journal.entries.get(self.key)
        sweep(self.key, entry.value if entry is not None else None)
        return Done()


def is_ours(key: Key) -> bool:
    """Whether what is noted under ``key`` can be ours by its name: nothing else is removed."""
    path = key.partition(":")[2]
    if key.startswith(BUILD):
        return build_dir.is_one(path)
    plain = os.path.isabs(path) and os.path.normpath(path) == path
    return key.startswith(TEMPORARY) and plain and os.path.basename(path).startswith(files.TEMPORARY)


def sweep(key: Key, value: t.Any) -> None:
    """Remove what is noted under ``key``. Raises LabError."""
    path = key.partition(":")[2]
    if not is_ours(key):
        return
    if key.startswith(BUILD):
        build_dir.remove(path, isinstance(value, dict) and value.get("fresh_root") is True)
        return
    files.remove_tree(path)
