# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What test_supervisor.py asks of a private machine, from inside of it."""

from __future__ import annotations

import typing as t

from ..residue.snapshot import differences
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
