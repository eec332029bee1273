# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ip_forward on the real sysctls, in namespaces and in the main one, and what the kernel changes along."""

from __future__ import annotations

import json
import pathlib
import shutil
import socket
import struct
import subprocess
import time
import typing as t

import pytest

FILE = pathlib.Path("/etc/sysctl.d/60-ebpf-lab.conf")
JOURNAL = pathlib.Path("/var/lib/ebpf.lab/journal.jsonl")
LIST = """
import pathlib
for path in sorted(pathlib.Path("/proc/sys/net").rglob("*")):
    if path.is_file() and path.stat().st_mode & 0o444:
        try:
            print(path, path.read_bytes())
        except OSError as error:
            print(path, error)
"""
VOLATILE = ("route/flush", "nf_conntrack_count", "/stat", "neigh/", "mtu", "icmp/")


class Box:
    """A namespace ("" is the one that the test runs in) with two interfaces that have settings of their own."""

    def __init__(self, netns: str) -> None:
        self.netns = netns

    def sh(self, *argv: str) -> str:
        """Run a command in the namespace."""
        inside = ["nsenter", f"--net=/run/netns/{self.netns}"] if self.netns else []
        return subprocess.run([*inside, *argv], capture_output=True, text=True, check=True).stdout

    def get(self, name: str) -> str:
        """One sysctl below net."""
        return self.sh("cat", f"/proc/sys/net/{name}").strip()

    def set(self, name: str, value: str) -> None:
        """Set one."""
        self.sh("sh", "-c", 'echo "$2" > "/proc/sys/net/$1"', "set", name, value)

    def everything(self) -> list[str]:
        """All of /proc/sys/net."""
        lines = self.sh("python3", "-c", LIST).splitlines()
        return [line for line in lines if not any(word in line for word in VOLATILE)]


@pytest.fixture(params=["namespace", "main"])
def box(request: pytest.FixtureRequest, sandbox_ns: t.Callable[[], str]) -> t.Iterator[Box]:
    """A namespace, and the main one of the isolated machine; forwarding is off, with exceptions on interfaces."""
    box = Box(sandbox_ns() if request.param == "namespace" else "")
    box.sh("ip", "link", "add", "va", "type", "veth", "peer", "name", "vb.100")
    for switch in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        box.set(switch, "0")
    for family in ("ipv4", "ipv6"):
        box.set(f"{family}/conf/va/forwarding", "1")
    box.set("ipv4/conf/all/accept_redirects", "0")
    yield box
    box.sh("ip", "link", "del", "va")
    FILE.unlink(missing_ok=True)


def test_on_and_back_with_all_that_changes_along(box: Box, four_runs: t.Any, journal: t.Any) -> None:
    before = box.everything()
    result = four_runs("ip_forward", ipv4=True, ipv6=True, netns=box.netns)
    assert (result["ipv4"], result["ipv6"]) == (True, True)
    assert box.get("ipv4/ip_forward") == box.get("ipv6/conf/vb.100/forwarding") == "1"
    assert result["persisted"] == (None if box.netns else str(FILE))
    assert FILE.exists() == (not box.netns)
    assert f"sysctl:{box.netns}:net.ipv6.conf.vb/100.forwarding" in journal()
    four_runs("ip_forward", state="restored", netns=box.netns)
    assert box.everything() == before
    assert not FILE.exists()
    assert journal() == {}


def test_the_plan_says_exactly_what_the_kernel_does(box: Box, run_module: t.Any) -> None:
    # The diff of a run is the model's; a second look at the kernel must show the same values.
    result = run_module("ip_forward", ipv4=True, ipv6=True, netns=box.netns)
    again = run_module("ip_forward", ipv4=True, ipv6=True, netns=box.netns)
    assert again["diff"]["before"] == result["diff"]["after"]


def test_on_already_is_not_written(box: Box, run_module: t.Any) -> None:
    box.set("ipv4/ip_forward", "1")
    box.set("ipv4/conf/va/forwarding", "0")  # what a second write would reset
    before = box.everything()
    run_module("ip_forward", ipv4=True, netns=box.netns)
    assert box.everything() == before
    run_module("ip_forward", state="restored", netns=box.netns)
    assert box.everything() == before
    assert not FILE.exists()


def test_drift_is_repaired_and_the_first_state_is_kept(box: Box, four_runs: t.Any) -> None:
    before = box.everything()
    four_runs("ip_forward", ipv4=True, netns=box.netns)
    box.set("ipv4/ip_forward", "0")
    assert four_runs("ip_forward", ipv4=True, netns=box.netns)["steps"] == [
        "set net.ipv4.ip_forward to 1" + (f" in namespace {box.netns}" if box.netns else "")
    ]
    box.sh("ip", "link", "add", "later", "type", "veth", "peer", "name", "later1")
    four_runs("ip_forward", state="restored", netns=box.netns)
    assert box.get("ipv4/conf/later/forwarding") == "0"
    box.sh("ip", "link", "del", "later")
    assert box.everything() == before


def test_what_somebody_has_set_since_stays_and_is_named(box: Box, run_module: t.Any, journal: t.Any) -> None:
    run_module("ip_forward", ipv4=True, ipv6=True, netns=box.netns)
    box.set("ipv4/ip_forward", "2")
    box.set("ipv6/conf/va/forwarding", "0")
    result = run_module("ip_forward", state="restored", netns=box.netns)
    assert box.get("ipv4/ip_forward") == "2" and box.get("ipv6/conf/all/forwarding") == "0"
    said = "\n".join(result["warnings"])
    assert "net.ipv4.ip_forward" in said and "is 2 by now" in said and "net.ipv6.conf.va.forwarding" in said
    assert journal() == {}
    box.set("ipv4/ip_forward", "0")


@pytest.mark.case("C9")
def test_a_value_that_the_topology_saved_stays_the_topology_s(box: Box, run_module: t.Any, journal: t.Any) -> None:
    entry = {"has_saved": True, "saved": "0", "wrote": ["1"]}
    key = f"sysctl:{box.netns}:net.ipv4.conf.va.forwarding"
    JOURNAL.parent.mkdir()
    JOURNAL.write_text(f'{{"ebpf.lab journal": 2}}\n{json.dumps({key: entry})}\n', encoding="utf-8")
    run_module("ip_forward", ipv4=True, netns=box.netns)
    run_module("ip_forward", state="restored", netns=box.netns)
    assert box.get("ipv4/ip_forward") == "0" and box.get("ipv4/conf/va/forwarding") == "1"
    assert list(journal()) == [key]


def test_off_and_back(box: Box, four_runs: t.Any) -> None:
    box.set("ipv4/ip_forward", "1")
    before = box.everything()
    assert four_runs("ip_forward", ipv4=False, netns=box.netns)["ipv4"] is False
    four_runs("ip_forward", state="restored", netns=box.netns)
    assert box.everything() == before


@pytest.mark.parametrize("box", ["main"], indirect=True)
def test_the_file_keeps_both_and_a_foreign_one_comes_back(box: Box, four_runs: t.Any, run_module: t.Any) -> None:
    FILE.write_text("# mine\nnet.ipv4.conf.all.rp_filter = 1\n", encoding="utf-8")
    four_runs("ip_forward", ipv4=True)
    four_runs("ip_forward", ipv6=True)
    lines = FILE.read_text(encoding="utf-8").splitlines()[1:]
    assert lines == ["net.ipv4.ip_forward = 1", "net.ipv6.conf.all.forwarding = 1"]
    assert FILE.stat().st_mode & 0o777 == 0o644
    FILE.unlink()
    assert four_runs("ip_forward", ipv4=True)["steps"] == [f"write {FILE}"]
    four_runs("ip_forward", state="restored")
    assert FILE.read_text(encoding="utf-8").startswith("# mine")


@pytest.mark.parametrize("box", ["main"], indirect=True)
@pytest.mark.parametrize("first_without_file", [False, True])
def test_restored_after_a_reboot(box: Box, run_module: t.Any, first_without_file: bool) -> None:
    before = box.everything()
    if first_without_file:
        run_module("ip_forward", ipv4=True, persist=False)
    run_module("ip_forward", ipv4=True)
    # The next boot: another boot id for what was volatile, and the file has set the switch.
    lines = [json.loads(line) for line in JOURNAL.read_text(encoding="utf-8").splitlines()]
    for entry in lines[1].values():
        entry.update({"boot": "another boot"} if "boot" in entry else {})
    JOURNAL.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    assert run_module("ip_forward", state="restored")["changed"]
    assert box.everything() == before


@pytest.mark.parametrize("box", ["main"], indirect=True)
def test_without_the_file_the_saved_values_go_with_the_boot(box: Box, run_module: t.Any, journal: t.Any) -> None:
    run_module("ip_forward", ipv4=True, persist=False)
    assert not FILE.exists()
    assert all(entry["boot"] for entry in journal().values())


def test_a_default_route_from_a_router_advertisement(sandbox_ns: t.Any, run_module: t.Any) -> None:
    box = Box(sandbox_ns())
    for argv in (
        "ip link add va type veth peer name vb",
        "ip link set va addrgenmode none",
        "ip link set vb addrgenmode none",
        "ip link set va up",
        "ip link set vb up",
        "ip -6 addr add fe80::1/64 dev va nodad",
        "ip -6 addr add fe80::2/64 dev vb nodad",
    ):
        box.sh(*argv.split())
    box.sh("python3", "-c", ADVERTISE)
    for _ in range(50):
        if "default via fe80::1" in box.sh("ip", "-6", "route"):
            break
        time.sleep(0.1)
    else:
        pytest.fail("the kernel took no default route from the router advertisement")
    message = run_module("ip_forward", ipv6=True, netns=box.netns, fails=True)["msg"]
    assert "vb" in message and "accept_ra" in message
    assert "default via fe80::1" in box.sh("ip", "-6", "route")
    box.set("ipv6/conf/vb/accept_ra", "2")
    assert run_module("ip_forward", ipv6=True, netns=box.netns)["changed"]
    assert "default via fe80::1" in box.sh("ip", "-6", "route")


# Type 134 from a link-local address with hop limit 255 and a router's lifetime of 1800 s (RFC 4861, 4.2).
ADVERTISE = f"""
import socket
out = socket.socket(socket.AF_INET6, socket.SOCK_RAW, {socket.IPPROTO_ICMPV6})
out.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
index = socket.if_nametoindex("va")
out.bind(("fe80::1", 0, 0, index))
out.sendto({struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)!r}, ("ff02::1", 0, 0, index))
"""


@pytest.mark.parametrize("box", ["main"], indirect=True)
def test_a_folder_that_is_not_there_is_made_and_goes_again(box: Box, four_runs: t.Any, journal: t.Any) -> None:
    aside = FILE.parent.with_name("sysctl.aside")
    shutil.copytree(FILE.parent, aside, symlinks=True)
    shutil.rmtree(FILE.parent)
    try:
        result = four_runs("ip_forward", ipv4=True)
        assert result["steps"][-2:] == [f"make the folder {FILE.parent}", f"write {FILE}"]
        four_runs("ip_forward", state="restored")
        assert not FILE.parent.exists() and journal() == {}
    finally:
        shutil.copytree(aside, FILE.parent, symlinks=True)
        shutil.rmtree(aside)


@pytest.mark.parametrize("box", ["main"], indirect=True)
def test_what_is_no_file_is_not_replaced(box: Box, run_module: t.Any, journal: t.Any) -> None:
    FILE.symlink_to("/etc/sysctl.conf")
    said = run_module("ip_forward", ipv4=True, fails=True)["msg"]
    assert "is a symbolic link, which is not replaced" in said and "persist: false" in said
    assert FILE.is_symlink() and box.get("ipv4/ip_forward") == "0" and journal() == {}


@pytest.mark.parametrize("box", ["main"], indirect=True)
def test_a_file_that_somebody_edited_stays_and_is_named(box: Box, run_module: t.Any, journal: t.Any) -> None:
    run_module("ip_forward", ipv4=True)
    FILE.write_text(FILE.read_text(encoding="utf-8") + "net.ipv4.tcp_syncookies = 1\n", encoding="utf-8")
    result = run_module("ip_forward", state="restored")
    assert f"{FILE} is not as this module has written it: it stays." in result["warnings"]
    assert "syncookies" in FILE.read_text(encoding="utf-8") and journal() == {}


def test_where_the_file_has_no_room_nothing_is_left(run_module: t.Any, journal: t.Any) -> None:
    folder = FILE.parent
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", str(folder)], check=True)
    try:
        (folder / "full").write_bytes(bytes(4096))
        said = run_module("ip_forward", ipv4=True, fails=True)["msg"]
        assert "No space left on device" in said and "full: see df" in said
        assert [path.name for path in folder.iterdir()] == ["full"] and journal() == {}
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_restored_after_the_namespace_has_gone(sandbox_ns: t.Any, run_module: t.Any, journal: t.Any) -> None:
    netns = sandbox_ns()
    run_module("ip_forward", ipv4=True, netns=netns)
    subprocess.run(["ip", "netns", "del", netns], check=True)
    assert journal() != {}
    for _ in range(2):
        assert not run_module("ip_forward", state="restored", netns=netns)["changed"]
        assert journal() == {} and not JOURNAL.exists()


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, ["ipv4", "nothing"]),
        ({"state": "restored", "ipv4": True}, ["restored", "leave them out"]),
        ({"ipv4": True, "netns": "not-there"}, ["not-there", "no network namespace"]),
        ({"ipv4": True, "netns": "some", "persist": True}, ["persist", "some"]),
        ({"ipv4": "perhaps"}, ["perhaps"]),
    ],
)
def test_bad_input_is_one_sentence(run_module: t.Any, params: dict[str, t.Any], words: list[str]) -> None:
    message = run_module("ip_forward", **params, fails=True)["msg"]
    assert all(word in message for word in words), message
