# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planners of objects and programs by their properties, against small simulations of the host."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.map.layout import fits
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.object.clang import Recipe
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.object.resource import ObjectResource
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.object.state import Inputs, ObjectState
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.object.steps import Compile, Place
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.pin.folders import Folders
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.pin.foreign import RemoveForeignPin
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.pin.pins import Pin, will_be_another
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.pin.steps import MakeFolder, RemoveFolder, SetAside, Unpin
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.program.kinds import LoadedKind
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.program.resource import ProgramResource
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.program.state import ProgramState
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import BadInput, LabError, Refused
from ansible_collections.ebpf.lab.plugins.module_utils._core.journal import Entry
from ansible_collections.ebpf.lab.plugins.module_utils._core.own_files import RemoveFile, WriteFile
from ansible_collections.ebpf.lab.plugins.module_utils._core.plan import (
    Coming,
    Forget,
    Later,
    Learned,
    Plan,
    forecast,
)
from ansible_collections.ebpf.lab.plugins.module_utils._core.settle import settled
from ansible_collections.ebpf.lab.plugins.module_utils._kernel.btf import MapDefinition
from ansible_collections.ebpf.lab.plugins.module_utils._kernel.elf import ObjectInfo, ProgramDefinition
from ansible_collections.ebpf.lab.plugins.module_utils._kernel.syscall import MapInfo, ProgramInfo
from hypothesis import given
from hypothesis import strategies as st

PINS = "/sys/fs/bpf/ebpf"
OBJECT = "/opt/lab/x.o"
digests = st.sampled_from(["aa", "bb", "cc"])
ids = st.integers(1, 4)


def program(number, name="xdp_allow", kind="xdp", map_ids=()):
    return ProgramInfo(number, kind, name, "tag", tuple(map_ids), 0, 0, True, 16, 22, 0, 0, 0)


# Objects -------------------------------------------------------------------------------------------------------------

inputs = st.builds(
    Inputs,
    source=st.just("/opt/lab/x.c"),
    source_sha256=st.one_of(st.none(), digests),
    method=st.sampled_from(["direct", "llc"]),
    flags=st.sampled_from([("-O2",), ("-O2", "-g")]),
    include_paths=st.just(()),
    compiler=st.sampled_from(["clang 14", "clang 18"]),
    headers=st.one_of(st.none(), st.just((("/usr/include/linux/bpf.h", "aa"),))),
)


@st.composite
def object_states(draw):
    digest = draw(st.one_of(st.none(), digests))
    record = draw(st.one_of(st.none(), st.builds(lambda value: {"sha256": value}, digests)))
    made_from = draw(inputs) if record is not None else None
    folders = Folders(frozenset(draw(st.sampled_from([["/opt"], ["/opt", "/opt/lab"]]))))
    return ObjectState(digest, record is not None, made_from, draw(inputs), folders, record)


def compiled(state, plan):
    """What the steps of a plan make of a state."""
    built = False
    for step in plan.steps:
        if isinstance(step, MakeFolder):
            assert step.path not in state.folders.exist
            state = replace(state, folders=Folders(state.folders.exist | {step.path}))
        elif isinstance(step, Compile):
            assert "/opt/lab" in state.folders.exist, "the folder is made first"
            built = True
        elif isinstance(step, Place):
            assert built
            state = replace(state, digest="new", claimed=True, made_from=state.inputs, record={"sha256": "new"})
        elif isinstance(step, RemoveFile):
            assert state.digest is None or state.intact, "somebody's work"
            state = replace(state, digest=None, claimed=False, made_from=None, record=None)
        elif isinstance(step, Forget):
            state = replace(state, claimed=False, made_from=None, record=None)
        else:
            raise AssertionError(step)
    return state


WANTED = ObjectResource(OBJECT, Recipe("/opt/lab/x.c"), overwrite=True)


@given(object_states())
def test_an_object_is_compiled_once(state):
    plan = WANTED.plan(state)
    after = compiled(state, plan)
    assert after.intact
    assert after.made_from == after.inputs
    again = WANTED.plan(after)
    assert again.steps == ()
    assert again.before == again.after == plan.after


@given(object_states(), digests)
def test_a_foreign_object_is_never_touched_unasked(state, digest):
    state = replace(state, digest=digest, claimed=False, made_from=None, record=None)
    assert replace(WANTED, present=False).plan(state).steps == ()
    with pytest.raises(Refused, match="not made by the lab"):
        replace(WANTED, overwrite=False).plan(state)


@given(object_states(), digests)
def test_an_object_is_made_from_what_the_same_plan_writes(state, digest):
    state = compiled(state, WANTED.plan(state))
    written = forecast([WriteFile("/opt/lab/x.c", b"", {"written": digest}, batch=True)])
    same = digest == state.inputs.source_sha256
    assert bool(WANTED.plan(state, written).steps) == (not same)
    assert WANTED.plan(state, written).after["made_from"]["source_sha256"] == digest


@given(object_states())
def test_an_object_is_removed_once(state):
    absent = ObjectResource(OBJECT, None, present=False)
    after = compiled(state, absent.plan(state))
    assert absent.plan(after).steps == ()
    assert state.claimed or after == state


# Programs ------------------------------------------------------------------------------------------------------------

MAP = MapDefinition("pkt_cnt", "hash", 4, 8, 16)
info_of_map = MapInfo(7, "hash", "pkt_cnt", 4, 8, 16, 0, 0, 0, 0)
infos = st.builds(
    lambda names, maps: ObjectInfo(("xdp",), tuple(ProgramDefinition(n, "xdp", 2) for n in sorted(names)), maps, "GPL"),
    st.sets(st.sampled_from(["xdp_allow", "xdp_deny", "other"]), min_size=1),
    st.just((MAP,)),
)


def claim_for(what, digest, source=OBJECT):
    claim = {"object": source, "sha256": digest, "folder": PINS, "id": what.id}
    return {**claim, "map_ids": list(what.map_ids)} if isinstance(what, ProgramInfo) else claim


@st.composite
def program_states(draw, foreign=True):
    pins = {}
    for name in draw(st.sets(st.sampled_from(["xdp_allow", "xdp_deny", "other", "old"]))):
        what = program(draw(ids), name)
        claim = claim_for(what if draw(st.booleans()) else program(9), draw(digests))
        pins[name] = Pin(f"{PINS}/{name}", what, claim if not foreign or draw(st.booleans()) else None)
    if draw(st.booleans()):
        what = replace(info_of_map, max_entries=draw(st.sampled_from([16, 32])))
        pins["pkt_cnt"] = Pin(f"{PINS}/pkt_cnt", what, claim_for(what, draw(digests)) if draw(st.booleans()) else None)
    gone = draw(st.sets(st.sampled_from([f"{PINS}/gone"])))
    claimed = frozenset(pin.path for pin in pins.values() if pin.claim is not None) | gone
    info = draw(st.one_of(st.none(), infos))
    mounted = bool(pins) or draw(st.booleans())
    exist = {"/sys/fs/bpf"} | ({PINS} if pins else set())
    inside = {PINS: frozenset(pins)} if pins and draw(st.booleans()) else {}
    folders = Folders(frozenset(exist), inside, frozenset({PINS} if mounted else ()))
    digest = draw(digests) if info is not None else None
    return ProgramState(digest, info, folders, pins, pins, claimed)


class Simulated:
    """What the steps of a plan make of a state. ``info`` is what an object holds that is only compiled in between."""

    def __init__(self, state, info=None, digest=None):
        self.state = state if info is None else replace(state, info=info, digest=digest)
        self.pins, self.claimed, self.saved = dict(state.programs), set(state.claimed), dict(state.saved)
        self.kept = {}
        self.exist, self.mounted = set(state.folders.exist), PINS in state.folders.bpffs
        self.ours = set(state.folders.inside)
        self.loaded = None

    def after(self, plan):
        for step in plan.steps:
            getattr(self, f"do_{type(step).__name__}")(step)
        inside = {path: frozenset(self.pins) if path == PINS else frozenset() for path in self.ours}
        folders = Folders(frozenset(self.exist), inside, frozenset({PINS} if self.mounted else ()))
        return replace(
            self.state,
            programs=self.pins,
            maps=self.pins,
            claimed=frozenset(self.claimed),
            saved=self.saved,
            folders=folders,
        )

    def do_MountFilesystem(self, step):
        assert not self.mounted
        self.mounted, self.exist = True, {"/sys/fs/bpf"}

    def do_MakeFolder(self, step):
        assert self.mounted
        assert step.path not in self.exist
        self.exist.add(step.path)
        self.ours.add(step.path)

    def do_RemoveFolder(self, step):
        assert step.path in self.ours
        assert not (self.pins if step.path == PINS else self.kept), "it is empty"
        self.exist.discard(step.path)
        self.ours.discard(step.path)

    def do_Later(self, step):
        late = replace(step.resource, late=True)
        assert late == step.resource
        state = self.after(Plan())
        self.after(step.resource.plan(state))

    def do_Load(self, step):
        assert PINS in self.exist
        assert step.digest == self.state.digest
        for _name, path in step.reuse:
            assert fits(MAP, self.pins[path.rpartition("/")[2]].what)
        used = self.pins["pkt_cnt"].what if step.reuse else info_of_map
        self.loaded = {definition.name: number for number, definition in enumerate(step.info.programs, 100)}
        self.map = used

    def do_PinLoaded(self, step):
        assert self.loaded is not None, "only what the verifier has passed is pinned"
        name = step.path.rpartition("/")[2]
        there = self.pins.get(name)
        assert there is None or there.claim is not None, "somebody's pin was moved away before"
        what = program(self.loaded[step.name], name, map_ids=(7,)) if step.kind == "program" else self.map
        (note,) = step.notes(Learned())
        assert note.value["object"] == OBJECT
        assert note.key == f"pin:{step.path}"
        self.pins[name] = Pin(step.path, what, claim_for(what, self.state.digest))
        self.claimed.add(step.path)

    def do_SetAside(self, step):
        name = step.path.rpartition("/")[2]
        assert self.pins[name].claim is None
        assert "/sys/fs/bpf/ebpf_lab_kept" in self.exist
        self.kept[step.kept] = self.pins.pop(name)
        self.saved[step.path] = {"kept": step.kept, "id": step.id, "folder": step.folder}

    def do_PutBack(self, step):
        name = step.path.rpartition("/")[2]
        assert name not in self.pins
        self.pins[name] = self.kept.pop(step.kept)
        del self.saved[step.path]

    def do_Unpin(self, step):
        self.pins.pop(step.path.rpartition("/")[2], None)
        self.claimed.remove(step.path)

    def do_Forget(self, step):
        self.claimed.discard(step.key[len("pin:") :])
        name = step.key.rpartition("/")[2]
        self.pins[name] = replace(self.pins[name], claim=None)


program_resources = st.builds(
    ProgramResource,
    pin_path=st.just(PINS),
    object=st.just(OBJECT),
    pin_maps=st.sampled_from([(), ("pkt_cnt",)]),
    map_path=st.just(PINS),
    reuse_maps=st.booleans(),
    overwrite=st.just(True),
)


@given(program_states(), program_resources, infos, digests)
def test_programs_are_loaded_once(state, resource, info, digest):
    state = replace(state, info=info, digest=digest)
    after = Simulated(state).after(resource.plan(state))
    again = resource.plan(after)
    assert again.steps == ()
    assert again.before == again.after
    for definition in state.info.programs:
        assert after.programs[definition.name].intact
    untouched = {name for name, pin in state.programs.items() if pin.claim is None} - {
        *(definition.name for definition in state.info.programs), *resource.pin_maps
    }  # fmt: skip
    assert all(after.programs[name] == state.programs[name] for name in untouched)


@given(program_states(), program_resources, infos, digests)
def test_what_was_there_before_is_there_again_afterwards(state, resource, info, digest):
    state = replace(state, info=info, digest=digest)
    simulated = Simulated(state)
    after = simulated.after(resource.plan(state))
    absent = ProgramResource(PINS, OBJECT, present=False, map_path=PINS)
    simulated.after(absent.plan(after))
    was = {name: pin for name, pin in state.programs.items() if pin.claim is None}
    assert simulated.pins == was
    assert simulated.kept == simulated.saved == {}
    assert "/sys/fs/bpf/ebpf_lab_kept" not in simulated.exist


@given(program_states(), program_resources, infos, digests)
def test_a_plan_made_before_the_object_is_compiled_loads(state, resource, info, digest):
    coming = {f"file:{OBJECT}": Coming("made")}
    plan = resource.plan(state, coming)
    *_before, last = plan.steps
    assert isinstance(last, Later)
    assert last.title() == f"load {OBJECT} and pin its programs in {PINS}"
    # Whoever attaches one of them knows that it will be another one.
    told = forecast(plan.steps, coming)
    known = {program.name for program in state.info.programs} if state.info else set()
    assert all(will_be_another(f"{PINS}/{name}", name in state.programs, told) for name in known)
    assert all(will_be_another(pin.path, True, told) for pin in state.programs.values() if pin.claim is None)
    assert will_be_another(f"{PINS}/of_a_new_function", False, told)
    after = Simulated(state, info, digest).after(plan)
    assert all(after.programs[definition.name].intact for definition in info.programs)
    assert resource.plan(after).steps == ()


@given(program_states(foreign=False), program_resources)
def test_an_object_that_nobody_has_compiled_is_an_error_by_then(state, resource):
    with pytest.raises(LabError, match="there is no file"):
        replace(resource, late=True).plan(replace(state, info=None, digest=None))


@given(program_states(), program_resources, infos, digests)
def test_foreign_pins_are_never_replaced_unasked(state, resource, info, digest):
    name = info.programs[0].name
    pins = {**state.programs, name: Pin(f"{PINS}/{name}", program(3, name))}
    claimed = state.claimed - {f"{PINS}/{name}"}
    state = replace(state, info=info, digest=digest, programs=pins, maps=pins, claimed=claimed)
    with pytest.raises(Refused, match="not by the lab"):
        replace(resource, overwrite=False).plan(state)


@given(program_states(), program_resources, infos, digests)
def test_in_a_folder_of_ours_foreign_pins_in_the_way_go_for_good(state, resource, info, digest):
    state = replace(state, info=info, digest=digest)
    plan = replace(resource, own_folder=True).plan(state)
    aside = [step for step in plan.steps if isinstance(step, SetAside)]
    removed = [step for step in plan.steps if isinstance(step, RemoveForeignPin)]
    assert not (aside if PINS in state.folders.inside else removed)
    assert not {step.path for step in removed} & state.claimed


@given(program_states())
def test_only_our_pins_are_removed_and_once(state):
    absent = ProgramResource(PINS, OBJECT, present=False, map_path=PINS)
    plan = absent.plan(state)
    after = Simulated(state).after(plan)
    again = absent.plan(after)
    assert again.steps == ()
    swapped = {name for name, pin in state.programs.items() if pin.claim is not None and not pin.intact}
    assert set(after.programs) == {name for name, pin in state.programs.items() if pin.claim is None} | swapped
    assert len(plan.warnings) == len(swapped)
    assert after.claimed == frozenset()
    assert not again.warnings


def test_what_an_earlier_part_does_to_a_pin_is_known():
    info = ObjectInfo(("xdp",), (ProgramDefinition("xdp_allow", "xdp", 2),), (), "GPL")
    path = f"{PINS}/xdp_allow"
    resource = ProgramResource(PINS, OBJECT, own_folder=True)
    folders = Folders(frozenset({"/sys/fs/bpf", PINS}), {PINS: frozenset({"xdp_allow"})}, frozenset({PINS}))
    what = program(3)
    ours, others = Pin(path, what, claim_for(what, "aa")), Pin(path, what)
    loaded = ProgramState("aa", info, folders, {"xdp_allow": ours}, {"xdp_allow": ours}, frozenset({path}))
    assert resource.plan(loaded).steps == ()
    away = (Unpin(path), RemoveFolder(PINS))
    titles = resource.plan(loaded, forecast(away)).titles()
    assert titles == [f"make the folder {PINS}", f"load {OBJECT}", f"pin the program xdp_allow at {path}"]
    strange = replace(loaded, programs={"xdp_allow": others}, maps={"xdp_allow": others}, claimed=frozenset())
    with pytest.raises(Refused):
        resource.plan(strange)
    plan = resource.plan(strange, forecast([RemoveForeignPin(path, "xdp")]))
    assert plan.titles() == [f"load {OBJECT}", f"pin the program xdp_allow at {path}"]


# How what is noted is settled ----------------------------------------------------------------------------------------

OLD, NEW = {"id": 3, "object": OBJECT, "map_ids": [7]}, {"id": 4, "object": OBJECT, "map_ids": [8]}


@pytest.mark.parametrize(
    ("entry", "seen", "then"),
    [
        # It had begun to pin: it is there, it is not, or somebody else was faster.
        (Entry(about=True, coming={**NEW, "coming": True}), {"id": 4}, Entry(claimed=True, value=NEW)),
        (Entry(about=True, coming={**NEW, "coming": True}), None, None),
        (Entry(about=True, coming={**NEW, "coming": True}), {"id": 9}, None),
        # In the place of an old one of ours.
        (
            Entry(claimed=True, value=OLD, about=True, coming={**NEW, "coming": True}),
            {"id": 3},
            Entry(claimed=True, value=OLD),
        ),
        (
            Entry(claimed=True, value=OLD, about=True, coming={**NEW, "coming": True}),
            {"id": 4},
            Entry(claimed=True, value=NEW),
        ),
        # Whose the place is does not change by what somebody pins there; with nothing there it is nobody's.
        (Entry(claimed=True, value=OLD), {"id": 9}, Entry(claimed=True, value=OLD)),
        (Entry(claimed=True, value=OLD), None, None),
        # Somebody's pin that was moved aside, or was about to be.
        (Entry(saving=True, has_saved=True, saved={"kept": "/", "id": 9}), {"id": 9}, None),
        (
            Entry(saving=True, has_saved=True, saved={"kept": "/", "id": 9}),
            None,
            Entry(has_saved=True, saved={"kept": "/", "id": 9}),
        ),
        (Entry(has_saved=True, saved={"kept": "/nowhere", "id": 9}), None, None),
    ],
)
def test_a_pin_is_settled_by_what_is_pinned(entry, seen, then):
    assert settled(LoadedKind(), entry, seen) == then


# Bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "params", "words"),
    [
        (ProgramResource, {"object": OBJECT, "pin_path": "/sys/fs/bpf/"}, "root of the file system"),
        (ProgramResource, {"object": OBJECT, "pin_path": "/sys/fs/bpf/a.b"}, "holds a dot"),
        (ProgramResource, {"object": "x.o", "pin_path": PINS}, "is not an absolute path"),
        (ProgramResource, {"pin_path": PINS}, "names no object"),
        (ObjectResource, {"src": "/x.c", "dest": "x.o"}, "is not an absolute path"),
        (ObjectResource, {"src": "/x.c", "dest": "/x.o", "include_paths": ["include"]}, "is not an absolute path"),
    ],
)
def test_bad_input_is_one_sentence(make, params, words):
    with pytest.raises(BadInput, match=words) as caught:
        make.from_params(params)
    assert "\n" not in str(caught.value)
