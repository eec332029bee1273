# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps that change maps: make and pin one, unpin it, set and delete entries, each with the way back."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from ..._core.errors import LabError, Refused
from ..._core.host import Host
from ..._core.plan import Note, Step
from ..._kernel import syscall
from ..._kernel.netns import in_netns
from ..._kernel.syscall import closing
from ..pin.folders import ensure
from ..pin.pins import Unpin, keep, put_back
from .entries import MapRef, require
from .new import NewMap

Entries = tuple[tuple[bytes, t.Optional[bytes]], ...]  # None: there is no such entry


def pin_key(path: str) -> str:
    """The journal's key of a pin that bpf_map made."""
    return f"map:{path}"


def entry_key(map_id: int, key: bytes) -> str:
    """The journal's key of an entry of a map that is not ours; ids are not used twice in one boot."""
    return f"entry:{map_id}:{key.hex()}"


@dataclass(frozen=True)
class PinMap(Step):
    """Pin a map at ``path``: a new one, or the one that ``ref`` finds. A pin of ours there is replaced."""

    path: str
    new: t.Optional[NewMap] = None
    ref: t.Optional[MapRef] = None

    def title(self) -> str:
        what = f"make the {self.new.type} {self.new.name}" if self.new is not None else f"open {self.ref}"
        return f"{what} and pin it at {self.path}"

    def notes(self) -> tuple[Note, ...]:
        return (Note("claim", pin_key(self.path), {}),)

    def apply(self, host: Host) -> None:
        ensure(host, os.path.dirname(self.path))
        if self.new is not None:
            handle = self.new.create()
        else:
            found = t.cast(MapRef, self.ref).find()
            if found is None:
                raise LabError(f"There is not {self.ref}.", "Load its program first.")
            handle = found
        with closing(handle):
            if os.path.lexists(self.path):
                keep(host, self.path)
                os.unlink(self.path)
            try:
                syscall.pin(handle, self.path)
            except LabError:
                put_back(host, self.path)
                raise
            host.journal.write([Note("claim", pin_key(self.path), {"id": syscall.map_info(handle).id})])

    def undo(self, host: Host) -> None:
        put_back(host, self.path)


@dataclass(frozen=True)
class UnpinMap(Unpin):
    """Remove a pin that bpf_map made. The map goes when no program and no other pin holds it."""

    def notes(self) -> tuple[Note, ...]:
        return (Note("release", pin_key(self.path)),)


@dataclass(frozen=True)
class ChangeEntries(Step):
    """Set and delete entries of the map ``map_id``; ``before`` is what they were, in the order of ``after``.

    It is done in the namespace ``netns``: the kernel looks a devmap's interfaces up where the caller is.
    """

    ref: MapRef
    map_id: int
    before: Entries
    after: Entries
    shown: str
    netns: str = ""
    foreign: bool = False
    restore: bool = False

    def title(self) -> str:
        gone = sum(value is None for _key, value in self.after)
        parts = [f"set {len(self.after) - gone}"] if gone < len(self.after) else []
        parts += [f"delete {gone}"] if gone else []
        noun = "entry" if len(self.after) == 1 else "entries"
        return f"{' and '.join(parts)} {noun} of {self.ref}{self.shown}"

    def notes(self) -> tuple[Note, ...]:
        if self.restore:
            return tuple(Note("release", entry_key(self.map_id, key)) for key, _value in self.after)
        if not self.foreign:
            return ()
        return tuple(
            Note("save", entry_key(self.map_id, key), {"map": str(self.ref), "value": value.hex() if value else None})
            for key, value in self.before
        )

    def apply(self, host: Host) -> None:
        in_netns(self.netns, lambda: self._write(self.after, self.before))

    def undo(self, host: Host) -> None:
        in_netns(self.netns, lambda: self._write(self.before, ()))

    def _write(self, entries: Entries, old: Entries) -> None:
        """Deletions first: they make room. What is done is taken back when one is refused."""
        with require(self.ref, raw=True) as opened:
            if opened.info.id != self.map_id:
                raise Refused(f"{self.ref} is another map now than when it was looked at.", "Run again.")
            done: list[bytes] = []
            try:
                for key, value in sorted(entries, key=lambda entry: entry[1] is not None):
                    if value is None:
                        opened.delete(key)
                    else:
                        opened.update(key, value)
                    done.append(key)
            except LabError:
                then = dict(old)
                for key in (key for key in reversed(done) if key in then):
                    value = then[key]
                    if value is None:
                        opened.delete(key)
                    else:
                        opened.update(key, value)
                raise
