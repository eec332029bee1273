# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bpf_test_run and bpf_stats_info with real programs; the action plugin by a real play on localhost."""

from __future__ import annotations

import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import threading
import typing as t

import pytest

PINS = "/sys/fs/bpf/runs"
XDP = """
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16); __type(key, __u32); __type(value, __u64); }
    protocols SEC(".maps");
SEC("xdp") int only_icmp(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    struct iphdr *ip = data + sizeof(*eth);
    if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP)) return XDP_PASS;
    __u32 protocol = ip->protocol;
    __u64 one = 1, *count = bpf_map_lookup_elem(&protocols, &protocol);
    if (count) __sync_fetch_and_add(count, 1);
    else bpf_map_update_elem(&protocols, &protocol, &one, BPF_ANY);
    return protocol == 1 ? XDP_PASS : XDP_DROP;
}
SEC("xdp") int back(struct xdp_md *ctx)
{
    if (bpf_xdp_adjust_head(ctx, -4)) return XDP_ABORTED;
    return XDP_TX;
}
char _license[] SEC("license") = "GPL";
"""
TC = """
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
__attribute__((section("tc"), used)) int shot(struct __sk_buff *skb)
{
    return skb->len > 60 ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}
"""
ETHERNET = "02 00 00 00 00 01 02 00 00 00 00 02 08 00"
IP = "45 00 00 14 00 00 00 00 40 {protocol} 00 00 0a 00 00 02 0a 00 00 01"
PING, TCP = (f"{ETHERNET} {IP.format(protocol=protocol)}" for protocol in ("01", "06"))


def sh(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("objects")
    include = f"-I/usr/include/{platform.machine()}-linux-gnu"
    for name, text in (("xdp", XDP), ("tc", TC)):
        (folder / f"{name}.c").write_text(text)
        out = str(folder / f"{name}.o")
        sh("clang", "-O2", "-g", "-target", "bpf", include, "-c", str(folder / f"{name}.c"), "-o", out)
    return folder


@pytest.fixture
def programs(objects: pathlib.Path) -> t.Iterator[str]:
    sh("bpftool", "prog", "loadall", str(objects / "xdp.o"), PINS, "type", "xdp", "pinmaps", PINS)
    sh("bpftool", "prog", "load", str(objects / "tc.o"), f"{PINS}/shot", "type", "classifier")
    yield PINS
    shutil.rmtree(PINS, ignore_errors=True)


def counted() -> t.Any:
    return json.loads(sh("bpftool", "-j", "map", "dump", "pinned", f"{PINS}/protocols"))


def test_verdicts_and_maps_that_are_put_back(programs: str, run_module: t.Any) -> None:
    sh("bpftool", "map", "update", "pinned", f"{PINS}/protocols", "key", "6", "0", "0", "0", "value", *"70000000")
    before = counted()
    packets = [
        {"name": "ping", "hex": PING, "expect": "XDP_PASS"},
        {"name": "tcp", "hex": TCP.replace(" ", ""), "expect": "XDP_DROP"},
        {"hex": ETHERNET},
    ]
    wanted = {"program": f"{programs}/only_icmp", "packets": packets, "maps": ["protocols"]}
    skipped = run_module("bpf_test_run", **wanted, check=True)
    assert skipped["skipped"] and f"would run {programs}/only_icmp on 3 packets" in skipped["msg"]
    for _turn in range(2):
        result = run_module("bpf_test_run", **wanted)
        assert not result["changed"]
        assert [entry["verdict"] for entry in result["results"]] == ["XDP_PASS", "XDP_DROP", "XDP_PASS"]
        assert result["results"][2]["name"] == "packet 3" and not result["results"][0]["changed_packet"]
        assert result["maps"] == {"protocols": [{"key": 1, "value": 1}, {"key": 6, "value": 8}]}
        assert counted() == before


def test_repeat_and_a_packet_that_grows(programs: str, run_module: t.Any) -> None:
    result = run_module(
        "bpf_test_run", program=f"{programs}/only_icmp", packets=[{"hex": PING}], repeat=10000, maps=["protocols"]
    )
    assert result["maps"]["protocols"] == [{"key": 1, "value": 10000}] and counted() == []
    assert result["results"][0]["ns_per_run"] > 0
    (grown,) = run_module("bpf_test_run", program=f"{programs}/back", packets=[{"hex": PING}])["results"]
    assert grown["verdict"] == "XDP_TX" and grown["changed_packet"]
    assert len(grown["packet_out"]) == len(PING.replace(" ", "")) + 8


def test_a_classifier(programs: str, run_module: t.Any) -> None:
    number = json.loads(sh("bpftool", "-j", "prog", "show", "pinned", f"{programs}/shot"))["id"]
    packets = [{"hex": "00" * 20}, {"hex": "00" * 80, "expect": "TC_ACT_SHOT"}]
    result = run_module("bpf_test_run", program=number, packets=packets)
    assert [entry["verdict"] for entry in result["results"]] == ["TC_ACT_UNSPEC", "TC_ACT_SHOT"]


def test_another_verdict_than_expected_fails_and_shows_all(programs: str, run_module: t.Any) -> None:
    packets = [{"name": "tcp", "hex": TCP, "expect": "XDP_PASS"}, {"hex": PING}]
    result = run_module("bpf_test_run", program=f"{programs}/only_icmp", packets=packets, fails=True)
    assert "tcp: XDP_DROP instead of XDP_PASS" in result["msg"]
    assert [entry["passed"] for entry in result["results"]] == [False, True]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"program": f"{PINS}/nothing"}, ["nothing", "no program"]),
        ({"program": f"{PINS}/protocols"}, ["protocols", "the pin of a map"]),
        ({"packets": []}, ["packets", "empty"]),
        ({"packets": [{"hex": "zz"}]}, ["packets[0].hex", "hexadecimal"]),
        ({"packets": [{"hex": "00"}]}, ["packets[0].hex", "14 to 65535"]),
        ({"packets": [{"name": "x"}]}, ["packets[0]", "hex, fields or pcap"]),
        ({"packets": [{"hex": PING, "expect": "PASS"}]}, ["expect", "XDP_PASS"]),
        ({"packets": [{"hex": "00" * 70000}]}, ["70000 bytes", "65535"]),
        ({"repeat": 0}, ["repeat", "1 to"]),
        ({"maps": ["protocol"]}, ["protocol", "protocols"]),
    ],
)
def test_bad_input_is_one_sentence(
    programs: str, run_module: t.Any, params: dict[str, t.Any], words: list[str]
) -> None:
    wanted = {"program": f"{PINS}/only_icmp", "packets": [{"hex": PING}], **params}
    message = run_module("bpf_test_run", **wanted, fails=True)["msg"]
    assert all(word in message for word in words), message


def test_packets_by_fields_and_from_a_capture(programs: str, collections: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """The whole way: a play, the action plugin, scapy, the module."""
    from scapy.all import IP as Ip
    from scapy.all import UDP, Ether, wrpcap

    wrpcap(str(tmp_path / "two.pcap"), [Ether() / Ip(dst="10.0.0.1") / UDP(), Ether() / Ip(dst="10.0.0.1", proto=1)])
    packets = [
        {"name": "ping", "fields": ["Ether", {"IP": {"src": "10.0.0.2", "dst": "10.0.0.1", "ttl": 3}}, "ICMP"]},
        {"name": "two", "pcap": "two.pcap"},
    ]
    bad = [{"fields": ["Ether", {"IP": {"tll": 3}}]}]
    (tmp_path / "play.yml").write_text(
        json.dumps(
            [
                {
                    "hosts": "localhost",
                    "gather_facts": False,
                    "vars": {"ansible_python_interpreter": sys.executable},
                    "tasks": [
                        {
                            "ebpf.lab.bpf_test_run": {"program": f"{programs}/only_icmp", "packets": packets},
                            "register": "ran",
                        },
                        {
                            "ebpf.lab.bpf_test_run": {"program": f"{programs}/only_icmp", "packets": bad},
                            "register": "refused",
                            "ignore_errors": True,
                        },
                        {
                            "ansible.builtin.copy": {
                                "content": "{{ {'ran': ran, 'refused': refused} | to_json }}",
                                "dest": str(tmp_path / "result.json"),
                            }
                        },
                    ],
                }
            ]
        )
    )
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(collections),
        "ANSIBLE_HOME": str(tmp_path / "home"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
    }
    playbook = str(pathlib.Path(sys.executable).parent / "ansible-playbook")
    done = subprocess.run(
        [playbook, "-i", "localhost,", "-c", "local", "play.yml"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "result.json").read_text())
    outcomes = [(entry["name"], entry["verdict"]) for entry in found["ran"]["results"]]
    assert outcomes == [("ping", "XDP_PASS"), ("two 1", "XDP_DROP"), ("two 2", "XDP_PASS")]
    assert bytes.fromhex(found["ran"]["results"][0]["packet_out"])[22] == 3  # the ttl
    assert "packets[0].fields[1].tll" in found["refused"]["msg"] and "ttl" in found["refused"]["msg"]


def test_run_statistics(programs: str, run_module: t.Any, tmp_path: pathlib.Path) -> None:
    (tmp_path / "packet").write_bytes(bytes(64))
    before = pathlib.Path("/proc/sys/kernel/bpf_stats_enabled").read_text()
    stop = threading.Event()

    def load() -> None:
        argv = ["bpftool", "prog", "run", "pinned", f"{programs}/only_icmp", "data_in", str(tmp_path / "packet")]
        while not stop.is_set():
            sh(*argv, "repeat", "1000")
            stop.wait(0.05)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        result = run_module("bpf_stats_info", programs=[f"{programs}/only_icmp", f"{programs}/shot"], duration=1.5)
    finally:
        stop.set()
        thread.join()
    by_name = {entry["name"]: entry for entry in result["programs"]}
    assert by_name["only_icmp"]["run_cnt"] > 0 and by_name["only_icmp"]["ns_per_run"] > 0
    assert by_name["only_icmp"]["program"] == f"{programs}/only_icmp"
    assert by_name["shot"]["run_cnt"] == 0 and by_name["shot"]["ns_per_run"] is None
    assert pathlib.Path("/proc/sys/kernel/bpf_stats_enabled").read_text() == before
    assert "no program" in run_module("bpf_stats_info", programs=["/nowhere"], fails=True)["msg"]
    assert "duration" in run_module("bpf_stats_info", duration=0, fails=True)["msg"]
