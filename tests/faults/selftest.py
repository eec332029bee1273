# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What test_supervisor.py asks of a private machine, from inside of it."""

from __future__ import annotations

import os
import signal
import subprocess
import typing as t

from ..residue.snapshot import differences
from . import records, tools
from .private import furnish, left_over, mounted, sh, snapshot

CHANGES = {
    "a rule": "iptables-legacy -A FORWARD -j ACCEPT",
    "a namespace": "ip netns add other",
    "an XDP program": "ip link set owner0 xdp off",
    "a sysctl": "sysctl -qw net.ipv4.conf.owner1.rp_filter=0",
    "a source": "mkdir -p /usr/local/src/owner/more",
    "a journal": "mkdir /var/lib/ebpf.lab",
    "a pin": "rm /sys/fs/bpf/owner/m/owner_map",
    "a link in a namespace": "ip -n owner link del inner0",
}


def furnished(_given: t.Any) -> dict[str, t.Any]:
    """``again``: what two snapshots with nothing between differ in; ``blind``: the changes that none of them sees."""
    furnish()
    before = snapshot()
    again = left_over(before)
    blind = []
    if mounted("/sys/fs/bpf", "bpf_fs"):
        for what, change in CHANGES.items():
            sh("sh", "-c", change)
            after = snapshot()
            blind += [] if differences(before, after) else [what]
            before = after
    return {"again": again, "blind": blind}


def raises(_given: t.Any) -> None:
    """A machine that goes wrong says so."""
    raise ValueError("no such thing")


def wrapped(_given: t.Any) -> dict[str, t.Any]:
    """What ``cat`` answers at its first, second and third call when each fault is aimed at the second."""
    tools.layers()
    found: dict[str, t.Any] = {}
    for kind, manners in tools.FAULTS.items():
        for how in manners:
            for call in tools.CALLS.iterdir():
                call.rmdir() if call.is_dir() else call.unlink()
            given = {"kind": kind, "how": how, "point": "/usr/bin/cat", "number": 2, "lasting": kind == "missing"}
            heal = tools.wrap(given)
            answers = [_answer() for _turn in range(3)]
            found[f"{kind} {how}".strip()] = [heal(), *answers, _answer()]
    return found


def _answer() -> str:
    try:
        process = subprocess.Popen(
            ["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
    except FileNotFoundError:
        return "missing"
    with process:
        try:
            out, _err = process.communicate(b"12345678", timeout=1.5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return "hangs"
    return f"{process.returncode} {len(out)} bytes" if len(out) > 1000 else f"{process.returncode} {out!r}"


def ways(_given: t.Any) -> dict[str, int]:
    """How many ways of breaking records there are for some of two formats."""
    journal = records.JOURNAL
    entry = b'"file:/usr/local/src/x/y.o": {"boot": "", "count": 5}'
    return {
        f"{kind}, {name}": len(make({journal / name: content}))
        for kind, make in records.WAYS.items()
        for name, content in {
            "one": b'{"format": 1, "entries": {' + entry + b"}}",
            "lines": b'{"format": 1}\n{' + entry + b"}\n",
            "unknown": b"\x01\x02format 7 /usr/local",
        }.items()
    }
