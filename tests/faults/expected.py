# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known to fail today, strictly: when it does not fail any more, its mark has to go."""

from __future__ import annotations

import errno
import typing as t
from dataclasses import dataclass

from .checkmode import looks
from .private import INSTANCES
from .scenarios import scenarios


@dataclass(frozen=True)
class Mark:
    """``case`` is the number of the collected case, ``witness`` a try that fails for it each time.

    ``lines`` is a pattern of what goes wrong for it; other lines are failures still. "" stands for all.
    """

    case: str
    witness: t.Mapping[str, t.Any]
    lines: str = ""


# What only probes does so in check mode too, where it should say that it was skipped.
PROBING = "|".join(
    (
        *("only probes", "send (IPv4|IPv6|Ethernet)", "packets went over", "/sys/kernel/tracing/instances/ebpf_lab_"),
        "bpf (PROG_LOAD|BTF_LOAD|PROG_TEST_RUN|ENABLE_STATS|MAP_UPDATE_ELEM|MAP_DELETE_ELEM)",
    )
)
NOTES = "fsync /var/lib/ebpf.lab/.journal-*"  # the first time that a run notes something
FORGETS = "unlink /var/lib/ebpf.lab/journal.json"
LAST = ("netns back", "topology back", "iptables_flush back", "ip_forward back")  # they note nothing, they forget all


def _expected() -> dict[tuple[str, str], Mark]:
    found = {
        ("together", "at once: up, down, up"): Mark("C7", {"nth": 1}),
        ("together", "at once: two graders"): Mark("C17", {"nth": 1}),
    }
    instance = f"{INSTANCES}ebpf_lab_*"
    grader = "lecture2 verify drop"
    enable = {"point": f"open {instance}/events/bpf_trace/bpf_trace_printk/enable", "number": 1}
    found["kill", grader] = Mark("C18", {**enable, "whom": "group", "way": "down"})
    found["refuse", grader] = Mark("C18", {"point": f"rmdir {instance}", "number": 1, "errno": errno.EBUSY})
    for name in scenarios():
        if " verify " in name:
            continue
        # The temporary file that a killed run was writing keeps the folder alive; or the folder alone is left.
        killed, refused = (NOTES, NOTES) if name not in LAST else ("rmdir /var/lib/ebpf.lab", FORGETS)
        found["kill", name] = Mark("C24", {"point": killed, "number": 1, "whom": "group", "way": "down"})
        found["refuse", name] = Mark("C22", {"point": refused, "number": 1, "errno": errno.ENOSPC})
    for name, look in looks().items():
        if any(turn.probes for turn in look.turns):
            found["check", name] = Mark("C1", {}, PROBING)
    return found


EXPECTED = _expected()
