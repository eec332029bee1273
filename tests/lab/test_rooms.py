# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab in rooms as they are: on the room's own subnet, beside strange interfaces, under names that lie."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import time
import typing as t

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._kernel.netns import in_netns
from ansible_collections.ebpf.lab.plugins.module_utils._lab.schema import WORK_FOLDER
from ansible_collections.ebpf.lab.tests.kernel.conftest import JOURNAL, RunModule, collections, run_module, sh, warm  # noqa: F401
from ansible_collections.ebpf.lab.tests.residue.snapshot import differences, take

from .conftest import Lab
from .test_playbooks import Playbooks

ROOM = "192.168.100.0/24"
ROOM_PEER = "192.168.100.1/24"
SESSION = "192.168.100.1 50000 192.168.100.57 22"
Result = dict[str, t.Any]


class Module:
    """The lecture's lab by the module ``lab`` as a process: its environment is that of an SSH session, or is not."""

    def __init__(self, run: RunModule) -> None:
        lab = Lab("lecture2")
        self._run = run
        # What compiles nothing is enough here.
        self._params = {**lab.params("present", "environment", traffic=False), "file": "lecture2.yml"}

    def __call__(self, **options: t.Any) -> Result:
        return self._run("lab", **{**self._params, **options})

    def preflight(self, **options: t.Any) -> Result:
        params = {key: self._params[key] for key in ("lab", "content", "file")}
        return self._run("preflight_info", **{**params, **options})


@pytest.fixture
def module(run_module: RunModule, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Module]:  # noqa: F811
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    run = Module(run_module)
    yield run
    if JOURNAL.exists():
        run(state="absent")
    shutil.rmtree(WORK_FOLDER, ignore_errors=True)


@pytest.fixture
def uplink() -> t.Iterator[None]:
    """eth0, whose other end is in a namespace that is the room."""
    sh("ip", "netns", "add", "room")
    sh("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "port", "netns", "room")
    sh("ip", "link", "set", "eth0", "addrgenmode", "none", "up")  # nothing of IPv6 that settles while a test looks
    sh("ip", "-n", "room", "link", "set", "port", "addrgenmode", "none", "up")
    sh("ip", "-n", "room", "addr", "add", ROOM_PEER, "dev", "port")
    yield
    sh("ip", "link", "del", "eth0")
    sh("ip", "netns", "del", "room")


def in_the_room() -> None:
    """What a host has that NetworkManager set up: an address without its route, and the route with a metric."""
    sh("ip", "addr", "add", "192.168.100.57/24", "dev", "eth0", "noprefixroute")
    sh(*"ip route add 192.168.100.0/24 dev eth0 proto kernel scope link src 192.168.100.57 metric 100".split())


@contextlib.contextmanager
def by_environment() -> t.Iterator[None]:
    """The session of the process that runs the module."""
    os.environ["SSH_CONNECTION"] = SESSION
    try:
        yield
    finally:
        del os.environ["SSH_CONNECTION"]


@contextlib.contextmanager
def by_gateway() -> t.Iterator[None]:
    """No session, as on the machine itself: what counts is the default route."""
    sh("ip", "route", "add", "default", "via", "192.168.100.1", "dev", "eth0", "metric", "100")
    yield


@contextlib.contextmanager
def by_connection() -> t.Iterator[None]:
    """A session that the module's process does not descend from: a real sshd, and a connection to it."""
    folder = pathlib.Path("/run/test-sshd")
    folder.mkdir()
    key = folder / "key"
    sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    argv = [shutil.which("sshd", path="/usr/sbin:/usr/local/sbin") or "sshd", "-D", "-f", "/dev/null"]
    argv += ["-o", f"HostKey={key}", "-o", "ListenAddress=192.168.100.57:2222", "-o", "PidFile=none"]
    daemon = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    try:
        with in_netns("room", _connected) as connection:
            assert connection.recv(3) == b"SSH"
            yield
    finally:
        daemon.terminate()
        daemon.wait()
        shutil.rmtree(folder)


def _connected() -> socket.socket:
    deadline = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(("192.168.100.57", 2222), timeout=10)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def problems(result: Result) -> str:
    return " ".join(
        f"{one['what']} {one['why']} {one['cure']}" for one in result["findings"] if one["level"] == "problem"
    )


@pytest.mark.case("R1")
@pytest.mark.parametrize("reached", [by_environment, by_gateway, by_connection])
def test_a_room_on_the_labs_subnet(module: Module, uplink: None, reached: t.Any) -> None:
    in_the_room()
    with reached():
        before = take() if reached is by_connection else {}
        carries = "default route" if reached is by_gateway else "SSH session"
        found = problems(module.preflight())
        refused = module(fails=True)["msg"]
        assert not before or not differences(before, take())
        for text in (found, refused):
            for word in ("192.168.100.1/24", "veth1", ROOM, "eth0", carries, "another subnet", "force"):
                assert word in text, (word, text)
        assert in_netns("room", _answers)


def _answers() -> bool:
    return sh("ping", "-c1", "-W1", "192.168.100.57", check=False).returncode == 0


@pytest.mark.case("R1")
def test_a_room_whose_network_holds_the_labs(module: Module, uplink: None) -> None:
    sh("ip", "addr", "add", "192.168.7.57/16", "dev", "eth0")
    sh("ip", "route", "add", "default", "via", "192.168.0.1", "dev", "eth0")
    # Nor are tools installed first for what is refused in any case.
    ping = shutil.which("ping") or ""
    sh("mount", "--bind", "/etc/hostname", ping)
    try:
        assert "192.168.0.0/16" in module(fails=True, traffic=True)["msg"]
    finally:
        sh("umount", ping)
    assert "192.168.0.0/16" in problems(module.preflight())


@pytest.mark.case("R1")
def test_other_rooms_are_no_trouble(module: Module, uplink: None, monkeypatch: pytest.MonkeyPatch) -> None:
    sh("ip", "addr", "add", "192.168.101.57/24", "dev", "eth0")
    sh("ip", "route", "add", "default", "via", "192.168.101.1", "dev", "eth0")
    monkeypatch.setenv("SSH_CONNECTION", "192.168.101.9 50000 192.168.101.57 22")
    assert module()["changed"]
    assert not problems(module.preflight())
    assert not module()["changed"]
    # A session from the lab's own namespace, and one that is long over, are nobody's lifeline.
    for session in ("192.168.100.2 50000 192.168.100.1 22", SESSION):
        monkeypatch.setenv("SSH_CONNECTION", session)
        sh("ip", "addr", "flush", "dev", "veth1")
        assert module()["changed"]


@pytest.mark.case("R1")
def test_who_means_it(module: Module, uplink: None) -> None:
    in_the_room()
    sh("ip", "route", "add", "default", "via", "192.168.100.1", "dev", "eth0")
    assert module(check=True, force=True)["changed"]
    assert not problems(module.preflight(force=True))


@pytest.mark.case("R1")
def test_the_playbooks_say_it(uplink: None, tmp_path: pathlib.Path) -> None:
    in_the_room()
    with by_environment():
        play = Playbooks(tmp_path)
        for name in ("preflight", "provision"):
            done = play(name)
            said = " ".join((done.stdout + done.stderr).split())
            assert done.returncode == 2, said
            assert "192.168.100.0/24 on eth0" in said and "lab_force=true" in said, said
        assert not os.path.exists("/var/lib/ebpf.lab")


def bound(source: str) -> None:
    pathlib.Path("/run/netns/vns1").touch()
    sh("mount", "--bind", source, "/run/netns/vns1")


def the_hosts_own() -> None:
    bound("/proc/self/ns/net")


def the_hosts_by_attach() -> None:
    sh("ip", "netns", "attach", "vns1", "1")


def a_link_to_the_hosts() -> None:
    os.symlink("/proc/1/ns/net", "/run/netns/vns1")


def a_mount_of_a_file() -> None:
    bound("/etc/hostname")


def a_link_to_nothing() -> None:
    os.symlink("/run/netns/nowhere", "/run/netns/vns1")


@pytest.fixture(scope="module")
def lab_at_environment(lecture: Lab) -> Lab:
    lecture.up("environment", traffic=False)
    return lecture


@pytest.mark.case("R9")
@pytest.mark.parametrize(
    "lie", [the_hosts_own, the_hosts_by_attach, a_link_to_the_hosts, a_mount_of_a_file, a_link_to_nothing]
)
def test_a_name_that_stands_for_something_else(lab_at_environment: Lab, lie: t.Callable[[], None]) -> None:
    def hosts() -> str:
        return sh("ip", "-4", "route", "show").stdout + sh("ip", "-br", "addr", "show", "dev", "lo").stdout

    lab = lab_at_environment
    lab.reset("environment", traffic=False)
    before = hosts()
    sh("ip", "netns", "del", "vns1")
    lie()
    verified = lab.verify("environment")
    assert "The namespace vns1 is there" in verified["failed"]
    assert "default" not in hosts()
    result = lab.reset("environment")
    assert not result["failed"], result["failed"]
    assert hosts() == before
    assert not os.path.exists("/run/netns/nowhere")
    assert sh("ip", "-n", "vns1", "-br", "link", "show", "vpeer1").stdout
    assert not lab.reset("environment", traffic=False)["changed"]


@pytest.mark.case("R9")
def test_down_takes_the_name_and_leaves_the_host(lab_at_environment: Lab) -> None:
    lab = lab_at_environment
    sh("ip", "netns", "del", "vns1")
    the_hosts_own()
    links = sh("ip", "-br", "link", "show", "lo").stdout
    lab.down()
    assert not os.path.lexists("/run/netns/vns1")
    assert sh("ip", "-br", "link", "show", "lo").stdout == links


STRANGE = (b"caf\xe9", "grün".encode(), b"red\x1b[31m", b"nul\x7f\x01")


@pytest.fixture
def strange_links() -> t.Iterator[None]:
    """Interfaces under names that are no ASCII, no UTF-8, or no text at all, up and with routes of both families."""
    for number, name in enumerate(STRANGE):
        sh("ip", "link", "add", os.fsdecode(name), "type", "bridge")
        sh("ip", "addr", "add", f"10.77.{number}.1/24", "dev", os.fsdecode(name))
        sh("ip", "addr", "add", f"fd77:{number}::1/64", "dev", os.fsdecode(name), "nodad")
        sh("ip", "link", "set", os.fsdecode(name), "up")
    sh("ip", "link", "property", "add", "dev", os.fsdecode(STRANGE[1]), "altname", "über-uns")
    sh("ip", "route", "add", "default", "via", "10.77.0.2", "dev", os.fsdecode(STRANGE[0]))
    sh("ip", "netns", "add", "caf\udce9")
    yield
    sh("ip", "netns", "del", "caf\udce9")
    for name in STRANGE:
        sh("ip", "link", "del", os.fsdecode(name))


@pytest.mark.case("R8")
def test_interfaces_with_strange_names(module: Module, strange_links: None) -> None:
    preflight = module.preflight()
    assert not problems(preflight)
    assert any(r"caf\xe9 carries the default route" in one["what"] for one in preflight["findings"])
    assert module(traffic=True)["changed"]
    assert module(stage="hello")["changed"]
    assert module(state="verified", stage="hello")["facts"]
    sh("ip", "addr", "flush", "dev", "veth1")
    assert module(stage="", exclusive=True)["changed"]
    assert module(state="absent")["changed"]
    assert sh("sysctl", "-n", "net.ipv4.ip_forward").stdout.strip() == "0"
