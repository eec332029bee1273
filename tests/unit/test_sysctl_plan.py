# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner of ip_forward by its properties, on the model of the kernel that tests/kernel proves."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import BadInput, LabError, Refused
from ansible_collections.ebpf.lab.plugins.module_utils._core.plan import Plan
from ansible_collections.ebpf.lab.plugins.module_utils._net.sysctl.resource import (
    FileStep,
    Forget,
    ForwardResource,
    State,
    desired,
)
from ansible_collections.ebpf.lab.plugins.module_utils._net.sysctl.steps import (
    IPV4,
    IPV6,
    REDIRECTS,
    SysctlStep,
    after_write,
    name_of,
    path_of,
)
from hypothesis import given
from hypothesis import strategies as st

bit = st.sampled_from(["0", "1"])
INTERFACES = ("default", "lo", "eth0", "eth0/100")


@st.composite
def states(draw: st.DrawFn) -> State:
    """Any values that a host may have, and perhaps a file of somebody else's in the place of ours."""
    names = [IPV4, REDIRECTS, IPV6]
    names += [f"net.ipv{version}.conf.{name}.forwarding" for version in (4, 6) for name in INTERFACES]
    file = draw(st.none() | st.just("# somebody's\nnet.ipv4.ip_forward = 0\n"))
    return State({name: draw(bit) for name in names}, file=file, folder=file is not None or draw(st.booleans()))


@st.composite
def resources(draw: st.DrawFn) -> ForwardResource:
    """Any arguments that are right."""
    ipv4, ipv6 = draw(st.none() | st.booleans()), draw(st.none() | st.booleans())
    return ForwardResource(True if ipv4 is ipv6 is None else ipv4, ipv6, persist=draw(st.none() | st.booleans()))


def run(now: State, plan: Plan) -> State:
    """The state after the plan, with the journal's entries."""
    values, file, folder = dict(now.values), now.file, now.folder
    saved, before = dict(now.saved), now.file_before
    claims = {name for name, ours in (("file", now.file_ours), ("folder", now.folder_ours)) if ours}
    for step in plan.steps:
        if isinstance(step, SysctlStep):
            assert values[step.name] != step.value, "written although it is right already"
            assert dict(step.was).items() <= values.items()
            values = after_write(values, step.name, step.value)
        elif isinstance(step, FileStep):
            assert step.was == file
            file, folder = step.content, step.content is not None or not step.own_folder
        else:
            assert isinstance(step, Forget)
        for note in step.notes():
            kind, rest = note.key.split(":", 1)
            if kind == "sysctl":
                name = rest.split(":", 1)[1]
                if note.action == "save":
                    saved.setdefault(name, note.value)
                elif note.action == "release":
                    del saved[name]
            elif note.action == "save":
                before = note.value if before is None else before
            else:
                name = "file" if rest.endswith(".conf") else "folder"
                (claims.add if note.action == "claim" else claims.discard)(name)
                before = None if (note.action, name) == ("release", "file") else before
    return State(values, saved, file, before, "file" in claims, folder, "folder" in claims)


@given(states(), resources())
def test_the_plan_reaches_what_is_wanted_and_a_second_one_is_empty(start: State, resource: ForwardResource) -> None:
    plan = resource.plan(start)
    end = run(start, plan)
    assert resource.plan(end).steps == ()
    assert (plan.before != plan.after) == bool(plan.steps)
    assert plan.after["sysctl"] == end.values
    for name, on in ((IPV4, resource.ipv4), (IPV6, resource.ipv6)):
        if on is not None:
            assert end.values[name] == ("1" if on else "0")
        else:  # nothing of the family that was not named
            assert {n: v for n, v in end.values.items() if n[:8] == name[:8]}.items() <= start.values.items()
    assert end.file_ours == resource.persists


@given(states(), resources(), resources(), bit)
def test_restored_after_two_calls_and_drift_is_the_start(
    start: State, first: ForwardResource, second: ForwardResource, drift: str
) -> None:
    state = run(start, first.plan(start))
    # Somebody turns what we set, and a reboot would do the same.
    values = after_write(dict(state.values), IPV4, drift) if IPV4 in state.saved else state.values
    state = State(values, state.saved, state.file, state.file_before, state.file_ours, state.folder, state.folder_ours)
    state = run(state, second.plan(state))
    restored = ForwardResource(state="restored")
    end = run(state, restored.plan(state))
    assert end == start
    assert restored.plan(end).steps == ()


@given(states(), resources())
def test_undo_leads_back(start: State, resource: ForwardResource) -> None:
    plan = resource.plan(start)
    values = dict(run(start, plan).values)
    for step in reversed(plan.steps):
        if isinstance(step, SysctlStep):
            for name, value in step.was:
                values = after_write(values, name, value)
    assert values == start.values


@pytest.mark.parametrize("name", [IPV4, "net.ipv4.conf.eth0/100.forwarding"])
def test_names_and_paths(name: str) -> None:
    assert name_of(path_of(name)) == name
    assert path_of("net.ipv4.conf.eth0/100.forwarding") == "/proc/sys/net/ipv4/conf/eth0.100/forwarding"


def test_saved_values_outlive_the_boot_only_with_the_file() -> None:
    state = State({IPV4: "0", REDIRECTS: "1"})
    for persist in (True, False):
        notes = ForwardResource(ipv4=True, persist=persist).plan(state).notes()
        assert all(note.volatile != persist for note in notes)
        assert {note.key for note in notes} >= {f"sysctl::{IPV4}", f"sysctl::{REDIRECTS}"}


def test_a_default_route_that_would_go_is_refused() -> None:
    state = State({IPV6: "0"}, purged=("eth0",))
    with pytest.raises(Refused, match="eth0"):
        ForwardResource(ipv6=True).plan(state)
    assert ForwardResource(ipv6=True, force=True).plan(state).steps
    assert ForwardResource(ipv6=False, persist=False).plan(state).steps == ()


def test_a_kernel_without_ipv6_says_so() -> None:
    with pytest.raises(LabError, match="without that protocol"):
        ForwardResource(ipv6=True).plan(State({IPV4: "0"}))


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, "nothing"),
        ({"state": "restored", "ipv6": False}, "leave them out"),
        ({"ipv4": True, "netns": "lab", "persist": True}, "persist"),
    ],
)
def test_bad_input_is_refused_before_anything_is_read(params: dict[str, t.Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        desired(params)
