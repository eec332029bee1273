# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bpftool from the package and from source: it answers, it is static by its ELF headers, it loads and attaches."""

from __future__ import annotations

import pathlib
import subprocess
import time
import typing as t

import pytest
import stand_ins

URL = f"{stand_ins.GIT_URL}/linux"
OURS = "/usr/local/sbin/bpftool"
JOURNAL = "/var/lib/ebpf.lab/journal.jsonl"
FROM_GIT = {"source": "kernel", "origin": "git", "url": URL}
PROGRAM = pathlib.Path(__file__).parents[2] / "files" / "bpf" / "xdp_pass.c"
USE = """
set -e
mkdir -p /tmp/bpffs && mount -t bpf bpf /tmp/bpffs
trap 'ip link del tc-a 2>/dev/null; umount /tmp/bpffs; rmdir /tmp/bpffs' EXIT
clang -target bpf -O2 -g -I/usr/include/$(uname -m)-linux-gnu -c /tmp/xdp_pass.c -o /tmp/xdp_pass.o
ip link add tc-a type veth peer name tc-b
BPFTOOL prog load /tmp/xdp_pass.o /tmp/bpffs/program type xdp
BPFTOOL net attach xdp pinned /tmp/bpffs/program dev tc-a
ip -j link show dev tc-a
"""


@pytest.fixture
def clean(on: t.Any) -> t.Iterator[t.Callable[[str], t.Any]]:
    """Hosts without our bpftool; afterwards without a trace of it."""
    before: dict[str, str] = {}

    def get(name: str) -> t.Any:
        before.setdefault(name, on(name).residue())
        return on(name)

    yield get
    for name, residue in before.items():
        on(name).module("bpftool", state="absent")
        assert on(name).residue() == residue


def use(host: t.Any, bpftool: str = OURS) -> None:
    """Load the lab's program with it and attach it to a link."""
    host.put("/tmp/xdp_pass.c", PROGRAM.read_text(encoding="utf-8"))
    assert '"xdp":' in host.sh(USE.replace("BPFTOOL", bpftool)).stdout


def headers(host: t.Any, path: str = OURS) -> str:
    """The ELF headers as binutils see them: not the way in which the module looks."""
    return host.sh(f"readelf --program-headers --dynamic --sections {path}").stdout


def test_packages_on_every_release(play: t.Any, clean: t.Any) -> None:
    for name in ("d12", "d13", "u22", "u24"):
        clean(name)
    ubuntu = "u22,u24"
    for name in ubuntu.split(","):  # the trap: a file that is there and has nothing to call
        assert clean(name).sh("/usr/sbin/bpftool version", check=False).returncode == 2
        failed = clean(name).module("bpftool", link_versioned=False, fails=True)
        assert "no linux-tools for the running kernel" in failed["msg"]
    play.four_runs("bpftool", "--limit", ubuntu)
    assert not any(count["changed"] for count in play("bpftool").values())
    for name in ("d12", "d13", "u22", "u24"):
        found = clean(name).module("bpftool")
        assert found["version"] and found["binary"] == (OURS if name.startswith("u") else "/usr/sbin/bpftool")
        assert ("wrapper" in found["package_says"]) == name.startswith("u")
        use(clean(name), found["binary"])
    play("bpftool", bpftool_state="absent")


@pytest.mark.full_proof
def test_the_repository_on_its_own(clean: t.Any) -> None:
    host = clean("d12")
    given = {"source": "libbpf_mirror", "url": f"{stand_ins.GIT_URL}/bpftool", "version": "v7.1.0"}
    built = host.module("bpftool", **given)
    assert built["build"]["static"] and built["features"]["skeletons"] and "INTERP" not in headers(host)
    assert built["libbpf_version"] == "1.1"
    assert not host.module("bpftool", **given)["changed"]
    use(host)


@pytest.mark.full_proof
def test_static_from_git_and_rebuilt_only_when_something_changed(clean: t.Any, servers: pathlib.Path) -> None:
    host, tree = clean("d12"), servers / "linux"
    stand_ins.run("git", "switch", "-q", "-C", "class", "v6.1", cwd=tree)
    first = host.module.four_runs("bpftool", **FROM_GIT, version="class")
    assert first["binary"] == OURS and first["build"]["static"] and first["features"]["skeletons"]
    assert first["libbpf_version"] and 1_000_000 < first["size"] < 3_000_000
    said = headers(host)
    assert "INTERP" not in said and "NEEDED" not in said and ".symtab" not in said
    assert host.sh(f"stat -c '%U %a' {OURS}").stdout == "root 755\n"
    use(host)

    main = tree / "tools/bpf/bpftool/main.c"
    good = main.read_text(encoding="utf-8")

    main.write_text(good + "\nthis is not C\n", encoding="utf-8")
    stand_ins.commit(tree, "broken")
    failed = host.module("bpftool", **FROM_GIT, version="class", fails=True)
    assert "main.c" in failed["msg"] and "error:" in failed["msg"] and failed["log"]
    assert host.sh(f"sha256sum {OURS}").stdout.startswith(first["sha256"])

    main.write_text(good.replace("Usage: %s", "Use: %s"), encoding="utf-8")
    stand_ins.commit(tree, "upgrade")
    upgraded = host.module("bpftool", **FROM_GIT, version="class")
    assert upgraded["changed"] and upgraded["sha256"] != first["sha256"]
    assert "Use: " in host.sh(f"{OURS} help 2>&1", check=False).stdout

    away = {**FROM_GIT, "url": f"{stand_ins.GIT_URL}/no-such-repository"}
    assert "asking git://" in host.module("bpftool", **away, version="class", fails=True)["msg"]
    missing = host.module("bpftool", **FROM_GIT, version="v99", fails=True)
    assert "has no tag or branch 'v99'" in missing["msg"]

    # The same commit by its tag: nothing to build; a downgrade by the tag: built again.
    assert host.module("bpftool", **FROM_GIT, version="v6.1", check=True)["changed"]
    os_name = stand_ins.run("git", "rev-parse", "class", cwd=tree).strip()
    assert not host.module("bpftool", **FROM_GIT, version=os_name, check=True)["changed"]


@pytest.mark.full_proof
def test_a_killed_build_then_a_good_one(clean: t.Any) -> None:
    host = clean("d12")
    process = subprocess.Popen(
        host.fleet.ssh(
            host.name,
            "cd / && exec env PYTHONPATH=/opt/ebpf.lab-tests python3 -m "
            "ansible_collections.ebpf.lab.plugins.modules.bpftool",
        ),
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    arguments = f'"source": "kernel", "url": "{URL}", "version": "v6.1"'
    process.stdin.write(f'{{"ANSIBLE_MODULE_ARGS": {{{arguments}}}}}')
    process.stdin.close()
    find = "pgrep -f '^/usr/bin/python3 -m ansible_collections.*bpftool|^python3 -m ansible_collections.*bpftool'"
    for _try in range(200):
        if host.sh("pgrep -x cc1", check=False).stdout:
            break
        time.sleep(0.1)
    host.sh(f"kill -9 $({find})")
    process.wait()
    assert host.sh(f"test -e {OURS}", check=False).returncode == 1
    time.sleep(1)
    assert not host.sh("pgrep -x 'make|cc1'", check=False).stdout, "the compilers outlived their module"
    built = host.module("bpftool", **FROM_GIT, version="v6.1")
    assert built["changed"] and built["build"]["static"]


@pytest.mark.parametrize("name", [pytest.param("u22", marks=pytest.mark.full_proof), "u24"])
def test_static_on_ubuntu(clean: t.Any, name: str) -> None:
    host = clean(name)
    archive = stand_ins.source_archive(
        stand_ins.CACHE / "www" / "linux-6.1.tar.gz", stand_ins.CACHE / "linux-6.1", "linux-6.1"
    )
    given = {"source": "kernel", "origin": "tarball", "url": f"{stand_ins.HTTP}/{archive.name}"}
    wrong = host.module("bpftool", **given, checksum="sha256:" + 64 * "0", fails=True)
    assert "has the checksum sha256:" in wrong["msg"]
    dying = host.module("bpftool", **{**given, "url": stand_ins.DYING}, checksum=stand_ins.sha256(archive), fails=True)
    assert "the connection ended after" in dying["msg"]
    built = host.module("bpftool", **given, checksum=stand_ins.sha256(archive))
    assert built["build"]["static"] and "INTERP" not in headers(host)
    use(host)


@pytest.mark.full_proof
def test_where_static_is_impossible(clean: t.Any) -> None:
    host = clean("d13")
    host.sh("rm -rf /tmp/linux && mkdir /tmp/linux")
    tar = ["tar", "-cf", "-", "-C", str(stand_ins.CACHE / "linux-6.1"), "."]
    with subprocess.Popen(tar, stdout=subprocess.PIPE) as tree:
        subprocess.run(host.fleet.ssh(host.name, "tar -xf - -C /tmp/linux"), stdin=tree.stdout, check=True)
    given = {"source": "kernel", "origin": "directory", "path": "/tmp/linux"}
    failed = host.module("bpftool", **given, fails=True)
    assert "cannot be linked statically on this host" in failed["msg"] and " eu_" in failed["msg"]
    built = host.module("bpftool", **given, static="preferred")
    assert not built["build"]["static"] and " eu_" in built["build"]["not_static_because"]
    assert "libelf.so.1" in headers(host)
    use(host)
    host.sh("rm -rf /tmp/linux")


@pytest.mark.full_proof
def test_the_distributions_kernel_source(clean: t.Any) -> None:
    host = clean("d12")
    built = host.module("bpftool", source="kernel", origin="package", version="6.1")
    assert built["build"]["source"]["package"] == "linux-source-6.1" and built["build"]["static"]
    assert not host.module("bpftool", source="kernel", origin="package", version="6.1")["changed"]
    failed = host.module("bpftool", source="kernel", origin="package", version="9.9", fails=True)
    assert "knows no package linux-source-9.9" in failed["msg"] and "6.1" in failed["msg"]


@pytest.mark.full_proof
def test_built_once_and_shipped(clean: t.Any, play: t.Any) -> None:
    hosts = {name: clean(name) for name in ("d12", "d13", "u22", "u24")}
    for name in ("d13", "u22", "u24"):
        hosts[name].sh(f"! grep -q '\"build_seconds\"' {JOURNAL} 2>/dev/null")
    tree = {"bpftool_source": "kernel", "bpftool_url": URL, "bpftool_version": "v6.1"}
    play.four_runs("bpftool", **tree, bpftool_build_on="one", bpftool_builder="d12")
    found = {name: host.module("toolchain_info")["tools"][0] for name, host in hosts.items()}
    assert {tool["path"] for tool in found.values()} == {OURS} and all(tool["works"] for tool in found.values())
    sums = {host.sh(f"sha256sum {OURS}").stdout for host in hosts.values()}
    assert len(sums) == 1
    for name in ("d13", "u22", "u24"):
        assert '"build_seconds"' not in hosts[name].sh(f"cat {JOURNAL}").stdout
        assert hosts[name].sh("ls /var/tmp").stdout.count("ebpf.lab") == 0
    use(hosts["d13"])


def test_a_full_disk(clean: t.Any) -> None:
    host = clean("d12")
    host.sh("mkdir /opt/small && mount -t tmpfs -o size=9m tmpfs /opt/small")
    try:
        failed = host.module("bpftool", **FROM_GIT, version="v6.1", build_dir="/opt/small", fails=True)
        assert "the file system of /opt/small is full" in failed["msg"]
        assert host.sh("find /opt/small").stdout == "/opt/small\n"
    finally:
        host.sh("umount /opt/small && rmdir /opt/small")


def test_foreign_binaries_stay(clean: t.Any) -> None:
    host = clean("d12")
    path = "/usr/sbin/bpftool"
    digest = host.sh(f"sha256sum {path}").stdout.split()[0]
    given = {"source": "binary", "path": path, "static": "no"}
    wrong = host.module("bpftool", **given, checksum="sha256:" + 64 * "0", fails=True)
    assert "is not the binary that the building host made" in wrong["msg"]
    not_static = {**given, "static": "required", "checksum": f"sha256:{digest}"}
    assert "is not linked statically: it needs lib" in host.module("bpftool", **not_static, fails=True)["msg"]
    host.sh(f"cp /bin/true {OURS}")
    try:
        refused = host.module("bpftool", **given, checksum=f"sha256:{digest}", fails=True)
        assert f"{OURS} would be overwritten, and this lab did not put it there" in refused["msg"]
        placed = host.module("bpftool", **given, checksum=f"sha256:{digest}", overwrite=True)
        assert placed["sha256"] == digest
        host.module("bpftool", state="absent")
        assert host.sh(f"cmp /bin/true {OURS}").returncode == 0
    finally:
        host.sh(f"rm {OURS}")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"version": "v6.1"}, "version: 'v6.1' cannot be had from a package"),
        ({"source": "kernel", "url": "file:///etc"}, "url: 'file:///etc' cannot be fetched from"),
        ({"source": "kernel", "version": "--upload-pack=x"}, "is not a git ref"),
        ({"source": "kernel", "origin": "tarball"}, "url: '' is empty"),
        ({"source": "kernel", "origin": "tarball", "url": "http://a/b"}, "checksum: '' is empty"),
        ({"source": "kernel", "origin": "directory", "path": "/etc"}, "has no tools/bpf/bpftool/Makefile"),
        ({"source": "libbpf_mirror", "origin": "package"}, "origin: 'package' holds a kernel tree"),
        ({"source": "kernel", "jobs": 0}, "jobs: 0 compiles nothing"),
        ({"source": "binary", "path": "/bin/true"}, "checksum: '' is not a checksum"),
    ],
)
def test_bad_input(clean: t.Any, given: dict[str, t.Any], sentence: str) -> None:
    assert sentence in clean("d12").module("bpftool", fails=True, **given)["msg"]
