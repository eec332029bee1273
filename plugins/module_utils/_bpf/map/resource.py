# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A map as a resource: made or found, pinned, and with the entries that a playbook asks for."""

from __future__ import annotations

import json
import os
import typing as t
from dataclasses import dataclass, replace

from ..._core.errors import BadInput, Refused
from ..._core.host import Host
from ..._core.plan import Applied, Forget, Plan, Step, apply_steps, undo_steps
from ..pin.folders import MOUNT, MountBpffs, Sweep, making, mounting
from ..pin.pins import fits
from .entries import Map, MapRef
from .layout import DEVICES, FIXED, Shape
from .new import NewMap
from .state import (
    MapState,
    by_name,
    indexes,
    is_ours,
    observe_pin,
    public,
    ref_from_params,
    saved_entries,
    shown,
    stale_entries,
    with_index,
)
from .steps import ChangeEntries, Entries, PinMap, UnpinMap, pin_key


@dataclass(frozen=True)
class MapResource:
    """The map ``ref`` with ``entries``; without ``absent_keys``; with ``exclusive`` without any other.

    ``new``: it is made when it is not there, and pinned at ``pin``. ``pin`` without ``new``: the map that ``ref``
    finds is pinned there. ``present`` False: the pin that we made goes, and entries of a map that is not ours are put
    back. ``entries`` and ``absent_keys`` are JSON. ``netns`` is where a devmap's interfaces are. ``raw``: bytes only.
    ``as_loaded``: a prog_array is left as its object filled it.
    """

    ref: MapRef
    entries: str = "[]"
    absent_keys: str = "[]"
    exclusive: bool = False
    present: bool = True
    new: t.Optional[NewMap] = None
    pin: str = ""
    netns: str = ""
    raw: bool = False
    as_loaded: bool = False

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> MapResource:
        """From the parameters of ``bpf_map``. Raises BadInput."""
        present = params.get("state", "present") == "present"
        ref, pin = ref_from_params(params, pin_too=True)
        entries, keys = params.get("entries"), params.get("absent_keys") or []
        exclusive = bool(params.get("exclusive"))
        if not present and (entries or keys or exclusive):
            raise BadInput(
                "state", "absent", "is given with entries", "list what is to go in absent_keys, or leave it out"
            )
        if exclusive and entries is None:
            raise BadInput("exclusive", True, "is given without entries", "give entries: [] to empty the map")
        new = None
        if present and params.get("type"):
            if not ref.path:
                raise BadInput("type", params["type"], "is given with id or program", "a new map needs only a path")
            new, pin = NewMap.from_params(params, os.path.basename(ref.path)), ref.path
        return cls(
            ref=ref,
            entries=json.dumps(entries or []),
            absent_keys=json.dumps(keys),
            exclusive=exclusive,
            present=present,
            new=new,
            pin=pin,
            netns=params.get("netns") or "",
            raw=params.get("format") == "bytes",
        )

    def observe(self, host: Host) -> MapState:
        """The map, the entries that are named (all when ``exclusive``), and our notes. Bad entries raise here."""
        state = observe_pin(host, self.pin) if self.pin else MapState()
        opened = Map.open(self.ref, self.raw)
        if opened is None:
            return replace(state, stale=stale_entries(host, str(self.ref)))
        with opened:
            found = replace(
                state,
                shape=opened.shape,
                ours=is_ours(host, opened.info),
                names=indexes(self.netns, opened.shape, [entry["value"] for entry in json.loads(self.entries)]),
                saved=saved_entries(host, opened.info),
            )
            if not self.present:
                return replace(found, entries={key: opened.lookup(key) for key in found.saved})
            if not self._asks():
                return found
            opened.require_keys()
            # A trie's lookup finds a shorter prefix too, so its entries are listed.
            whole = self.exclusive or opened.info.type == "lpm_trie"
            entries: dict[bytes, t.Optional[bytes]] = dict(opened.items(opened.info.max_entries)) if whole else {}
            for key in self._wanted_keys(found):
                if key not in entries:
                    entries[key] = None if whole else opened.lookup(key)
            return replace(found, entries=entries)

    def _asks(self) -> bool:
        """Whether anything is said about entries."""
        return self.exclusive or self.entries != "[]" or self.absent_keys != "[]"

    def _wanted_keys(self, now: MapState) -> list[bytes]:
        shape = t.cast(Shape, now.shape)
        keys = [shape.encode_key(f"entries[{at}].key", e["key"]) for at, e in enumerate(json.loads(self.entries))]
        gone = [shape.encode_key(f"absent_keys[{at}]", key) for at, key in enumerate(json.loads(self.absent_keys))]
        for option, listed in (("entries", keys), ("absent_keys", [*keys, *gone])):
            twice = next((key for key in listed if listed.count(key) > 1), None)
            if twice is not None:
                raise BadInput(option, shape.key.decode(twice), "is there twice", "name each key once")
        return [*keys, *gone]

    def plan(self, now: MapState, pending: bool = False) -> Plan:
        """Make and pin, then the entries that differ.

        ``pending``: an earlier part of the same plan makes the map (its program) or the interfaces that a devmap names
        anew, so that its entries are not known yet: they are compared when the step runs.
        """
        if not self.present:
            return self._plan_absent(now)
        steps, remade = self._plan_pin(now)
        warnings = []
        shape = None if pending or remade else now.shape
        before: dict[str, t.Any] = {"map": public(now.shape.info) if now.shape is not None else None}
        after: dict[str, t.Any] = {"map": before["map"] if shape is not None else self._expected()}
        if shape is not None:
            changes = self._changes(now, shape)
            if changes is not None:
                old, new = changes
                before["entries"] = shown(shape, now.entries)
                after["entries"] = shown(shape, {**now.entries, **dict(new)})
                if new:
                    what = f": {shape.key.decode(new[0][0])!r}" if len(new) == 1 else ""
                    change = ChangeEntries(self.ref, shape.info.id, old, new, what, self.netns, foreign=not now.ours)
                    steps.append(change)
        if shape is None or self._unresolved(now):
            wanted = json.loads(self.entries)
            if self._asks():
                after["entries"] = wanted
                steps.append(FillMap(resource=replace(self, new=None, pin="")))
            if self.new is None and not pending and now.shape is None:
                warnings.append(f"There is not {self.ref} yet; the run needs it.")
        return Plan(before=before, after=after, steps=tuple(steps), warnings=tuple(warnings))

    def _expected(self) -> t.Any:
        if self.new is None:
            return "of the program when it is loaded"
        return {name: getattr(self.new, name) for name in ("type", "key_size", "value_size", "max_entries")}

    def _plan_pin(self, now: MapState) -> tuple[list[Step], bool]:
        """The steps that make the map and its pin, and whether the map will be a new one."""
        if not self.pin:
            return [], False
        right = False
        if self.new is not None:
            right = now.pinned is not None and fits(self.new, now.pinned)
        elif now.pinned is not None and now.shape is not None:
            right = now.pinned.id == now.shape.info.id
        if right:
            return [], False
        if now.pinned is not None and not self._pinned_by_us(now):
            raise Refused(
                f"path: {self.pin} is the pin of another map already ({now.pinned.type} {now.pinned.name}, id "
                f"{now.pinned.id}), and bpf_map did not make it.",
                "Choose another path, or unpin that one first.",
            )
        if not now.mounted and not self.pin.startswith(f"{MOUNT}/"):
            raise Refused(f"path: {self.pin} is not on a bpffs.", f"Choose a path below {MOUNT}, or mount one there.")
        exists = set(now.folders) if now.mounted else {MOUNT}
        mount: tuple[Step, ...] = () if now.mounted else (mounting(MountBpffs(), now.folders),)
        pin = PinMap(self.pin, self.new, None if self.new is not None else self.ref)
        return [*mount, *making(os.path.dirname(self.pin), exists), pin], self.new is not None

    @staticmethod
    def _pinned_by_us(now: MapState) -> bool:
        """A claim without an id is of a run that was killed between the pin and its note."""
        return now.claim is not None and now.pinned is not None and now.claim.get("id", now.pinned.id) == now.pinned.id

    def _unresolved(self, now: MapState) -> bool:
        """Whether a devmap's entry names an interface that is not there yet."""
        if now.shape is None or now.shape.info.type not in DEVICES:
            return False
        values = [by_name(entry["value"]) for entry in json.loads(self.entries)]
        return any(name and name not in now.names for name in values)

    def _changes(self, now: MapState, shape: Shape) -> t.Optional[tuple[Entries, Entries]]:
        """The entries that differ, as they are and as they should be; None when no entries are asked for."""
        if not self._asks() or (self.as_loaded and shape.info.type == "prog_array"):
            return None
        zero = bytes(shape.room) if shape.info.type in FIXED else None
        after: dict[bytes, t.Optional[bytes]] = {}
        if self.exclusive:
            after.update(dict.fromkeys(now.entries, zero))
        for at, key in enumerate(json.loads(self.absent_keys)):
            after[shape.encode_key(f"absent_keys[{at}]", key)] = zero
        for at, entry in enumerate(json.loads(self.entries)):
            key = shape.encode_key(f"entries[{at}].key", entry["key"])
            after.pop(key, None)
            name = by_name(entry["value"]) if shape.info.type in DEVICES else ""
            if name and name not in now.names:
                continue  # FillMap does it
            value = with_index(entry["value"], now.names[name]) if name else entry["value"]
            after[key] = shape.encode_value(f"entries[{at}].value", value)
        # A devmap with eight bytes a value shows what the kernel has filled in, so only what differs is written.
        different = [key for key, value in after.items() if now.entries.get(key) != value]
        return (
            tuple((key, now.entries.get(key)) for key in different),
            tuple((key, after[key]) for key in different),
        )

    def _plan_absent(self, now: MapState) -> Plan:
        steps: list[Step] = [Forget(key) for key in now.stale]
        before: dict[str, t.Any] = {"map": public(now.shape.info) if now.shape is not None else None}
        after = dict(before)
        if now.shape is not None and now.saved:
            entries = tuple((key, now.entries.get(key)) for key in now.saved)
            saved = tuple(now.saved.items())
            before["entries"], after["entries"] = shown(now.shape, dict(entries)), shown(now.shape, now.saved)
            number, how = now.shape.info.id, " as they were"
            steps.append(ChangeEntries(self.ref, number, entries, saved, how, self.netns, restore=True))
        if now.claim is not None:
            ours = now.pinned is None or self._pinned_by_us(now)
            steps.append(UnpinMap(self.pin) if ours and now.pinned is not None else Forget(pin_key(self.pin)))
            after["map"] = None if ours else after["map"]
        elif now.empty and not steps:
            steps.append(Sweep(now.empty[0]))
        return Plan(before=before, after=after, steps=tuple(steps))

    def facts(self, host: Host, now: MapState) -> dict[str, t.Any]:
        """The map and the entries that were asked for, as the module returns them."""
        if now.shape is None:
            return {"map": None, "entries": []}
        return {"map": public(now.shape.info), "entries": shown(now.shape, now.entries)}


@dataclass(frozen=True)
class FillMap(Step):
    """Set the entries of a map that was not there, or not the same, when the plan was made."""

    resource: MapResource

    def title(self) -> str:
        return f"set the entries of {self.resource.ref}"

    def apply(self, host: Host) -> None:
        now = self.resource.observe(host)
        unresolved = self.resource._unresolved(now)
        if now.shape is None or unresolved:
            what = "an interface that its entries name" if unresolved else str(self.resource.ref)
            raise Refused(f"There is not {what}.", "Load its program, or make the interface, first.")
        steps = self.resource.plan(now).steps
        host.journal.write([note for step in steps for note in step.notes()])
        applied = Applied()
        apply_steps(host, steps, applied)
        host.kept["filled", self] = applied

    def undo(self, host: Host) -> None:
        undo_steps(host, host.kept.pop(("filled", self)))
