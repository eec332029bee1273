# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planners of objects, programs and attachments by their properties, against small simulations of the host."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.object.clang import Recipe
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.object.resource import (
    CompileObject,
    Inputs,
    ObjectResource,
    ObjectState,
    RemoveObject,
)
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.pin.folders import MakeFolder, MountBpffs
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.pin.pins import Pin, Unpin, fits
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.program.resource import ProgramResource, ProgramState
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.program.steps import LoadPrograms
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.xdp.resource import AttachmentResource, AttachmentState
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.xdp.steps import Attach, Detach, KeepForeign, Restore
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import BadInput, Refused
from ansible_collections.ebpf.lab.plugins.module_utils._core.plan import Forget
from ansible_collections.ebpf.lab.plugins.module_utils._kernel.btf import MapDefinition
from ansible_collections.ebpf.lab.plugins.module_utils._kernel.elf import ObjectInfo, ProgramDefinition
from ansible_collections.ebpf.lab.plugins.module_utils._kernel.syscall import MapInfo, ProgramInfo
from hypothesis import assume, given
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
    claimed = record is not None or draw(st.booleans())
    made_from = draw(inputs) if record is not None else None
    folders = frozenset(draw(st.sampled_from([["/opt"], ["/opt", "/opt/lab"]])))
    return ObjectState(digest, claimed, made_from, draw(inputs), folders, record)


def compiled(state, plan):
    """What the steps of a plan make of a state."""
    for step in plan.steps:
        if isinstance(step, MakeFolder):
            assert step.path not in state.folders
            state = replace(state, folders=state.folders | {step.path})
        elif isinstance(step, CompileObject):
            assert "/opt/lab" in state.folders, "the folder is made first"
            state = replace(state, digest="new", claimed=True, made_from=state.inputs, record={"sha256": "new"})
        elif isinstance(step, RemoveObject):
            assert state.digest is None or state.ours, "somebody's work"
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
    folders = {"/sys/fs/bpf"} | ({PINS} if pins else set())
    digest = draw(digests) if info is not None else None
    return ProgramState(digest, info, mounted, frozenset(folders), pins, pins, claimed)


def loaded(state, plan, resource, info=None, digest=None):
    """What the steps of a plan make of a state; ``info`` is what an object holds that is only compiled in between."""
    if info is not None:
        state = replace(state, info=info, digest=digest)
    pins, claimed, folders, mounted = dict(state.programs), set(state.claimed), set(state.folders), state.mounted
    for step in plan.steps:
        if isinstance(step, MountBpffs):
            assert not mounted
            mounted, folders = True, {"/sys/fs/bpf"}
        elif isinstance(step, MakeFolder):
            assert mounted
            assert step.path not in folders
            folders.add(step.path)
        elif isinstance(step, LoadPrograms):
            assert mounted
            assert PINS in folders
            for number, definition in enumerate(state.info.programs, 100):
                what = program(number, definition.name, map_ids=(7,))
                path = f"{PINS}/{definition.name}"
                assert path not in pins or pins[definition.name].claim or step.foreign == "aside"
                pins[definition.name] = Pin(path, what, claim_for(what, state.digest))
                claimed.add(path)
            for name in step.pin_maps:
                there = pins.get(name)
                if there is not None and there.claim is None and step.reuse_maps and fits(MAP, there.what):
                    continue
                pins[name] = Pin(f"{PINS}/{name}", info_of_map, claim_for(info_of_map, state.digest))
                claimed.add(f"{PINS}/{name}")
            names = {*(definition.name for definition in state.info.programs), *step.pin_maps}
            for path in [path for path in claimed if path.rpartition("/")[2] not in names]:
                pins.pop(path.rpartition("/")[2], None)
                claimed.discard(path)
        elif isinstance(step, Unpin):
            pins.pop(step.path.rpartition("/")[2], None)
            claimed.remove(step.path)
        else:
            raise AssertionError(step)
    return replace(
        state, programs=pins, maps=pins, claimed=frozenset(claimed), folders=frozenset(folders), mounted=mounted
    )


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
    plan = resource.plan(state)
    after = loaded(state, plan, resource)
    again = resource.plan(after)
    assert again.steps == ()
    assert again.before == again.after
    for definition in state.info.programs:
        assert after.programs[definition.name].intact
    untouched = {name for name, pin in state.programs.items() if pin.claim is None} - {
        *(definition.name for definition in state.info.programs), *resource.pin_maps
    }  # fmt: skip
    assert all(after.programs[name] == state.programs[name] for name in untouched)


@given(program_states(foreign=False), program_resources, infos, digests)
def test_a_plan_made_before_the_object_is_compiled_loads(state, resource, info, digest):
    plan = resource.plan(state, object_pending=True)
    assert any(isinstance(step, LoadPrograms) for step in plan.steps)
    after = loaded(replace(state, claimed=frozenset()), plan, resource, info, digest)
    assert all(after.programs[definition.name].intact for definition in info.programs)


@given(program_states(), program_resources, infos, digests)
def test_foreign_pins_are_never_replaced_unasked(state, resource, info, digest):
    name = info.programs[0].name
    pins = {**state.programs, name: Pin(f"{PINS}/{name}", program(3, name))}
    claimed = state.claimed - {f"{PINS}/{name}"}
    state = replace(state, info=info, digest=digest, programs=pins, maps=pins, claimed=claimed)
    with pytest.raises(Refused, match="not by the lab"):
        replace(resource, overwrite=False).plan(state)


@given(program_states())
def test_only_our_pins_are_removed_and_once(state):
    absent = ProgramResource(PINS, OBJECT, present=False, map_path=PINS)
    after = loaded(state, absent.plan(state), absent)
    assert absent.plan(after).steps == ()
    assert set(after.programs) == {name for name, pin in state.programs.items() if pin.claim is None}


# Attachments ---------------------------------------------------------------------------------------------------------

modes = st.sampled_from(["native", "generic", "offload"])


@st.composite
def attachment_states(draw):
    number = draw(st.one_of(st.just(0), ids))
    claim = draw(st.one_of(st.none(), st.just({}), st.builds(lambda value: {"id": value}, ids)))
    saved = {"id": 50, "mode": draw(modes), "name": "student", "kept": "/sys/fs/bpf/kept"}
    return AttachmentState(
        exists=True,
        id=number,
        mode=draw(modes) if number else "",
        attached=program(number) if number else None,
        wanted=draw(st.one_of(st.none(), st.builds(program, ids))),
        claim=claim,
        saved=saved if claim is not None and draw(st.booleans()) else None,
    )


def attached(state, plan, wanted):
    """What the steps of a plan make of a slot; the kernel refuses to attach over another mode unless we detach."""
    for step in plan.steps:
        if isinstance(step, KeepForeign):
            assert state.claim is None
            state = replace(state, saved={"id": step.id, "mode": step.mode, "name": step.name, "kept": step.kept})
        elif isinstance(step, Attach):
            assert step.replaces == (state.id or None)
            state = replace(
                state, id=wanted.id, mode=step.modes[0], attached=wanted, wanted=wanted, claim={"id": wanted.id}
            )
        elif isinstance(step, Detach):
            assert (step.id, step.mode) == (state.id, state.mode)
            state = replace(state, id=0, mode="", attached=None, claim=None, saved=None)
        elif isinstance(step, Restore) and step.interface:
            saved = state.saved
            state = replace(
                state, id=saved["id"], mode=saved["mode"], attached=program(saved["id"]), claim=None, saved=None
            )
        else:  # what the journal held of an interface or a program that is gone
            state = replace(state, claim=None, saved=None)
    return state


resources = st.builds(
    AttachmentResource,
    interface=st.just("veth1"),
    program=st.just(f"{PINS}/xdp_allow"),
    mode=st.sampled_from(["auto", "native", "generic", "offload"]),
    overwrite=st.just(True),
)


@given(attachment_states(), resources, st.builds(program, ids))
def test_a_program_is_attached_once(state, resource, wanted):
    state = replace(state, wanted=wanted)
    plan = resource.plan(state)
    after = attached(state, plan, state.wanted)
    assert after.id == state.wanted.id
    assert after.mode in (("native", "generic") if resource.mode == "auto" else (resource.mode,))
    again = resource.plan(after)
    assert again.steps == ()
    assert again.before == again.after


@given(attachment_states(), resources, st.builds(program, ids))
def test_a_plan_made_before_the_program_is_loaded_attaches(state, resource, new):
    plan = resource.plan(state, program_pending=True)
    after = attached(state, plan, new)
    assert resource.plan(after).steps == ()


@given(attachment_states(), resources)
def test_an_interface_that_is_made_anew_has_nothing_attached(state, resource):
    (step,) = resource.plan(state, interface_pending=True).steps
    assert isinstance(step, Attach)
    assert step.replaces is None


@given(attachment_states(), resources)
def test_a_foreign_program_is_never_replaced_unasked(state, resource):
    assume(state.id and (state.claim or {}).get("id") != state.id)
    assume(state.wanted is None or state.wanted.id != state.id)
    with pytest.raises(Refused, match="the lab did not attach it"):
        replace(resource, overwrite=False).plan(state)
    absent = replace(resource, present=False, overwrite=False)
    assert attached(state, absent.plan(state), None).id == state.id


@given(attachment_states(), resources)
def test_what_a_link_holds_is_never_replaced(state, resource):
    assume(state.id)
    state = replace(state, link_id=3)
    try:
        assert resource.plan(state).steps == ()
    except Refused as error:
        assert "bpf_link 3" in str(error)


@given(attachment_states(), resources)
def test_a_slot_is_given_back_once(state, resource):
    absent = replace(resource, present=False)
    after = attached(state, absent.plan(state), None)
    assert (after.claim, after.saved) == (None, None)
    assert replace(absent, overwrite=False).plan(after).steps == ()


@given(attachment_states(), resources, st.sampled_from(["the SSH session", "the default route"]))
def test_a_lifeline_is_not_cut(state, resource, carries):
    state = replace(state, carries=carries)
    try:
        assert resource.plan(state).steps == ()
    except Refused as error:
        assert carries in str(error)


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
        (AttachmentResource, {"interface": "x" * 16, "program": "1"}, "16 bytes"),
        (AttachmentResource, {"interface": "", "program": "1"}, "0 bytes"),
        (AttachmentResource, {"interface": "veth1", "netns": "a/b", "program": "1"}, "no name for a network namespace"),
        (AttachmentResource, {"interface": "veth1"}, "names no program"),
    ],
)
def test_bad_input_is_one_sentence(make, params, words):
    with pytest.raises(BadInput, match=words) as caught:
        make.from_params(params)
    assert "\n" not in str(caught.value)


def test_a_program_of_another_type_is_refused():
    state = AttachmentState(True, wanted=program(1, kind="sched_cls"))
    with pytest.raises(BadInput, match="of the type sched_cls"):
        AttachmentResource("veth1", program=f"{PINS}/x").plan(state)
