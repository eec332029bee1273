# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""After down a machine is as it was before up; and the snapshot that says so sees what it should.

Each test makes an isolated machine of its own; run them with ``pytest tests/residue`` as root.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
ISOLATE = HERE.parent / "isolate"


# What a machine may have mounted, and run, before tests/isolate makes its copy of it.
MACHINES = {
    "bpffs and tracefs twice, and both hidden": [
        "sh",
        "-c",
        """set -e
        for twice in 1 2; do mount -t bpf b /sys/fs/bpf; done
        for twice in 1 2; do mount -t tmpfs t /sys/kernel/tracing; mount -t tracefs t /sys/kernel/tracing; done
        mount -t tmpfs t /sys/fs
        mount -t tmpfs t /sys/kernel/tracing
        exec "$@" """,
        "sh",
    ],
    "a lab that is up": [str(ISOLATE), "sh", "-c", 'cd "$0" && ./lab up >&2 && exec "$@"', str(HERE.parents[1])],
}


def isolated(*argv: str, collections: str = "", machine: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command on a new isolated copy of this machine, or of one of MACHINES."""
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1", "ANSIBLE_LOCALHOST_WARNING": "0"}
    if collections:
        env["ANSIBLE_COLLECTIONS_PATH"] = collections
    outside = ["unshare", "--mount", *MACHINES[machine]] if machine else []
    return subprocess.run([*outside, str(ISOLATE), *argv], capture_output=True, text=True, check=False, env=env)


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A path with this checkout in place as ansible_collections/ebpf/lab."""
    path = tmp_path_factory.mktemp("collections")
    (path / "ansible_collections/ebpf").mkdir(parents=True)
    (path / "ansible_collections/ebpf/lab").symlink_to(HERE.parents[1])
    return str(path)


@pytest.mark.parametrize("machine", ["own_rules", "own_objects"])
@pytest.mark.parametrize("what", ["host_network", "./lab"])
def test_nothing_is_left_over(machine: str, what: str, collections: str) -> None:
    assert shutil.which("bpftool", path="/usr/sbin:/usr/bin"), "bpftool is missing: install the package bpftool"
    done = isolated(sys.executable, str(HERE / "machine.py"), machine, what, collections=collections)
    assert done.returncode == 0 and "nothing left over" in done.stdout, f"{done.stdout}\n{done.stderr}"


@pytest.mark.case("C14")
@pytest.mark.parametrize("machine", MACHINES)
def test_the_test_works_on_any_machine(machine: str, collections: str) -> None:
    """What the machine has mounted and runs is no matter of the test's own machine, which is made from it."""
    life = [sys.executable, str(HERE / "machine.py"), "own_rules", "host_network"]
    done = isolated(*life, collections=collections, machine=machine)
    assert done.returncode == 0 and "nothing left over" in done.stdout, f"{done.stdout}\n{done.stderr}"


@pytest.mark.case("C14")
def test_a_machine_whose_own_places_are_hidden_can_run_the_tests() -> None:
    outside = ["unshare", "--mount", *MACHINES["bpffs and tracefs twice, and both hidden"]]
    done = subprocess.run([*outside, str(HERE.parent / "machine")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


CHANGES = {
    "a rule of the nft back end": ("iptables-nft -t mangle -A PREROUTING -j ACCEPT", "nft | table ip mangle"),
    "a legacy table that was loaded": ("ip6tables-legacy -S", "ip6tables-legacy | filter"),
    "a link": ("ip link add x0 type veth peer name x1", "links | x0"),
    "an address": ("ip addr add 10.8.0.1/24 dev lo", "links | lo | addresses"),
    "a route": ("ip route add blackhole 10.7.0.0/16", "routes"),
    "a rule of routing": ("ip rule add pref 99 lookup 99", "rules"),
    "a namespace": ("ip netns add x", "network | x"),
    "a sysctl": ("sysctl -qw net.ipv4.ip_forward=1", "sysctl | ipv4/ip_forward"),
    "a sysctl of an interface": ("sysctl -qw net.ipv6.conf.lo.accept_ra=2", "ipv6/conf/lo/accept_ra"),
    "a folder of pins": ("mkdir /sys/fs/bpf/ebpf", "/sys/fs/bpf/ebpf"),
    "a pin": ("bpftool map create /sys/fs/bpf/m type array key 4 value 4 entries 1 name m", "/sys/fs/bpf/m"),
    "a mount": ("mount -t tmpfs tmpfs /mnt", "/mnt tmpfs"),
    "a file in /etc": ("touch /etc/sysctl.d/60-ebpf-lab.conf", "/etc/sysctl.d/60-ebpf-lab.conf"),
    "a mode in /etc": ("chmod 600 /etc/hostname", "/etc/hostname"),
    "a journal": ("mkdir /var/lib/ebpf.lab", "/var/lib/ebpf.lab"),
    "a source": ("mkdir -p /usr/local/src/ebpf.lab/lecture2", "/usr/local/src/ebpf.lab/lecture2"),
    "a progress file": ("touch /run/ebpf.lab-1.progress", "/run/ebpf.lab-1.progress"),
    "a folder for namespaces": ("mkdir /run/netns", "/run/netns"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_snapshot_sees(what: str) -> None:
    change, words = CHANGES[what]
    take = f"{sys.executable} {HERE}/snapshot.py"
    script = f"""set -e; cd /dev/shm
        {take} take >a; {take} take >b; {take} diff a b
        {change} >/dev/null; {take} take >b; ! {take} diff a b"""
    done = isolated("sh", "-c", script)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    first, *lines = done.stdout.splitlines()
    assert first == "the snapshots are equal"
    assert any(words in line for line in lines), done.stdout
