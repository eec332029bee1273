# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first ``./lab up`` of machines as they are: nothing installed, apt busy, no way out, another Python."""

from __future__ import annotations

import contextlib
import pathlib
import shlex
import subprocess
import typing as t

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MISSING = "clang, bpftool, llc, llvm-objdump, pyroute2, elftools"
LISTS = "/var/lib/apt/lists/lock"
# Holds a lock as apt does, until its standard input ends or somebody was shown to wait for it for a while.
HOLD = """
import fcntl, glob, select, sys, time
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
while not select.select([sys.stdin], [], [], 0.1)[0]:
    if any("waiting" in open(path).read() for path in glob.glob("/run/ebpf.lab-*.progress")):
        time.sleep(1.5)
        break
"""
OURS = "ls -A /var/lib/ebpf.lab /etc/sysctl.d /run/netns /usr/local/src; ip -o link; dpkg -l; ls /var/lib/apt/lists"


def transactions(host: t.Any) -> str:
    return str(host.sh(OURS, check=False).stdout)


@pytest.mark.case("K12")
def test_check_mode_of_a_bare_machine_predicts(first_day: t.Any) -> None:
    host, play = first_day.bare, first_day.play
    before = transactions(host)
    play.lab("up", "bare", "--check")
    assert "[ERROR]" not in play.output and "FAILED" not in play.output
    assert "bare: would install the packages bc," in play.output
    assert f"stage hello: would take 34 steps, once {MISSING} are installed" in play.output
    for title in ("create the veth pair", "compile /usr/local", "load /usr/local", "attach /sys/fs/bpf/ebpf/xdp_allow"):
        assert f"    {title}" in play.output
    assert "known only while it runs: whether xdp_pass can be compiled" in play.output
    assert transactions(host) == before


@pytest.fixture(scope="module")
def bare_python(first_day: t.Any) -> dict[str, str]:
    """Names a Python on the host with the lab's tools that has no library of the distribution's."""
    first_day.tools.sh("python3 -m venv --without-pip /opt/venv")
    return {"ansible_python_interpreter": "/opt/venv/bin/python"}


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A lab whose sources are more than a pipe holds."""
    folder = tmp_path_factory.mktemp("mine")
    source = (ROOT / "files/bpf/xdp_pass.c").read_text(encoding="utf-8")
    (folder / "xdp_pass.c").write_text(source + "/* a line of a comment */\n" * 4000, encoding="utf-8")
    (folder / "mine.yml").write_text((ROOT / "playbooks/labs/xdp_hello.yml").read_text(encoding="utf-8"), "utf-8")
    return str(folder / "mine.yml")


@pytest.mark.case("K11")
@pytest.mark.case("R12")
def test_a_first_up_shows_what_it_installs_and_no_error(
    first_day: t.Any, bare_python: dict[str, str], mine: str
) -> None:
    """And the lab, which starts under a Python without the libraries, goes on under the one that they are for."""
    host, play = first_day.tools, first_day.play
    host.sh("dpkg --purge python3-pyroute2")
    few = {"_prerequisites_packages": ["iproute2"], "_prerequisites_optional": []}
    play.lab("up", "tools", lab=mine, **few, **bare_python)
    assert "[ERROR]" not in play.output and "lacks" not in play.output
    lines = [line for line in play.output.splitlines() if line.startswith("  tools: ")]
    assert lines[0] == "  tools: install the packages python3-pyroute2"
    assert any(line.startswith("  tools: done in ") and "python3-pyroute2" in line for line in lines)
    assert "lab xdp_hello, stage hello" in play.output
    assert not [one for one in host.module("preflight_info")["findings"] if one["level"] == "problem"]


@pytest.mark.case("R12")
def test_another_python_keeps_check_mode(first_day: t.Any, bare_python: dict[str, str], mine: str) -> None:
    host, play = first_day.tools, first_day.play
    absent = {"variables": bare_python, "lab": mine, "state": "absent"}
    for check, left in ((["--check"], 0), ([], 1)):
        assert play.task("tools", "lab", *check, **absent)["changed"] == 1
        assert host.sh("ip link show veth1", check=False).returncode == left


@contextlib.contextmanager
def held(host: t.Any, path: str) -> t.Iterator[None]:
    """Somebody holds the lock, as apt does."""
    argv = host.fleet.ssh(host.name, shlex.join(["python3", "-c", HOLD, path]))
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield
        finally:
            process.stdin.close()


@pytest.mark.case("K3")
def test_who_holds_a_lock_of_apt_is_named(first_day: t.Any) -> None:
    host, path = first_day.tools, "/var/lib/dpkg/lock-frontend"
    with held(host, path):
        failed = host.module("packages", name=["tree"], lock_timeout=1, fails=True)
        assert f"holds {path}, still after 1 seconds" in failed["msg"] and "lock_timeout" in failed["msg"]
        assert failed["lock"]["path"] == path and failed["lock"]["command"].startswith("python3 -c")
        found = [one for one in host.module("preflight_info")["findings"] if one["topic"] == "apt"]
        assert [one["level"] for one in found] == ["warning"] and path in found[0]["what"]


@pytest.mark.case("K3")
def test_a_lock_of_apt_is_waited_for(first_day: t.Any) -> None:
    host, play = first_day.tools, first_day.play
    with held(host, LISTS):
        play.task("tools", "packages", name=["tree"])
    assert "tools: waiting for apt's lock, up to 300 s more: process " in play.output
    assert f"holds {LISTS}" in play.output and "  tools: done in " in play.output
    host.sh("dpkg --purge tree")


@pytest.mark.case("K4")
def test_an_archive_out_of_reach_is_named(first_day: t.Any) -> None:
    host = first_day.tools
    with host.without_archives():
        failed = host.module("packages", name=["tree"], fails=True)
        assert failed["msg"].startswith(
            "installing tree: The archive http://127.0.0.1:9/debian cannot be reached: Could not connect"
        )
        host.sh("mv /usr/bin/ping /usr/bin/ping.kept")
        try:
            found = host.module("preflight_info")
        finally:
            host.sh("mv /usr/bin/ping.kept /usr/bin/ping")
        assert not found["ready"]
        problem = found["findings"][0]
        assert (problem["topic"], problem["level"]) == ("archive", "problem") and "ping" in problem["why"]
        assert "http://127.0.0.1:9/debian cannot be reached" in problem["what"]


@pytest.mark.case("K4")
def test_an_archive_that_is_not_needed_may_be_out_of_reach(first_day: t.Any) -> None:
    host = first_day.tools
    host.sh("echo 'deb http://127.0.0.1:9/other x main' >/etc/apt/sources.list.d/other.list")
    try:
        assert host.module("packages", name=["tree"], cache_valid_time=0)["changed"]
        failed = host.module("packages", name=["no-such-package"], fails=True)
        assert "no-such-package: The archive http://127.0.0.1:9/other cannot be reached" in failed["msg"]
    finally:
        host.sh("rm /etc/apt/sources.list.d/other.list; dpkg --purge tree")


# An archive on disk, without a package, whose index has the date $2.
ARCHIVE = """
mkdir -p $1/dists/x/main/binary-amd64 && cd $1/dists/x && touch main/binary-amd64/Packages
printf 'Suite: x\\nArchitectures: amd64\\nComponents: main\\nDate: %s\\nSHA256:\\n %s 0 main/binary-amd64/Packages\\n' \
    "$(date -Ru -d "$2")" "$(sha256sum </dev/null | cut -d ' ' -f 1)" >Release
"""


@pytest.mark.case("K4")
def test_what_is_wrong_with_an_archive(first_day: t.Any) -> None:
    host = first_day.tools
    for name, date in (("tomorrow", "+1 day"), ("unsigned", "now")):
        host.sh(shlex.join(["sh", "-e", "-c", ARCHIVE, "archive", f"/opt/{name}", date]))
    with host.without_archives():
        host.put(
            "/etc/apt/sources.list", "deb [trusted=yes] file:/opt/tomorrow x main\ndeb file:/opt/unsigned x main\n"
        )
        said = host.module("packages", name=["tree"], fails=True)["msg"]
    assert "file:/opt/tomorrow is of a later time than this machine's clock: its index is not valid yet" in said
    assert "file:/opt/unsigned is not signed by a key that this machine trusts" in said


@pytest.mark.case("R12")
def test_a_library_that_is_there_and_broken_is_named(first_day: t.Any) -> None:
    host = first_day.tools
    path = host.sh("ls -d /usr/lib/python3/dist-packages/pyroute2/netlink/rtnl/ifinfmsg*").stdout.strip()
    host.sh(f"mv {path} /opt/kept")
    try:
        said = host.module("veth", name="one", peer={"name": "other"}, fails=True)["msg"]
        preflight = host.module("preflight_info")
    finally:
        host.sh(f"mv /opt/kept {path}")
    assert "The Python library pyroute2 is there and /usr/bin/python3 cannot import it: " in said
    assert "apt-get install --reinstall python3-pyroute2" in said
    assert "pyroute2 is there and cannot be imported" in preflight["findings"][0]["what"] and not preflight["ready"]


@pytest.mark.case("R12")
def test_a_python_that_is_too_old_is_named(first_day: t.Any, bare_python: dict[str, str]) -> None:
    host, play = first_day.tools, first_day.play
    pretend = "import sys; sys.version_info = (3, 8, 18, 'final', 0)"
    host.sh(f'cp -a /opt/venv /opt/old && echo "{pretend}" >$(echo /opt/old/lib/python3*/site-packages)/old.pth')
    old = {"ansible_python_interpreter": "/opt/old/bin/python"}
    play.task("tools", "packages", fails=True, variables=old, name=["tree"])
    # Which of the two speaks depends on the version of ansible-core.
    assert "ebpf.lab needs Python 3.9 or newer" in play.output or "minimum of Python version" in play.output
