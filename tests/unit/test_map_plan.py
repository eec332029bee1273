# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner of maps: entries of maps that are ours and of others', what they name, and the way back."""

from __future__ import annotations

import json
import pathlib
import typing as t
from dataclasses import replace

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.map.codec import Number
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.map.entries import MapRef
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.map.kinds import EntryKind
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.map.layout import NATIVE, Shape
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.map.resource import MapResource
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.map.state import MapState, Saved, entry_key
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.map.steps import ChangeEntries
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.pin.folders import Folders
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.pin.kept import Keep, LetGo, kept_path
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import Refused
from ansible_collections.ebpf.lab.plugins.module_utils._core.journal import Entry
from ansible_collections.ebpf.lab.plugins.module_utils._core.plan import Coming, Forget, Later, Learned
from ansible_collections.ebpf.lab.plugins.module_utils._core.settle import settled
from ansible_collections.ebpf.lab.plugins.module_utils._kernel.syscall import MapInfo

PATH = "/sys/fs/bpf/ebpf/limits"
ON_BPFFS = Folders(frozenset({"/sys/fs/bpf"}), {}, frozenset({"/sys/fs/bpf/ebpf_lab_kept"}))


def number(value: int) -> bytes:
    return value.to_bytes(4, NATIVE)


def seen(kind: str = "hash", entries: t.Optional[dict[int, t.Optional[int]]] = None, **more: t.Any) -> MapState:
    info = MapInfo(3, kind, "limits", 4, 4, 8, 0, 0, 0, 0)
    raw = {number(key): None if value is None else number(value) for key, value in (entries or {}).items()}
    return MapState(Shape(PATH, info, Number(4), Number(4)), raw, folders=ON_BPFFS, **more)


def want(entries: dict[int, int], **more: t.Any) -> MapResource:
    listed = [{"key": key, "value": value} for key, value in entries.items()]
    return MapResource(MapRef(path=PATH), json.dumps(listed), **more)


def test_entries_of_our_own_map_are_not_noted() -> None:
    (change,) = want({1: 5}).plan(seen(entries={1: 9}, ours=True)).steps
    assert isinstance(change, ChangeEntries) and change.notes(Learned()) == ()


def test_entries_of_a_foreign_map_are_noted_as_they_were_and_as_they_become() -> None:
    (change,) = want({1: 5, 2: 6}).plan(seen(entries={1: 9, 2: None})).steps
    notes = {note.key: (note.value, note.wrote) for note in change.notes(Learned())}
    assert notes == {
        entry_key(3, number(1)): ({"value": number(9).hex()}, {"value": number(5).hex()}),
        entry_key(3, number(2)): ({"value": None}, {"value": number(6).hex()}),
    }


@pytest.mark.case("C2")
@pytest.mark.parametrize(
    ("now", "used", "back"), [(5, False, True), (9, False, False), (7, False, False), (7, True, True)]
)
def test_an_end_puts_back_what_we_or_our_programs_may_have_written(now: int, used: bool, back: bool) -> None:
    saved = {number(1): Saved(number(9), (number(5),))}
    plan = replace(want({}), present=False).plan(seen(entries={1: now}, saved=saved, used=used))
    if back:
        (change,) = plan.steps
        assert isinstance(change, ChangeEntries) and change.after == ((number(1), number(9)),)
        assert [note.action for note in change.notes(Learned())] == ["restored"]
    else:
        assert plan.steps == (Forget(entry_key(3, number(1))),)
        assert bool(plan.warnings) == (now == 7)


@pytest.mark.case("C21")
def test_what_a_slot_names_is_kept_first_and_let_go_last() -> None:
    place = entry_key(3, number(0))
    kept = kept_path("program", 8, place)
    *_folder, keep, change = want({0: 6}).plan(seen("prog_array", {0: 8})).steps
    assert isinstance(keep, Keep) and (keep.kind, keep.id, keep.path) == ("program", 8, kept)
    (note,) = change.notes(Learned())
    assert note.value == {"value": number(8).hex(), "kept": kept}
    # A run that was stopped after that goes on from there; one that changes it again keeps the first.
    (change,) = want({0: 6}).plan(seen("prog_array", {0: 8}, kept={kept: place})).steps
    assert isinstance(change, ChangeEntries)
    saved = {number(0): Saved(number(8), (number(6),), kept)}
    (again,) = want({0: 7}).plan(seen("prog_array", {0: 6}, saved=saved, kept={kept: place})).steps
    assert isinstance(again, ChangeEntries) and again.kept == ()
    folders = Folders(frozenset({"/sys/fs/bpf"}), {}, ON_BPFFS.bpffs)
    end = replace(want({}), present=False)
    state = replace(seen("prog_array", {0: 6}, saved=saved, kept={kept: place}), folders=folders)
    back, let_go = end.plan(state).steps
    assert isinstance(back, ChangeEntries) and back.restore and isinstance(let_go, LetGo) and let_go.path == kept


@pytest.mark.parametrize("name", [f"pin:{PATH}", f"map:{PATH}"])
def test_a_map_that_earlier_steps_make_anew_is_compared_then(name: str) -> None:
    (later,) = want({1: 5}).plan(seen(entries={1: 5}), {name: Coming("made")}).steps
    assert isinstance(later, Later) and later.title() == f"set the entries of {PATH}"
    with pytest.raises(Refused, match="There is not"):
        later.resource.plan(MapState())
    assert later.resource.plan(seen(entries={1: 5})).steps == ()


def test_only_a_devmaps_entries_depend_on_interfaces() -> None:
    coming = {"link:/veth1": Coming("made")}
    assert want({1: 5}).plan(seen(entries={1: 5}), coming).steps == ()
    (later,) = want({1: 5}).plan(seen("devmap", {1: 5}), coming).steps
    assert isinstance(later, Later)


def test_saved_entries_are_settled_by_their_value(tmp_path: pathlib.Path) -> None:
    kept = tmp_path / "kept"
    kept.touch()
    saved = {"value": "09", "kept": str(kept)}
    open_one = Entry(has_saved=True, saved=saved, saving=True, wrote=({"value": "05"},))
    over = Entry(has_saved=True, saved=saved, wrote=({"value": "05"},))
    kind = EntryKind()
    assert settled(kind, open_one, {"value": "09"}) is None  # the run did not get to it
    assert settled(kind, open_one, {"value": "05"}) == over
    assert settled(kind, over, {"value": "07"}) == over
    assert settled(kind, over, None) is None  # the map is gone
    kept.unlink()
    assert settled(kind, over, {"value": "05"}) is None
