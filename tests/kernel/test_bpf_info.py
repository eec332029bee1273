# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bpf_info against what bpftool and ip say of the same kernel."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PINS = "/sys/fs/bpf/ebpf"
COUNT = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16); __type(key, __u32); __type(value, __u64); }
    pkt_cnt SEC(".maps");
SEC("xdp") int xdp_with_a_long_name(struct xdp_md *ctx)
{ __u32 key = 1; return bpf_map_lookup_elem(&pkt_cnt, &key) ? XDP_DROP : XDP_PASS; }
char _license[] SEC("license") = "GPL";
"""


def sh(*argv):
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def loaded(run_module, tmp_path):
    (tmp_path / "count.c").write_text(COUNT)
    run_module("bpf_object", src=str(tmp_path / "count.c"), dest=str(tmp_path / "count.o"))
    result = run_module("bpf_program", object=str(tmp_path / "count.o"), pin_path=PINS, pin_maps=["pkt_cnt"])
    sh("bpftool", "map", "create", "/sys/fs/bpf/student", "type", "array", "key", "4", "value", "4", "entries", "1",
       "name", "mine")  # fmt: skip
    yield result
    shutil.rmtree(PINS, ignore_errors=True)
    pathlib.Path("/sys/fs/bpf/student").unlink()


def test_programs_maps_and_pins_are_those_of_bpftool(run_module, loaded):
    result = run_module("bpf_info")
    assert not result["changed"]
    (program,) = [entry for entry in result["programs"] if entry["id"] == loaded["programs"][0]["id"]]
    seen = json.loads(sh("bpftool", "-j", "prog", "show", "id", str(program["id"])))
    assert (program["tag"], program["type"]) == (seen["tag"], seen["type"])
    assert program["name"] == "xdp_with_a_long", "the kernel's name; bpftool shows the one of the BTF"
    assert (program["xlated_bytes"], program["jited_bytes"]) == (seen["bytes_xlated"], seen["bytes_jited"])
    assert program["map_ids"] == sorted(seen["map_ids"])
    assert program["btf_id"] == seen["btf_id"]
    assert program["pins"] == [f"{PINS}/xdp_with_a_long_name"]
    (entry,) = [entry for entry in result["maps"] if entry["id"] == loaded["maps"][0]["id"]]
    assert (entry["type"], entry["key_size"], entry["value_size"], entry["max_entries"]) == ("hash", 4, 8, 16)
    pins = {pin["path"]: pin for pin in result["pins"]}
    assert pins[f"{PINS}/pkt_cnt"]["ours"]
    assert pins["/sys/fs/bpf/student"]["kind"] == "map"
    assert not pins["/sys/fs/bpf/student"]["ours"]


def test_attachments_of_all_namespaces(run_module, loaded, sandbox_ns):
    netns = sandbox_ns()
    sh("ip", "-n", netns, "link", "add", "veth1", "type", "veth", "peer", "name", "vpeer1")
    pin = loaded["programs"][0]["pin"]
    run_module("xdp_attachment", interface="veth1", netns=netns, program=pin)
    sh("nsenter", f"--net=/run/netns/{netns}", "ip", "link", "set", "dev", "vpeer1", "xdpgeneric", "pinned", pin)
    sh("ip", "link", "add", "here", "type", "veth", "peer", "name", "there")
    try:
        sh("ip", "link", "set", "dev", "here", "xdp", "pinned", pin)
        result = run_module("bpf_info", gather_subset=["attachments"])
    finally:
        sh("ip", "link", "del", "here")
    assert "programs" not in result
    seen = {(entry["netns"], entry["interface"]): entry for entry in result["attachments"]}
    assert set(seen) == {(netns, "veth1"), (netns, "vpeer1"), ("", "here")}
    assert (seen[netns, "veth1"]["mode"], seen[netns, "veth1"]["ours"]) == ("native", True)
    assert (seen[netns, "vpeer1"]["mode"], seen[netns, "vpeer1"]["ours"]) == ("generic", False)
    assert {entry["id"] for entry in result["attachments"]} == {loaded["programs"][0]["id"]}
    assert seen["", "here"]["name"] == "xdp_with_a_long"


def test_features_and_tools(run_module):
    result = run_module("bpf_info", gather_subset=["features", "tools"])
    assert result["kernel"]["release"] == os.uname().release
    assert result["features"]["btf"] == os.path.exists("/sys/kernel/btf/vmlinux")
    assert "/sys/fs/bpf" in result["features"]["bpffs"]
    assert result["features"]["tracefs"] == "/sys/kernel/tracing"
    assert result["features"]["veth"] is not False, "this very machine makes veth pairs"
    assert result["tools"]["clang"] in sh("clang", "--version")
    assert f"v{result['tools']['bpftool']}" in sh("bpftool", "version")
    assert result["tools"]["ip"] in sh("ip", "-V")
