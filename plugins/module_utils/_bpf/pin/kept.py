# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody's programs and maps that lose their place to ours: held by a pin aside until they get it back.

The number of such an object is no memory of it: what nothing holds is gone. Each place that lost one has its own pin,
which says whose it is by that place's key.
"""

from __future__ import annotations

import hashlib
import os
import typing as t
from dataclasses import dataclass

from ..._core.errors import LabError
from ..._core.host import Host
from ..._core.plan import Done, Key, Learned, Note, Step, make
from ..._kernel import syscall
from ..._kernel.syscall import Handle
from .folders import MOUNT
from .kinds import PinKind
from .steps import Unpin

KEPT = f"{MOUNT}/ebpf_lab_kept"


def kept_key(path: str) -> Key:
    """The journal's key of a pin that keeps somebody's object."""
    return f"kept:{path}"


def kept_path(kind: str, number: int, place: Key) -> str:
    """Where a "program" or "map" is kept that ``place`` loses; ids are unique on a host while the object lives."""
    return f"{KEPT}/{kind}_{number}_{hashlib.sha256(place.encode(errors='surrogateescape')).hexdigest()[:8]}"


class KeptKind(PinKind):
    """Named, as all pins: the object's id is noted before the pin is made."""

    prefix = "kept:"


def kept_for(host: Host, place: str) -> dict[str, Key]:
    """The pins that keep something for the place ``place``, and (with a colon at its end) all below it."""
    found = {}
    for key, entry in host.journal.claims("kept:").items():
        owner = str(entry.value.get("place", "")) if isinstance(entry.value, dict) else ""
        if owner == place or (place.endswith(":") and owner.startswith(place)):
            found[key[len("kept:") :]] = owner
    return found


@dataclass(frozen=True)
class Keep(Step):
    """Pin somebody's ``kind`` with this ``id``, which is about to lose its ``place`` (``where`` in words), aside."""

    kind: str
    id: int
    name: str
    path: str
    place: Key
    where: str

    def title(self) -> str:
        what = f"{self.kind} {self.name}".rstrip()
        return f"keep the foreign {what} (id {self.id}) of {self.where} at {self.path}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (make(kept_key(self.path), {"id": self.id, "place": self.place}),)

    def apply(self, host: Host, learned: Learned) -> Done:
        handle = Handle(syscall.program_fd(self.id) if self.kind == "program" else syscall.map_fd(self.id))
        try:
            syscall.pin(handle.fd, self.path)
        except LabError:
            handle.close()
            raise
        return Done(undo=(Unpin(self.path, kept_key(self.path)),), handles={f"{self.kind} {self.id}": handle})


@dataclass(frozen=True)
class LetGo(Unpin):
    """Remove a pin that kept something for ``place``, which has got it back, or is gone."""

    place: Key = ""
    why: str = ""

    def title(self) -> str:
        return f"unpin {self.path}{self.why}"

    def apply(self, host: Host, learned: Learned) -> Done:
        saved = host.journal.saved(self.place)
        if saved is not None and isinstance(saved.saved, dict) and saved.saved.get("kept") == self.path:
            raise LabError(f"{self.title()}: it is still to be put back.")
        return super().apply(host, learned)


def letting_go(path: str, place: Key, why: str = "") -> LetGo:
    """The step that removes a pin of ``kept_for``."""
    return LetGo(path, kept_key(path), place, why)


def is_kept(saved: t.Any) -> bool:
    """Whether what is noted of a value from before is still held by its pin: else there is nothing to put back."""
    path = saved.get("kept") if isinstance(saved, dict) else None
    return path is None or os.path.lexists(path)
