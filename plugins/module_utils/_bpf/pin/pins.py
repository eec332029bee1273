# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is pinned in a folder, whose it is, and what will be pinned after what is coming."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from ..._core.host import Host
from ..._core.plan import NOTHING, Coming, Forecast
from ..._kernel import syscall
from ..._kernel.syscall import LinkInfo, MapInfo, ProgramInfo
from .folders import MOUNT
from .steps import pin_key

# Where a foreign program or map is kept alive that the user let us replace.
KEPT = f"{MOUNT}/ebpf_lab_kept"

Pinned = t.Union[ProgramInfo, MapInfo, LinkInfo]


@dataclass(frozen=True)
class Pin:
    """One pin. ``claim`` is what we noted when we made it, None for a foreign one."""

    path: str
    what: t.Optional[Pinned]
    claim: t.Optional[dict[str, t.Any]] = None

    @property
    def intact(self) -> bool:
        """Whether it is the very object that we pinned there: a tag or a name is no identity, the id is."""
        if self.claim is None or self.what is None or self.claim.get("id") != self.what.id:
            return False
        # A program and a map may bear one number; what uses maps was a program.
        if isinstance(self.what, ProgramInfo):
            return self.claim.get("map_ids") == list(self.what.map_ids)
        return isinstance(self.what, MapInfo) and "map_ids" not in self.claim

    def describe(self) -> dict[str, t.Any]:
        """For the diff: where it comes from when it is ours, else what it is."""
        if self.intact and self.claim is not None:
            return {"object": self.claim["object"], "sha256": self.claim["sha256"]}
        return {"state": f"not loaded by the lab: {self.words()}"}

    def words(self) -> str:
        """What is pinned, in a few words."""
        return words(self.what)


def words(what: t.Optional[Pinned]) -> str:
    """A BPF object in a few words: "xdp xdp_pass, id 17"."""
    if what is None:
        return "another BPF object"
    kind = "bpf_link" if isinstance(what, LinkInfo) else f"{what.type} {what.name}".strip()
    return f"{kind}, id {what.id}"


def claim_of(host: Host, path: str) -> t.Optional[dict[str, t.Any]]:
    """What we noted of the pin at ``path``; None when it is not ours."""
    entry = host.journal.claimed(pin_key(path))
    return None if entry is None else entry.value or {}


def pins_in(host: Host, folder: str) -> dict[str, Pin]:
    """The pins in a folder by their names; folders in it are left out."""
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found = {}
    for name in names:
        path = os.path.join(folder, name)
        if not os.path.isdir(path):
            found[name] = Pin(path, syscall.at(path), claim_of(host, path))
    return found


def folders_in(folder: str) -> list[str]:
    """The folders in a folder."""
    try:
        return [entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def kept_path(what: Pinned, taken: t.Collection[str] = ()) -> str:
    """Where a foreign object is kept alive; ids are unique on a host while the object lives.

    ``taken`` are the places of others: one object may have several pins.
    """
    kind = {ProgramInfo: "program", MapInfo: "map"}.get(type(what), "link")
    path = kept = f"{KEPT}/{kind}_{what.id}"
    number = 1
    while kept in taken:
        number += 1
        kept = f"{path}_{number}"
    return kept


def object_key(path: str) -> str:
    """The key under which a plan tells that the programs of an object are loaded anew. It is in no journal."""
    return f"object:{path}"


def told_of(path: str, coming: Forecast) -> t.Optional[Coming]:
    """What is coming for whatever is pinned at ``path``."""
    return coming.get(pin_key(path)) or coming.get(f"map:{path}")


def will_be_another(path: str, is_there: bool, coming: Forecast = NOTHING) -> bool:
    """Whether an earlier part of the plan pins something at ``path`` anew, so that its id is not known.

    ``is_there``: something is pinned there now. Where nothing is, it may be one of an object that is still compiled;
    what is in the way of such a one is told of by the object's part.
    """
    told = told_of(path, coming)
    if told is not None:
        return told.what != "removed"
    folder = os.path.dirname(path)
    loads = (key.startswith("object:") and (told.value or {}).get("folder") == folder for key, told in coming.items())
    return not is_there and any(loads)
