# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Go, packed as go.dev packs it and served over http: four runs, side by side, and all that must be refused."""

from __future__ import annotations

import io
import pathlib
import tarfile
import typing as t

import pytest
import stand_ins

OLD, NEW = sorted(stand_ins.GO)
URL = f"{stand_ins.HTTP}/go{{version}}.linux-{{arch}}.tar.gz"
HELLO = 'package main\nimport "fmt"\nfunc main() { fmt.Println("made by", 6*7) }\n'
WRONG = "sha256:" + 64 * "0"


def checksum(version: str) -> str:
    return stand_ins.sha256(stand_ins.go_archive(version))


@pytest.fixture
def host(on: t.Any) -> t.Iterator[t.Any]:
    """A host without Go; afterwards without a trace of it."""
    host = on("d12")
    before = host.residue()
    yield host
    host.module("golang", state="absent")
    host.sh("rm -rf /root/.cache/go-build /root/.config/go")
    assert host.residue() == before


def place(host: t.Any, version: str, **more: t.Any) -> dict[str, t.Any]:
    return host.module("golang", version=version, url=URL, checksum=checksum(version), **more)


def test_four_runs_and_a_program_that_runs(host: t.Any) -> None:
    placed = host.module.four_runs("golang", version=NEW, url=URL, checksum=checksum(NEW))
    assert placed["goroot"] == f"/usr/local/go{NEW}" and placed["default"] == NEW
    host.put("/tmp/hello.go", HELLO)
    said = host.sh("HOME=/root sh -lc 'command -v go && GOTOOLCHAIN=local go run /tmp/hello.go'").stdout
    assert said == "/usr/local/go/bin/go\nmade by 42\n"
    assert host.sh(f"stat -c '%U %a' /usr/local/go{NEW} /usr/local/go{NEW}/bin/go").stdout == "root 755\nroot 755\n"
    assert host.sh(f"find /usr/local/go{NEW} /etc/profile.d -not -perm -a+r").stdout == ""


def test_upgrade_downgrade_and_absent(host: t.Any) -> None:
    for version, both in ((OLD, [OLD]), (NEW, [OLD, NEW]), (OLD, [OLD, NEW])):
        placed = place(host, version)
        assert placed["changed"] and placed["default"] == version and placed["versions"] == both
        assert version in host.sh("/usr/local/go/bin/go version").stdout
    beside = place(host, NEW, default=False)
    assert not beside["changed"] and beside["default"] == OLD
    gone = host.module.four_runs("golang", version=OLD, state="absent")
    assert gone["versions"] == [NEW] and gone["default"] == ""
    assert host.sh("ls -d /usr/local/go* /etc/profile.d/*golang* 2>/dev/null", check=False).stdout.split() == [
        f"/usr/local/go{NEW}"
    ]


def test_damage_is_repaired(host: t.Any) -> None:
    place(host, NEW)
    host.sh(f"rm /usr/local/go{NEW}/bin/go")
    assert place(host, NEW)["steps"] == [
        f"set Go {NEW} aside, which does not work",
        f"unpack Go {NEW} to /usr/local/go{NEW}",
        f"delete the files of the former Go {NEW}",
    ]
    host.sh("ln -sfn /nowhere /usr/local/go && rm /etc/profile.d/ebpf-lab-golang.sh")
    assert place(host, NEW)["changed"]
    assert host.sh("readlink /usr/local/go").stdout.strip() == f"go{NEW}"


def test_what_the_server_gives_is_refused(host: t.Any) -> None:
    before = host.residue()
    cases = [
        ({"url": URL, "checksum": WRONG}, f"has the checksum {checksum(NEW)}, not {WRONG}"),
        ({"url": stand_ins.DYING, "checksum": checksum(NEW)}, "the connection ended after"),
        ({"url": stand_ins.DYING, "unverified": True}, "before the file was whole"),
        ({"url": stand_ins.HTTP + "/none.tar.gz", "unverified": True}, "the server answered 404"),
        ({"url": "http://127.0.0.1:9/go.tar.gz", "unverified": True}, "onnection refused"),
        ({"url": f"{stand_ins.HTTP}/go{OLD}.linux-amd64.tar.gz", "unverified": True}, f"it says that it is Go {OLD}"),
    ]
    for given, sentence in cases:
        failed = host.module("golang", version=NEW, fails=True, **given)
        assert sentence in failed["msg"], failed
        assert host.residue() == before, given


def bad_archive(path: pathlib.Path, *members: tuple[str, str, str]) -> str:
    """An archive with these members: type, name, and content or link target."""
    with tarfile.open(path, "w:gz") as tar:
        for kind, name, content in [("0", "go/VERSION", "go1"), *members]:
            member = tarfile.TarInfo(name)
            member.type = kind.encode()
            if kind == "0":
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content.encode()))
            else:
                member.linkname = content
                tar.addfile(member)
    return f"{stand_ins.HTTP}/{path.name}"


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ([("0", "go/../../../etc/escaped", "x")], "written outside of its folder"),
        ([("0", "/etc/escaped", "x")], "written outside of its folder"),
        ([("0", "etc/escaped", "x")], "written outside of its folder"),
        ([("2", "go/away", "/etc")], "a link that leaves its folder"),
        ([("2", "go/away", "../../etc")], "a link that leaves its folder"),
        ([("2", "go/near", "."), ("0", "go/near/through", "x")], "written through a link"),
        ([("1", "go/hard", "/etc/shadow")], "neither file, folder nor link"),
        ([("3", "go/device", "")], "neither file, folder nor link"),
    ],
)
def test_archives_that_leave_their_folder(host: t.Any, members: list[t.Any], sentence: str) -> None:
    before = host.residue()
    path = stand_ins.CACHE / "www" / "bad.tar.gz"
    try:
        failed = host.module("golang", version=NEW, url=bad_archive(path, *members), unverified=True, fails=True)
    finally:
        path.unlink()
    assert sentence in failed["msg"]
    assert host.residue() == before and host.sh("test -e /etc/escaped", check=False).returncode == 1


def test_a_truncated_archive_without_a_checksum(host: t.Any) -> None:
    path = stand_ins.CACHE / "www" / "short.tar.gz"
    path.write_bytes(stand_ins.go_archive(NEW).read_bytes()[:1_000_000])
    try:
        url = f"{stand_ins.HTTP}/short.tar.gz"
        failed = host.module("golang", version=NEW, url=url, unverified=True, fails=True)
    finally:
        path.unlink()
    assert "is not a whole archive" in failed["msg"]


def test_a_full_disk(host: t.Any) -> None:
    host.sh("mkdir /opt/small && mount -t tmpfs -o size=30m tmpfs /opt/small")
    try:
        failed = host.module(
            "golang", version=NEW, url=URL, checksum=checksum(NEW), prefix="/opt/small", profile=False, fails=True
        )
        assert "is full" in failed["msg"]
        assert host.sh("find /opt/small").stdout == "/opt/small\n"
        host.sh("mount -o remount,size=120m /opt/small")  # the archive fits, what is in it does not
        failed = host.module(
            "golang", version=NEW, url=URL, checksum=checksum(NEW), prefix="/opt/small", profile=False, fails=True
        )
        assert "No space left on device" in failed["msg"]
        assert host.sh("find /opt/small").stdout == "/opt/small\n"
    finally:
        host.sh("umount /opt/small && rmdir /opt/small")


def test_foreign_things_stay(host: t.Any) -> None:
    host.sh("mkdir -p /usr/local/go-own/bin && ln -s go-own /usr/local/go")
    try:
        failed = host.module("golang", version=NEW, url=URL, checksum=checksum(NEW), fails=True)
        assert "/usr/local/go would be overwritten" in failed["msg"]
        assert host.sh("ls -A /usr/local | grep -c go1", check=False).stdout.strip() == "0"
        assert place(host, NEW, overwrite=True)["default"] == NEW
        host.module("golang", state="absent")
        assert host.sh("readlink /usr/local/go").stdout.strip() == "go-own"
    finally:
        host.sh("rm -rf /usr/local/go /usr/local/go-own")
    host.sh(f"mkdir /usr/local/go{NEW}")
    try:
        failed = host.module("golang", version=NEW, url=URL, checksum=checksum(NEW), fails=True)
        assert f"/usr/local/go{NEW} is there, and this lab did not put it there" in failed["msg"]
    finally:
        host.sh(f"rmdir /usr/local/go{NEW}")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "version: None is not a release of Go"),
        ({"version": "latest"}, "version: 'latest' is not a release of Go"),
        ({"version": NEW}, "checksum: '' is empty"),
        ({"version": NEW, "checksum": "md5:1"}, "checksum: 'md5:1' is not a checksum"),
        ({"version": NEW, "checksum": WRONG, "unverified": True}, "unverified: True contradicts the checksum"),
        ({"version": NEW, "unverified": True, "url": "ftp://a/b"}, "url: 'ftp://a/b' cannot be fetched from"),
        ({"version": NEW, "unverified": True, "prefix": "/no/such"}, "prefix: '/no/such' is not a directory"),
    ],
)
def test_bad_input(host: t.Any, given: dict[str, t.Any], sentence: str) -> None:
    assert sentence in host.module("golang", fails=True, **given)["msg"]
