# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names on a Linux host are bytes: those of others, which are no ASCII and no UTF-8, are in nobody's way."""

from __future__ import annotations

import os
import pathlib
import subprocess
import typing as t

import pytest

from .conftest import RunModule, sh

pytestmark = pytest.mark.case("R8")

LATIN1, UTF8, CONTROL = "caf\udce9", "grün", "red\x1b[31m"
NAMES = (LATIN1, UTF8, CONTROL)
SOURCE = '__attribute__((section("%s"), used)) int mine(void *c) { return %d; }\n'


@pytest.fixture
def strange(tmp_path: pathlib.Path) -> t.Iterator[dict[str, str]]:
    """Links, a namespace and a pin under such names, an XDP program and a filter of somebody's; returns two pins."""
    pins = {}
    os.makedirs("/sys/fs/bpf/strange")
    for section, kind, verdict in (("xdp", "xdp", 2), ("tc", "classifier", 0)):
        source = tmp_path / f"{section}.c"
        source.write_text(SOURCE % (section, verdict))
        sh("clang", "-O2", "-target", "bpf", "-c", str(source), "-o", str(tmp_path / f"{section}.o"))
        pins[section] = f"/sys/fs/bpf/strange/{section}"
        sh("bpftool", "prog", "load", str(tmp_path / f"{section}.o"), pins[section], "type", kind)
    os.link(pins["xdp"], f"/sys/fs/bpf/strange/{LATIN1}")
    for number, name in enumerate(NAMES):
        sh("ip", "link", "add", name, "type", "veth", "peer", "name", f"other{number}")
        sh("ip", "addr", "add", f"fd77:{number}::1/64", "dev", name, "nodad")
        sh("ip", "link", "set", name, "up")
    sh("ip", "link", "property", "add", "dev", LATIN1, "altname", "alt\udce9")
    sh("ip", "link", "set", "dev", LATIN1, "xdp", "pinned", pins["xdp"])
    sh("ip", "netns", "add", LATIN1)
    sh("ip", "link", "add", "lan0", "type", "veth", "peer", "name", "lan1")
    yield pins
    sh("ip", "link", "del", "lan0")
    sh("ip", "netns", "del", LATIN1)
    for name in NAMES:
        sh("ip", "link", "del", name)
    subprocess.run(["rm", "-rf", "/sys/fs/bpf/strange"], check=True)


def test_modules_go_on(run_module: RunModule, strange: dict[str, str]) -> None:
    found = run_module("bpf_info")
    assert r"caf\xe9" in {one["interface"] for one in found["attachments"]}
    assert r"/sys/fs/bpf/strange/caf\xe9" in {one["path"] for one in found["pins"]}
    forward = run_module("ip_forward", ipv4=True, ipv6=True, check=True)
    assert r"net.ipv6.conf.caf\xe9.forwarding" in forward["diff"]["after"]["sysctl"]
    inside = {"namespaces": [{"name": "in"}], "veths": [{"name": "é1", "peer": {"name": "é2", "netns": "in"}}]}
    assert run_module("topology", **inside)["changed"]
    assert run_module("topology", state="absent", **inside)["changed"]
    assert run_module("xdp_attachment", interface="lan0", program=strange["xdp"])["changed"]
    assert run_module("tc_attachment", interface="lan0", program=strange["tc"])["changed"]
    missing = run_module("xdp_attachment", interface="lan7", program=strange["xdp"], fails=True)
    assert r"caf\xe9" in missing["msg"]


def test_a_value_that_is_no_ascii_is_refused(run_module: RunModule) -> None:
    said = run_module("veth", name="lab1", sysctls={"ipv4.rp_filter": "é"}, peer={"name": "x"}, fails=True)["msg"]
    assert "is no sysctl value" in said


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_comments_in_rules_come_back_as_they_were(run_module: RunModule, backend: str) -> None:
    def rules() -> bytes:
        done = subprocess.run([f"iptables-{backend}-save", "-t", "filter"], capture_output=True, check=True)
        return b"".join(line for line in done.stdout.splitlines(True) if b"-A" in line)

    comments = ["caf\udce9", "grün", "a\x0bb", "line\u2028separator", 'say "no"', "\udcff\udcfe"]
    for comment in comments:
        sh(f"iptables-{backend}", "-w", *"-A FORWARD -m comment --comment".split(), comment, *"-j ACCEPT".split())
    try:
        before = rules()
        assert before.count(b"-A") == len(comments)
        assert run_module("iptables_flush", flush=[{"table": "filter", "chains": ["FORWARD"]}])["changed"]
        assert not rules()
        assert run_module("iptables_flush", state="restored")["changed"]
        assert rules() == before
    finally:
        sh(f"iptables-{backend}", "-w", "-F", "FORWARD")
