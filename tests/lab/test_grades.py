# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is not there earns nothing, and what was decided outlives a reboot."""

from __future__ import annotations

import os
import pathlib
import typing as t
import uuid

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._lab.schema import WORK_FOLDER
from ansible_collections.ebpf.lab.tests.kernel.conftest import sh
from ansible_collections.ebpf.lab.tests.residue.snapshot import differences, take

from .conftest import PINS, Lab
from .test_playbooks import Playbooks

BOOT_ID = "/proc/sys/kernel/random/boot_id"
JOURNAL = "/var/lib/ebpf.lab/journal.jsonl"


@pytest.mark.case("K14")
@pytest.mark.parametrize("name", ["lecture2", "redirect", "xdp_hello"])
def test_a_bare_machine_passes_no_check(name: str) -> None:
    lab = Lab(name)
    for stage in lab.stages:
        result = lab.verify(stage)
        assert [check["name"] for check in result["checks"] if check["passed"] or check["points"]] == []
    # One namespace is a beginning: it passes, and what is true of the host, and nothing that speaks of what is missing.
    sh("ip", "netns", "add", "vns1" if name != "redirect" else "left")
    try:
        passed = [
            check["name"]
            for stage in lab.stages
            for check in lab.verify(stage)["checks"]
            if check["passed"]
            and not check["name"].startswith(("The namespace vns1 is", "Forwarded", "Nothing transl"))
        ]
        assert passed == []
    finally:
        sh("ip", "netns", "del", "vns1" if name != "redirect" else "left")


@pytest.mark.case("K14")
def test_nothing_sent_is_nothing_lost(lecture: Lab) -> None:
    """Not a single ping leaves for the namespace: a check that wants silence must not take that for an answer."""
    lecture.up("drop", traffic=False)
    sh("ip", "addr", "flush", "dev", "veth1")
    facts = lecture.verify()["facts"]
    assert (facts["traffic"]["out"]["sent"], facts["traffic"]["out"]["received"]) == (0, None)
    assert facts["traffic"]["out"]["reachable"] is None and facts["traffic"]["out"]["why"]
    assert lecture.run("verified", traffic=False)["facts"]["traffic"] is None


@pytest.mark.case("K14")
def test_who_compiles_by_hand_has_a_current_object(lecture: Lab, objects: t.Callable[[str], str]) -> None:
    lecture.up("hello", traffic=False)
    path = pathlib.Path(f"{WORK_FOLDER}/lecture2/xdp_pass.o")
    sh("cp", objects("xdp_pass"), str(path))
    (check,) = [check for check in lecture.verify()["checks"] if check["name"].startswith("xdp_pass.o is compiled")]
    assert check["passed"]
    path.unlink()
    (check,) = [check for check in lecture.verify()["checks"] if check["name"].startswith("xdp_pass.o is compiled")]
    assert not check["passed"]


@pytest.fixture
def reboot(tmp_path: pathlib.Path) -> t.Iterator[t.Callable[[], None]]:
    """What a reboot does to this copy of a machine: another boot's id, and all that lives in the kernel is gone."""
    boot = tmp_path / "boot_id"

    def again() -> None:
        mounted = boot.exists()
        boot.write_text(f"{uuid.uuid4()}\n", encoding="ascii")
        if not mounted:
            sh("mount", "--bind", str(boot), BOOT_ID)
        for name in os.listdir("/run/netns") if os.path.isdir("/run/netns") else ():
            sh("ip", "netns", "del", name)
        for name in ("veth1", "br_lab", "to_left", "to_right"):
            sh("ip", "link", "del", name, check=False)
        sh("umount", "--lazy", "/sys/fs/bpf")
        sh("mount", "-t", "bpf", "bpf", "/sys/fs/bpf")
        sh("sysctl", "-qw", "net.ipv4.ip_forward=0")
        sh("nft", "flush", "ruleset")

    yield again
    if boot.exists():
        sh("umount", BOOT_ID)


@pytest.mark.case("K2")
def test_the_stage_outlives_a_reboot(lecture: Lab, reboot: t.Callable[[], None]) -> None:
    lecture.down()
    reboot()
    before = take()
    lecture.up("drop", traffic=False)
    assert lecture.verify()["facts"]["machine"] == {"stage": "drop", "rebooted": False}
    reboot()

    found = lecture.verify()
    assert (found["stage"], found["facts"]["machine"]) == ("drop", {"stage": "drop", "rebooted": True})
    predicted = lecture.reset(check=True, traffic=False)
    assert "note that the lab lecture2 is at the stage drop, after a reboot" in predicted["steps"]
    cured = lecture.reset()
    assert (cured["stage"], cured["failed"], cured["steps"]) == ("drop", [], predicted["steps"])
    assert cured["facts"]["machine"] == {"stage": "drop", "rebooted": False}
    assert not lecture.reset(traffic=False)["changed"]

    reboot()
    assert lecture.down()["changed"]
    assert differences(before, take()) == []
    assert not os.path.exists(WORK_FOLDER) and not os.path.exists(JOURNAL) and not os.path.exists(PINS)
    assert not lecture.down()["changed"]


@pytest.mark.case("K2")
def test_after_a_reboot_another_lab_may_come(lecture: Lab, reboot: t.Callable[[], None]) -> None:
    """Of the one that was there nothing is up any more, and it is not in the way."""
    lecture.up("hello", traffic=False)
    reboot()
    other = Lab("redirect")
    try:
        assert other.up("watch")["failed"] == []
        assert other.verify()["facts"]["machine"] == {"stage": "watch", "rebooted": False}
        assert lecture.verify()["facts"]["machine"]["stage"] == ""
    finally:
        other.down()
    assert not os.path.exists(WORK_FOLDER) and not os.path.exists(JOURNAL)


@pytest.mark.case("K2")
def test_that_a_machine_was_rebooted_is_said(reboot: t.Callable[[], None], tmp_path: pathlib.Path) -> None:
    play = Playbooks(tmp_path)
    bare = play("verify", lab="xdp_hello")
    assert bare.returncode == 2 and "not started: nothing of the lab is on the machine" in bare.stdout, bare.stdout
    assert "  FAIL  " not in bare.stdout and "The machine has not started." in bare.stdout
    try:
        Lab("xdp_hello").up("hello", traffic=False)
        reboot()
        found = play("verify", lab="xdp_hello")
        assert "rebooted since it was brought to its stage" in found.stdout, found.stdout
        cured = play("reset", lab="xdp_hello")
        assert "note that the lab xdp_hello is at the stage hello, after a reboot" in cured.stdout, cured.stdout
    finally:
        Lab("xdp_hello").down()
