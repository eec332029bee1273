# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What students do to a lab: verify finds each with the right hint, reset cures it as it predicted."""

from __future__ import annotations

import glob
import json
import os
import pathlib
import typing as t
from dataclasses import dataclass

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import LabError
from ansible_collections.ebpf.lab.tests.kernel.conftest import sh
from ansible_collections.ebpf.lab.tests.residue.snapshot import differences, take

from .conftest import PINS, Lab, bpftool, hint_of

WORK = pathlib.Path("/usr/local/src/ebpf.lab/lecture2")
Objects = t.Callable[[str], str]
OUT, IN = "The host reaches the namespace", "The namespace reaches the host"


@dataclass(frozen=True)
class Sabotage:
    """What is done by hand, the checks that have to fail (the first one's hint has ``hint``), and a step that cures."""

    stage: str
    do: t.Callable[[Objects], None]
    fails: tuple[str, ...]
    hint: str
    cure: str


def load(objects: Objects, name: str, pin: str, kind: str = "xdp") -> str:
    """Load a student's program and pin it somewhere; returns the pin."""
    os.makedirs(os.path.dirname(pin), exist_ok=True)
    bpftool("prog", "load", objects(name), pin, "type", kind)
    return pin


def attach(pin: str) -> None:
    bpftool("net", "attach", "xdp", "pinned", pin, "dev", "veth1", "overwrite")


def swap_program(objects: Objects) -> None:
    attach(load(objects, "xdp_drop", f"{PINS}/mine"))


def swap_pin(objects: Objects) -> None:
    os.unlink(f"{PINS}/xdp_allow")
    attach(load(objects, "xdp_drop", f"{PINS}/xdp_allow"))


def change_address(_objects: Objects) -> None:
    sh("ip", "addr", "del", "192.168.100.1/24", "dev", "veth1")
    sh("ip", "addr", "add", "192.168.100.7/24", "dev", "veth1")


def edit_source(_objects: Objects) -> None:
    with (WORK / "xdp_pass.c").open("a", encoding="utf-8") as file:
        file.write("// my own note\n")


def own_object(objects: Objects) -> None:
    (WORK / "xdp_pass.o").write_bytes(pathlib.Path(objects("xdp_count")).read_bytes())


def foreign_filter(objects: Objects) -> None:
    pin = load(objects, "tc_no_echo", f"{PINS}/sub/mine", "classifier")
    sh("tc", "qdisc", "add", "dev", "veth1", "clsact")
    sh("tc", "filter", "add", "dev", "veth1", "ingress", "prio", "7", "bpf", "da", "pinned", pin)


def fill_map(_objects: Objects) -> None:
    batch = "\n".join(
        f"map update pinned {PINS}/pkt_cnt key {' '.join(str(b) for b in (1000 + n).to_bytes(4, 'little'))} "
        "value 7 0 0 0 0 0 0 0"
        for n in range(64)
    )
    sh("bpftool", "batch", "file", "-", input=batch)


def other_map(_objects: Objects) -> None:
    os.unlink(f"{PINS}/pkt_cnt")
    bpftool("map", "create", f"{PINS}/pkt_cnt", *"type hash key 4 value 8 entries 64 name pkt_cnt".split())


def mend_the_unchecked(objects: Objects) -> None:
    (WORK / "xdp_icmp_unchecked.o").write_bytes(pathlib.Path(objects("xdp_icmp")).read_bytes())


def raise_the_limit(_objects: Objects) -> None:
    key, value = "0 0 0 0".split(), "100 0 0 0 100 0 0 0".split()
    bpftool("map", "update", "pinned", f"{PINS}/limits", "key", *key, "value", *value)


def command(*argv: str) -> t.Callable[[Objects], None]:
    return lambda _objects: (sh(*argv), None)[1]


RUNS = "The pinned xdp_allow runs on veth1"
SABOTAGES: dict[str, Sabotage] = {
    "detach": Sabotage(
        "hello", command("ip", "link", "set", "dev", "veth1", "xdp", "off"), (RUNS,), "bpftool net attach", "attach"
    ),
    "swap the program": Sabotage("hello", swap_program, (RUNS, OUT, IN), "ip link show veth1", "attach"),
    "pin another program under the name": Sabotage("hello", swap_pin, (OUT, IN), "what is attached", "load"),
    "delete the namespace": Sabotage(
        "hello",
        command("ip", "netns", "del", "vns1"),
        ("The namespace vns1 is there", "Both ends are up", OUT, IN),
        "ip netns add vns1",
        "create the network namespace vns1",
    ),
    "change an address": Sabotage(
        "hello",
        change_address,
        ("veth1 has the address 192.168.100.1/24", IN),
        "ip addr add 192.168.100.1/24 dev veth1",
        "add 192.168.100.1/24 to veth1",
    ),
    "remove a pin": Sabotage(
        "hello",
        command("rm", f"{PINS}/xdp_allow"),
        ("xdp_allow is pinned below /sys/fs/bpf/ebpf", RUNS),
        "bpftool prog loadall",
        "load",
    ),
    "set a link down": Sabotage(
        "hello", command("ip", "link", "set", "veth1", "down"), ("Both ends are up", OUT), "ip link set veth1 up", "set"
    ),
    "set the peer down": Sabotage(
        "hello",
        command("ip", "-n", "vns1", "link", "set", "vpeer1", "down"),
        ("Both ends are up", OUT, IN),
        "ip -n vns1 link set vpeer1 up",
        "set vpeer1 in vns1 up",
    ),
    "delete the interface": Sabotage(
        "hello", command("ip", "link", "del", "veth1"), ("Both ends are up", OUT), "ip link set", "create the veth pair"
    ),
    "edit a source": Sabotage(
        "hello",
        edit_source,
        ("xdp_pass.o is compiled from xdp_pass.c as it is now",),
        "reset to have the lab's own one",
        "keep the edited /usr/local/src/ebpf.lab/lecture2/xdp_pass.c as a backup",
    ),
    "compile something else": Sabotage(
        "hello", own_object, ("The section xdp-pass is there",), 'SEC("xdp-pass")', "keep"
    ),
    "load a foreign tc filter": Sabotage("hello", foreign_filter, (IN,), "ip netns exec vns1 ping", "remove what the"),
    "rules in FORWARD": Sabotage(
        "environment",
        command("iptables", "-A", "FORWARD", "-s", "10.1.2.3", "-j", "DROP"),
        ("Forwarded packets are accepted, and no rule is in their way",),
        "iptables -F FORWARD",
        "flush",
    ),
    "forwarding off": Sabotage(
        "environment",
        command("sysctl", "-qw", "net.ipv4.ip_forward=0"),
        ("The host forwards IPv4",),
        "sysctl -w net.ipv4.ip_forward=1",
        "set net.ipv4.ip_forward to 1",
    ),
    "an own program without a stage for one": Sabotage(
        "environment",
        lambda objects: attach(load(objects, "xdp_drop", "/sys/fs/bpf/somewhere/mine")),
        ("No program is attached", OUT, IN),
        "xdp off",
        "detach the program",
    ),
    "detach what drops": Sabotage(
        "drop",
        command("ip", "link", "set", "dev", "veth1", "xdp", "off"),
        ("The pinned xdp_deny runs on veth1", "The host's ping gets no answer", "The program's line is in the trace"),
        "attach xdp_deny",
        "attach",
    ),
    "fill the map": Sabotage(
        "count",
        fill_map,
        ("Before the traffic the map is empty, or holds veth1's counter alone", "Six pings are six packets"),
        "finds no room",
        "delete 64 entries",
    ),
    "pin another map under the name": Sabotage(
        "count", other_map, ("Six pings are six packets",), "compare bpftool prog show", "load"
    ),
    "mend the program that has to be refused": Sabotage(
        "icmp",
        mend_the_unchecked,
        ("The verifier refuses the program without the bounds check",),
        "has to fail",
        "compile",
    ),
    "raise the limit": Sabotage(
        "rate_limit",
        raise_the_limit,
        ("The limit is 5 packets a second, 5 at once", "Of 20 quick pings the first few are answered"),
        "value 5 0 0 0 5 0 0 0",
        "set 1 entry of",
    ),
    "delete the filter": Sabotage(
        "filter",
        command("tc", "filter", "del", "dev", "veth1", "ingress"),
        ("The pinned tc_no_echo is at veth1's clsact hook, for the way in", "The namespace's ping gets no answer"),
        "tc filter add dev veth1 ingress",
        "attach",
    ),
    "XDP before the filter": Sabotage(
        "filter",
        lambda objects: attach(load(objects, "xdp_pass", f"{PINS}/mine")),
        ("Nothing else is attached",),
        "bpftool net",
        "detach",
    ),
}


@pytest.mark.parametrize("name", sorted(SABOTAGES, key=lambda name: SABOTAGES[name].stage))
def test_found_and_cured(lecture: Lab, objects: Objects, name: str) -> None:
    sabotage = SABOTAGES[name]
    lecture.up(sabotage.stage, traffic=False)
    sabotage.do(objects)
    found = lecture.verify()
    assert set(sabotage.fails) <= set(found["failed"]), found["failed"]
    assert sabotage.hint in hint_of(found, sabotage.fails[0])
    predicted = lecture.reset(check=True, traffic=False)
    cured = lecture.reset()
    assert any(step.startswith(sabotage.cure) for step in cured["steps"]), cured["steps"]
    assert (predicted["steps"], predicted["diff"]) == (cured["steps"], cured["diff"])
    assert cured["failed"] == [] and cured["stage"] == sabotage.stage
    again = lecture.reset(traffic=False)
    assert not again["changed"], again["steps"]


def test_reset_keeps_the_students_work(lecture: Lab) -> None:
    lecture.up("hello", traffic=False)
    source = WORK / "xdp_pass.c"
    source.write_text("int mine;\n", encoding="utf-8")
    (WORK / "notes.txt").write_text("mine too\n", encoding="utf-8")
    lecture.reset(traffic=False)
    (backup,) = [path for path in glob.glob(f"{source}.*~") if pathlib.Path(path).read_text() == "int mine;\n"]
    assert (WORK / "notes.txt").read_text() == "mine too\n"
    assert "xdp_allow" in source.read_text()
    lecture.down()
    assert pathlib.Path(backup).exists() and (WORK / "notes.txt").exists()
    for path in WORK.iterdir():
        path.unlink()


def test_what_is_refused_half_way_changes_nothing(lecture: Lab, objects: Objects) -> None:
    """The verifier refuses a program when the foreign filter, pin and object are gone already: all come back."""
    lecture.up("hello", traffic=False)
    swap_program(objects)
    foreign_filter(objects)
    own_object(objects)
    before = (take(), journal(), {path.name: path.read_bytes() for path in WORK.iterdir()})
    good = lecture.sources
    unchecked = good["xdp_count.c"].replace("\tif (packets)\n", "")
    assert unchecked != good["xdp_count.c"]
    lecture.sources = {**good, "xdp_count.c": unchecked}
    try:
        with pytest.raises(
            LabError, match=r"verifier refused the program xdp_count .*compare its result with NULL"
        ) as caught:
            lecture.reset("count")
    finally:
        lecture.sources = good
    assert caught.value.details["not_undone"] == []
    assert any("which the lab did not make" in step for step in caught.value.details["undone"])
    after = (take(), journal(), {path.name: path.read_bytes() for path in WORK.iterdir()})
    assert [line for line in differences(before[0], after[0]) if "/journal.jsonl" not in line] == []
    noted = {key: entry for key, entry in before[1].items() if key != "xdp::veth1"}  # a student's program is there
    assert after[1:] == (noted, before[2])
    assert "tc_no_echo" in sh("tc", "filter", "show", "dev", "veth1", "ingress").stdout
    assert lecture.reset()["failed"] == []


def journal() -> dict[str, t.Any]:
    """The entries, which a run that has ended has made one line."""
    _header, line = pathlib.Path("/var/lib/ebpf.lab/journal.jsonl").read_text(encoding="utf-8").splitlines()
    entries: dict[str, t.Any] = json.loads(line)
    return entries


def test_reset_goes_to_a_stage_and_throws_away_everything_foreign(lecture: Lab, objects: Objects) -> None:
    lecture.up("hello", traffic=False)
    swap_program(objects)
    foreign_filter(objects)
    sh("ip", "addr", "add", "10.9.9.9/32", "dev", "veth1")
    sh("ip", "-n", "vns1", "route", "add", "10.8.0.0/16", "via", "192.168.100.1")
    result = lecture.reset("count")
    assert result["failed"] == [] and sorted(os.listdir(PINS)) == ["pkt_cnt", "xdp_count"]
    assert "10.9.9.9" not in sh("ip", "addr", "show", "veth1").stdout
    assert "10.8.0.0" not in sh("ip", "-n", "vns1", "route").stdout
    assert "clsact" not in sh("tc", "qdisc", "show", "dev", "veth1").stdout


def test_up_does_not_mind_what_a_student_did_by_hand_already(lecture: Lab, objects: Objects) -> None:
    lecture.up("hello", traffic=False)
    attach(load(objects, "xdp_drop", f"{PINS}/xdp_deny"))
    result = lecture.up("drop")
    assert result["failed"] == [] and os.listdir(PINS) == ["xdp_deny"]
    assert lecture.up("environment")["failed"] == []
    attach(load(objects, "xdp_drop", "/sys/fs/bpf/by_hand/drop"))
    assert "No program is attached" in lecture.verify()["failed"]
    assert lecture.up("hello")["failed"] == []
    assert lecture.up("environment")["failed"] == [], "the student's program came back"
    assert not os.path.exists(PINS)
    lecture.down()


def test_what_somebody_else_has_on_the_host_stays(lecture: Lab, objects: Objects) -> None:
    sh("ip", "link", "add", "mine0", "type", "veth", "peer", "name", "mine1")
    try:
        pin = load(objects, "xdp_pass", "/sys/fs/bpf/others/theirs")
        bpftool("net", "attach", "xdp", "pinned", pin, "dev", "mine0")
        lecture.up("hello", traffic=False)
        swap_program(objects)
        lecture.reset(traffic=False)
        lecture.down()
        assert "xdp" in sh("ip", "link", "show", "mine0").stdout
        assert os.path.exists(pin)
    finally:
        sh("ip", "link", "del", "mine0", check=False)
