# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The judgement of preflight_info over machines as they might be."""

from __future__ import annotations

import math
import os
import pathlib
import typing as t
from dataclasses import replace

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._lab.machine import Machine, networkd_takes, nm_leaves_veth
from ansible_collections.ebpf.lab.plugins.module_utils._lab.preflight import LEVELS, PURPOSES, judge, lines
from ansible_collections.ebpf.lab.plugins.module_utils._tools.packages import apt
from ansible_collections.ebpf.lab.plugins.module_utils._tools.packages.archive import Problem

GIGABYTE = 1 << 30
GOOD = Machine(
    release="6.12.43+deb13-amd64",
    arch="x86_64",
    features={"btf": True, "jit": 1, "veth": True, "lockdown": "none", "bpffs": ["/sys/fs/bpf"], "tracefs": "/t"},
    filesystems=frozenset({"bpf", "tracefs"}),
    max_net_namespaces=1000,
    tracing_on=1,
    disk={"/usr/local": 9 * GIGABYTE},
    memory=GIGABYTE,
    tools=dict.fromkeys(PURPOSES, "1.0"),
    lifelines={"eth0": "the SSH session"},
)


def test_a_good_machine_has_nothing_but_ok() -> None:
    findings = judge(GOOD)
    assert {finding.level for finding in findings} == {"ok"}
    assert len(lines(findings)) == 1
    assert any("eth0 carries the SSH session" in finding.what for finding in findings)


OUT_OF_REACH: dict[str, t.Any] = {
    "fetched": ("clang",),
    "archives": ("http://a",),
    "archive_problems": (Problem("unreachable", "http://a", "No route to host"),),
}


def broken(library: str) -> dict[str, t.Any]:
    return {"tools": {**GOOD.tools, library: None}, "broken": {library: "/usr/bin/python3: ImportError: no"}}


def features(**changed: t.Any) -> dict[str, t.Any]:
    return {"features": {**GOOD.features, **changed}}


@pytest.mark.parametrize(
    ("changed", "level", "topic", "cure"),
    [
        ({"root": False}, "problem", "root", "become"),
        ({"bpf_error": "EPERM"}, "problem", "bpf", "CONFIG_BPF_SYSCALL"),
        ({"release": "4.9.0-8-amd64"}, "problem", "kernel", "4.19"),
        (features(veth=False), "problem", "veth", "kernel package"),
        (features(btf=False), "warning", "btf", "CONFIG_DEBUG_INFO_BTF"),
        (features(jit=0), "warning", "jit", "bpf_jit_enable=1"),
        (features(lockdown="confidentiality"), "problem", "lockdown", "lockdown=integrity"),
        ({"max_net_namespaces": 0}, "problem", "netns", "max_net_namespaces=1024"),
        ({"filesystems": frozenset({"tracefs"})}, "problem", "bpffs", "CONFIG_BPF_SYSCALL"),
        ({"filesystems": frozenset({"bpf"})}, "problem", "tracefs", "CONFIG_FTRACE"),
        (features(tracefs=None), "warning", "tracefs", "mount -t tracefs"),
        ({"tracing_on": 0}, "warning", "tracefs", "echo 1 > /t/tracing_on"),
        ({"disk": {"/usr/local": 50 << 20}}, "warning", "disk", "Free 100 MB"),
        ({"disk": {"/usr/local": 1 << 20}}, "problem", "disk", "Free 100 MB"),
        ({"apt_lock": "process 7 (apt-get update) holds /a/lock"}, "warning", "apt", "waits for it"),
        (OUT_OF_REACH, "problem", "archive", "network"),
        ({**OUT_OF_REACH, "archives": ("http://a", "http://b")}, "warning", "archive", "network"),
        ({"fetched": ("clang",), "archives": ()}, "problem", "archive", "sources.list"),
        (broken("pyroute2"), "problem", "tools", "--reinstall python3-pyroute2"),
        ({"memory": 100 << 20}, "warning", "memory", "Stop other programs"),
        ({"memory": 10 << 20}, "problem", "memory", "Stop other programs"),
        ({"tools": {**GOOD.tools, "bpftool": None}}, "warning", "tools", "ebpf.lab.provision"),
        ({"tools": {**GOOD.tools, "clang": None}, "apt": False}, "problem", "tools", "only apt"),
        (
            {"xdp": ({"interface": "eth0", "netns": "", "name": "xdp_dispatcher", "id": 3, "ours": False},)},
            "warning",
            "xdp",
            "ip link set dev eth0 xdp off",
        ),
        ({"xdp_error": "EPERM"}, "warning", "xdp", "ip link"),
        ({"chains": tuple(f"nft ipv4 nat DOCKER{n}" for n in range(5))}, "warning", "iptables", "host_network"),
        ({"dropping": ("nft ipv4 filter",)}, "warning", "iptables", "host_network"),
        ({"running": frozenset({"firewalld"})}, "warning", "firewalld", "trusted"),
        ({"running": frozenset({"NetworkManager"}), "nm_leaves_veth": False}, "warning", "links", "unmanaged-devices"),
        ({"running": frozenset({"systemd-networkd"}), "networkd_takes": ("/x",)}, "warning", "links", "Kind=!veth"),
    ],
)
def test_what_is_not_well(changed: dict[str, t.Any], level: str, topic: str, cure: str) -> None:
    bad = [finding for finding in judge(replace(GOOD, **changed)) if finding.level != "ok"]
    assert [(finding.level, finding.topic) for finding in bad] == [(level, topic)]
    assert cure in bad[0].cure
    assert bad[0].what.endswith((".", "EPERM")) and bad[0].why.endswith(".")
    assert lines(bad)[0].startswith(f"{level}: {bad[0].what}")


def test_what_is_ours_or_asleep_does_not_matter() -> None:
    machine = replace(
        GOOD,
        xdp=({"interface": "veth1", "netns": "", "name": "xdp_allow", "id": 3, "ours": True},),
        nm_leaves_veth=False,
        networkd_takes=("/x",),
        running=frozenset({"dockerd"}),
        memory=None,
        tracing_on=None,
        features={**GOOD.features, "jit": None, "veth": None, "lockdown": "integrity"},
    )
    assert {finding.level for finding in judge(machine)} == {"ok"}


def test_problems_come_first() -> None:
    levels = [finding.level for finding in judge(replace(GOOD, root=False, memory=100 << 20))]
    assert levels == sorted(levels, key=LEVELS.index)


@pytest.mark.parametrize(
    ("match", "takes"),
    [
        ("Name=*", True),
        ("Name=en* eth*", False),
        ("Name=veth*", True),
        ("Name=!veth*", False),
        ("Type=ether", True),
        ("Type=ether\nKind=!veth", False),
        ("Type=wlan", False),
        ("Kind=veth\nName=ve-*", False),
        ("MACAddress=02:00:00:00:00:01", False),
        ("Driver=virtio_net", False),
        ("", False),
    ],
)
def test_which_network_files_take_a_veth(tmp_path: pathlib.Path, match: str, takes: bool) -> None:
    (tmp_path / "a.network").write_text(f"[Match]\n{match}\n[Network]\nAddress=10.0.0.1/8\nAddress=10.0.0.2/8\n")
    assert networkd_takes([str(tmp_path)], "veth1") == ((str(tmp_path / "a.network"),) if takes else ())


def test_a_file_of_an_earlier_folder_replaces_one(tmp_path: pathlib.Path) -> None:
    for folder, name in (("etc", "en*"), ("lib", "*")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.network").write_text(f"[Match]\nName={name}\n")
    assert networkd_takes([str(tmp_path / "etc"), str(tmp_path / "lib")], "veth1") == ()
    (tmp_path / "lib" / "bad.network").write_bytes(b"\xff[Match\n")
    assert networkd_takes([str(tmp_path / "lib")], "veth1") == (str(tmp_path / "lib" / "a.network"),)


def test_the_rule_for_networkmanager(tmp_path: pathlib.Path) -> None:
    assert not nm_leaves_veth([str(tmp_path), "/nonexistent"])
    (tmp_path / "85.rules").write_text('#ENV{ID_NET_DRIVER}=="veth", ENV{NM_UNMANAGED}="1"\n')
    assert not nm_leaves_veth([str(tmp_path)])
    (tmp_path / "86.rules").write_text('ENV{ID_NET_DRIVER}=="veth", ENV{NM_UNMANAGED}="1"\n')
    assert nm_leaves_veth([str(tmp_path)])


def test_an_index_from_before_the_clock_was_set_back_is_old(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apt, "LISTS", str(tmp_path))
    monkeypatch.setattr(apt, "STAMP", str(tmp_path / "stamp"))
    (tmp_path / "archive_Packages.lz4").touch()
    read = os.stat(tmp_path).st_mtime
    assert apt.index_age(read + 60) == 60
    assert apt.index_age(read - 60) == math.inf
