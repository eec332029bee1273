# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner of an interface's XDP slot by its properties, against a small simulation of the kernel."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.pin.folders import Folders
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.pin.kept import Keep, LetGo, kept_path
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.pin.steps import MakeFolder
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.xdp.kinds import SlotKind
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.xdp.resource import AttachmentResource
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.xdp.state import AttachmentState
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.xdp.steps import Attach, Detach, ForgetBefore, Restore
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import BadInput, Refused
from ansible_collections.ebpf.lab.plugins.module_utils._core.journal import Entry
from ansible_collections.ebpf.lab.plugins.module_utils._core.plan import Coming, Forget, Later
from ansible_collections.ebpf.lab.plugins.module_utils._core.settle import settled
from ansible_collections.ebpf.lab.plugins.module_utils._kernel.syscall import ProgramInfo
from hypothesis import assume, given
from hypothesis import strategies as st

PINS = "/sys/fs/bpf/ebpf"
ids = st.integers(1, 4)


def program(number, name="xdp_allow", kind="xdp"):
    return ProgramInfo(number, kind, name, "tag", (), 0, 0, True, 16, 22, 0, 0, 0)


modes = st.sampled_from(["native", "generic", "offload"])
KEPT = "/sys/fs/bpf/ebpf_lab_kept/program_50_1234"
ON_BPFFS = Folders(frozenset({"/sys/fs/bpf"}), {}, frozenset({"/sys/fs/bpf/ebpf_lab_kept"}))
PENDING = {f"pin:{PINS}/xdp_allow": Coming("made")}
REMADE = {"link:/veth1": Coming("made")}


@st.composite
def attachment_states(draw):
    number = draw(st.one_of(st.just(0), ids))
    claim = draw(st.one_of(st.none(), st.just({}), st.builds(lambda value: {"id": value}, ids)))
    index = draw(st.sampled_from([7, 8]))  # 8: the interface was made anew since
    saved = {"id": 50, "mode": draw(modes), "name": "student", "kept": KEPT, "ifindex": 7}
    kept = draw(st.sampled_from([(), (KEPT,), (KEPT, f"{KEPT}5")]))
    return AttachmentState(
        exists=True,
        id=number,
        mode=draw(modes) if number else "",
        index=index,
        attached=program(number) if number else None,
        wanted=draw(st.one_of(st.none(), st.builds(program, ids))),
        claim=claim,
        saved=saved if draw(st.booleans()) else None,
        kept=kept,
        folders=ON_BPFFS,
    )


def attached(state, plan, new, coming=()):
    """What the steps of a plan make of a slot; the kernel refuses to attach over another mode unless we detach."""
    foreign = state.id if state.id and not state.ours else 0
    if coming:  # the interface is another one by now
        state = replace(state, id=0, mode="", attached=None, index=9)
    for step in plan.steps:
        if isinstance(step, MakeFolder):
            assert step.path not in state.folders.exist
            state = replace(state, folders=Folders(state.folders.exist | {step.path}, {}, state.folders.bpffs))
        elif isinstance(step, Keep):
            assert (step.id, step.path) == (foreign, kept_path("program", foreign, "xdp::veth1"))
            state = replace(state, kept=(*state.kept, step.path))
        elif isinstance(step, (Attach, Later)):
            if isinstance(step, Later):
                (step,) = step.resource.plan(replace(state, wanted=new)).steps
            assert step.replaces == (state.id or None)
            assert not state.id or state.mode in step.modes
            assert step.id == new.id
            if step.saved is not None:
                assert state.before is None
                state = replace(state, saved=step.saved)
            state = replace(state, id=new.id, mode=step.modes[0], attached=new, wanted=new, claim={"id": new.id})
        elif isinstance(step, Detach):
            assert (step.id, step.mode) == (state.id, state.mode)
            state = replace(state, id=0, mode="", attached=None)
            state = replace(state, saved=step.saved) if step.saved is not None else replace(state, claim=None)
        elif isinstance(step, Restore):
            assert step.replaces == state.id
            assert not state.id or step.mode == state.mode
            assert step.kept in state.kept
            state = replace(state, id=step.id, mode=step.mode, attached=program(step.id), claim=None, saved=None)
        elif isinstance(step, LetGo):
            assert state.saved is None or state.saved["kept"] != step.path
            state = replace(state, kept=tuple(path for path in state.kept if path != step.path))
        elif isinstance(step, ForgetBefore):
            state = replace(state, saved=None)
        elif isinstance(step, Forget):
            state = replace(state, claim=None, saved=None)
        else:
            raise AssertionError(step)
    return state


resources = st.builds(
    AttachmentResource,
    interface=st.just("veth1"),
    program=st.just(f"{PINS}/xdp_allow"),
    mode=st.sampled_from(["auto", "native", "generic", "offload"]),
    overwrite=st.just(True),
    keep_foreign=st.booleans(),
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
    foreign = state.id and not state.ours and state.id != wanted.id
    if foreign and resource.keep_foreign:
        assert after.before is not None
    if foreign and not resource.keep_foreign:
        assert after.before == state.before


@given(attachment_states(), resources, st.builds(program, ids))
def test_a_plan_made_before_the_program_is_loaded_attaches(state, resource, new):
    assume(state.wanted is None or state.wanted.id != new.id)
    state = replace(state, claim=None if (state.claim or {}).get("id") == new.id else state.claim)
    assume(state.id != new.id)
    plan = resource.plan(state, PENDING)
    after = attached(state, plan, new)
    assert resource.plan(after).steps == ()


@given(attachment_states(), resources, st.builds(program, ids))
def test_an_interface_that_is_made_anew_has_nothing_attached(state, resource, wanted):
    state = replace(state, wanted=wanted)
    plan = resource.plan(state, REMADE)
    assert isinstance(plan.steps[-1], Attach)
    assert plan.steps[-1].replaces is None
    after = attached(state, plan, wanted, REMADE)
    assert (after.saved, after.kept) == (None, ())
    assert resource.plan(after).steps == ()


@given(attachment_states(), resources)
def test_a_foreign_program_is_never_replaced_unasked(state, resource):
    assume(state.id and not state.ours)
    assume(state.wanted is None or state.wanted.id != state.id)
    with pytest.raises(Refused, match="the lab did not attach it"):
        replace(resource, overwrite=False).plan(state)
    absent = replace(resource, present=False, overwrite=False)
    assert attached(state, absent.plan(state), None).id == state.id


@given(attachment_states(), resources)
def test_what_a_link_holds_is_never_replaced(state, resource):
    assume(state.id and not state.ours)
    state = replace(state, link_id=3)
    try:
        assert resource.plan(state).steps == ()
    except Refused as error:
        assert "bpf_link 3" in str(error)


@given(attachment_states(), resources)
def test_a_slot_is_given_back_once(state, resource):
    absent = replace(resource, present=False)
    after = attached(state, absent.plan(state), None)
    assert (after.claim, after.saved, after.kept) == (None, None, ())
    assert after.id == (50 if state.before else 0)
    assert replace(absent, overwrite=False).plan(after).steps == ()


@given(attachment_states(), resources)
def test_of_an_interface_that_goes_only_what_was_noted_is_given_up(state, resource):
    absent = replace(resource, present=False)
    plan = absent.plan(state, {"link:/veth1": Coming("removed")})
    assert all(isinstance(step, (Forget, LetGo)) for step in plan.steps)
    after = attached(state, plan, None, REMADE)
    assert (after.saved, after.kept) == (None, ())


@given(attachment_states(), resources, st.sampled_from(["the SSH session", "the default route"]))
def test_a_lifeline_is_not_cut(state, resource, carries):
    state = replace(state, carries=carries)
    try:
        assert resource.plan(state).steps == ()
    except Refused as error:
        assert carries in str(error)


def test_a_program_of_another_type_is_refused():
    state = AttachmentState(True, wanted=program(1, kind="sched_cls"))
    with pytest.raises(BadInput, match="of the type sched_cls"):
        AttachmentResource("veth1", program=f"{PINS}/x").plan(state)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"interface": "x" * 16, "program": "1"}, "16 bytes"),
        ({"interface": "", "program": "1"}, "0 bytes"),
        ({"interface": "veth1", "netns": "a/b", "program": "1"}, "no name for a network namespace"),
        ({"interface": "veth1"}, "names no program"),
    ],
)
def test_bad_input_is_one_sentence(params, words):
    with pytest.raises(BadInput, match=words) as caught:
        AttachmentResource.from_params(params)
    assert "\n" not in str(caught.value)


OURS = {"id": 5, "ifindex": 7}
SEEN = {"id": 5, "mode": "native", "ifindex": 7}


@pytest.mark.parametrize(
    ("entry", "seen", "claimed"),
    [
        (Entry(about=True, coming={"id": 5}), SEEN, 5),
        (Entry(about=True, coming={"id": 5}), {**SEEN, "id": 6}, None),
        (Entry(about=True, coming={"id": 5}), None, None),
        (Entry(about=True, coming={"id": 6}, claimed=True, value=OURS), SEEN, 5),
        (Entry(about=True, coming={"id": 6}, claimed=True, value=OURS), {**SEEN, "id": 6}, 6),
        (Entry(claimed=True, value=OURS), {**SEEN, "ifindex": 8}, None),
        (Entry(claimed=True, value="odd"), SEEN, None),
    ],
)
def test_what_a_killed_run_was_about_to_attach_is_told_by_its_id(entry, seen, claimed):
    found = settled(SlotKind(), entry, seen)
    assert (found.value["id"] if found is not None else None) == claimed


def test_a_foreign_program_that_is_there_again_or_is_no_longer_kept_is_not_put_back(tmp_path):
    (tmp_path / "kept").touch()
    saved = {"id": 3, "mode": "native", "name": "s", "kept": str(tmp_path / "kept"), "ifindex": 7}
    entry = Entry(has_saved=True, saved=saved, wrote=({"id": 5},))
    for seen in (None, SEEN, {**SEEN, "id": 3, "ifindex": 8}):
        assert settled(SlotKind(), entry, seen) == entry
    assert settled(SlotKind(), entry, {**SEEN, "id": 3}) is None
    (tmp_path / "kept").unlink()
    assert settled(SlotKind(), entry, SEEN) is None
