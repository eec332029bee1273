# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The measure itself: it stops where it is aimed, names what is about to happen, and misses nothing."""

from __future__ import annotations

import errno
import json
import pathlib
import signal
import typing as t

import pytest

from . import campaign, checkmode
from .expected import Mark
from .figures import Figures
from .private import SCRATCH, TryFailed, inside
from .supervisor import GO_ON, PASSING, Answer, Call, Run, at, supervise


@pytest.fixture
def run(tmp_path: pathlib.Path) -> t.Callable[..., Run]:
    """Runs a script of the shell under supervision, in a folder of its own."""
    place = tmp_path / "place"
    place.mkdir()

    def supervised(script: str, *args: t.Any, **options: t.Any) -> Run:
        return supervise(["sh", "-c", script], *args, folder=str(tmp_path / "run"), cwd=str(place), **options)

    return supervised


def names(run: Run, folder: pathlib.Path) -> list[str]:
    """The points, as they would be in any folder."""
    return [str(point).replace(f"{folder}/place/", "") for point in run.points]


def test_calls_that_change_something_are_named_and_numbered(run: t.Any, tmp_path: pathlib.Path) -> None:
    script = "mkdir a; cat </dev/null >a/f; echo x >>a/f; mv a/f a/g; ls a >/dev/null; rm -r a; mkdir a; exit 7"
    first, second = run(script), run(f"{script}; :")
    assert names(first, tmp_path) == [
        *("mkdir a #1", "open a/f #1", "open a/f #2"),
        *("rename a/f a/g #1", "unlink a/g #1", "unlink a #1", "mkdir a #2"),
    ]
    assert (first.rc, first.hit) == (7, []) and "/usr/bin/mv" in first.programs
    assert second.points[:-1] == first.points[:-1]


def test_random_names_are_made_equal(run: t.Any, tmp_path: pathlib.Path) -> None:
    steps = (
        "import os, tempfile",
        "file, name = tempfile.mkstemp(prefix='.journal-', dir='.')",
        "os.write(file, b'x')",
    )
    python = "; ".join((*steps, "os.unlink(name)"))
    runs = [names(run(f'/usr/bin/python3 -SEIc "{python}"'), tmp_path) for _turn in range(2)]
    assert runs[0] == runs[1] == ["open .journal-* #1", "write .journal-* #1", "unlink .journal-* #1"]


def test_netlink_and_nftables_are_named_and_questions_are_not(run: t.Any) -> None:
    add, rule = "ip link add one type veth peer name two", "iptables-nft -A FORWARD -j ACCEPT"
    found = run(f"unshare -n sh -ec '{add}; ip -j link; {rule}'")
    kinds = [point.name for point in found.points if not point.name.startswith("open")]
    assert found.rc == 0 and kinds[0] == "unshare 0x40000000"
    assert "netlink NEWLINK" in kinds and "netlink batch of nftables" in kinds[-1]
    # ip asks whether the kernel knows NEWLINK, iptables sends a batch with nothing in it.
    assert run("ip -j link; ip -j route; ip link show dev lo; iptables-nft -w -S INPUT").points == []


def test_what_leaves_nothing_behind_is_no_point_and_is_seen(run: t.Any) -> None:
    seen: list[str] = []

    def decide(call: Call) -> Answer:
        seen.append(call.name)
        return GO_ON

    send = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))"
    tests = f'bpftool prog load {SCRATCH}/owner.o /sys/fs/bpf/nowhere/at/all type xdp; /usr/bin/python3 -SEIc "{send}"'
    found = run(f"unshare -n sh -c 'ip link set lo up; ping -c 1 -W 1 127.0.0.1'; {tests}", decide)
    assert seen.count("send IPv4") == 2 and "briefly bpf PROG_LOAD" in seen and "bpf PROG_LOAD owner" in seen
    assert "bpf PROG_LOAD owner" in [point.name for point in found.points]
    assert not [point for point in found.points if point.name.startswith(PASSING)]


def test_a_kill_comes_before_the_call(run: t.Any, tmp_path: pathlib.Path) -> None:
    name = f"mkdir {tmp_path}/place/b"
    for whom in ("alone", "group"):
        done = run(
            f'exec /usr/bin/python3 -SEIc \'import os; os.mkdir("{whom}"); os.mkdir("b")\'',
            at(name, 1, Answer(kill=whom)),
        )
        assert done.rc == -signal.SIGKILL and [str(point) for point in done.hit] == [f"{name} #1"]
        assert (tmp_path / "place" / whom).is_dir() and not (tmp_path / "place" / "b").exists()


def test_alone_leaves_the_children_to_their_end(run: t.Any, tmp_path: pathlib.Path) -> None:
    """The run is over when the last of them has ended."""
    name = f"mkdir {tmp_path}/place/b"
    script = "sh -c 'mkdir b; sleep 0.3; mkdir c'; mkdir d"
    assert run(script, at(name, 1, Answer(kill="alone"))).rc == -signal.SIGKILL
    assert sorted(path.name for path in (tmp_path / "place").iterdir()) == ["b", "c"]
    assert run(script.replace("mkdir b", "mkdir e; mkdir b"), at(name, 1, Answer(kill="group"))).rc == -signal.SIGKILL
    assert sorted(path.name for path in (tmp_path / "place").iterdir()) == ["b", "c", "e"]


def test_an_error_is_the_callers_and_comes_once(run: t.Any, tmp_path: pathlib.Path) -> None:
    done = run("mkdir a || mkdir a", at(f"mkdir {tmp_path}/place/a", 1, Answer(error=errno.ENOSPC)))
    assert "No space left" in done.stderr and done.rc == 0 and (tmp_path / "place" / "a").is_dir()
    assert names(done, tmp_path) == ["mkdir a #1", "mkdir a #2"]


def test_what_is_not_met_is_not_hit(run: t.Any) -> None:
    assert run("mkdir a", at("mkdir /nowhere", 1, Answer(kill="group"))).hit == []


def test_at_a_moment(run: t.Any) -> None:
    done = run("sleep 30", kill_after=(0.1, "group"))
    assert done.rc == -signal.SIGKILL and len(done.hit) == 1 and done.seconds < 10
    assert run("true", kill_after=(20.0, "group")).hit == []


def test_the_world_can_go_on_while_a_run_stands_still(run: t.Any, tmp_path: pathlib.Path) -> None:
    def decide(call: Call) -> Answer:
        if call.name.startswith("mkdir") and call.main:
            pathlib.Path(call.path).mkdir()
        return GO_ON

    assert run("exec mkdir a", decide).rc == 1


def test_a_private_machine_has_a_world_of_its_own() -> None:
    machines = [inside("selftest:furnished", {}, bpffs=bpffs) for bpffs in (True, False)]
    for machine in machines:
        assert machine["again"] == [] and machine["blind"] == []
    with pytest.raises(TryFailed, match="no such thing"):
        inside("selftest:raises", {})


def test_figures_go_on_where_they_were(tmp_path: pathlib.Path) -> None:
    first = Figures("x", tmp_path, "one")
    first.add({"kind": "kill", "number": 1})
    with first.path.open("a", encoding="utf-8") as file:
        file.write('{"kind": "kill", "num')  # stopped while it was written
    again = Figures("x", tmp_path, "one")
    assert again.records == [{"kind": "kill", "number": 1}]
    again.add({"kind": "kill", "number": 2})
    assert [json.loads(line)["number"] for line in again.path.read_text().splitlines()[1:]] == [1, 2]
    assert Figures("x", tmp_path, "another state of the code").records == []


TRY = {"kind": "kill", "scenario": "s", "point": "p", "number": 1, "whom": "alone", "way": "down"}
COUNT = {"kind": "count", "scenario": "s", "nth": 1, "points": [["p", 1]], "seconds": 1.0, "wrong": []}
JUDGED = {
    "all is well": ([{"hit": True, "wrong": []}], None, "passed"),
    "something is left": ([{"hit": True, "wrong": ["left: x"]}], None, "failed"),
    "a miss": ([{"hit": False, "wrong": []}], None, "failed"),
    "a miss where failure is expected": ([{"hit": False, "wrong": ["x"]}], "mark", "failed"),
    "expected": ([{"hit": True, "wrong": ["left: x"]}], "mark", "xfailed"),
    "expected and does not fail": ([{"hit": True, "wrong": []}], "mark", "failed"),
}


@pytest.mark.parametrize("what", JUDGED)
def test_judged(what: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers, mark, verdict = JUDGED[what]
    expected = {("kill", "s"): Mark("C0", {"point": "p", "number": 1, "whom": "alone"})} if mark else {}
    monkeypatch.setattr(campaign, "EXPECTED", expected)
    figures = Figures("x", tmp_path, "one")
    figures.records += [COUNT, *({**TRY, **answer} for answer in answers)]
    _rows, words, counts = campaign.judge(figures, complete=False)
    assert counts == {**dict.fromkeys(counts, 0), verdict: 1}, words
    figures.records.append({**COUNT, "nth": 2, "points": [["q", 1]]})
    assert campaign.judge(figures, complete=False)[2]["failed"], "two unkilled runs with other points"


LOOKED_AT = {
    "nothing wrong": ([], False, "passed"),
    "something wrong": (["write /etc/x, by python"], False, "failed"),
    "what is expected": (["again: send IPv4, by ping"], True, "xfailed"),
    "something else beside it": (["send IPv4, by ping", "write /etc/x, by python"], True, "failed"),
    "nothing wrong any more": ([], True, "failed"),
}


@pytest.mark.parametrize("what", LOOKED_AT)
def test_check_mode_is_judged_line_by_line(what: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong, mark, verdict = LOOKED_AT[what]
    monkeypatch.setattr(campaign, "EXPECTED", {("check", "s"): Mark("C0", {}, "send IPv4")} if mark else {})
    figures = Figures("x", tmp_path, "one")
    figures.records.append({"kind": "check", "scenario": "s", "hit": True, "wrong": wrong, "calls": 3})
    for complete in (False, True):
        rows, words, counts = campaign.judge(figures, complete)
        assert counts == {**dict.fromkeys(counts, 0), verdict: 1}, words
        assert (rows[0]["known"], rows[0]["hit"]) == (3, 3)


def test_only_reading_lets_nothing_pass(run: t.Any, tmp_path: pathlib.Path) -> None:
    """Each of these is more than reading, and is named with the program that does it."""
    done = {
        "write to a file": ("echo x >f", "open"),
        "folder": ("mkdir d", "mkdir"),
        "mode": ("chmod 755 .", "fchmod"),
        "link": ("unshare -n ip link add v0 type dummy", "netlink NEWLINK"),
        "rule": ("unshare -n iptables-nft -A FORWARD", "netlink batch of nftables"),
        "legacy rule": ("unshare -n iptables-legacy -A FORWARD", "replace a table of iptables-legacy"),
        "packet": ("unshare -n sh -c 'ip link set lo up; ping -c 1 -W 1 127.0.0.1'", "send IPv4"),
        "mount": ("unshare -m mount -t tmpfs none /mnt", "mount"),
        "sysctl": ("unshare -n sysctl -qw net.ipv4.ip_forward=1", "open /proc/sys/net/ipv4/ip_forward"),
    }
    for what, (script, name) in done.items():
        watch = checkmode.OnlyReading((f"{tmp_path}/run/",))
        run(script, watch)
        assert any(line.startswith(name) and ", by " in line for line in watch.wrong), (what, watch.wrong)
    watch = checkmode.OnlyReading((f"{tmp_path}/run/",))
    run(
        "cat /proc/net/dev; ls /; ip -d -j link; ip -s neigh; tc qdisc; bpftool prog; bpftool map; iptables-save", watch
    )
    assert watch.wrong == []
