# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""tc_attachment on veth pairs; tc is the second opinion, ping the proof."""

from __future__ import annotations

import json
import pathlib
import platform
import shutil
import subprocess
import typing as t

import pytest

PINS = "/sys/fs/bpf/tcs"
SOURCE = """
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
SEC("tc") int tc_pass(struct __sk_buff *skb) { return TC_ACT_OK; }
SEC("tc") int tc_drop(struct __sk_buff *skb)
{
    return skb->protocol == bpf_htons(0x0800) ? TC_ACT_SHOT : TC_ACT_OK;
}
char _license[] SEC("license") = "GPL";
"""


def sh(*argv: str, rc: int = 0) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == rc, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


def enter(netns: str) -> list[str]:
    """Only the network namespace: tc -n mounts a new /sys, in which the pins cannot be seen."""
    return ["nsenter", f"--net=/run/netns/{netns}"] if netns else []


@pytest.fixture
def programs(tmp_path: pathlib.Path) -> t.Iterator[str]:
    """A folder with the pins tc_pass and tc_drop."""
    (tmp_path / "tc.c").write_text(SOURCE)
    include = f"-I/usr/include/{platform.machine()}-linux-gnu"
    sh("clang", "-O2", "-g", "-target", "bpf", include, "-c", str(tmp_path / "tc.c"), "-o", str(tmp_path / "tc.o"))
    sh("bpftool", "prog", "loadall", str(tmp_path / "tc.o"), PINS, "type", "classifier")
    yield PINS
    shutil.rmtree(PINS, ignore_errors=True)


@pytest.fixture(params=["named", "main"])
def pair(request: pytest.FixtureRequest, sandbox_ns: t.Any) -> t.Iterator[tuple[str, str]]:
    """The near end's namespace ("" is the main one) and the far end's: near 10.9.0.1, far 10.9.0.2."""
    near, far = sandbox_ns() if request.param == "named" else "", sandbox_ns()
    sh(*enter(near), "ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", far)
    sh(*enter(near), "ip", "addr", "add", "10.9.0.1/24", "dev", "near")
    sh("ip", "-n", far, "addr", "add", "10.9.0.2/24", "dev", "far")
    sh(*enter(near), "ip", "link", "set", "near", "up")
    sh("ip", "-n", far, "link", "set", "far", "up")
    yield near, far
    sh("ip", "-n", far, "link", "del", "far")


def ping(far: str) -> bool:
    argv = [*enter(far), "ping", "-c", "1", "-W", "1", "10.9.0.1"]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def tc(netns: str, *argv: str) -> t.Any:
    return json.loads(sh(*enter(netns), "tc", "-j", *argv) or "[]")


def filters(netns: str, direction: str = "ingress") -> list[str]:
    """The names of the programs at a hook, as tc says."""
    found = tc(netns, "filter", "show", "dev", "near", direction)
    return [entry["options"]["prog"]["name"] for entry in found if "options" in entry]


def qdiscs(netns: str) -> list[str]:
    return [entry["kind"] for entry in tc(netns, "qdisc", "show", "dev", "near")]


@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_attach_replace_drift_detach(
    pair: tuple[str, str], programs: str, four_runs: t.Any, run_module: t.Any, journal: t.Any, direction: str
) -> None:
    near, far = pair
    before = qdiscs(near)
    place = {"interface": "near", "netns": near, "direction": direction}
    assert ping(far)
    result = four_runs("tc_attachment", **place, program=f"{programs}/tc_drop")
    assert result["attached"] and result["qdisc"] == "clsact" and len(result["steps"]) == 2
    assert filters(near, direction) == ["tc_drop"] and not ping(far)
    (entry,) = (entry for entry in tc(near, "filter", "show", "dev", "near", direction) if "options" in entry)
    assert entry["options"]["direct-action"] and entry["pref"] == 1 and entry["protocol"] == "all"
    four_runs("tc_attachment", **place, program=f"{programs}/tc_pass")
    assert filters(near, direction) == ["tc_pass"] and ping(far)
    # Drift: the filter is gone, the qdisc is gone, another program is in our place.
    sh(*enter(near), "tc", "filter", "del", "dev", "near", direction)
    assert len(four_runs("tc_attachment", **place, program=f"{programs}/tc_pass")["steps"]) == 1
    sh(*enter(near), "tc", "qdisc", "del", "dev", "near", "clsact")
    assert len(four_runs("tc_attachment", **place, program=f"{programs}/tc_pass")["steps"]) == 2
    swap = ["prio", "1", "handle", "1", "protocol", "all", "bpf", "da", "pinned", f"{programs}/tc_drop"]
    sh(*enter(near), "tc", "filter", "replace", "dev", "near", direction, *swap)
    four_runs("tc_attachment", **place, program=f"{programs}/tc_pass")
    assert filters(near, direction) == ["tc_pass"]
    four_runs("tc_attachment", **place, state="absent")
    assert qdiscs(near) == before and journal() == {} and ping(far)
    assert not run_module("tc_attachment", **place, state="absent")["changed"]


def test_filters_of_others_stay(
    pair: tuple[str, str], programs: str, four_runs: t.Any, run_module: t.Any, journal: t.Any
) -> None:
    near, _far = pair
    sh(*enter(near), "tc", "qdisc", "add", "dev", "near", "clsact")
    add = [*enter(near), "tc", "filter", "add", "dev", "near", "ingress", "protocol", "all"]
    sh(*add, "prio", "1", "handle", "1", "bpf", "da", "pinned", f"{programs}/tc_drop")
    other = ["protocol", "ip", "bpf", "da", "pinned", f"{programs}/tc_pass"]
    sh(*enter(near), "tc", "filter", "add", "dev", "near", "ingress", "prio", "5", *other)
    place: dict[str, t.Any] = {"interface": "near", "netns": near}
    wanted = {**place, "program": f"{programs}/tc_pass"}
    assert "Choose another priority" in run_module("tc_attachment", **wanted, fails=True)["msg"]
    assert "one kind and protocol" in run_module("tc_attachment", **wanted, priority=5, handle=2, fails=True)["msg"]
    assert not run_module("tc_attachment", **place, state="absent")["changed"]
    result = four_runs("tc_attachment", **wanted, priority=7)
    assert "asked first" in json.dumps(result["warnings"])
    assert [(entry["name"], entry["priority"]) for entry in result["filters"]] == [
        ("tc_drop", 1), ("tc_pass", 5), ("tc_pass", 7),
    ]  # fmt: skip
    four_runs("tc_attachment", **place, priority=7, state="absent")
    assert "clsact" in qdiscs(near) and filters(near) == ["tc_drop", "tc_pass"] and journal() == {}


def test_our_qdisc_stays_while_somebody_uses_it(
    pair: tuple[str, str], programs: str, four_runs: t.Any, run_module: t.Any, journal: t.Any
) -> None:
    near, _far = pair
    place: dict[str, t.Any] = {"interface": "near", "netns": near}
    run_module("tc_attachment", **place, program=f"{programs}/tc_pass")
    sh(*enter(near), "tc", "filter", "add", "dev", "near", "egress", "bpf", "da", "pinned", f"{programs}/tc_pass")
    four_runs("tc_attachment", **place, state="absent")
    assert "clsact" in qdiscs(near)
    sh(*enter(near), "tc", "filter", "del", "dev", "near", "egress")
    four_runs("tc_attachment", **place, state="absent")
    assert "clsact" not in qdiscs(near) and journal() == {}


def test_both_directions_and_an_interface_made_anew(
    pair: tuple[str, str], programs: str, four_runs: t.Any, run_module: t.Any, journal: t.Any
) -> None:
    near, far = pair
    for direction in ("ingress", "egress"):
        four_runs("tc_attachment", interface="near", netns=near, direction=direction, program=f"{programs}/tc_pass")
    sh(*enter(near), "ip", "link", "del", "near")
    sh(*enter(near), "ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", far)
    result = four_runs("tc_attachment", interface="near", netns=near, program=f"{programs}/tc_pass")
    assert len(result["steps"]) == 2
    gone = run_module("tc_attachment", interface="near", netns=near, direction="egress", state="absent")
    assert not gone["changed"] and not any(":egress:" in key for key in journal())  # what is gone is forgotten
    four_runs("tc_attachment", interface="near", netns=near, state="absent")
    assert "clsact" not in qdiscs(near) and journal() == {}


def test_loaded_by_the_modules_and_by_name(
    pair: tuple[str, str], tmp_path: pathlib.Path, run_module: t.Any, four_runs: t.Any, journal: t.Any
) -> None:
    near, _far = pair
    (tmp_path / "own.c").write_text(SOURCE)
    run_module("bpf_object", src=str(tmp_path / "own.c"), dest=str(tmp_path / "own.o"))
    arguments = {"object": str(tmp_path / "own.o"), "pin_path": PINS}
    four_runs("bpf_program", **arguments, type="classifier")
    four_runs("tc_attachment", interface="near", netns=near, program=f"{PINS}/tc_drop")
    run_module("tc_attachment", interface="near", netns=near, state="absent")
    run_module("bpf_program", pin_path=PINS, state="absent")
    run_module("bpf_object", dest=str(tmp_path / "own.o"), state="absent")
    assert journal() == {}


@pytest.mark.parametrize("pair", ["named"], indirect=True)
def test_an_ingress_qdisc_has_no_egress(
    pair: tuple[str, str], programs: str, four_runs: t.Any, run_module: t.Any
) -> None:
    near, far = pair
    sh(*enter(near), "tc", "qdisc", "add", "dev", "near", "ingress")
    wanted = {"interface": "near", "netns": near, "program": f"{programs}/tc_drop"}
    assert "clsact" in run_module("tc_attachment", **wanted, direction="egress", fails=True)["msg"]
    four_runs("tc_attachment", **wanted)
    assert not ping(far)
    four_runs("tc_attachment", interface="near", netns=near, state="absent")
    assert "ingress" in qdiscs(near) and ping(far)


@pytest.mark.parametrize("pair", ["main"], indirect=True)
def test_the_interface_that_carries_the_host_is_kept(
    pair: tuple[str, str], programs: str, run_module: t.Any, four_runs: t.Any
) -> None:
    sh("ip", "route", "add", "default", "via", "10.9.0.2")
    wanted = {"interface": "near", "program": f"{programs}/tc_pass"}
    assert "default route" in run_module("tc_attachment", **wanted, fails=True)["msg"]
    four_runs("tc_attachment", **wanted, force=True)
    four_runs("tc_attachment", interface="near", state="absent")


@pytest.mark.parametrize("pair", ["named"], indirect=True)
@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"program": ""}, ["program", "names no program"]),
        ({"program": f"{PINS}/nothing"}, ["nothing", "is not there"]),
        ({"program": f"{PINS}/tc_drop", "interface": "neer"}, ["neer", "near"]),
        ({"program": f"{PINS}/tc_drop", "netns": "nowhere"}, ["nowhere", "namespace"]),
        ({"program": f"{PINS}/tc_drop", "priority": 70000}, ["priority", "65535"]),
        ({"program": f"{PINS}/tc_drop", "interface": "a/b"}, ["interface", "a/b"]),
        ({"program": "relative/path"}, ["relative/path"]),
    ],
)
def test_bad_input_is_one_sentence(
    pair: tuple[str, str], programs: str, run_module: t.Any, params: dict[str, t.Any], words: list[str]
) -> None:
    message = run_module("tc_attachment", **{"interface": "near", "netns": pair[0], **params}, fails=True)["msg"]
    assert all(word in message for word in words), message
    assert qdiscs(pair[0]) == ["noqueue"]


@pytest.mark.parametrize("pair", ["named"], indirect=True)
def test_an_xdp_program_is_no_filter(pair: tuple[str, str], tmp_path: pathlib.Path, run_module: t.Any) -> None:
    (tmp_path / "x.c").write_text('__attribute__((section("xdp"))) int nothing(void *ctx) { return 2; }')
    sh("clang", "-O2", "-target", "bpf", "-c", str(tmp_path / "x.c"), "-o", str(tmp_path / "x.o"))
    sh("bpftool", "prog", "load", str(tmp_path / "x.o"), "/sys/fs/bpf/tcx", "type", "xdp")
    message = run_module("tc_attachment", interface="near", netns=pair[0], program="/sys/fs/bpf/tcx", fails=True)["msg"]
    pathlib.Path("/sys/fs/bpf/tcx").unlink()
    assert "type xdp" in message and "classifier" in message
