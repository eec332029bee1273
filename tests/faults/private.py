# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A private machine for one try: a copy of this one with an owner's own things on it, gone when the try is over.

    result = inside("kills:one", {"scenario": "up", ...})      # in a new machine, calls kills.one({...})

The machine is made by tests/isolate, plus a /tmp of its own. What ``inside`` calls is a function of a module of this
folder that takes and returns plain JSON types. All processes of the machine end with it. Inside of it:

    furnish()               an owner's rules, namespace, links, sysctls, pins, XDP program and files
    before = snapshot()
    left_over(before)       a line for each thing that is not as it was
    journal()               what the product has written down, whatever its format
"""

from __future__ import annotations

import contextlib
import glob
import importlib
import json
import os
import pathlib
import subprocess
import sys
import time
import traceback
import typing as t

from ..residue.snapshot import differences, take

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRATCH = ROOT / ".ansible" / "test" / "faults"
COLLECTIONS = SCRATCH / "collections"
PACKAGE = "ansible_collections.ebpf.lab.tests.faults"
MACHINE = pathlib.Path("/dev/shm/machine")  # inside: for what a try needs itself
JOURNAL = pathlib.Path("/var/lib/ebpf.lab")
INSTANCES = "/sys/kernel/tracing/instances/"  # the kernel's own: all machines share them

# No packet of a lab meets these rules, so that their counters stay: 203.0.113.0/24 is for documentation (RFC 5737).
RULES = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:OWNER - [0:0]
[5:500] -A INPUT -s {net} -j OWNER
[6:600] -A FORWARD -s {net} -m comment --comment "the owner's \\"own\\"" -j OWNER
[7:700] -A FORWARD -d {net} -p tcp -m tcp --dport 80 -j ACCEPT
[8:800] -A OWNER -j RETURN
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:OWNER - [0:0]
[9:900] -A POSTROUTING -s {net} -j MASQUERADE
[1:100] -A PREROUTING -s {net} -j OWNER
COMMIT
"""
LINKS = """\
link add owner0 type veth peer name owner1
link set owner0 addrgenmode none
link set owner1 addrgenmode none
link set owner0 up
link set owner1 up
addr add 10.99.0.1/24 dev owner0
route add 10.98.0.0/16 dev owner0
link add owner2 type veth peer name owner3
"""
SYSCTLS = {
    "ipv4/ip_forward": "0",
    "ipv4/conf/owner0/forwarding": "1",
    "ipv4/conf/owner1/rp_filter": "2",
    "ipv4/conf/all/accept_redirects": "0",
    "ipv6/conf/owner2/accept_ra": "2",
}
FILES = {
    "/etc/sysctl.d/50-owner.conf": "net.ipv4.conf.all.accept_redirects = 0\n",
    "/usr/local/src/owner/notes.txt": "mine\n",
}
PROGRAM = """\
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, __u32); __type(value, __u64); }
    owner_map SEC(".maps");
SEC("xdp") int owner(struct xdp_md *context)
{
    __u32 key = 1;
    return bpf_map_lookup_elem(&owner_map, &key) ? XDP_PASS : XDP_DROP;
}
char _license[] SEC("license") = "GPL";
"""
FILTER = """\
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("tc") int filter(struct __sk_buff *packet) { return packet->len > 9000 ? 2 : 0; }
char _license[] SEC("license") = "GPL";
"""
OBJECTS = {"owner": PROGRAM, "filter": FILTER}


class TryFailed(Exception):
    """A machine gave no answer: the try itself went wrong, which is a failure of the suite."""


# --- outside


def inside(what: str, given: t.Any, *, bpffs: bool = True, timeout: float = 300.0) -> t.Any:
    """Call the function "module:name" of this folder with ``given`` in a new machine. Raises TryFailed."""
    prepare()
    env = {
        **os.environ,
        "PYTHONPATH": str(COLLECTIONS),
        "PYTHONDONTWRITEBYTECODE": "1",
        "ISOLATE_BPFFS": "1" if bpffs else "0",
        "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
    }
    argv = [str(ROOT / "tests" / "isolate"), sys.executable, "-m", f"{PACKAGE}.private", what]
    try:
        done = subprocess.run(
            argv, input=json.dumps(given), capture_output=True, text=True, check=False, env=env, timeout=timeout
        )
    except subprocess.TimeoutExpired as error:
        raise TryFailed(f"{what} {given} was not done after {timeout:g} s: {error.stderr!r:.2000}") from error
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise TryFailed(f"{what} {given} gave no answer: rc {done.returncode}\n{done.stdout}{done.stderr}") from None
    if "error" in answer:
        raise TryFailed(f"{what} {given}: {answer['error']}")
    return answer["result"]


def prepare() -> None:
    """The collection by its name, and OBJECTS compiled: once for all machines."""
    link = COLLECTIONS / "ansible_collections" / "ebpf" / "lab"
    if not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            link.symlink_to(os.path.relpath(ROOT, link.parent))  # a copied checkout is to test itself
    for name, source in OBJECTS.items():
        target = SCRATCH / f"{name}.o"
        if not target.exists() or target.stat().st_mtime < os.stat(__file__).st_mtime:
            compile_program(source, target)


def compile_program(source: str, target: pathlib.Path) -> None:
    """Compile C to a BPF object by hand, and let nobody see half of it."""
    part = target.with_suffix(f".{os.urandom(4).hex()}")
    include = f"-I/usr/include/{os.uname().machine}-linux-gnu"
    clang = ["clang", "-O2", "-g", "-target", "bpf", include, "-x", "c", "-c", "-", "-o", str(part)]
    subprocess.run(clang, input=source, text=True, check=True)
    part.rename(target)


# --- inside


def sh(*argv: str, check: bool = True, **options: t.Any) -> subprocess.CompletedProcess[str]:
    """Run a command as the machine's owner; a failure is the try's own."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, **options)
    if check and done.returncode:
        raise TryFailed(f"{' '.join(argv)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def write(path: str, text: str) -> None:
    """Write a file with the folders above it."""
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(path).write_text(text, encoding="utf-8")


def mounted(path: str, kind: str) -> bool:
    """Whether such a file system is what is to be seen at ``path``: mounts that another one hides are listed too."""
    return sh("stat", "-f", "-c", "%T", path).stdout.strip() == kind


def furnish() -> None:
    """Put the owner's own things on the machine. His pins are there when bpffs is mounted."""
    for tool, net in (("iptables", "203.0.113.0/24"), ("ip6tables", "2001:db8:99::/48")):
        for backend in ("nft", "legacy"):
            sh(f"{tool}-{backend}-restore", "--counters", input=RULES.format(net=net))
    sh("ip", "-batch", "-", input=LINKS)
    sh("ip", "netns", "add", "owner")
    sh("ip", "-n", "owner", "link", "add", "inner0", "type", "veth", "peer", "name", "inner1")
    sh("ip", "-n", "owner", "addr", "add", "10.97.0.1/24", "dev", "inner0")
    for name, value in SYSCTLS.items():
        write(f"/proc/sys/net/{name}", value)
    for path, text in FILES.items():
        write(path, text)
    # Pinned for good where there is a bpffs; else it lives by being attached.
    bpffs = mounted("/sys/fs/bpf", "bpf_fs")
    if bpffs:
        sh("mkdir", "/sys/fs/bpf/owner")
        load = ["loadall", str(SCRATCH / "owner.o"), "/sys/fs/bpf/owner/p", "type", "xdp"]
        sh("bpftool", "prog", *load, "pinmaps", "/sys/fs/bpf/owner/m")
        sh("bpftool", "net", "attach", "xdp", "pinned", "/sys/fs/bpf/owner/p/owner", "dev", "owner0")
    else:
        sh("ip", "link", "set", "owner0", "xdp", "object", str(SCRATCH / "owner.o"), "section", "xdp")
        while mounted("/sys/fs/bpf", "bpf_fs"):  # ip mounted it
            sh("umount", "/sys/fs/bpf")


def snapshot() -> dict[str, t.Any]:
    """All that a lab may change, as it is now."""
    return t.cast("dict[str, t.Any]", json.loads(json.dumps(take(counters=True))))


def left_over(before: dict[str, t.Any]) -> list[str]:
    """A line for each difference to ``before``."""
    return differences(before, snapshot())


def journal() -> dict[str, str]:
    """Every file of the product's records by its path; {} when there is none."""
    return {
        str(path): path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(JOURNAL.rglob("*"))
        if path.is_file()
    }


def unreadable() -> list[str]:
    """The records that are neither JSON nor lines of JSON. The last line of those may be cut: it was being written."""
    found = []
    for path, text in journal().items():
        if "/." in path or not text:  # a temporary file or folder of a run that was killed
            continue
        try:
            json.loads(text)
        except ValueError:
            lines = text.splitlines()
            try:
                for line in lines if text.endswith("\n") else lines[:-1]:
                    json.loads(line)
            except ValueError as error:
                found.append(f"{path}: {error}")
    return found


def instances() -> set[str]:
    """The trace instances that there are now, of whichever machine."""
    return set(glob.glob(f"{INSTANCES}*"))


def _own_tmp() -> None:
    """A /tmp that nobody else writes to, which tests/isolate does not give; a checkout that lies in it stays there."""
    inside = str(ROOT).startswith("/tmp/")
    kept = MACHINE / "checkout"
    if inside:
        kept.mkdir()
        sh("mount", "--bind", str(ROOT), str(kept))
    sh("mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/tmp")
    if inside:
        ROOT.mkdir(parents=True)
        sh("mount", "--move", str(kept), str(ROOT))
        os.chdir(ROOT)


def main() -> int:
    """Inside of tests/isolate: call what the command line names with what is on stdin."""
    out = os.dup(1)
    os.dup2(2, 1)  # what anything prints is no answer
    MACHINE.mkdir(parents=True, exist_ok=True)
    _own_tmp()
    module, _colon, name = sys.argv[1].partition(":")
    begun = time.monotonic()
    try:
        given = json.load(sys.stdin)
        result = getattr(importlib.import_module(f"{PACKAGE}.{module}"), name)(given)
        answer = {"result": result, "seconds": time.monotonic() - begun}
    except BaseException:
        answer = {"error": traceback.format_exc()}
    os.write(out, json.dumps(answer).encode() + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
