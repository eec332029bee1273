# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps that change maps: make one, pin one, set and delete entries, each with the way back."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ..._core.errors import LabError, Refused
from ..._core.host import Host
from ..._core.plan import Done, Key, Learned, Note, Step, make, restored, save
from ..._kernel import syscall
from ..._kernel.netns import in_netns
from ..._kernel.syscall import Handle
from ..pin.steps import PinObject
from .entries import MapRef, require
from .layout import reference
from .new import NewMap
from .state import entry_key, map_key

Entries = tuple[tuple[bytes, t.Optional[bytes]], ...]  # None: there is no such entry


@dataclass(frozen=True)
class MakeMap(Step):
    """Make a map that has no name yet: it goes with the run, unless it is pinned at ``path``."""

    new: NewMap
    path: str

    def title(self) -> str:
        return f"make the {self.new.type} {self.new.name}"

    def apply(self, host: Host, learned: Learned) -> Done:
        handle = Handle(self.new.create())
        number = syscall.map_info(handle.fd).id
        return Done(learned={made_for(self.path): number}, handles={f"map {number}": handle})


def made_for(path: str) -> Key:
    """Under what a run remembers the map that it has made for a path: no key of the journal."""
    return f"made for:{path}"


@dataclass(frozen=True)
class PinMap(Step):
    """Pin the map with this ``id`` at ``path``, 0 for the one that the run has made. A pin of ours is replaced."""

    path: str
    what: str
    id: int = 0

    def title(self) -> str:
        return f"pin {self.what} at {self.path}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (make(map_key(self.path), self._value(learned)),)

    def _value(self, learned: Learned) -> dict[str, t.Any]:
        if self.id:
            return {"id": self.id}
        return {"id": learned.get(made_for(self.path)) or 0, "made": True}

    def apply(self, host: Host, learned: Learned) -> Done:
        value = self._value(learned)
        name = f"map {value['id']}"
        if self.id:
            learned.take(Done(handles={name: Handle(syscall.map_fd(self.id))}))
        return PinObject(self.path, name, value, key=map_key(self.path)).apply(host, learned)


@dataclass(frozen=True)
class ChangeEntries(Step):
    """Set and delete entries of the map ``map_id``; ``before`` is what they were, in the order of ``after``.

    It is done in the namespace ``netns``: the kernel looks a devmap's interfaces up where the caller is. ``foreign``:
    what they were is noted, with the pins that keep what they named (``kept``, by key). ``restore``: it is put back.
    """

    ref: MapRef
    map_id: int
    before: Entries
    after: Entries
    shown: str
    netns: str = ""
    foreign: bool = False
    restore: bool = False
    kept: tuple[tuple[bytes, str], ...] = ()

    def title(self) -> str:
        gone = sum(value is None for _key, value in self.after)
        parts = [f"set {len(self.after) - gone}"] if gone < len(self.after) else []
        parts += [f"delete {gone}"] if gone else []
        noun = "entry" if len(self.after) == 1 else "entries"
        return f"{' and '.join(parts)} {noun} of {self.ref}{self.shown}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        if self.restore:
            return tuple(restored(entry_key(self.map_id, key)) for key, _value in self.after)
        if not self.foreign:
            return ()
        then, kept = dict(self.after), dict(self.kept)
        found = []
        for key, value in self.before:
            saved = {**_noted(value), **({"kept": kept[key]} if key in kept else {})}
            saved.update({"netns": self.netns} if self.netns else {})
            found.append(save(entry_key(self.map_id, key), saved, _noted(then[key])))
        return tuple(found)

    def apply(self, host: Host, learned: Learned) -> Done:
        handles = in_netns(self.netns, self._write)
        # With an older note the value from before is still to be put back when this change is taken back.
        entries = [host.journal.saved(entry_key(self.map_id, key)) for key, _value in self.after]
        first = self.foreign and all(entry is None or len(entry.wrote) == 1 for entry in entries)
        undo = ChangeEntries(self.ref, self.map_id, self.after, self.before, self.shown, self.netns, restore=first)
        return Done(undo=(undo,), handles=handles)

    def _write(self) -> dict[str, Handle]:
        """Deletions first: they make room. What is done is taken back when one is refused.

        Returns what the entries from before named, held.
        """
        then = dict(self.before)
        with require(self.ref, raw=True) as opened:
            if opened.info.id != self.map_id:
                raise Refused(f"{self.ref} is another map now than when it was looked at.", "Run again.")
            held = _held(opened.info.type, then.values())
            done: list[bytes] = []
            try:
                for key, value in sorted(self.after, key=lambda entry: entry[1] is not None):
                    opened.put(key, value)
                    done.append(key)
            except LabError:
                for key in (key for key in reversed(done) if key in then):
                    opened.put(key, then[key])
                for handle in held.values():
                    handle.close()
                raise
        return held


def _noted(value: t.Optional[bytes]) -> dict[str, t.Any]:
    return {"value": None if value is None else value.hex()}


def _held(kind: str, values: t.Iterable[t.Optional[bytes]]) -> dict[str, Handle]:
    """The programs and maps that a map's values name, held: nothing else may."""
    found: dict[str, Handle] = {}
    for value in values:
        what = reference(kind, value)
        if what is not None and f"{what[0]} {what[1]}" not in found:
            number = what[1]
            found[f"{what[0]} {number}"] = Handle(
                syscall.map_fd(number) if what[0] == "map" else syscall.program_fd(number)
            )
    return found
