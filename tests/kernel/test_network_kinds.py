# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the network a killed run had made is the lab's, what somebody made in its place is his; lost answers."""

from __future__ import annotations

import concurrent.futures
import errno
import os
import pathlib
import socket
import time
import typing as t

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._core import locks, mounts
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import KernelRefused, LabError
from ansible_collections.ebpf.lab.plugins.module_utils._core.host import Host
from ansible_collections.ebpf.lab.plugins.module_utils._core.journal import Entry, Journal
from ansible_collections.ebpf.lab.plugins.module_utils._core.plan import Done, Learned, Step
from ansible_collections.ebpf.lab.plugins.module_utils._core.settle import settled
from ansible_collections.ebpf.lab.plugins.module_utils._kernel.rtnl import socket as rtnl
from ansible_collections.ebpf.lab.plugins.module_utils._net.topology import kinds
from ansible_collections.ebpf.lab.plugins.module_utils._net.topology.kinds import Folder, Links, Namespaces
from ansible_collections.ebpf.lab.plugins.module_utils._net.topology.link_steps import CreateLink, DeleteLink
from ansible_collections.ebpf.lab.plugins.module_utils._net.topology.state import (
    FOLDER_KEY,
    LAB_GROUP,
    Interface,
    Route,
    netns_key,
)
from ansible_collections.ebpf.lab.plugins.module_utils._net.topology.steps import (
    ForgetSaved,
    SetAddress,
    SetLink,
    SetNeighbour,
    SetRoute,
)

from .conftest import RunModule, sh

LAB, KEY = "kinds1", netns_key("kinds1")
FORGET = f"forget the journal's entry {FOLDER_KEY}"
PAIR = {"name": "k0", "peer": {"name": "k1"}}


@pytest.fixture
def host() -> t.Iterator[Host]:
    """This process' own view, with a journal of its own."""
    with Host(journal=Journal("/nowhere/journal", boot="b")) as made:
        yield made


@pytest.fixture(autouse=True)
def clean() -> t.Iterator[None]:
    """Each test begins without namespaces, links and the folder of names, whatever ran before."""
    clear()
    yield
    clear()


def clear() -> None:
    sh("ip", "netns", "del", LAB, check=False)
    pathlib.Path("/run/netns", LAB).unlink(missing_ok=True)
    for name in ("k0", "k1", "kb"):
        sh("ip", "link", "del", name, check=False)
    sh("umount", "-l", "/run/netns", check=False)
    sh("rmdir", "/run/netns", check=False)


def after_a_kill(host: Host, kind: t.Any, key: str, entry: Entry) -> t.Optional[Entry]:
    """What is noted once it has been looked at."""
    host.look_anew(reload=False)
    return settled(kind, entry, kind.look(host, {key: entry}).get(key))


def about(**coming: t.Any) -> Entry:
    return Entry(about=True, coming=coming, boot="b")


NEW = about(alias="ebpf.lab", over="absent")
OURS = Entry(claimed=True, value={"alias": "ebpf.lab"}, boot="b")


@pytest.mark.case("C5")
def test_a_namespace_is_the_labs_by_the_mark_inside(run_module: RunModule, host: Host, journal: t.Any) -> None:
    run_module("netns", name=[LAB])
    assert journal()[KEY]["value"] == OURS.value and not journal()[KEY].get("about")
    for entry in (NEW, OURS):
        assert after_a_kill(host, Namespaces(), KEY, entry) == OURS
    sh("ip", "netns", "del", LAB)
    for entry in (NEW, OURS):
        assert after_a_kill(host, Namespaces(), KEY, entry) is None
    sh("ip", "netns", "add", LAB)
    for entry in (NEW, OURS):
        assert after_a_kill(host, Namespaces(), KEY, entry) is None
    # What the journal says of a name is not believed of what somebody made under it since.
    forgotten = [FORGET] if "namespaces:/run/netns" in journal() else []  # unless the folder was there before
    assert run_module("topology", namespaces=[{"name": LAB}], state="absent", check=True)["steps"] == forgotten
    run_module("topology", namespaces=[{"name": LAB}], state="absent")
    assert os.path.exists(f"/run/netns/{LAB}") and KEY not in journal()


@pytest.mark.case("C24")
def test_the_file_that_a_killed_run_made_for_a_namespace_is_the_labs(run_module: RunModule, host: Host) -> None:
    run_module("netns", name=["other"])
    path = pathlib.Path("/run/netns", LAB)
    try:
        path.touch()
        assert after_a_kill(host, Namespaces(), KEY, NEW) == OURS
        assert after_a_kill(host, Namespaces(), KEY, OURS) == OURS
        assert after_a_kill(host, Namespaces(), KEY, about(alias="ebpf.lab", over="stray")) is None
        path.write_text("mine", encoding="ascii")
        assert after_a_kill(host, Namespaces(), KEY, NEW) is None
    finally:
        path.unlink()
        run_module("netns", name=["other"], state="absent")


def test_a_stray_file_is_there_again_after_a_run_that_failed(run_module: RunModule) -> None:
    sh("ip", "netns", "add", "other")
    path = pathlib.Path("/run/netns", LAB)
    path.touch(0o600)
    try:
        run_module("netns", name=[LAB], sysctls={"net.ipv4.no_such_key": 1}, fails=True)
        assert path.is_file() and not os.path.ismount(path) and path.stat().st_mode & 0o777 == 0o600
    finally:
        sh("ip", "netns", "del", "other")


def test_the_folder_of_the_names_is_the_labs_when_it_made_it(host: Host) -> None:
    assert not os.path.exists("/run/netns")
    new, old = about(made=True), about(made=False)
    assert after_a_kill(host, Folder(), FOLDER_KEY, new) is None
    os.mkdir("/run/netns")
    try:
        assert after_a_kill(host, Folder(), FOLDER_KEY, new) == Entry(claimed=True, value={"made": True}, boot="b")
        assert after_a_kill(host, Folder(), FOLDER_KEY, old) is None
        sh("mount", "--bind", "/run/netns", "/run/netns")
        assert after_a_kill(host, Folder(), FOLDER_KEY, old) == Entry(claimed=True, value={"made": False}, boot="b")
    finally:
        sh("umount", "/run/netns", check=False)
        os.rmdir("/run/netns")


def test_a_folder_that_was_there_stays(run_module: RunModule, journal: t.Any) -> None:
    os.mkdir("/run/netns")
    try:
        run_module("netns", name=[LAB])
        assert mounts.at("/run/netns")
        run_module("netns", name=[LAB], state="absent")
        assert os.path.isdir("/run/netns") and not mounts.at("/run/netns") and journal() == {}
    finally:
        os.rmdir("/run/netns")


@pytest.mark.case("C5")
def test_a_link_is_the_labs_by_its_group(run_module: RunModule, host: Host, journal: t.Any) -> None:
    run_module("veth", **PAIR)
    ours = {key: Entry(claimed=True, value=entry["value"], boot="b") for key, entry in journal().items()}
    assert set(ours) == {"link:/k0", "link:/k1"} and ours["link:/k0"].value["peer"] == "link:/k1"
    # What a student does to it does not make it his.
    sh("ip", "link", "set", "k0", "address", "02:00:00:00:00:09", "mtu", "1300", "up")
    for key, entry in ours.items():
        assert after_a_kill(host, Links(), key, entry) == entry
        assert after_a_kill(host, Links(), key, Entry(about=True, coming=entry.value, boot="b")) == entry
    sh("ip", "link", "del", "k0")
    sh("ip", "link", "add", "k0", "type", "veth", "peer", "name", "k1")
    for key, entry in ours.items():
        assert after_a_kill(host, Links(), key, entry) is None
    run_module("veth", name="k0", state="absent", check=True)
    assert run_module("topology", veths=[PAIR], state="absent")["steps"] == []
    assert "k1" in sh("ip", "link").stdout and journal() == {}


def test_both_ends_are_forgotten_when_one_name_is_given(run_module: RunModule, journal: t.Any) -> None:
    run_module("netns", name=[LAB])
    run_module("veth", name="k0", peer={"name": "k1", "netns": LAB})
    assert {"link:/k0", f"link:{LAB}/k1"} <= set(journal())
    run_module("veth", name="k0", state="absent")
    assert not any(key.startswith("link:") for key in journal())
    run_module("netns", name=[LAB], state="absent")


def test_what_is_as_it_was_is_not_kept_any_more(run_module: RunModule, host: Host, journal: t.Any) -> None:
    sh("ip", "link", "add", "k0", "type", "veth", "peer", "name", "k1")
    for name in ("k0", "k1"):
        sh("ip", "link", "set", name, "addrgenmode", "none", "up")
    sh("ip", "addr", "add", "10.77.0.1/24", "dev", "k0")
    run_module("topology", veths=[{**PAIR, "mtu": 1400, "addresses": ["10.78.0.1/24"], "exclusive": True}])
    noted = {key: entry for key, entry in journal().items() if "has_saved" in entry}
    assert list(noted) == ["link:/k0"] and noted["link:/k0"]["saved"]["mtu"] == 1500
    assert noted["link:/k0"]["wrote"][-1]["mtu"] == 1400
    entry = Entry(has_saved=True, saved=noted["link:/k0"]["saved"], boot="b")
    assert after_a_kill(host, Links(), "link:/k0", entry) == entry
    sh("ip", "link", "set", "k0", "mtu", "1500")
    sh("ip", "addr", "flush", "dev", "k0")
    assert after_a_kill(host, Links(), "link:/k0", entry) == entry
    sh("ip", "addr", "add", "10.77.0.1/24", "dev", "k0")
    assert after_a_kill(host, Links(), "link:/k0", entry) is None
    assert run_module("topology", veths=[PAIR], state="absent")["steps"] == [] and journal() == {}


@pytest.mark.parametrize(
    "key", ["link:", "link:/", "link:../../etc/x", "link:\0/x", "link:no such/x", "netns:", "netns:../../etc/passwd",
            "netns:/etc/passwd", "netns:a\0", "netns:\ud800"]
)  # fmt: skip
def test_odd_keys_are_nothing(host: Host, key: str) -> None:
    kind = Links() if key.startswith("link:") else Namespaces()
    saved = (Entry(has_saved=True, saved=7),) if key.startswith("link:") else ()
    for entry in (Entry(about=True), Entry(claimed=True), Entry(claimed=True, value=[]), *saved):
        assert after_a_kill(host, kind, key, entry) is None


def test_what_cannot_be_looked_at_stays_noted(
    run_module: RunModule, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_module("netns", name=[LAB])

    def refuse(host: Host, name: str) -> t.Any:
        raise KernelRefused("open a socket", errno.EMFILE)

    monkeypatch.setattr(kinds, "netlink_of", refuse)
    saved = Entry(has_saved=True, saved=7, boot="b")
    for kind, key, entry in ((Namespaces(), KEY, OURS), (Namespaces(), KEY, NEW), (Links(), f"link:{LAB}/lo", saved)):
        assert after_a_kill(host, kind, key, entry) == entry
    host.journal.suppose({f"link:{LAB}/lo": saved})
    with pytest.raises(LabError, match="is not as it was before"):
        ForgetSaved(f"link:{LAB}/lo").apply(host, Learned())


def lossy(monkeypatch: pytest.MonkeyPatch) -> None:
    """No room for more than a few answers."""
    whole = rtnl.Netlink._open

    def small(self: rtnl.Netlink) -> socket.socket:
        opened = whole(self)
        opened.setsockopt(socket.SOL_SOCKET, 33, 1)  # SO_RCVBUFFORCE; the kernel has a minimum
        return opened

    monkeypatch.setattr(rtnl.Netlink, "_open", small)


def made(host: Host, steps: t.Sequence[Step]) -> list[bool]:
    """Apply a batch; for each whether it took effect."""
    return [isinstance(one, Done) for one in type(steps[0]).apply_many(host, steps, Learned())]


def test_answers_that_are_lost_are_looked_up(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    lossy(monkeypatch)
    bridges = [Interface("", f"kb{number}", "bridge", group=LAB_GROUP) for number in range(100)]
    sh("ip", "link", "add", "kb50", "type", "bridge")  # somebody's
    creates = [CreateLink("", None, one) for one in bridges]
    assert rtnl.Answer(lost=True) in host.netlink().request([step.message(host, []) for step in creates])
    try:
        for name in ("kb3", "kb60"):
            sh("ip", "link", "del", name)
        sh("ip", "link", "add", "kb3", "type", "bridge")
        again = made(host, creates)
        assert not again[3] and not again[50] and again[60]
        some = ["kb1", "kb2", "no such"] * 40
        ups: list[Step] = [SetLink("", None, name, "up", False, True) for name in some]
        assert made(host, ups) == [name in ("kb1", "kb2") for name in some]
        numbers = range(1, 120)
        addresses: list[Step] = [SetAddress("", None, "kb1", f"10.{number}.0.1/24") for number in numbers]
        assert made(host, addresses) == [True] * len(addresses)
        routes: list[Step] = [SetRoute("", None, "kb1", Route(f"10.200.{n}.0/24", f"10.{n + 1}.0.9")) for n in numbers]
        assert made(host, routes[:-1]) == [True] * (len(routes) - 1)
        neighbours: list[Step] = [SetNeighbour("", None, "kb1", f"10.2.0.{n}", "02:00:00:00:00:01") for n in numbers]
        assert made(host, neighbours) == [True] * len(neighbours)
        gone: list[Step] = [SetNeighbour("", None, "kb1", f"10.2.0.{n}", "", add=False) for n in numbers]
        assert made(host, gone) == [True] * len(gone)
        deletes: list[Step] = [DeleteLink("", None, one) for one in bridges]
        assert made(host, deletes) == [True] * len(deletes)
        assert "kb" not in sh("ip", "link").stdout
    finally:
        for one in bridges:
            sh("ip", "link", "del", one.name, check=False)


def test_a_step_of_a_batch_that_cannot_even_be_asked_for_stops_no_other(host: Host) -> None:
    sh("ip", "link", "add", "kb", "type", "bridge")
    steps: list[Step] = [
        SetAddress("", None, name, f"10.{n}.0.1/24") for n, name in enumerate(("none", "kb", "nix"), 1)
    ]
    outcomes = SetAddress.apply_many(host, steps, Learned())
    assert [isinstance(one, Done) for one in outcomes] == [False, True, False]
    assert isinstance(outcomes[0], KernelRefused) and isinstance(outcomes[2], LabError)


@pytest.mark.case("C7")
def test_a_run_that_waits_works_on_what_is_there_after_the_wait(run_module: RunModule) -> None:
    sh("ip", "netns", "add", LAB)
    waiting = concurrent.futures.ThreadPoolExecutor()
    with waiting, locks.held(locks.CHANGE, word="another run"):
        done = waiting.submit(
            run_module, "veth", name="k0", peer={"name": "k1", "netns": LAB, "addresses": ["10.8.0.1/24"]}
        )
        time.sleep(3)  # by then it has looked, or it will look at what is there now
        assert not done.done()
        sh("ip", "netns", "del", LAB)
        sh("ip", "netns", "add", LAB)
    assert done.result()["changed"]
    assert "10.8.0.1/24" in sh("ip", "-n", LAB, "addr", "show", "dev", "k1").stdout
