# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When the programs of an object are loaded, what is pinned and unpinned, and what becomes of somebody's pins."""

from __future__ import annotations

import os
import typing as t
from dataclasses import replace

from ..._core.errors import BadInput, LabError, Refused
from ..._core.own_files import file_key
from ..._core.plan import AnyStep, Forecast, Forget, Later, Plan, forecast, make
from ..._core.resource import Resource
from ..._kernel.elf import ObjectInfo
from ..._kernel.syscall import MapInfo
from ..pin.folders import MOUNT, emptying, making, making_on_bpffs
from ..pin.foreign import RemoveForeignPin
from ..pin.pins import KEPT, Pin, kept_path, object_key, told_of
from ..pin.steps import PutBack, SetAside, Unpin, dir_key, pin_key
from . import sections
from .state import ProgramState, Want, held, is_current, is_reused
from .steps import Load, PinLoaded


def plan_present(want: Want, now: ProgramState, coming: Forecast, later: Resource[t.Any]) -> Plan:
    """Load when a pin is missing, is not what we loaded, or comes from another object than is there now.

    ``later`` is the same resource for when the object has been made.
    """
    now = _after(now, coming)
    known = now.info  # of the object that is there, be it that another one is still to come
    pending = file_key(want.object) in coming
    if pending:
        now = replace(now, info=None, unreadable=None)
    if now.info is not None:
        _check(want, now.info)
    elif now.unreadable is not None:
        raise now.unreadable
    elif want.late:
        raise LabError(f"object: there is no file {want.object} on this host.", "Compile it first.")
    wanted = _wanted(want, now)
    here = now.here
    stale = sorted(now.claimed - wanted.keys())
    before = {path: here[path].describe() for path in sorted(here) if path in wanted or path in now.claimed}
    current = now.info is not None
    if current and not stale and all(path in here and is_current(want, now, here[path]) for path in wanted):
        return Plan(before=before, after=before)
    steps: list[AnyStep] = _prepare(want, now, coming)
    made_from = {"object": want.object, "sha256": now.digest if current else "of the object when it is loaded"}
    after = {path: made_from for path in sorted(wanted)} or {want.pin_path: made_from}
    if now.info is None:
        unseen = [] if pending else [f"object: {want.object} is not there yet; the run needs it."]
        title = f"load {want.object} and pin its programs in {want.pin_path}"
        notes = [make(object_key(want.object), {"folder": want.pin_path})]
        notes += [make(pin_key(path)) for path in _paths(want, now, known)]
        return Plan(before, after, (*steps, Later(later, title, tuple(notes))), tuple(unseen))
    aside = _aside(want, now, wanted, forecast(steps, coming))  # what is refused, is refused before
    reused = {pin.path for pin in here.values() if pin.path in wanted and is_reused(want, now, pin)}
    steps.append(_load(want, now, wanted, reused))
    steps += aside
    value = {"object": want.object, "sha256": now.digest, "folder": want.pin_path}
    for path, (kind, name) in wanted.items():
        if path in reused and here[path].claim is None:
            continue  # a foreign map that our programs use stays foreign
        named = {"map": name} if path in held(want, now).values() else {}
        steps.append(PinLoaded(path, want.object, kind, name, {**value, **named}))
    steps += _away(want, now, stale, coming, steps)
    lost = [pin.path for pin in here.values() if isinstance(pin.what, MapInfo) and pin.path in wanted.keys() - reused]
    warnings = [
        f"The pinned map {path} is replaced by a new one: its entries are lost."
        for path in lost
        if os.path.basename(path) in want.pin_maps
    ]
    return Plan(before, after, tuple(steps), tuple(warnings))


def plan_absent(want: Want, now: ProgramState, coming: Forecast) -> Plan:
    """Unpin what we pinned, put back what was there before; a pin that somebody put in the place of ours stays."""
    now = _after(now, coming)
    here = now.here
    before = {path: here[path].describe() for path in sorted(here)}
    steps: list[AnyStep] = []
    warnings = []
    for path in sorted(now.claimed):
        pin = here.get(path)
        if pin is None or pin.intact or (want.own_folder and os.path.dirname(path) in now.folders.inside):
            continue
        warnings.append(f"{path} is a pin that the lab did not make, and stays: {pin.words()}.")
        if path not in now.saved:
            steps.append(Forget(pin_key(path)))
    stays = {line.partition(" ")[0] for line in warnings}
    gone = sorted(now.claimed - stays)
    steps += _away(want, now, gone, coming, steps)
    after = {path: what for path, what in before.items() if path not in gone}
    return Plan(before, after, tuple(steps), tuple(warnings))


def _after(now: ProgramState, coming: Forecast) -> ProgramState:
    """The state with what earlier parts of the same plan do to the pins."""

    def then(pins: t.Mapping[str, Pin]) -> dict[str, Pin]:
        found = {}
        for name, pin in pins.items():
            told = told_of(pin.path, coming)
            if told is None:
                found[name] = pin
            elif told.what == "made":
                found[name] = Pin(pin.path, None, {})  # ours by then, and not known yet
            elif told.what == "changed":
                found[name] = Pin(pin.path, None)
        return found

    removed = {path for path in now.claimed if getattr(told_of(path, coming), "what", "") == "removed"}
    folders = {path for path in now.inside if getattr(coming.get(dir_key(path)), "what", "") == "removed"}
    return replace(
        now,
        programs=then(now.programs),
        maps=then(now.maps),
        claimed=now.claimed - removed,
        inside=now.inside - folders,
    )


def _check(want: Want, info: ObjectInfo) -> None:
    """Raise BadInput or LabError for what cannot be loaded so."""
    defined = {entry.name for entry in info.maps}
    missing = [name for name in want.pin_maps if name not in defined]
    if missing:
        right = f"it has {', '.join(sorted(defined))}" if defined else "it has none"
        raise BadInput("pin_maps", missing[0], f"is no map of {want.object}", right)
    for entry in info.maps:
        if entry.pin_by_name:
            raise LabError(
                f"{want.object}: the map {entry.name} says LIBBPF_PIN_BY_NAME, which pins it at {MOUNT} "
                "itself, outside of the lab's folder.",
                "Remove that line from the source and name the map in pin_maps.",
            )
    sections.check(want.object, info, want.program_type)


def _wanted(want: Want, now: ProgramState) -> dict[str, tuple[str, str]]:
    """The pins that should be there, each with its kind and name, as far as the object at hand tells."""
    if now.info is None:
        return {}
    programs = {os.path.join(want.pin_path, program.name): ("program", program.name) for program in now.info.programs}
    maps = {os.path.join(want.maps, name): ("map", name) for name in want.pin_maps}
    both = programs.keys() & maps.keys()
    if both:
        raise BadInput("pin_maps", os.path.basename(both.pop()), "is a program's name too", "give a map_pin_path")
    return {**programs, **maps, **{path: ("map", name) for name, path in held(want, now).items()}}


def _paths(want: Want, now: ProgramState, info: t.Optional[ObjectInfo]) -> list[str]:
    """The pins of an object that will be another one: those of the old one, and those that are in the way of any."""
    programs = [program.name for program in info.programs] if info is not None else []
    maps = [os.path.join(want.maps, name) for name in want.pin_maps]
    others = [pin.path for pin in now.programs.values() if not pin.intact]
    return list(dict.fromkeys([*(os.path.join(want.pin_path, name) for name in programs), *maps, *others]))


def _prepare(want: Want, now: ProgramState, coming: Forecast) -> list[AnyStep]:
    steps: list[AnyStep] = list(making_on_bpffs("pin_path", want.pin_path, now.folders, coming))
    if want.pin_maps:
        steps += making_on_bpffs("map_pin_path", want.maps, now.folders, forecast(steps, coming))
    return steps


def _aside(want: Want, now: ProgramState, wanted: t.Collection[str], coming: Forecast) -> list[AnyStep]:
    """The steps that make way for our pins where somebody's are. Raises Refused where he did not allow it."""
    steps: list[AnyStep] = []
    taken: list[str] = []
    blocked = sorted(now.inside & set(wanted))
    if blocked:
        raise Refused(f"pin_path: {blocked[0]} is a folder, where a pin is to be.", f"Remove it: rm -r {blocked[0]}.")
    for path in sorted(wanted):
        pin = now.here.get(path)
        if pin is None or pin.claim is not None or is_reused(want, now, pin):
            continue
        if not want.overwrite:
            raise Refused(
                f"pin_path: {path} is pinned already, and not by the lab.",
                "Choose another folder, or say overwrite: true; state: absent then puts the old pin back.",
            )
        if (want.own_folder and os.path.dirname(path) in now.folders.inside) or path in now.saved:
            steps.append(RemoveForeignPin(path, pin.words()))
        elif pin.what is None:
            raise Refused(f"pin_path: {path} is there, and is no BPF object that can be kept.", "Remove it by hand.")
        else:
            steps += making(KEPT, now.folders, forecast(steps, coming))
            kept = kept_path(pin.what, {*(f"{KEPT}/{name}" for name in now.folders.inside.get(KEPT, ())), *taken})
            taken.append(kept)
            steps.append(SetAside(path, kept, pin.what.id, want.pin_path))
    return steps


def _load(want: Want, now: ProgramState, wanted: t.Mapping[str, tuple[str, str]], reused: t.Collection[str]) -> Load:
    return Load(
        object=want.object,
        digest=t.cast(str, now.digest),
        info=t.cast(ObjectInfo, now.info),
        pin_path=want.pin_path,
        program_type=want.program_type,
        maps=tuple(name for kind, name in wanted.values() if kind == "map"),
        reuse=tuple((name, path) for path, (_kind, name) in wanted.items() if path in reused),
    )


def _away(
    want: Want, now: ProgramState, gone: t.Collection[str], coming: Forecast, before: t.Sequence[AnyStep]
) -> list[AnyStep]:
    """The steps, after those of ``before``, that unpin our pins ``gone``, put somebody's back, and remove our folders
    that this empties."""
    steps: list[AnyStep] = [Unpin(path) for path in gone]
    kept = []
    for path, saved in sorted(now.saved.items()):
        if path in gone or (path not in now.here and not want.present):
            steps.append(PutBack(path, saved["kept"], want.pin_path))
            kept.append(saved["kept"])
    if want.present:
        places = {os.path.dirname(path) for path in (*gone, *kept)} - {want.pin_path, want.maps}
    elif want.stays:
        places = {os.path.dirname(path) for path in (*gone, *kept)} - {want.pin_path}
    else:  # those too that a killed run has emptied
        places = {want.pin_path, want.maps, *now.folders.inside}
    for place in sorted(places):
        told = forecast([*before, *steps], coming)
        steps += emptying(place, now.folders, kept, told)
    return steps
