# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be done to bring a map, its pin and its entries from what they are to what is wanted. Pure."""

from __future__ import annotations

import os
import typing as t

from ..._core.errors import Refused
from ..._core.plan import AnyStep, Forecast, Forget, Later, Plan, Step, forecast, make
from ..._core.resource import Resource
from ..pin.folders import emptying, making_on_bpffs
from ..pin.kept import KEPT, Keep, kept_path, letting_go
from ..pin.steps import Unpin
from .layout import DEVICES, FIXED, Shape, fits, reference
from .state import MapState, Saved, Wanted, by_name, entry_key, map_key, public, shown, with_index
from .steps import ChangeEntries, Entries, MakeMap, PinMap


def is_pending(want: Wanted, now: MapState, coming: Forecast) -> bool:
    """Whether earlier steps make the map anew (as its program's), or interfaces that a devmap names."""
    names = (f"pin:{want.ref.path}", f"map:{want.ref.path}", f"pin:{want.ref.program}")
    if any(name in coming for name in names):
        return True
    links = any(key.startswith("link:") and told.what in ("made", "removed") for key, told in coming.items())
    return links and now.shape is not None and now.shape.info.type in DEVICES


def plan_present(want: Wanted, now: MapState, coming: Forecast, later: t.Callable[..., Resource[t.Any]]) -> Plan:
    """Make and pin, then the entries that differ.

    ``later`` makes the resource, with other fields, that plans what depends on earlier steps when its turn comes.
    """
    pending = is_pending(want, now, coming)
    steps, remade = _plan_pin(want, now, coming, pending, later)
    warnings = []
    shape = None if pending or remade else now.shape
    before: dict[str, t.Any] = {"map": public(now.shape.info) if now.shape is not None else None}
    after: dict[str, t.Any] = {"map": before["map"] if shape is not None else _expected(want)}
    used: set[str] = set()
    if shape is not None:
        changes = _changes(want, now, shape)
        if changes is not None:
            old, new = changes
            before["entries"] = shown(shape, now.entries)
            after["entries"] = shown(shape, {**now.entries, **dict(new)})
            if new:
                kept = {} if now.ours else _references(want, now, shape, old)
                used = set(kept.values())
                steps += _keeping(want, now, shape, kept, dict(old), coming)
                what = f": {shape.key.decode(new[0][0])!r}" if len(new) == 1 else ""
                change = ChangeEntries(
                    want.ref, shape.info.id, old, new, what, want.netns, foreign=not now.ours, kept=tuple(kept.items())
                )
                steps.append(change)
    if shape is None or _unresolved(want, now):
        if want.asks:
            after["entries"] = want.listed()
            if want.late:
                what = "an interface that its entries name" if now.shape is not None else str(want.ref)
                raise Refused(f"There is not {what}.", "Load its program, or make the interface, first.")
            steps.append(Later(later(new=None, pin="", late=True), f"set the entries of {want.ref}"))
        if want.new is None and not pending and now.shape is None:
            warnings.append(f"There is not {want.ref} yet; the run needs it.")
    if steps:
        orphans = [path for path in now.kept if path not in used and now.kept[path] not in _places(now)]
        steps = [*(letting_go(path, now.kept[path]) for path in orphans), *steps]
    return Plan(before=before, after=after, steps=tuple(steps), warnings=tuple(warnings))


def _places(now: MapState) -> set[str]:
    """The places of the entries that are still to be put back."""
    return {entry_key(now.shape.info.id, key) for key in now.saved} if now.shape is not None else set()


def _expected(want: Wanted) -> t.Any:
    if want.new is None:
        return "of the program when it is loaded"
    return {name: getattr(want.new, name) for name in ("type", "key_size", "value_size", "max_entries")}


def _plan_pin(
    want: Wanted, now: MapState, coming: Forecast, pending: bool, later: t.Callable[..., Resource[t.Any]]
) -> tuple[list[AnyStep], bool]:
    """The steps that make the map and its pin, and whether the map will be a new one."""
    if not want.pin:
        return [], False
    right = False
    if want.new is not None:
        right = now.pinned is not None and fits(want.new, now.pinned)
    elif now.pinned is not None and now.shape is not None and not pending:
        right = now.pinned.id == now.shape.info.id
    if right:
        return [], False
    if now.pinned is not None and not now.pinned_by_us:
        raise Refused(
            f"path: {want.pin} is the pin of another map already ({now.pinned.type} {now.pinned.name}, id "
            f"{now.pinned.id}).",
            "Choose another path, or remove that pin first.",
        )
    folders = making_on_bpffs("path", os.path.dirname(want.pin), now.folders, coming)
    if want.new is not None:
        what = f"the {want.new.type} {want.new.name}"
        return [*folders, MakeMap(want.new, want.pin), PinMap(want.pin, what)], True
    if now.shape is not None and not pending:
        return [*folders, PinMap(want.pin, str(want.ref), now.shape.info.id)], False
    if want.late:
        raise Refused(f"There is not {want.ref}.", "Load its program first.")
    title = PinMap(want.pin, str(want.ref)).title()
    resource = later(entries="[]", absent_keys="[]", exclusive=False, late=True)
    pin = Later(resource, title, (make(map_key(want.pin)),))
    return [*folders, pin], False


def _unresolved(want: Wanted, now: MapState) -> bool:
    """Whether a devmap's entry names an interface that is not there yet."""
    if now.shape is None or now.shape.info.type not in DEVICES:
        return False
    values = [by_name(entry["value"]) for entry in want.listed()]
    return any(name and name not in now.names for name in values)


def _changes(want: Wanted, now: MapState, shape: Shape) -> t.Optional[tuple[Entries, Entries]]:
    """The entries that differ, as they are and as they should be; None when no entries are asked for."""
    if not want.asks or (want.as_loaded and shape.info.type == "prog_array"):
        return None
    zero = bytes(shape.room) if shape.info.type in FIXED else None
    after: dict[bytes, t.Optional[bytes]] = {}
    if want.exclusive:
        after.update(dict.fromkeys(now.entries, zero))
    for at, key in enumerate(want.keys_gone()):
        after[shape.encode_key(f"absent_keys[{at}]", key)] = zero
    for at, entry in enumerate(want.listed()):
        key = shape.encode_key(f"entries[{at}].key", entry["key"])
        after.pop(key, None)
        name = by_name(entry["value"]) if shape.info.type in DEVICES else ""
        if name and name not in now.names:
            continue  # it is set later
        value = with_index(entry["value"], now.names[name]) if name else entry["value"]
        after[key] = shape.encode_value(f"entries[{at}].value", value)
    # A devmap with eight bytes a value shows what the kernel has filled in, so only what differs is written.
    different = [key for key, value in after.items() if now.entries.get(key) != value]
    return (
        tuple((key, now.entries.get(key)) for key in different),
        tuple((key, after[key]) for key in different),
    )


def _references(want: Wanted, now: MapState, shape: Shape, old: Entries) -> dict[bytes, str]:
    """Where what a foreign map's entries name is kept, by key: of those that are changed for the first time."""
    found = {}
    for key, value in old:
        what = reference(shape.info.type, value)
        if what is not None and key not in now.saved:
            found[key] = kept_path(*what, entry_key(shape.info.id, key))
    return found


def _keeping(
    want: Wanted,
    now: MapState,
    shape: Shape,
    kept: t.Mapping[bytes, str],
    old: t.Mapping[bytes, t.Optional[bytes]],
    coming: Forecast,
) -> list[Step]:
    steps: list[Step] = []
    for key, path in kept.items():
        what = reference(shape.info.type, old[key])
        if what is not None and path not in now.kept:
            where = f"the entry {shape.key.decode(key)!r} of {want.ref}"
            steps.append(Keep(*what, "", path, entry_key(shape.info.id, key), where))
    return [*making_on_bpffs("path", KEPT, now.folders, coming), *steps] if steps else []


def plan_absent(want: Wanted, now: MapState, coming: Forecast) -> Plan:
    """The entries of a foreign map as they were, our pin and what kept those entries away.

    A value that is not what we, or a program of ours, may have written is somebody's by now: it stays.
    """
    steps: list[Step] = []
    warnings = []
    before: dict[str, t.Any] = {"map": public(now.shape.info) if now.shape is not None else None}
    after = dict(before)
    if now.shape is not None and now.saved:
        back: dict[bytes, Saved] = {}
        for key, saved in now.saved.items():
            seen = now.entries.get(key)
            if seen != saved.value and (now.used or seen in saved.wrote):
                back[key] = saved
                continue
            steps.append(Forget(entry_key(now.shape.info.id, key)))
            if seen != saved.value:
                what = f"The entry {now.shape.key.decode(key)!r} of {want.ref}"
                warnings.append(f"{what} was changed by somebody else since the lab set it, and stays as it is.")
        steps += _back(want, now, now.shape, back)
        then = {**now.entries, **{key: saved.value for key, saved in back.items()}}
        before["entries"], after["entries"] = shown(now.shape, now.entries), shown(now.shape, then)
    if now.claim is not None:
        pin = map_key(want.pin)
        steps.append(Unpin(want.pin, pin) if now.pinned_by_us else Forget(pin))
        if now.pinned_by_us and want.ref.path == want.pin:
            after["map"] = None
    if want.pin:  # a run that was stopped may have got as far as the folder
        unpinned = [want.pin] if now.pinned_by_us else []
        steps += emptying(os.path.dirname(want.pin), now.folders, unpinned, coming)
    steps += [letting_go(path, place) for path, place in now.kept.items()]
    steps += emptying(KEPT, now.folders, list(now.kept), forecast(steps, coming))
    return Plan(before=before, after=after, steps=tuple(steps), warnings=tuple(warnings))


def _back(want: Wanted, now: MapState, shape: Shape, back: t.Mapping[bytes, Saved]) -> list[Step]:
    """The steps that put entries back, one for each namespace in which they were written."""
    steps: list[Step] = []
    for netns in dict.fromkeys(saved.netns for saved in back.values()):
        mine = {key: saved for key, saved in back.items() if saved.netns == netns}
        entries = tuple((key, now.entries.get(key)) for key in mine)
        wanted = tuple((key, saved.value) for key, saved in mine.items())
        number, how = shape.info.id, " as they were"
        steps.append(ChangeEntries(want.ref, number, entries, wanted, how, want.netns or netns, restore=True))
    return steps
