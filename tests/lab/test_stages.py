# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each stage proves itself, from wherever the host is; again changes nothing; down leaves nothing."""

from __future__ import annotations

import os
import pathlib
import socket
import struct
import typing as t

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._kernel.netns import in_netns
from ansible_collections.ebpf.lab.plugins.module_utils._lab.schema import WORK_FOLDER
from ansible_collections.ebpf.lab.tests.kernel.conftest import sh
from ansible_collections.ebpf.lab.tests.residue.snapshot import differences, take

from .conftest import PINS, Lab, bpftool

FORWARDS = ["environment", "hello", "drop", "count", "count_bytes", "icmp", "rate_limit", "filter"]
BACKWARDS = FORWARDS[-2::-1]
JUMPS = ["icmp", "hello", "filter", "drop", "rate_limit", "count"]
# What each stage leaves pinned; all else has to be gone.
PINNED = {
    "environment": set(),
    "hello": {"xdp_allow"},
    "drop": {"xdp_deny"},
    "count": {"xdp_count", "pkt_cnt"},
    "count_bytes": {"xdp_count_bytes", "pkt_bytes"},
    "icmp": {"xdp_icmp", "icmp_cnt"},
    "rate_limit": {"xdp_rate_limit", "limits", "rate_cnt", "spent"},
    "filter": {"tc_no_echo", "echo_dropped"},
}


def pinned() -> set[str]:
    """The names in the lab's folder."""
    return set(os.listdir(PINS)) if os.path.isdir(PINS) else set()


def test_the_file_has_the_lectures_stages(lecture: Lab) -> None:
    assert lecture.stages == FORWARDS
    assert lecture.lab.default_stage == "hello"


@pytest.mark.parametrize("stage", FORWARDS)
def test_forwards_as_predicted_and_a_second_time_nothing(lecture: Lab, stage: str) -> None:
    predicted = lecture.up(stage, check=True, traffic=False)
    applied = lecture.up(stage)
    assert applied["changed"] and applied["failed"] == []
    assert (predicted["steps"], predicted["diff"]) == (applied["steps"], applied["diff"])
    assert pinned() == PINNED[stage]
    for check in (False, True):
        again = lecture.up(stage, check=check, traffic=False)
        assert not again["changed"], again["steps"]
        assert again["diff"]["before"] == again["diff"]["after"]
    verified = lecture.verify()
    assert (verified["stage"], verified["failed"]) == (stage, [])


@pytest.mark.parametrize("stage", [*BACKWARDS, *JUMPS])
def test_backwards_and_by_jumps(lecture: Lab, stage: str) -> None:
    result = lecture.up(stage)
    assert result["failed"] == []
    assert pinned() == PINNED[stage]
    assert (stage == "filter") == ("clsact" in sh("tc", "qdisc", "show", "dev", "veth1").stdout)


def test_verify_leaves_the_maps_as_they_were(lecture: Lab) -> None:
    lecture.up("count", traffic=False)
    sh("ping", "-c", "2", "-i", "0.01", "192.168.100.2")
    dump = ["map", "dump", "pinned", f"{PINS}/pkt_cnt"]
    before = bpftool(*dump).stdout
    assert '"value": 2' in before or "02 00 00 00 00 00 00 00" in before
    result = lecture.verify()
    assert result["failed"] == []
    (found,) = result["facts"]["maps"]
    assert [entry["value"] for entry in found["before"]] == [2]
    assert [(entry["value"], entry["change"]) for entry in found["entries"]] == [(8, 6)]
    assert bpftool(*dump).stdout == before


def frame(*headers: bytes) -> bytes:
    """An Ethernet frame from the namespace to the host."""
    addresses = bytes.fromhex("020000640001") + bytes.fromhex("020000640002")
    return addresses + b"".join(headers)


def ipv4(protocol: int, options: bytes = b"") -> bytes:
    words = 5 + len(options) // 4
    head = struct.pack("!BBHHHBBH4s4s", 0x40 | words, 0, words * 4 + 8, 1, 0, 64, protocol, 0, bytes(4), bytes(4))
    return head + options


def ipv6(protocol: int) -> bytes:
    return struct.pack("!IHBB16s16s", 6 << 28, 8, protocol, 64, bytes(16), bytes(16))


PACKETS: dict[str, tuple[bytes, t.Optional[int]]] = {
    "IPv4": (frame(b"\x08\x00", ipv4(1), bytes(8)), 1),
    "IPv4 with options": (frame(b"\x08\x00", ipv4(1, bytes(8)), bytes(8)), 1),
    "UDP over IPv4": (frame(b"\x08\x00", ipv4(17), bytes(8)), None),
    "IPv6": (frame(b"\x86\xdd", ipv6(58), bytes(8)), 58),
    "802.1Q": (frame(b"\x81\x00\x00\x0a", b"\x08\x00", ipv4(1), bytes(8)), 1),
    "802.1ad and 802.1Q": (frame(b"\x88\xa8\x00\x0a", b"\x81\x00\x00\x0b", b"\x86\xdd", ipv6(58), bytes(8)), 58),
    "a header length of nothing": (frame(b"\x08\x00", b"\x40" + ipv4(1)[1:], bytes(8)), None),
    "cut in the IPv4 header": (frame(b"\x08\x00", ipv4(1)[:12]), None),
    "cut in the tag": (frame(b"\x81\x00\x00"), None),
}


@pytest.mark.parametrize("name", PACKETS)
def test_the_headers_that_icmp_reads(lecture: Lab, name: str) -> None:
    lecture.up("icmp", traffic=False)
    packet, protocol = PACKETS[name]

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind(("vpeer1", 0))
            raw.send(packet)

    before = counted()
    in_netns("vns1", send)
    after = counted()
    assert {key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key)} == (
        {protocol: 1} if protocol is not None else {}
    )


def counted() -> dict[int, int]:
    from ansible_collections.ebpf.lab.plugins.module_utils._bpf.map.contents import dump

    return {entry["key"]: entry["value"] for entry in dump(f"{PINS}/icmp_cnt")}


def test_traffic_never_leaves_by_an_interface_of_somebody_else(lecture: Lab) -> None:
    """While the lab is not up, the way to its addresses is the machine's own default route."""
    lecture.down()
    sh("ip", "link", "add", "other1", "type", "veth", "peer", "name", "other2")
    try:
        for name in ("other1", "other2"):
            sh("sysctl", "-qw", f"net.ipv6.conf.{name}.disable_ipv6=1")
            sh("ip", "link", "set", name, "up")
        sh("ip", "addr", "add", "10.9.8.1/24", "dev", "other1")
        sh("ip", "route", "add", "default", "via", "10.9.8.2")
        sh("ip", "neigh", "add", "10.9.8.2", "lladdr", "02:00:00:00:00:09", "dev", "other1")
        sent = pathlib.Path("/sys/class/net/other1/statistics/tx_packets")
        before = sent.read_text(encoding="ascii")
        found = lecture.verify("hello")["facts"]["traffic"]["out"]
        assert found["sent"] == 0 and "other1, which is not the lab's" in found["why"]
        predicted = lecture.up("hello", check=True)
        assert predicted["facts"]["traffic"] is None and predicted["would_probe"] == ["send the traffic out, in"]
        assert sent.read_text(encoding="ascii") == before
    finally:
        sh("ip", "link", "del", "other1")


def test_down_leaves_nothing(lecture: Lab) -> None:
    lecture.down()
    sh("iptables", "-A", "FORWARD", "-s", "10.9.8.7", "-j", "DROP")
    sh("iptables", "-P", "FORWARD", "DROP")
    try:
        before = take()
        for stage in ("rate_limit", "filter", "drop"):
            lecture.up(stage, traffic=False)
        # What an experiment left in the lab's own folder goes with it.
        sh("mkdir", f"{PINS}/mine")
        bpftool("prog", "pin", "pinned", f"{PINS}/xdp_deny", f"{PINS}/mine/copy")
        assert lecture.down()["changed"]
        assert differences(before, take()) == []
        assert not os.path.exists(WORK_FOLDER)
        again = lecture.down()
        assert not again["changed"], again["steps"]
    finally:
        sh("iptables", "-P", "FORWARD", "ACCEPT")
        sh("iptables", "-F", "FORWARD")


def test_down_unmounts_the_tracefs_that_drop_mounted(lecture: Lab) -> None:
    sh("umount", "/sys/kernel/tracing")
    try:
        result = lecture.up("drop")
        assert "mount tracefs at /sys/kernel/tracing" in result["steps"] and result["failed"] == []
        assert "unmount tracefs from /sys/kernel/tracing" in lecture.up("environment", traffic=False)["steps"]
        assert not pathlib.Path("/sys/kernel/tracing/trace").exists()
        lecture.down()
    finally:
        if not pathlib.Path("/sys/kernel/tracing/trace").exists():
            sh("mount", "-t", "tracefs", "tracefs", "/sys/kernel/tracing")


def test_the_second_lab_of_another_shape() -> None:
    lab = Lab("redirect")
    sh("iptables", "-P", "FORWARD", "DROP")  # as Docker has it
    try:
        for stage in ("bridge", "watch", "redirect", "bridge", "redirect"):
            result = lab.up(stage)
            assert result["changed"] and result["failed"] == []
            assert not lab.up(stage, traffic=False)["changed"]
        sh("ip", "netns", "del", "left")
        assert "left reaches right" in lab.verify()["failed"]
        assert lab.reset()["failed"] == []
        bpftool("map", "delete", "pinned", f"{PINS}/ports", "key", "1", "0", "0", "0")
        assert lab.verify()["failed"] == ["The device map holds both ports"]
        assert lab.reset()["failed"] == []
    finally:
        lab.down()
        assert "-P FORWARD DROP" in sh("iptables", "-S", "FORWARD").stdout
        sh("iptables", "-P", "FORWARD", "ACCEPT")
    assert not os.path.exists(PINS) and not os.path.exists(WORK_FOLDER)
