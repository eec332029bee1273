# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner of ip_forward by its properties, on the model of the kernel that tests/kernel proves."""

from __future__ import annotations

import base64
import types
import typing as t

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.pin.kinds import FolderKind
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.pin.steps import MakeFolder, RemoveFolder
from ansible_collections.ebpf.lab.plugins.module_utils._core import files
from ansible_collections.ebpf.lab.plugins.module_utils._core.backup import KeepFile
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import BadInput, LabError, Refused
from ansible_collections.ebpf.lab.plugins.module_utils._core.journal import Entry, Journal
from ansible_collections.ebpf.lab.plugins.module_utils._core.own_files import (
    FileKind,
    RemoveFile,
    RestoreFile,
    digest_of,
)
from ansible_collections.ebpf.lab.plugins.module_utils._core.plan import Learned, Plan, Step
from ansible_collections.ebpf.lab.plugins.module_utils._core.settle import settled
from ansible_collections.ebpf.lab.plugins.module_utils._net.sysctl import kinds
from ansible_collections.ebpf.lab.plugins.module_utils._net.sysctl.kinds import Sysctls, key_of, name_of, path_of
from ansible_collections.ebpf.lab.plugins.module_utils._net.sysctl.options import from_params
from ansible_collections.ebpf.lab.plugins.module_utils._net.sysctl.resource import ForwardResource
from ansible_collections.ebpf.lab.plugins.module_utils._net.sysctl.state import DIR_KEY, FILE, HEAD, Saved, State
from ansible_collections.ebpf.lab.plugins.module_utils._net.sysctl.steps import (
    ConfStep,
    ForgetSaved,
    SysctlStep,
)
from ansible_collections.ebpf.lab.plugins.module_utils._net.sysctl.switches import (
    IPV4,
    IPV6,
    REDIRECTS,
    Values,
    after_write,
    switch_of,
)
from hypothesis import given
from hypothesis import strategies as st

bit = st.sampled_from(["0", "1"])
INTERFACES = ("default", "lo", "eth0", "eth0/100")
THEIRS = "# somebody's\nnet.ipv4.ip_forward = 0\n"


FILE_KEY = f"file:{FILE}"


def whole(text: str) -> dict[str, t.Any]:
    """A file as the journal keeps it."""
    raw = text.encode()
    return {"sha256": files.digest(raw), "mode": 0o644, "content": base64.b64encode(raw).decode()}


class Noted(Journal):
    """A journal without a file."""

    def reload(self) -> None:
        """There is none."""

    def _append(self, line: bytes, durable: bool) -> None:
        self._size += len(line)


class Machine:
    """The switches as the kernel has them, the file and its folder, and the journal."""

    def __init__(self, values: Values, file: t.Optional[str], folder: bool) -> None:
        self.values = dict(values)
        self.file = file
        self.folder = folder
        self.journal = Noted("", boot="boot1")

    def now(self) -> tuple[Values, t.Optional[str], bool]:
        """All but the journal."""
        return dict(self.values), self.file, self.folder

    def settle(self) -> None:
        """What a run does at its start."""
        host: t.Any = types.SimpleNamespace(journal=self.journal)
        found = {key_of("", name): value for name, value in self.values.items()}
        patch: dict[str, t.Optional[Entry]] = {}
        for key, entry in self.journal.entries.items():
            if key == FILE_KEY:
                seen = None if self.file is None else {"kind": "file", **whole(self.file)}
                patch[key] = settled(FileKind(), entry, seen)
            elif key == DIR_KEY:
                patch[key] = settled(FolderKind(), entry, {"device": "0:1", "marked": True} if self.folder else None)
            else:
                patch[key] = settled(Sysctls(), entry, kinds._seen(host, key, entry, found))
        self.journal.patch(patch)

    def state(self) -> State:
        """As observed."""
        before, claim = self.journal.saved(FILE_KEY), self.journal.claimed(FILE_KEY)
        there = None if self.file is None else whole(self.file)
        ours = claim is not None and there is not None and digest_of(claim.value) == there["sha256"]
        return State(
            dict(self.values),
            {
                key[len("sysctl::") :]: Saved(entry.saved, entry.wrote, entry.claimed, not entry.boot)
                for key, entry in self.journal.entries.items()
                if key.startswith("sysctl::") and entry.has_saved
            },
            file=self.file,
            file_ours=ours,
            file_noted=claim is not None,
            file_before=before.saved if before else None,
            file_theirs=None if ours else there,
            folder=self.folder,
            folder_ours=self.journal.claimed(DIR_KEY) is not None,
        )

    def set(self, name: str, value: str) -> None:
        """Somebody's doing."""
        if self.values.get(name, value) != value:
            self.values = after_write(self.values, name, value)

    def change(self, step: Step) -> None:
        """What a step does."""
        if isinstance(step, SysctlStep):
            assert step.back or self.values[step.name] != step.value, "written although it is right already"
            if not step.back:
                assert dict(step.was).items() <= self.values.items()
            self.set(step.name, step.value)
        elif isinstance(step, ConfStep):
            assert self.folder
            self.file = step.content.decode()
        elif isinstance(step, RemoveFile):
            assert self.file is not None
            self.file = None
        elif isinstance(step, RestoreFile):
            assert self.folder
            self.file = base64.b64decode(step.saved["content"]).decode()
        elif isinstance(step, (MakeFolder, RemoveFolder)):
            assert self.file is None
            self.folder = isinstance(step, MakeFolder)
        elif isinstance(step, KeepFile):
            self.file = None
        else:
            assert isinstance(step, ForgetSaved)

    def run(self, resource: ForwardResource, killed_after: float = 1e9) -> Plan:
        """One call of the module; killed after so many steps, half a one for what was only noted."""
        self.settle()
        plan = resource.plan(self.state())
        for number, step in enumerate(plan.steps):
            notes = step.notes(Learned())
            if number >= killed_after:
                break
            self.journal.begin(notes)
            if number + 0.25 >= killed_after:
                break
            self.change(step)
            if number + 0.5 >= killed_after:
                break
            self.journal.finish(notes, {FILE_KEY: step.value} if isinstance(step, ConfStep) else {})
        return plan


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    """Any values that a host may have, and perhaps a file of somebody else's in the place of ours."""
    names = [IPV4, REDIRECTS, IPV6]
    names += [f"net.ipv{version}.conf.{name}.forwarding" for version in (4, 6) for name in INTERFACES]
    file = draw(st.none() | st.just(THEIRS))
    return Machine({name: draw(bit) for name in names}, file, file is not None or draw(st.booleans()))


@st.composite
def resources(draw: st.DrawFn) -> ForwardResource:
    """Any arguments that are right."""
    ipv4, ipv6 = draw(st.none() | st.booleans()), draw(st.none() | st.booleans())
    return ForwardResource(True if ipv4 is ipv6 is None else ipv4, ipv6, persist=draw(st.none() | st.booleans()))


RESTORED = ForwardResource(state="restored")


@given(machines(), resources())
def test_the_plan_reaches_what_is_wanted_and_a_second_one_is_empty(host: Machine, resource: ForwardResource) -> None:
    start = host.now()[0]
    plan = host.run(resource)
    assert resource.plan(host.state()).steps == ()
    assert (plan.before != plan.after) == bool(plan.steps)
    assert plan.after["sysctl"] == host.values
    for name, on in ((IPV4, resource.ipv4), (IPV6, resource.ipv6)):
        if on is not None:
            assert host.values[name] == ("1" if on else "0")
        else:  # nothing of the family that was not named
            assert {n: v for n, v in host.values.items() if n[:8] == name[:8]}.items() <= start.items()
    assert host.state().file_ours == resource.persists


@given(machines(), resources(), resources(), bit)
def test_restored_after_two_calls_and_drift_is_the_start(
    host: Machine, first: ForwardResource, second: ForwardResource, drift: str
) -> None:
    start = host.now()
    host.run(first)
    # Somebody turns what we set; or a reboot does.
    drifted = f"sysctl::{IPV4}" in host.journal.entries and host.values[IPV4] != drift
    if drifted:
        host.set(IPV4, drift)
    host.run(second)
    plan = host.run(RESTORED)
    assert host.journal.entries == {} and RESTORED.plan(host.state()).steps == ()
    if not drifted:
        assert host.now() == start and not plan.warnings
    else:  # what the drift has turned along is somebody's by now
        changed = {name for name, value in start[0].items() if host.values[name] != value}
        assert host.now()[1:] == start[1:] and all(switch_of(name) == IPV4 for name in changed)


@given(machines(), resources(), st.integers(0, 30), st.integers(0, 30))
def test_killed_anywhere_and_killed_again_while_it_is_put_back_the_end_is_the_start(
    host: Machine, resource: ForwardResource, there: int, back: int
) -> None:
    start = host.now()
    host.run(resource, killed_after=there / 4)
    host.run(RESTORED, killed_after=back / 4)
    host.run(RESTORED)
    assert host.now() == start and host.journal.entries == {}


@given(machines(), resources(), st.integers(0, 20))
def test_undo_leads_back_and_a_kill_within_it_too(host: Machine, resource: ForwardResource, killed: int) -> None:
    start = host.now()
    plan = host.run(resource)
    undoing = [back for step in reversed(plan.steps) if isinstance(step, SysctlStep) for back in step._undo()]
    for number, step in enumerate(undoing):
        if number == killed:
            host.run(RESTORED)
            break
        notes = step.notes(Learned())
        host.journal.begin(notes)
        host.change(step)
        host.journal.finish(notes, {})
    assert host.values == start[0]


@pytest.mark.case("C9")
def test_what_the_topology_saved_and_ip_forward_did_not_change_stays_the_topology_s() -> None:
    names = {IPV4: "0", REDIRECTS: "1", "net.ipv4.conf.eth0.forwarding": "1", "net.ipv4.conf.eth1.forwarding": "0"}
    host = Machine(names, None, True)
    key = key_of("", "net.ipv4.conf.eth0.forwarding")
    host.journal.patch({key: Entry(has_saved=True, saved="0", wrote=("1",), boot="boot1")})
    host.run(ForwardResource(ipv4=True, persist=False))
    assert not host.journal.entries[key].claimed and host.journal.entries[key_of("", IPV4)].claimed
    plan = host.run(RESTORED)
    assert host.values == names and list(host.journal.entries) == [key] and not plan.warnings


def test_what_somebody_has_set_to_a_third_value_stays_and_is_named() -> None:
    host = Machine({IPV4: "0", REDIRECTS: "1"}, None, True)
    host.run(ForwardResource(ipv4=True, persist=False))
    host.values[IPV4] = "2"
    plan = host.run(RESTORED)
    assert host.values[IPV4] == "2" and host.journal.entries == {}
    assert "net.ipv4.ip_forward is 2 by now, set by somebody else: it stays so." in plan.warnings


@pytest.mark.parametrize("theirs", [None, THEIRS])
def test_a_file_that_somebody_edited_is_not_removed(theirs: t.Optional[str]) -> None:
    host = Machine({IPV4: "0"}, theirs, True)
    host.run(ForwardResource(ipv4=True))
    host.file = f"{host.file}# and more\n"
    plan = host.run(RESTORED)
    if theirs is None:
        assert host.file == f"{HEAD}{IPV4} = 1\n# and more\n" and "it stays" in plan.warnings[0]
    else:
        assert any(isinstance(step, KeepFile) for step in plan.steps) and host.file == theirs
    assert host.journal.entries == {}


def test_their_file_is_put_back_where_ours_was_removed() -> None:
    host = Machine({IPV4: "0"}, THEIRS, True)
    host.run(ForwardResource(ipv4=True))
    host.file = None
    host.run(RESTORED)
    assert host.file == THEIRS and host.journal.entries == {}


def test_nothing_is_put_back_of_what_is_gone() -> None:
    host = Machine({IPV4: "0", "net.ipv4.conf.eth0.forwarding": "1"}, None, True)
    host.run(ForwardResource(ipv4=True, persist=False))
    del host.values["net.ipv4.conf.eth0.forwarding"]
    assert host.run(RESTORED).titles() == [f"set {IPV4} to 0"] and host.journal.entries == {}


@pytest.mark.parametrize(
    "key", ["sysctl:", "sysctl::net/../x", "sysctl:a:b:\0", "sysctl:not-there:net.ipv4.ip_forward"]
)
def test_an_odd_key_is_looked_at_and_is_nothing(key: str) -> None:
    host: t.Any = types.SimpleNamespace(journal=Noted("", boot="b"))
    entry = Entry(has_saved=True, saved=["?"], boot="b")
    assert Sysctls().look(host, {key: entry}) == {key: None}


@pytest.mark.parametrize("name", [IPV4, "net.ipv4.conf.eth0/100.forwarding"])
def test_names_and_paths(name: str) -> None:
    assert name_of(path_of(name)) == name
    assert path_of("net.ipv4.conf.eth0/100.forwarding") == "/proc/sys/net/ipv4/conf/eth0.100/forwarding"


def test_saved_values_outlive_the_boot_only_with_the_file() -> None:
    state = State({IPV4: "0", REDIRECTS: "1"})
    for persist in (True, False):
        plan = ForwardResource(ipv4=True, persist=persist).plan(state)
        notes = [note for step in plan.steps for note in step.notes(Learned())]
        assert all(note.lasting == persist for note in notes)
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
        from_params(params)
