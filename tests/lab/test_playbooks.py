# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks themselves, run by Ansible on this machine: the way of a lesson from provision to teardown."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

from ansible_collections.ebpf.lab.tests.kernel.conftest import sh

from .conftest import PINS


class Playbooks:
    """Runs them with one host, this machine."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.inventory = folder / "hosts.json"
        variables = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        self.inventory.write_text(json.dumps({"all": {"hosts": {"student1": variables}}}), encoding="utf-8")

    def __call__(self, name: str, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        argv = ["ansible-playbook", "-i", str(self.inventory), f"ebpf.lab.{name}", *options]
        for key, value in variables.items():
            argv += ["--extra-vars", f"{key}={value}"]
        env = {**os.environ, "ANSIBLE_HOME": str(self.folder / "home"), "ANSIBLE_NOCOLOR": "1"}
        return sh(*argv, check=False, cwd=str(self.folder), env=env)


def test_the_way_of_a_lesson(tmp_path: pathlib.Path) -> None:
    play = Playbooks(tmp_path)
    try:
        up = play("provision", lab_stage="count")
        assert up.returncode == 0 and "stage count: 11 of 11 points" in up.stdout, up.stdout
        assert "changed=1 " in up.stdout
        predicted = play("provision", "--check", "--diff", lab_stage="drop")
        assert predicted.returncode == 0 and "changed=1 " in predicted.stdout, predicted.stdout
        assert "unpin /sys/fs/bpf/ebpf/pkt_cnt" in predicted.stdout or "pkt_cnt" in predicted.stdout
        assert os.path.exists(f"{PINS}/pkt_cnt"), "check mode changed something"
        again = play("provision", lab_stage="count")
        assert again.returncode == 0 and "changed=0 " in again.stdout, again.stdout
        sh("ip", "link", "set", "dev", "veth1", "xdp", "off")
        broken = play("verify")
        assert broken.returncode != 0 and "bpftool" in broken.stdout, broken.stdout
        cured = play("reset")
        assert cured.returncode == 0 and "stage count: 11 of 11 points" in cured.stdout, cured.stdout
    finally:
        down = play("teardown")
    assert down.returncode == 0 and "changed=1 " in down.stdout, down.stdout
    assert not os.path.exists(PINS)
    assert "changed=0 " in play("teardown").stdout


def test_what_is_wrong_is_said_before_anything_happens(tmp_path: pathlib.Path) -> None:
    play = Playbooks(tmp_path)
    nowhere = play("provision", lab="lecture3")
    assert nowhere.returncode != 0 and "neither a file nor a lab of this collection" in nowhere.stdout + nowhere.stderr
    stage = play("provision", lab_stage="fly")
    said = stage.stdout + stage.stderr
    assert stage.returncode != 0 and "is no stage of the lab lecture2; it has environment, hello" in said
    assert not os.path.exists("/var/lib/ebpf.lab")


def test_a_lab_of_ones_own_by_its_name(tmp_path: pathlib.Path) -> None:
    (tmp_path / "mine.yml").write_text("name: mine\nstages: [{name: one}]\n", encoding="utf-8")
    (tmp_path / "wrong.yml").write_text("name: wrong\nstages: [{name: one, trafic: []}]\n", encoding="utf-8")
    play = Playbooks(tmp_path)
    try:
        up = play("provision", lab="mine.yml")
        assert up.returncode == 0 and "lab mine, stage one" in up.stdout, up.stdout
    finally:
        play("teardown", lab="mine")
    wrong = play("provision", lab="wrong")
    assert wrong.returncode != 0 and "there is no key 'trafic' here" in wrong.stdout + wrong.stderr
