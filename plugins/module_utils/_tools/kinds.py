# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How what is noted of tools is told from what others have there, should a run have been killed."""

from __future__ import annotations

import os
import typing as t

from .._bpf.pin.kinds import FolderKind
from .._core.errors import LabError
from .._core.host import Host
from .._core.journal import Entry
from .._core.plan import Key
from .._core.resource import Kind
from .builds.steps import is_ours, sweep
from .golang.tree import GO, receipt
from .install.content import Content
from .install.state import ASIDE, BUILD, PLACED, TEMPORARY, TOOL, aside_of


class Temporary(Kind):
    """What only a run needs, told by its name."""

    way = "temporary"

    def look(self, host: Host, entries: t.Mapping[Key, Entry]) -> dict[Key, t.Any]:
        return {key: _there(key, entry) for key, entry in entries.items()}

    def sweep(self, host: Host, key: Key, entry: Entry) -> None:
        sweep(key, entry.coming if entry.about else entry.value)


def _there(key: Key, entry: Entry) -> t.Optional[bool]:
    path = key.partition(":")[2]
    value = entry.coming if entry.about else entry.value
    places = [path]
    if isinstance(value, dict) and value.get("fresh_root") is True:
        places.append(os.path.dirname(path))
    return True if is_ours(key) and any(map(os.path.lexists, places)) else None


class BuildDirKind(Temporary):
    """Directories in which tools are built."""

    prefix = BUILD


class TemporaryKind(Temporary):
    """What is made before it gets its name."""

    prefix = TEMPORARY


class ToolKind(Kind):
    """What a tool was made from: a decision, which stays until its files are taken away."""

    prefix = TOOL
    way = "decided"

    def look(self, host: Host, entries: t.Mapping[Key, Entry]) -> dict[Key, t.Any]:
        return {key: entry.coming if entry.about else entry.value for key, entry in entries.items()}


class PlacedKind(Kind):
    """Named: a file's content is noted before it gets its name.

    One that was placed and that somebody has changed since stays noted: the next run repairs it, an end leaves it.
    """

    prefix = PLACED
    way = "named"

    def look(self, host: Host, entries: t.Mapping[Key, Entry]) -> dict[Key, t.Any]:
        return {key: _placed(key[len(self.prefix) :], entry) for key, entry in entries.items()}

    def is_same(self, noted: t.Any, seen: t.Any) -> bool:
        content = Content.from_noted(noted)
        return content is not None and content == Content.from_noted(seen)

    def identity(self, coming: t.Any, seen: t.Any) -> t.Any:
        return coming


def _placed(path: str, entry: Entry) -> t.Any:
    if entry.claimed and not entry.about:
        return entry.value if os.path.lexists(path) else None
    return _content(path)


def _content(path: str) -> t.Optional[dict[str, str]]:
    try:
        found = Content.of(path)
    except (LabError, ValueError):  # a name with a NUL
        return {"other": "unreadable"}
    return found.noted() if found is not None else None


class AsideKind(PlacedKind):
    """Named: the copies of foreign files that ours have replaced."""

    prefix = ASIDE

    def look(self, host: Host, entries: t.Mapping[Key, Entry]) -> dict[Key, t.Any]:
        return {key: _content(aside_of(key[len(self.prefix) :])) for key in entries}


class GoKind(Kind):
    """Named: a release's directory has a receipt in it before it is renamed to its place."""

    prefix = GO
    way = "named"

    def look(self, host: Host, entries: t.Mapping[Key, Entry]) -> dict[Key, t.Any]:
        return {key: receipt(key[len(self.prefix) :]) for key in entries}

    def is_same(self, noted: t.Any, seen: t.Any) -> bool:
        if not isinstance(noted, dict):
            return False
        return all(value == seen.get(name) for name, value in noted.items() if value)

    def identity(self, coming: t.Any, seen: t.Any) -> t.Any:
        return seen


KINDS: tuple[Kind, ...] = (BuildDirKind(), TemporaryKind(), ToolKind(), PlacedKind(), AsideKind(), GoKind())


def all_kinds() -> tuple[Kind, ...]:
    """Of all tools, and their folders: what a killed run left of one is removed by the next run of any."""
    return (*KINDS, FolderKind())
