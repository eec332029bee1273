# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""preflight_info on the real kernel: it sees what is in the way, and leaves no trace of its looking."""

from __future__ import annotations

import os
import pathlib
import subprocess
import typing as t

import pytest

Run = t.Callable[..., dict[str, t.Any]]


def sh(*argv: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (argv, done.stdout, done.stderr)
    return done


def texts(result: dict[str, t.Any], topic: str, level: str) -> str:
    return " ".join(
        f"{one['what']} {one['why']} {one['cure']}"
        for one in result["findings"]
        if (one["topic"], one["level"]) == (topic, level)
    )


def traces() -> list[str]:
    """All that looking could leave behind: modules, mounts, tables of both back ends, links, namespaces."""
    names = ("/proc/modules", "/proc/self/mounts", "/proc/self/net/ip_tables_names", "/proc/self/net/ip6_tables_names")
    found = []
    for name in names:
        text = pathlib.Path(name).read_text(encoding="utf-8") if os.path.exists(name) else "none"
        # The use count of a module goes up and down with whoever else works here.
        found.append(" ".join(sorted(line.split()[0] for line in text.splitlines())) if "modules" in name else text)
    found.append(sh("nft", "list", "ruleset").stdout)
    found.append(sh("ip", "-d", "link").stdout)
    return found


def test_a_good_machine_is_ready_and_untouched(run_module: Run) -> None:
    before = traces()
    result = run_module("preflight_info")
    assert result["ready"] and not result["changed"]
    assert traces() == before
    assert not os.path.exists("/var/lib/ebpf.lab/journal.jsonl")
    assert result["lines"][-1].startswith("ok: bpf, kernel")
    levels = [one["level"] for one in result["findings"]]
    assert levels == sorted(levels, key=["problem", "warning", "ok"].index)
    assert all(one["why"] and one["cure"] for one in result["findings"] if one["level"] != "ok")


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_chains_and_policies_of_others(run_module: Run, backend: str) -> None:
    tool = f"iptables-{backend}"
    sh(tool, "-w", "-N", "DOCKER-USER")
    sh(tool, "-w", "-P", "FORWARD", "DROP")
    try:
        result = run_module("preflight_info")
    finally:
        sh(tool, "-w", "-P", "FORWARD", "ACCEPT")
        sh(tool, "-w", "-X", "DOCKER-USER")
    found = texts(result, "iptables", "warning")
    assert f"{backend} ipv4 filter DOCKER-USER" in found
    assert f"FORWARD drops by default in {backend} ipv4 filter" in found
    assert result["ready"]


def test_tracing_that_is_off(run_module: Run) -> None:
    # The switch of an instance is its own, that of the top belongs to the whole machine: it is only shown here.
    sh("umount", "/sys/kernel/tracing")
    try:
        found = texts(run_module("preflight_info"), "tracefs", "warning")
    finally:
        sh("mount", "-t", "tracefs", "tracefs", "/sys/kernel/tracing")
    assert "tracefs is not mounted." in found and "mount -t tracefs" in found


def test_a_foreign_program(run_module: Run, tmp_path: pathlib.Path) -> None:
    source = tmp_path / "other.c"
    source.write_text('__attribute__((section("xdp"), used)) int others(void *c) { return 2; }\n')
    sh("clang", "-O2", "-target", "bpf", "-c", str(source), "-o", str(tmp_path / "other.o"))
    name = f"pf{os.getpid() % 100000}"
    sh("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p")
    try:
        sh("ip", "link", "set", "dev", name, "xdp", "obj", str(tmp_path / "other.o"), "sec", "xdp")
        found = texts(run_module("preflight_info"), "xdp", "warning")
    finally:
        sh("ip", "link", "del", name)
    assert f"{name} has the XDP program others of somebody else." in found
    assert f"ip link set dev {name} xdp off" in found


def test_a_network_manager_that_would_take_the_links(run_module: Run) -> None:
    folder = pathlib.Path("/etc/systemd/network")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "00-everything.network"
    file.write_text("[Match]\nType=ether\n[Network]\nDHCP=yes\n")
    try:
        found = run_module("preflight_info")
    finally:
        file.unlink()
    # Whether it matters depends on whether the service runs; tests/unit has both.
    assert "links" in {one["topic"] for one in found["findings"]}
