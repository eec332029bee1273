# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``./lab up`` and ``./lab down`` with tools from source, and where the distribution's bpftool does not answer."""

from __future__ import annotations

import typing as t

import pytest
import stand_ins

OURS = "/usr/local/sbin/bpftool"
ATTACHED = "ip -details link show veth1 | grep -q 'prog/xdp' && ping -c 1 -W 2 192.168.100.2"
NEW = list(stand_ins.GO)[-1]
FROM_SOURCE = {
    "bpftool_source": "kernel",
    "bpftool_url": f"{stand_ins.GIT_URL}/linux",
    "bpftool_version": "v6.1",
    "iproute2_source": "git",
    "iproute2_url": f"{stand_ins.GIT_URL}/iproute2",
    "iproute2_version": "v6.1.7",
    "golang_version": NEW,
    "golang_url": f"{stand_ins.HTTP}/go{{version}}.linux-{{arch}}.tar.gz",
}
SYSTEM = "iptables-save; ip -o link; ip netns; sysctl net.ipv4.ip_forward; ls -A /etc/sysctl.d /opt; mount | grep bpf"


def state(host: t.Any) -> str:
    """What the lab and its tools change on a host."""
    return str(host.residue() + host.sh(SYSTEM, check=False).stdout)


def up_twice_and_down_twice(host: t.Any, play: t.Any, prove: t.Callable[[], None], **variables: t.Any) -> None:
    """Up, up without a change, down to what was there before, down without a change."""
    before = state(host)
    try:
        assert play.lab("up", host.name, **variables)["changed"]
        host.sh(ATTACHED)
        prove()
        again = play.lab("up", host.name, **variables)
        assert again["changed"] == 0, play.output
    finally:
        down = play.lab("down", host.name)
    assert down["changed"] and state(host) == before
    assert play.lab("down", host.name)["changed"] == 0, play.output


def test_every_tool_from_source(on: t.Any, play: t.Any) -> None:
    host = on("d12")

    def prove() -> None:
        tools = {tool["name"]: tool for tool in host.module("toolchain_info")["tools"]}
        assert tools["bpftool"]["path"] == OURS and tools["ip"]["path"] == "/usr/local/sbin/ip"
        assert all(tools[name]["works"] for name in ("bpftool", "ip", "go", "bpf_api.h")), tools

    checksum = stand_ins.sha256(stand_ins.go_archive(NEW))
    up_twice_and_down_twice(host, play, prove, **FROM_SOURCE, golang_checksum=checksum)


@pytest.mark.case("K7")
@pytest.mark.parametrize("name", ["u22", "u24"])
def test_a_wrapper_without_a_binary_is_missing(on: t.Any, play: t.Any, name: str) -> None:
    host = on(name)
    assert host.sh("bpftool version", check=False).returncode == 2, "this host's bpftool is no trap"

    def prove() -> None:
        assert host.sh(f"readlink {OURS}").stdout.startswith("/usr/lib/linux-tools/")

    host.sh("dpkg --purge bc")  # of the lecture's list, and no tool of the lab
    with host.without_archives():  # and without the Python index: the hosts reach nothing but archives
        up_twice_and_down_twice(host, play, prove)
