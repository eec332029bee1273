# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks verify and report against machines whose owners lie: their "Python" prints whatever they like."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(sys.executable).parent
FACTS: dict[str, t.Any] = {"stage": "hello", "lab": "xdp_hello", "attachments": [], "traffic": {}, "objects": []}


class Class:
    """An inventory of lying machines, and the playbooks run against it."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.hosts: dict[str, dict[str, t.Any]] = {}
        self.results = folder / "home" / "ebpf.lab" / "results" / "xdp_hello"
        (folder / "collections/ansible_collections/ebpf").mkdir(parents=True)
        (folder / "collections/ansible_collections/ebpf/lab").symlink_to(ROOT)

    def liar(self, name: str, answer: t.Union[dict[str, t.Any], bytes]) -> None:
        """A machine that gives this answer to every module."""
        said = self.folder / f"{name}.answer"
        said.write_bytes(answer if isinstance(answer, bytes) else json.dumps(answer).encode())
        python = self.folder / f"{name}.sh"
        python.write_text(f"#!/bin/sh\ncat {said}\n")
        python.chmod(0o755)
        self.hosts[name] = {"ansible_connection": "local", "ansible_python_interpreter": str(python)}

    def play(self, name: str, *options: str) -> subprocess.CompletedProcess[bytes]:
        """Run a playbook of the collection; what it leaves is below the test's own folder."""
        inventory = self.folder / "hosts.json"
        inventory.write_text(json.dumps({"all": {"hosts": self.hosts}}))
        environment = {
            **os.environ,
            "ANSIBLE_HOME": str(self.folder / "home"),
            "ANSIBLE_COLLECTIONS_PATH": str(self.folder / "collections"),
            "ANSIBLE_LOCAL_TEMP": str(self.folder / "tmp"),
            "ANSIBLE_REMOTE_TEMP": str(self.folder / "remote"),
            "ANSIBLE_BECOME_ALLOW_SAME_USER": "false",
            "ANSIBLE_NOCOLOR": "1",
            "HOME": str(self.folder),
        }
        playbook = [str(BIN / "ansible-playbook"), f"ebpf.lab.{name}", "-i", str(inventory)]
        command = [*playbook, "-e", "lab=xdp_hello", *options]
        return subprocess.run(command, env=environment, cwd=self.folder, capture_output=True, check=False, timeout=120)

    def kept(self, host: str, name: str = "hello") -> dict[str, t.Any]:
        """A result as it is on disk."""
        found: dict[str, t.Any] = json.loads((self.results / host / f"{name}.json").read_text(encoding="utf-8"))
        return found


@pytest.fixture
def room(tmp_path: pathlib.Path) -> Class:
    """An empty class."""
    return Class(tmp_path)


def test_machines_that_mean_harm(room: Class) -> None:
    mark = room.folder / "owned"
    jinja = "{{ lookup('ansible.builtin.pipe', 'touch " + str(mark) + "') }}"
    evil = f"{jinja}<script>document.title='owned'</script>\x1b[2J\x1b]0;owned\x07\u202e"
    attachment = {"interface": "veth1", "netns": "", "program": evil, "mode": evil, "tag": evil}
    room.liar(
        "evil",
        {
            "changed": False,
            "facts": {**FACTS, "stage": "../../../evil", "attachments": [attachment], "objects": [{"name": evil}]},
            "stage": "../../../evil",
            "lab": "../evil",
            "warnings": [evil],
            "msg": evil,
            "diff": {"before": evil, "after": jinja},
            "ansible_facts": {"lab_results": "../evil", "lab_verify_fail": False, "lab": evil, "jinja": jinja},
        },
    )
    points = [{"name": "all", "passed": True, "points": 99, "max_points": 99}]
    room.liar("forger", {"changed": False, "checks": points, "points": 99, "stage": "hello"})
    room.liar("broken", {"failed": True, "msg": evil, "exception": evil})
    room.liar("big", {"facts": {**FACTS, "attachments": [{**attachment, "program": "x" * 10_000_000}]}})
    room.liar("bytes", b'{"changed": false, "facts": {"attachments": [{"program": "\xff\xfe\xc3"}]}}')
    room.liar("noise", b"\x1b[31mnot JSON\xff")
    room.liar("nothing", b"")
    room.hosts["gone"] = {"ansible_host": "127.0.0.1", "ansible_port": 1}

    done = room.play("verify", "--diff")
    output = done.stdout + done.stderr
    assert done.returncode == 2, output.decode(errors="replace")
    assert not mark.exists()
    assert b"\x1b" not in output and b"\x07" not in output and "\u202e".encode() not in output
    assert b"checks failed on" in output, output.decode()
    assert b"1 machine was unreachable" in output
    assert not (room.folder / "evil").exists() and not (room.folder.parent / "evil").exists()
    assert sorted(path.name for path in room.results.iterdir()) == sorted(room.hosts)
    assert room.kept("forger", "_machine")["status"] == "failed"
    assert not (room.results / "forger" / "hello.json").exists()
    assert room.kept("gone", "_machine")["status"] == "unreachable"
    assert room.kept("evil")["points"] == 0
    for host in ("broken", "noise", "nothing"):
        assert room.kept(host, "_machine")["status"] in ("failed", "unreachable")
    for path in room.results.rglob("*.json"):
        assert path.stat().st_size < 50_000

    report = room.play("report")
    assert report.returncode == 0, report.stderr.decode()
    assert not mark.exists()
    page = (room.folder / "home/ebpf.lab/reports/xdp_hello.html").read_text(encoding="utf-8")
    assert page.count("<script>") == 1
    assert all(f"<bdi>{host}</bdi>" in page or f'"name">{host}</bdi>' in page for host in room.hosts)


def test_one_machine_is_shown_check_by_check(room: Class) -> None:
    room.liar("s01", {"facts": FACTS})
    done = room.play("verify")
    text = done.stdout.decode()
    assert done.returncode == 2
    assert "xdp_hello, stage hello" in text and " of " in text
    assert "FAIL" in text and "expected  " in text and "found     " in text and "hint      " in text
    assert room.play("verify", "-e", "lab_verify_fail=false").returncode == 0


def test_check_mode_keeps_nothing(room: Class) -> None:
    room.liar("s01", {"facts": FACTS})
    assert b"FAIL" in room.play("verify", "--check").stdout
    assert not room.results.exists()


def test_report_says_what_is_missing(room: Class) -> None:
    room.liar("s01", {"facts": FACTS})
    done = room.play("report", "-e", "lab=")
    assert done.returncode == 2
    assert b"There are no results in " in done.stdout + done.stderr
    room.play("verify")
    done = room.play("report", "-e", "lab=nowhere")
    assert b"There are no results of the lab 'nowhere' in" in done.stdout + done.stderr
    assert b"there are results of xdp_hello" in done.stdout + done.stderr


def test_a_limit_leaves_the_others_out(room: Class) -> None:
    for name in ("s01", "s02", "s03"):
        room.liar(name, {"facts": FACTS})
    room.play("verify", "--limit", "s01:s02")
    room.play("report", "--limit", "s02:s03")
    summary = json.loads((room.folder / "home/ebpf.lab/reports/xdp_hello.json").read_text(encoding="utf-8"))
    assert [(row["host"], row["status"]) for row in summary["machines"]] == [("s02", "in progress"), ("s03", "unseen")]
    room.play("report")
    summary = json.loads((room.folder / "home/ebpf.lab/reports/xdp_hello.json").read_text(encoding="utf-8"))
    assert [row["host"] for row in summary["machines"]] == ["s01", "s02", "s03"]


def test_preflight_shows_what_a_machine_says_and_no_more(room: Class) -> None:
    finding = {"topic": "\x1b[2J", "level": "problem", "what": "no\x1b[31m kernel", "why": "", "cure": ""}
    room.liar(
        "bad", {"findings": [finding], "lines": ["problem: no\x1b[31m kernel", 5, None], "warnings": ["\x1b]0;x\x07"]}
    )
    room.liar("odd", {"findings": "\x1b", "lines": {"\x1b": 1}})
    done = room.play("preflight")
    output = done.stdout + done.stderr
    assert done.returncode == 2
    assert b"\x1b" not in output and b"\x07" not in output
    assert b"problem: no\\x1b[31m kernel" in output
    assert b"This machine cannot run the lab yet; problems: 1." in output
    assert b"failed=1" in output.split(b"bad  ")[-1].splitlines()[0]
    assert b"failed=1" in output.split(b"odd  ")[-1].splitlines()[0] and b"This machine sent no findings" in output
    assert room.play("preflight", "-e", "lab_preflight_fail=false").returncode == 0


@pytest.mark.case("K13")
@pytest.mark.case("K22")
def test_looking_at_every_stage_is_no_grade(room: Class) -> None:
    """``lab_stage=all`` shows all stages and keeps nothing; a machine cannot bring grades of its own for them."""
    lecture = ("-e", "lab=lecture2")
    kept = room.results.parent
    invented = {"hello": {"stage": "hello", "checks": [{"name": "x", "passed": True, "points": 99}], "points": 99}}
    pin = "/sys/fs/bpf/ebpf/xdp_allow"
    programs = [{"name": "xdp_allow", "pin": pin, "run_cnt": 6}]
    room.liar("one", {"changed": False, "facts": {**FACTS, "programs": programs}, "stages": invented})
    assert room.play("verify", *lecture).returncode == 2
    before = {path: path.read_bytes() for path in kept.rglob("*.json*")}
    assert len(before) == 3

    room.liar("one", {"changed": False, "facts": FACTS, "stages": invented, "started": False, "points": 99})
    looked = room.play("verify", *lecture, "-e", "lab_stage=all")
    text = looked.stdout.decode()
    assert looked.returncode == 0 and "failed=0" in text, text
    assert "  hello        0/12  2/12  20" in text and "2/82" in text and "99" not in text, text
    assert {path: path.read_bytes() for path in kept.rglob("*.json*")} == before

    room.play("report", *lecture)
    summary = json.loads((room.folder / "home/ebpf.lab/reports/lecture2.json").read_text(encoding="utf-8"))
    (row,) = summary["machines"]
    assert (row["status"], row["points"], row["max_points"]) == ("in progress", 2, 82)  # of the lab file's eight stages
