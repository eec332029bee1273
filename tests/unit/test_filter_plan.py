# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner of tc filters by its properties, against a small simulation of an interface's hooks."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.tc.kinds import FilterKind, QdiscKind
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.tc.resource import FilterResource
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.tc.state import FilterState, Slot, qdisc_key
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.tc.steps import (
    AttachFilter,
    DetachFilter,
    MakeClsact,
    RemoveClsact,
)
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import Refused
from ansible_collections.ebpf.lab.plugins.module_utils._core.journal import Entry
from ansible_collections.ebpf.lab.plugins.module_utils._core.plan import Coming, Forget, Later, Plan, forecast
from ansible_collections.ebpf.lab.plugins.module_utils._core.settle import settled
from ansible_collections.ebpf.lab.plugins.module_utils._kernel.rtnl.tc import ETH_P_ALL, Filter
from ansible_collections.ebpf.lab.plugins.module_utils._kernel.syscall import ProgramInfo
from hypothesis import given
from hypothesis import strategies as st

PIN = "/sys/fs/bpf/ebpf/tc_filter"
HERE, THERE = Slot("veth1", "", "ingress", 1, 1), Slot("veth1", "", "egress", 1, 1)
QDISC = qdisc_key("", "veth1")
ids = st.integers(1, 4)


def program(number: int) -> ProgramInfo:
    return ProgramInfo(number, "sched_cls", "tc_filter", "tag", (), 0, 0, True, 16, 22, 0, 0, 0)


def bpf(number: int, priority: int = 1) -> Filter:
    return Filter("bpf", priority, 1, ETH_P_ALL, id=number, name="x", direct=True)


@st.composite
def states(draw: t.Any) -> FilterState:
    """Hooks in our place and others; a claim on ours, of the program that is there or of another one."""
    mine = draw(st.one_of(st.just(()), st.builds(lambda number: (bpf(number),), ids)))
    others = draw(st.sampled_from([(), (bpf(9, 7),)]))
    qdisc = "clsact" if mine or others else draw(st.sampled_from(["", "clsact"]))
    claim = draw(st.one_of(st.none(), st.builds(lambda number: {"id": number, "ifindex": 7}, ids)))
    return FilterState(
        True, qdisc, draw(st.booleans()), mine, others, claim, draw(st.one_of(st.none(), st.builds(program, ids)))
    )


def applied(state: FilterState, plan: Plan, new: t.Optional[ProgramInfo] = None) -> FilterState:
    """What the steps of a plan make of the hooks."""
    for step in plan.steps:
        if isinstance(step, Later):
            (step,) = step.resource.plan(replace(state, wanted=new)).steps
        if isinstance(step, MakeClsact) and not isinstance(step, RemoveClsact):
            assert not state.qdisc
            state = replace(state, qdisc="clsact", qdisc_claimed=True, here=(), others=())
        elif isinstance(step, RemoveClsact):
            assert state.qdisc_claimed and not state.here and not state.others
            state = replace(state, qdisc="", qdisc_claimed=False)
        elif isinstance(step, AttachFilter):
            assert state.qdisc and step.replaces == (state.here[0].id if state.here else 0)
            state = replace(state, here=(bpf(step.id),), claim={"id": step.id, "ifindex": 7})
            state = replace(state, wanted=new or state.wanted)
        elif isinstance(step, DetachFilter):
            assert state.here[0].id == step.id
            state = replace(state, here=(), claim=None)
        elif isinstance(step, Forget):
            state = replace(state, **({"claim": None} if step.key == HERE.key else {"qdisc_claimed": False}))
        else:
            raise AssertionError(step)
    return state


WANTED = FilterResource(HERE, PIN)


@given(states(), st.builds(program, ids))
def test_a_filter_is_attached_once_and_a_strangers_is_refused(state: FilterState, wanted: ProgramInfo) -> None:
    state = replace(state, wanted=wanted)
    if state.here and state.claim is None and state.here[0].id != wanted.id:
        with pytest.raises(Refused, match="Choose another priority"):
            WANTED.plan(state)
        return
    plan = WANTED.plan(state)
    after = applied(state, plan)
    assert [entry.id for entry in after.here] == [wanted.id]
    again = WANTED.plan(after)
    assert again.steps == () and again.before == again.after == plan.after


@given(states(), st.builds(program, st.integers(5, 6)))
def test_a_plan_made_before_the_program_is_loaded_attaches(state: FilterState, new: ProgramInfo) -> None:
    if state.here and state.claim is None and (state.wanted is None or state.wanted.id != state.here[0].id):
        state = replace(state, claim={"id": 4, "ifindex": 7})
    after = applied(state, WANTED.plan(state, {f"pin:{PIN}": Coming("made")}), new)
    assert WANTED.plan(after).steps == ()


@given(states())
def test_only_our_filter_and_our_empty_qdisc_are_removed_and_once(state: FilterState) -> None:
    absent = replace(WANTED, present=False)
    after = applied(state, absent.plan(state))
    assert absent.plan(after).steps == () and after.claim is None
    assert after.others == state.others
    ours = bool(state.here) and (state.claim or {}).get("id") == state.here[0].id
    assert after.here == (() if ours else state.here)
    if not state.qdisc_claimed:
        assert after.qdisc == state.qdisc


@given(
    states(), st.builds(program, ids), st.sampled_from([{"link:/veth1": Coming("made")}, {QDISC: Coming("removed")}])
)
def test_hooks_that_go_before_are_made_anew(state: FilterState, wanted: ProgramInfo, coming: dict[str, Coming]) -> None:
    make, attach = WANTED.plan(replace(state, wanted=wanted), coming).steps
    assert isinstance(make, MakeClsact) and isinstance(attach, AttachFilter) and attach.replaces == 0


def test_two_filters_of_one_plan_share_the_qdisc() -> None:
    nothing = FilterState(True, wanted=program(1))
    first = WANTED.plan(nothing)
    second = FilterResource(THERE, PIN).plan(nothing, forecast(first.steps))
    assert [type(step) for step in (*first.steps, *second.steps)] == [MakeClsact, AttachFilter, AttachFilter]
    claim = {"id": 1, "ifindex": 7}
    both = FilterState(True, "clsact", True, (bpf(1),), (bpf(1),), claim)
    first = replace(WANTED, present=False).plan(both)
    second = FilterResource(THERE, present=False).plan(both, forecast(first.steps))
    assert [type(step) for step in (*first.steps, *second.steps)] == [DetachFilter, DetachFilter, RemoveClsact]


@pytest.mark.parametrize(
    ("entry", "seen", "value"),
    [
        (Entry(about=True, coming={"id": 5}), {"id": 5, "ifindex": 7}, {"id": 5, "ifindex": 7}),
        (Entry(about=True, coming={"id": 5}), {"id": 6, "ifindex": 7}, None),
        (Entry(claimed=True, value={"id": 5, "ifindex": 7}), {"id": 6, "ifindex": 7}, {"id": 5, "ifindex": 7}),
        (Entry(claimed=True, value={"id": 5, "ifindex": 7}), {"id": 5, "ifindex": 8}, None),
        (Entry(claimed=True, value=None), {"id": 5, "ifindex": 8}, None),
    ],
)
def test_a_filter_of_a_killed_run_is_told_by_its_program(entry: Entry, seen: t.Any, value: t.Any) -> None:
    found = settled(FilterKind(), entry, seen)
    assert (found.value if found is not None else None) == value


@pytest.mark.parametrize(
    ("entry", "seen", "claimed"),
    [
        (Entry(about=True, coming={"new": True}), {"ifindex": 7, "shared": False}, True),
        (Entry(about=True, coming={"new": True}), {"ifindex": 7, "shared": True}, False),
        (Entry(about=True, coming={"new": True}), None, False),
        (Entry(claimed=True, value={"ifindex": 7}), {"ifindex": 7, "shared": True}, True),
        (Entry(claimed=True, value={"ifindex": 7}), {"ifindex": 8, "shared": False}, False),
    ],
)
def test_a_qdisc_of_a_killed_run_is_ours_unless_somebody_uses_it(entry: Entry, seen: t.Any, claimed: bool) -> None:
    found = settled(QdiscKind(), entry, seen)
    assert (found is not None and found.claimed) == claimed
