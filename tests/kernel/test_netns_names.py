# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A name of a network namespace that stands for another one than it says: never worked in, by no module."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

from .conftest import RunModule, sh

pytestmark = pytest.mark.case("R9")

NAME = "liar"
WORK = {
    "topology": {"namespaces": [{"name": NAME}]},
    "veth": {"name": "lab1", "peer": {"name": "lab2", "netns": NAME, "addresses": ["10.1.2.3/24"]}},
    "iptables_flush": {"netns": NAME, "flush": [{"table": "filter"}]},
    "reachability": {"netns": NAME, "destination": "127.0.0.1"},
    "xdp_attachment": {"netns": NAME, "interface": "lo", "program": "1"},
}


@pytest.fixture
def liar() -> t.Iterator[None]:
    """A name of somebody's for the namespace of this process."""
    sh("ip", "netns", "attach", NAME, str(os.getpid()))
    yield
    sh("ip", "netns", "del", NAME, check=False)


@pytest.mark.parametrize("module", WORK)
def test_the_hosts_own_is_never_entered_by_another_name(run_module: RunModule, liar: None, module: str) -> None:
    said = run_module(module, fails=True, **WORK[module])["msg"]
    assert f"the name {NAME} in /run/netns stands for this host's own network namespace" in said
    assert f"ip netns del {NAME}" in said
    assert os.path.exists(f"/run/netns/{NAME}")


def test_the_labs_own_name_is_given_anew(run_module: RunModule) -> None:
    run_module("netns", name=[NAME])
    sh("ip", "netns", "del", NAME)
    sh("ip", "netns", "attach", NAME, str(os.getpid()))
    applied = run_module("netns", name=[NAME])
    assert f"remove the name {NAME}, which stands for this host's own network namespace" in applied["steps"]
    assert not os.path.samefile(f"/run/netns/{NAME}", "/proc/self/ns/net")
    assert not run_module("netns", name=[NAME], check=True)["changed"]
    run_module("netns", name=[NAME], state="absent")
    assert not os.path.exists(f"/run/netns/{NAME}")


def test_two_names_for_one_namespace(run_module: RunModule) -> None:
    ends = [{"name": "end", "netns": name} for name in ("one", "two")]
    both = {"namespaces": [{"name": "one"}, {"name": "two"}], "veths": [{**ends[0], "peer": {**ends[1], "name": "x"}}]}
    try:
        run_module("topology", **both)
        sh("umount", "/run/netns/one")  # "one" had "end", and is now a second name for "two"
        sh("mount", "--bind", "/run/netns/two", "/run/netns/one")
        assert run_module("topology", **both)["changed"]
        assert not run_module("topology", **both)["changed"]
        assert "end" in sh("ip", "-n", "one", "-br", "link").stdout
        assert "x" in sh("ip", "-n", "two", "-br", "link").stdout
        assert not os.path.samefile("/run/netns/one", "/run/netns/two")
    finally:
        run_module("topology", state="absent", **both)
    assert not os.path.exists("/run/netns/one") and not os.path.exists("/run/netns/two")


def test_somebodys_second_name_is_refused(run_module: RunModule) -> None:
    both = {"namespaces": [{"name": "one"}, {"name": "two"}]}
    sh("ip", "netns", "add", "one")
    pathlib.Path("/run/netns/two").touch()
    sh("mount", "--bind", "/run/netns/one", "/run/netns/two")
    try:
        said = run_module("topology", fails=True, **both)["msg"]
        assert "the name two in /run/netns stands for a network namespace that has another name of the lab" in said
    finally:
        sh("ip", "netns", "del", "two")
        sh("ip", "netns", "del", "one")


def test_a_link_is_removed_and_not_what_it_points_at(run_module: RunModule) -> None:
    sh("ip", "netns", "add", "target")
    os.symlink("/run/netns/target", f"/run/netns/{NAME}")
    try:
        assert run_module("netns", name=[NAME], state="absent")["changed"]
        assert not os.path.lexists(f"/run/netns/{NAME}")
        sh("ip", "-n", "target", "link", "set", "lo", "up")
    finally:
        sh("ip", "netns", "del", "target")
