# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lecture's packages on four releases: there, at work, in one transaction."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
OPTIONAL = {"go", "bpf_api.h"}


@pytest.mark.parametrize("name", ["d12", "d13", "u22", "u24"])
def test_every_tool_works(on: t.Any, name: str) -> None:
    tools = on(name).module("toolchain_info")["tools"]
    broken = {tool["name"]: tool["why"] for tool in tools if not tool["works"] and tool["name"] not in OPTIONAL}
    if name.startswith("u"):  # the wrapper without a binary: the role bpftool is for that
        assert "wrapper" in broken.pop("bpftool")
    assert not broken
    assert {tool["name"] for tool in tools} >= {"bpftool", "clang", "llc", "ip", "iptables", "pyroute2"}


def test_one_transaction(prepared: dict[str, t.Any]) -> None:
    if prepared["fresh"]:
        assert {prepared["after"][name] - before for name, before in prepared["before"].items()} == {1}


def test_a_fresh_index_is_not_read_again(on: t.Any) -> None:
    host = on("d12")
    read = "stat -c %Y /var/lib/apt/lists /var/cache/apt/pkgcache.bin 2>/dev/null | head -1"
    before = host.sh(read).stdout
    installed = host.module("packages", name=["tree"])
    assert installed["changed"] and "tree" in installed["versions"]
    assert host.sh(read).stdout == before
    host.sh("apt-get -qq -y purge tree")


def test_an_outdated_index_is_read_when_a_package_needs_it(on: t.Any) -> None:
    host = on("d13")
    host.sh("rm -rf /var/lib/apt/lists/* && touch /var/lib/apt/lists")
    host.module.four_runs("packages", name=["tree"], optional=["no-such-package-anywhere"])
    host.sh("apt-get -qq -y purge tree")


@pytest.mark.case("K23")
def test_the_tests_install_their_packages(on: t.Any) -> None:
    """``./lab test`` on a machine without them, as far as apt goes: no index for pip ends it before the stages."""
    host = on("d12")
    host.sh("apt-get -qq -y purge tree >/dev/null; rm -rf /opt/checkout; mkdir -p /opt/checkout/tests")
    try:
        for name in ("lab", "tests/install-packages", "tests/missing-packages"):
            host.put(f"/opt/checkout/{name}", (ROOT / name).read_text(encoding="utf-8"))
        host.sh("chmod +x /opt/checkout/lab /opt/checkout/tests/*; touch /opt/checkout/requirements-test.txt")
        host.put("/opt/checkout/tests/packages", "# A comment\nprocps\nno-such-package-anywhere\n")
        lab = "cd /opt/checkout && PIP_NO_INDEX=1 ./lab test lint"
        failed = host.sh(lab, check=False)
        assert failed.returncode == 1
        assert failed.stdout == "./lab test: installing no-such-package-anywhere\n"
        assert "E: Unable to locate package no-such-package-anywhere\n" in failed.stderr
        assert "apt-get could not install the packages" in failed.stderr.splitlines()[-1]
        host.put("/opt/checkout/tests/packages", "procps\ntree\n")
        assert host.sh(lab, check=False).stdout.startswith("./lab test: installing tree\n./lab: ")
        assert "tree" in host.sh("tree --version").stdout
        assert "installing tree" not in host.sh(lab, check=False).stdout
    finally:
        host.sh("rm -rf /opt/checkout; apt-get -qq -y purge tree")


def test_bad_names(on: t.Any) -> None:
    host = on("d12")
    assert "'Clang' is not the name of a package" in host.module("packages", name=["Clang"], fails=True)["msg"]
    failed = host.module("packages", name=["no-such-package-anywhere"], fails=True)
    assert "Unable to locate package no-such-package-anywhere: not in http" in failed["msg"]
