# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""xdp_attachment on veth pairs in throwaway namespaces."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PINS = "/sys/fs/bpf/ebpf"
ALLOW, DENY = f"{PINS}/xdp_allow", f"{PINS}/xdp_deny"
FOREIGN = "/sys/fs/bpf/student"
KEPT = "/sys/fs/bpf/ebpf_lab_kept"


def sh(*argv, check=True):
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


def program_id(pin):
    return json.loads(sh("bpftool", "-j", "prog", "show", "pinned", pin))["id"]


def attached(netns, interface):
    """(mode as ip names it, id) or None."""
    link = json.loads(sh("ip", "-n", netns, "-j", "-d", "link", "show", interface))[0]
    return (link["xdp"]["mode"], link["xdp"]["prog"]["id"]) if "xdp" in link else None


def xdp_by_hand(netns, *arguments):
    """Run ip in a namespace as a student would; ip -n mounts a /sys of its own, in which no pin is to be seen."""
    sh("nsenter", f"--net=/run/netns/{netns}", "ip", *arguments)


NATIVE, GENERIC = 1, 2


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """xdp_pass and xdp_drop, compiled without our own modules."""
    folder = tmp_path_factory.mktemp("objects")
    for name in ("xdp_pass", "xdp_drop"):
        include = f"-I/usr/include/{os.uname().machine}-linux-gnu"
        source = str(ROOT / f"files/bpf/{name}.c")
        sh("clang", "-O2", "-g", "-target", "bpf", include, "-c", source, "-o", str(folder / f"{name}.o"))
    return folder


@pytest.fixture
def programs(objects, run_module):
    """Both loaded by our own module; a foreign one pinned beside them."""
    for name in ("xdp_pass", "xdp_drop"):
        run_module("bpf_program", object=str(objects / f"{name}.o"), pin_path=PINS)
    sh("bpftool", "prog", "load", str(objects / "xdp_pass.o"), FOREIGN, "type", "xdp")
    yield
    for path in (PINS, KEPT):
        shutil.rmtree(path, ignore_errors=True)
    for path in (FOREIGN, "/sys/fs/bpf/student_link"):
        pathlib.Path(path).unlink(missing_ok=True)


@pytest.fixture
def pair(sandbox_ns):
    """Two namespaces with veth1 in the one and vpeer1 in the other."""
    a, b = sandbox_ns(), sandbox_ns()
    sh("ip", "-n", a, "link", "add", "veth1", "type", "veth", "peer", "name", "vpeer1", "netns", b)
    sh("ip", "-n", a, "addr", "add", "10.9.0.1/24", "dev", "veth1")
    sh("ip", "-n", b, "addr", "add", "10.9.0.2/24", "dev", "vpeer1")
    for netns, name in ((a, "veth1"), (b, "vpeer1")):
        sh("ip", "-n", netns, "link", "set", name, "up")
    return a, b


@pytest.mark.parametrize(("mode", "number"), [("auto", NATIVE), ("native", NATIVE), ("generic", GENERIC)])
def test_four_runs_and_absent(four_runs, run_module, journal, programs, pair, mode, number):
    arguments = {"interface": "veth1", "netns": pair[0], "program": ALLOW, "mode": mode}
    result = four_runs("xdp_attachment", **arguments)
    assert attached(pair[0], "veth1") == (number, program_id(ALLOW))
    assert result["mode"] == ("generic" if mode == "generic" else "native")
    assert result["mode_reason"] == ("the driver takes native XDP" if mode == "auto" else "as asked")
    assert result["program"]["name"] == "xdp_allow"
    assert run_module("xdp_attachment", interface="veth1", netns=pair[0], state="absent")["changed"]
    assert attached(pair[0], "veth1") is None
    assert f"xdp:{pair[0]}:veth1" not in journal()
    assert not run_module("xdp_attachment", interface="veth1", netns=pair[0], state="absent")["changed"]


def test_it_drops_and_lets_pass(run_module, programs, pair):
    ping = ("ip", "netns", "exec", pair[1], "ping", "-c", "1", "-W", "1", "10.9.0.1")
    arguments = {"interface": "veth1", "netns": pair[0]}
    run_module("xdp_attachment", program=ALLOW, **arguments)
    sh(*ping)
    run_module("xdp_attachment", program=DENY, **arguments)
    assert "100% packet loss" in sh(*ping, check=False)
    run_module("xdp_attachment", state="absent", **arguments)
    sh(*ping)


def test_by_id_and_by_name(run_module, programs, pair, objects):
    run_module("xdp_attachment", interface="veth1", netns=pair[0], program=str(program_id(DENY)))
    assert attached(pair[0], "veth1")[1] == program_id(DENY)
    pathlib.Path(FOREIGN).unlink()
    named = "t_" + str(os.getpid())
    source = (ROOT / "files/bpf/xdp_pass.c").read_text().replace("xdp_allow", named)
    (objects / "named.c").write_text(source)
    include = f"-I/usr/include/{os.uname().machine}-linux-gnu"
    sh("clang", "-O2", "-target", "bpf", include, "-c", str(objects / "named.c"), "-o", str(objects / "named.o"))
    sh("bpftool", "prog", "load", str(objects / "named.o"), FOREIGN, "type", "xdp")
    run_module("xdp_attachment", interface="vpeer1", netns=pair[1], program=named)
    assert attached(pair[1], "vpeer1")[1] == program_id(FOREIGN)
    sh("bpftool", "prog", "load", str(objects / "named.o"), "/sys/fs/bpf/student_link", "type", "xdp")
    twice = run_module("xdp_attachment", interface="vpeer1", netns=pair[1], program=named, fails=True)
    assert "is the name of 2 programs" in twice["msg"]


@pytest.mark.parametrize("drift", ["detached", "reloaded", "mode"])
def test_drift_is_repaired(run_module, programs, pair, objects, drift):
    arguments = {"interface": "veth1", "netns": pair[0], "program": ALLOW, "mode": "native"}
    run_module("xdp_attachment", **arguments)
    if drift == "reloaded":
        os.unlink(ALLOW)
        run_module("bpf_program", object=str(objects / "xdp_pass.o"), pin_path=PINS)
    else:
        sh("ip", "-n", pair[0], "link", "set", "dev", "veth1", "xdp", "off")
    if drift == "mode":
        xdp_by_hand(pair[0], "link", "set", "dev", "veth1", "xdpgeneric", "pinned", ALLOW)
    assert run_module("xdp_attachment", check=True, **arguments)["changed"]
    assert run_module("xdp_attachment", **arguments)["changed"]
    assert attached(pair[0], "veth1") == (NATIVE, program_id(ALLOW))
    assert not run_module("xdp_attachment", **arguments)["changed"]


@pytest.mark.parametrize("mode", ["xdp", "xdpgeneric"])
def test_a_foreign_program_is_refused_kept_and_put_back(four_runs, run_module, journal, programs, pair, mode):
    xdp_by_hand(pair[0], "link", "set", "dev", "veth1", mode, "pinned", FOREIGN)
    mine = attached(pair[0], "veth1")
    pathlib.Path(FOREIGN).unlink()
    arguments = {"interface": "veth1", "netns": pair[0], "program": ALLOW, "mode": "native"}
    refused = run_module("xdp_attachment", fails=True, **arguments)
    assert "the lab did not attach it" in refused["msg"]
    assert attached(pair[0], "veth1") == mine
    stays = run_module("xdp_attachment", interface="veth1", netns=pair[0], state="absent")
    assert not stays["changed"]
    assert "is not ours and stays" in stays["warnings"][0]
    four_runs("xdp_attachment", overwrite=True, **arguments)
    assert attached(pair[0], "veth1") == (NATIVE, program_id(ALLOW))
    assert run_module("xdp_attachment", interface="veth1", netns=pair[0], state="absent")["changed"]
    assert attached(pair[0], "veth1") == mine
    assert not os.path.exists(KEPT)
    assert not any(key.startswith("xdp:") for key in journal())
    assert not run_module("xdp_attachment", interface="veth1", netns=pair[0], state="absent")["changed"]


def test_a_program_over_ours_is_somebodys_too(run_module, journal, programs, pair):
    arguments = {"interface": "veth1", "netns": pair[0], "program": ALLOW}
    run_module("xdp_attachment", **arguments)
    xdp_by_hand(pair[0], "-force", "link", "set", "dev", "veth1", "xdp", "pinned", FOREIGN)
    assert "did not attach it" in run_module("xdp_attachment", fails=True, **arguments)["msg"]
    run_module("xdp_attachment", overwrite=True, **arguments)
    run_module("xdp_attachment", interface="veth1", netns=pair[0], state="absent")
    assert attached(pair[0], "veth1") == (NATIVE, program_id(FOREIGN))
    assert not any(key.startswith(("xdp:", "kept:")) for key in journal())


def test_one_foreign_program_on_two_interfaces_comes_back_to_both(run_module, journal, programs, pair):
    places = [("veth1", pair[0]), ("vpeer1", pair[1])]
    for interface, netns in places:
        xdp_by_hand(netns, "link", "set", "dev", interface, "xdp", "pinned", FOREIGN)
    mine = attached(pair[0], "veth1")
    pathlib.Path(FOREIGN).unlink()
    for interface, netns in places:
        run_module("xdp_attachment", interface=interface, netns=netns, program=ALLOW, overwrite=True)
    for interface, netns in places:
        run_module("xdp_attachment", interface=interface, netns=netns, state="absent")
        assert attached(netns, interface) == mine
    assert not os.path.exists(KEPT)


@pytest.mark.case("C8")
def test_what_was_kept_for_an_interface_that_is_gone_is_let_go(run_module, journal, programs, pair):
    xdp_by_hand(pair[0], "link", "set", "dev", "veth1", "xdp", "pinned", FOREIGN)
    run_module("xdp_attachment", interface="veth1", netns=pair[0], program=ALLOW, overwrite=True)
    assert len(os.listdir(KEPT)) == 1
    sh("ip", "-n", pair[0], "link", "del", "veth1")
    gone = run_module("xdp_attachment", interface="veth1", netns=pair[0], state="absent")
    assert any("whose interface is gone" in step for step in gone["steps"])
    assert not os.path.exists(KEPT)
    assert not any(key.startswith(("xdp:", "kept:")) for key in journal())


def attach_by_link(netns, interface, pin, link_pin):
    """BPF_LINK_CREATE (28) of the type BPF_XDP (37), pinned, so that it outlives this process."""
    code = (
        "import ctypes, struct, sys\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "def bpf(number, *parts):\n"
        "    data = ctypes.create_string_buffer(b''.join(parts).ljust(64, b'\\0'), 64)\n"
        "    result = libc.syscall(321, number, data, 64)\n"
        "    assert result >= 0, ctypes.get_errno()\n"
        "    return result\n"
        "names = [ctypes.create_string_buffer(name.encode()) for name in sys.argv[1:3]]\n"
        "program = bpf(7, struct.pack('=QII', ctypes.addressof(names[0]), 0, 0))\n"
        "link = bpf(28, struct.pack('=IIII', program, int(sys.argv[3]), 37, 0))\n"
        "bpf(6, struct.pack('=QII', ctypes.addressof(names[1]), link, 0))\n"
    )
    index = json.loads(sh("ip", "-n", netns, "-j", "link", "show", interface))[0]["ifindex"]
    sh("nsenter", f"--net=/run/netns/{netns}", "python3", "-c", code, pin, link_pin, str(index))


def test_a_program_held_by_a_link_is_refused(run_module, programs, pair):
    attach_by_link(pair[0], "veth1", FOREIGN, "/sys/fs/bpf/student_link")
    mine = attached(pair[0], "veth1")
    arguments = {"interface": "veth1", "netns": pair[0], "program": ALLOW, "overwrite": True}
    refused = run_module("xdp_attachment", fails=True, **arguments)
    assert "held by the bpf_link" in refused["msg"]
    assert "bpftool link detach id" in refused["msg"]
    stays = run_module("xdp_attachment", interface="veth1", netns=pair[0], state="absent", overwrite=True)
    assert not stays["changed"]
    assert attached(pair[0], "veth1") == mine


def test_a_dispatcher_is_refused(run_module, programs, pair, objects):
    source = (ROOT / "files/bpf/xdp_pass.c").read_text().replace("xdp_allow", "xdp_dispatcher")
    (objects / "dispatcher.c").write_text(source)
    include = f"-I/usr/include/{os.uname().machine}-linux-gnu"
    sh("clang", "-O2", "-target", "bpf", include, "-c", str(objects / "dispatcher.c"), "-o", str(objects / "d.o"))
    os.unlink(FOREIGN)
    sh("bpftool", "prog", "load", str(objects / "d.o"), FOREIGN, "type", "xdp")
    xdp_by_hand(pair[0], "link", "set", "dev", "veth1", "xdp", "pinned", FOREIGN)
    refused = run_module("xdp_attachment", interface="veth1", netns=pair[0], program=ALLOW, fails=True)
    assert "libxdp or bpfman" in refused["msg"]


def test_auto_falls_back_to_generic_and_says_why(four_runs, run_module, programs, pair):
    sh("ip", "-n", pair[1], "link", "set", "vpeer1", "mtu", "9000")
    arguments = {"interface": "veth1", "netns": pair[0], "program": ALLOW}
    refused = run_module("xdp_attachment", mode="native", fails=True, **arguments)
    assert "mtu is too large" in refused["msg"].lower()
    assert "lower the MTU of the peer" in refused["msg"]
    assert attached(pair[0], "veth1") is None
    result = four_runs("xdp_attachment", **arguments)
    assert result["mode"] == "generic"
    assert "native was refused: " in result["mode_reason"]
    assert attached(pair[0], "veth1") == (GENERIC, program_id(ALLOW))


def test_a_refused_change_of_mode_leaves_the_old_one(run_module, journal, programs, pair):
    arguments = {"interface": "veth1", "netns": pair[0]}
    run_module("xdp_attachment", program=ALLOW, mode="generic", **arguments)
    before = journal()
    run_module("xdp_attachment", program=DENY, mode="offload", fails=True, **arguments)
    assert attached(pair[0], "veth1") == (GENERIC, program_id(ALLOW))
    assert journal() == before


def test_the_default_route_and_the_ssh_session_are_not_cut(run_module, programs):
    sh("ip", "link", "add", "uplink", "type", "veth", "peer", "name", "other")
    try:
        sh("ip", "addr", "add", "10.8.0.1/24", "dev", "uplink")
        sh("ip", "link", "set", "uplink", "up")
        os.environ["SSH_CONNECTION"] = "10.8.0.2 40000 10.8.0.1 22"
        session = run_module("xdp_attachment", interface="uplink", program=ALLOW, fails=True)
        assert "carries the SSH session" in session["msg"]
        del os.environ["SSH_CONNECTION"]
        sh("ip", "route", "add", "default", "via", "10.8.0.2")
        route = run_module("xdp_attachment", interface="uplink", program=ALLOW, fails=True)
        assert "carries the default route" in route["msg"]
        assert run_module("xdp_attachment", interface="uplink", program=ALLOW, force=True)["attached"]
        assert not run_module("xdp_attachment", interface="uplink", program=ALLOW)["changed"]
        assert run_module("xdp_attachment", interface="uplink", state="absent")["changed"]
    finally:
        os.environ.pop("SSH_CONNECTION", None)
        sh("ip", "link", "del", "uplink")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"interface": "veth9", "program": ALLOW}, "there is no veth9 on this host; there are: "),
        ({"interface": "veth1", "netns": "nowhere", "program": ALLOW}, "there is no network namespace nowhere"),
        ({"interface": "a_name_of_16_let", "program": ALLOW}, "has 16 bytes"),
        ({"interface": "lo", "program": f"{PINS}/none"}, f"program: {PINS}/none is not there"),
        ({"interface": "lo", "program": "4294967295"}, "4294967295 is not there"),
        ({"interface": "lo"}, "program: None names no program"),
    ],
)
def test_bad_arguments(run_module, journal, programs, arguments, words):
    assert words in run_module("xdp_attachment", fails=True, **arguments)["msg"]
    assert not any(key.startswith("xdp:") for key in journal())


def test_the_interface_went_and_the_journal_follows(run_module, journal, programs, pair):
    run_module("xdp_attachment", interface="veth1", netns=pair[0], program=ALLOW)
    sh("ip", "-n", pair[0], "link", "del", "veth1")
    run_module("xdp_attachment", interface="veth1", netns=pair[0], state="absent")
    assert not any(key.startswith("xdp:") for key in journal())
    assert not run_module("xdp_attachment", interface="veth1", netns=pair[0], state="absent")["changed"]
