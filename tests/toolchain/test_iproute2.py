# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""iproute2 from source beside the distribution's, and the header that no package has."""

from __future__ import annotations

import typing as t

import pytest
import stand_ins

URL = f"{stand_ins.GIT_URL}/iproute2"
PROGRAM = """\
#include <stdint.h>
#include <linux/pkt_cls.h>
#include <iproute2/bpf_api.h>
__section("classifier") int one(struct __sk_buff *skb) { return TC_ACT_OK; }
BPF_LICENSE("GPL");
"""
COMPILE = "clang -target bpf -O2 -I/usr/include/$(uname -m)-linux-gnu -D__x86_64__ -c /tmp/api.c -o /tmp/api.o"


@pytest.fixture
def host(on: t.Any) -> t.Iterator[t.Any]:
    """A host with what a build needs, without our iproute2; afterwards without a trace of it."""
    host = on("d12")
    before, verified = host.residue(), host.sh("dpkg -V iproute2", check=False).stdout
    yield host
    host.module("iproute2", state="absent")
    assert host.residue() == before
    assert host.sh("dpkg -V iproute2", check=False).stdout == verified


def test_four_runs_and_a_header_that_compiles(host: t.Any, play: t.Any) -> None:
    assert not host.module("iproute2")["changed"], "the package is there already"
    play.four_runs("iproute2", "--limit", "d12", iproute2_source="git", iproute2_url=URL, iproute2_version="v6.1.0")
    found = host.module("iproute2", source="git", url=URL, version="v6.1.0")
    assert found["version"] == "6.1.0" and found["ip"] == "/usr/local/sbin/ip" and not found["changed"]
    assert host.sh("/usr/local/sbin/tc -V").stdout.startswith("tc utility, iproute2-6.1.0, libbpf ")
    assert "LOOPBACK" in host.sh("/usr/local/sbin/ip -o link show lo").stdout
    assert not host.sh("dpkg -V iproute2", check=False).stdout, "the distribution's files were touched"
    host.put("/tmp/api.c", PROGRAM)
    host.sh(COMPILE)
    assert "classifier" in host.sh("llvm-objdump -h /tmp/api.o").stdout


@pytest.mark.full_proof
def test_upgrade_downgrade_over_the_distributions_files(host: t.Any) -> None:
    given = {"source": "git", "url": URL, "prefix": "/usr"}
    refused = host.module("iproute2", **given, version="v6.1.7", fails=True)
    assert "would be overwritten, and this lab did not put it there" in refused["msg"]
    assert not host.sh("dpkg -V iproute2", check=False).stdout
    for version in ("6.1.6", "6.1.7", "6.1.6"):
        placed = host.module("iproute2", **given, version=f"v{version}", overwrite=True)
        assert placed["changed"] and placed["version"] == version
        assert f"iproute2-{version}," in host.sh("/usr/sbin/ip -V").stdout
    assert host.module("iproute2", state="absent")["changed"]
    assert not host.sh("dpkg -V iproute2", check=False).stdout, "the distribution's files are not back"


def test_what_cannot_be_built_changes_nothing(host: t.Any) -> None:
    before = host.residue()
    archive = stand_ins.original("iproute2", "iproute2_6.1.0.orig.tar.xz", stand_ins.IPROUTE2[3])
    tarball = {"source": "tarball", "url": f"{stand_ins.HTTP}/{archive.name}"}
    host.sh("mkdir /opt/small && mount -t tmpfs -o size=4m tmpfs /opt/small")
    try:
        cases = [
            ({**tarball, "checksum": "sha256:" + 64 * "0"}, "has the checksum sha256:"),
            ({**tarball, "checksum": stand_ins.sha256(archive), "build_dir": "/opt/small"}, "/opt/small is full"),
            ({"source": "git", "url": URL, "version": "v0"}, "has no tag or branch 'v0'"),
            ({"source": "directory", "path": "/etc"}, "has no ip/ip.c"),
            ({"version": "v1"}, "cannot be had from a package"),
            ({"prefix": "usr"}, "prefix: "),
        ]
        for given, sentence in cases:
            assert sentence in host.module("iproute2", fails=True, **given)["msg"], given
            assert host.residue() == before, given
    finally:
        host.sh("umount /opt/small && rmdir /opt/small")
