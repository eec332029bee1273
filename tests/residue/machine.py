#!/usr/bin/env python3
# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays one machine's life for the residue test: made as a user has it, lab up twice, down twice, compared.

    tests/isolate tests/residue/machine.py own_rules ./lab

The first word is how the machine is made, the second what brings the lab up and down: ``./lab`` or ``host_network``
(the role alone). Options after that are passed to both. Exit code 0 and "nothing left over", or 1 and what is.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import typing as t

import snapshot

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Rules that no packet of the lab meets, so that their counters stay: 203.0.113.0/24 is for documentation (RFC 5737).
RULES = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:MINE - [0:0]
[5:500] -A INPUT -s {net} -j MINE
[6:600] -A FORWARD -s {net} -m comment --comment "a \\"quoted\\" remark" -j MINE
[7:700] -A FORWARD -d {net} -p tcp -m tcp --dport 80 -j ACCEPT
[8:800] -A MINE -j RETURN
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:MINE - [0:0]
[9:900] -A POSTROUTING -s {net} -j MASQUERADE
[1:100] -A PREROUTING -s {net} -j MINE
COMMIT
"""


def own_rules() -> None:
    """Rules in both back ends and families, no forwarding but on one interface, no bpffs."""
    for tool, net in (("iptables", "203.0.113.0/24"), ("ip6tables", "2001:db8:99::/48")):
        for backend in ("nft", "legacy"):
            text = RULES.format(net=net)
            subprocess.run([f"{tool}-{backend}-restore", "--counters"], input=text, text=True, check=True)
    snapshot.run("ip", "link", "add", "user0", "type", "veth", "peer", "name", "user1")
    write("ipv4/ip_forward", "0")
    write("ipv4/conf/user0/forwarding", "1")
    write("ipv4/conf/all/accept_redirects", "0")
    while snapshot.filesystem("/sys/fs/bpf") == "bpf_fs":
        snapshot.run("umount", "/sys/fs/bpf")


def own_objects() -> None:
    """Forwarding on, a namespace with links and addresses, and a pinned program, all the user's own."""
    write("ipv4/ip_forward", "1")
    for line in (
        "ip netns add mine",
        "ip link add mine0 type veth peer name mine1 netns mine",
        "ip link set mine0 up",
        "ip addr add 10.99.0.1/24 dev mine0",
        "ip -n mine link set mine1 up",
        "ip -n mine addr add 10.99.0.2/24 dev mine1",
        "ip -n mine route add default via 10.99.0.1",
    ):
        snapshot.run(*line.split())
    write("ipv4/conf/mine0/forwarding", "0")
    with tempfile.TemporaryDirectory() as folder:
        target = os.path.join(folder, "mine.o")
        program = '__attribute__((section("xdp"), used)) int mine(void *c) { return 2; } char l[] '
        source = program + '__attribute__((section("license"), used)) = "GPL";'
        clang = ["clang", "-O2", "-target", "bpf", "-x", "c", "-c", "-", "-o", target]
        subprocess.run(clang, input=source, text=True, check=True)
        snapshot.run("bpftool", "prog", "load", target, "/sys/fs/bpf/mine", "type", "xdp")
    wait_for_addresses()


MACHINES: dict[str, t.Callable[[], None]] = {"own_rules": own_rules, "own_objects": own_objects}


def write(name: str, value: str) -> None:
    """Set a sysctl below net."""
    pathlib.Path("/proc/sys/net", name).write_text(value, encoding="ascii")


def wait_for_addresses() -> None:
    """Until duplicate address detection is over: it changes routes and flags by itself."""
    deadline = time.monotonic() + 10
    while any(snapshot.run("ip", "-6", "addr", "show", "tentative", netns=netns) for netns in ("", "mine")):
        if time.monotonic() > deadline:
            sys.exit("addresses stay tentative: duplicate address detection does not end")
        time.sleep(0.1)


def command(what: str, up: bool, options: t.Sequence[str]) -> list[str]:
    """What brings the lab up or down."""
    if what == "./lab":
        return [str(ROOT / "lab"), "up" if up else "down", *options]
    play = [{"hosts": "localhost", "gather_facts": False, "roles": [{"role": "ebpf.lab.host_network"}]}]
    path = pathlib.Path(tempfile.gettempdir(), "host_network.json")
    path.write_text(json.dumps(play), encoding="utf-8")
    state = f"host_network_state={'present' if up else 'restored'}"
    inventory = f"localhost ansible_connection=local ansible_python_interpreter={sys.executable}\n"
    hosts = pathlib.Path(tempfile.gettempdir(), "host_network.ini")
    hosts.write_text(inventory, encoding="utf-8")
    return ["ansible-playbook", str(path), "-i", str(hosts), "-e", state, *options]


def play(what: str, up: bool, options: t.Sequence[str]) -> int:
    """Run it; returns how many tasks changed something. Ends the run when it fails."""
    done = subprocess.run(command(what, up, options), capture_output=True, text=True, check=False, cwd=ROOT)
    counts = [int(number) for number in re.findall(r"\bchanged=(\d+)", done.stdout)]
    if done.returncode or not counts:
        sys.exit(f"{'up' if up else 'down'} failed:\n{done.stdout}\n{done.stderr}")
    return sum(counts)


def take() -> dict[str, t.Any]:
    """A snapshot as it looks after JSON."""
    return t.cast("dict[str, t.Any]", json.loads(json.dumps(snapshot.take(counters=True))))


def live(machine: str, what: str, options: t.Sequence[str]) -> list[str]:
    """The machine's life; returns what is wrong, a line each."""
    MACHINES[machine]()
    before = take()
    wrong = snapshot.differences(before, take())
    if wrong:
        return ["two snapshots with nothing between them differ:", *wrong]
    if not play(what, True, options):
        wrong.append("the first up changed nothing")
    if not snapshot.differences(before, take()):
        wrong.append("a snapshot does not see the lab")
    if play(what, True, options):
        wrong.append("the second up changed something")
    if not play(what, False, options):
        wrong.append("the first down changed nothing")
    wrong += snapshot.differences(before, take())
    if play(what, False, options):
        wrong.append("the second down changed something")
    return wrong + [f"after the second down: {line}" for line in snapshot.differences(before, take())]


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in MACHINES:
        sys.exit(f"usage: tests/isolate {sys.argv[0]} {'|'.join(MACHINES)} ./lab|host_network [options]")
    left = live(sys.argv[1], sys.argv[2], sys.argv[3:])
    print("\n".join(left) or "nothing left over")
    sys.exit(1 if left else 0)
