# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A class of machines as verify leaves it: good ones, broken ones, absent ones, and one that means harm."""

from __future__ import annotations

import datetime
import random
import typing as t

from ansible_collections.ebpf.lab.plugins.module_utils._lab.grading.outcomes import evaluate, started
from ansible_collections.ebpf.lab.plugins.plugin_utils import results

LAB = {
    "name": "lecture2",
    "title": "From an empty veth to a rate limiter",
    "stages": [
        {"name": "environment", "title": "Namespace, veth pair, forwarding", "max_points": 5},
        {"name": "hello", "title": "An XDP program that passes everything", "max_points": 5},
        {"name": "drop", "title": "You Shall Not Pass", "max_points": 5},
        {"name": "count", "title": "Count packets in a map", "max_points": 5},
        {"name": "count_bytes", "title": "Packets and bytes", "max_points": 5},
        {"name": "icmp", "title": "Parse headers within bounds", "max_points": 5},
        {"name": "rate_limit", "title": "A limit set through a map", "max_points": 5},
        {"name": "filter", "title": "A tc filter at ingress", "max_points": 5},
    ],
}
CHECKS: dict[str, list[dict[str, t.Any]]] = {
    stage["name"]: [
        {"name": name, "query": query, "expect": expect, "hint": hint, "points": points}
        for name, query, expect, hint, points in (
            (f"{program} is attached to veth1", "attachments[?interface=='veth1'] | [0].program", program,
             f"Attach it: bpftool net attach xdp pinned /sys/fs/bpf/ebpf/{program} dev veth1 overwrite", 2),
            ("pings reach the namespace", "traffic.out.received", {"at_least": 3},
             "Is veth2 up? Look at ip -n vns1 link, and at its address with ip -n vns1 address.", 1),
            ("the trace has the line", "trace[].text | join(' ', @)", {"matches": "Shall Not"},
             "bpf_printk writes to /sys/kernel/tracing/trace_pipe while a packet passes.", 1),
            ("the program is pinned", "programs[0].pin", f"/sys/fs/bpf/ebpf/{program}",
             "bpftool prog load … /sys/fs/bpf/ebpf/NAME pins it.", 1),
        )
    ]
    for stage in LAB["stages"]
    for program in [f"xdp_{stage['name']}"]
}  # fmt: skip
START = datetime.datetime(2026, 11, 22, 9, 0, tzinfo=datetime.timezone.utc)
HOSTILE = (
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    "{{ lookup('pipe', 'touch /tmp/owned') }}{% for x in range(9) %}\x1b[2J\u202e\x00\ud800"
    "</code></style></script>&lt;'\"` onmouseover=alert(1) "
)


def facts(program: str, received: int = 3, trace: str = "You Shall Not Pass!!") -> dict[str, t.Any]:
    """What a machine might report."""
    return {
        "attachments": [{"interface": "veth1", "program": program}],
        "traffic": {"out": {"received": received}},
        "trace": [{"text": trace}],
        "programs": [{"name": program, "pin": f"/sys/fs/bpf/ebpf/{program}"}],
    }


def grade(folder: str, host: str, stage: str, reported: t.Any, minutes: float = 0) -> None:
    """Keep a graded result."""
    checks = evaluate(CHECKS[stage], reported)
    outcome = {"stage": stage, "facts": reported, "started": started(reported), "checks": checks}
    moment = START + datetime.timedelta(minutes=minutes)
    results.save(folder, results.make_result(host, LAB, stage, outcome, moment))


def unreachable(folder: str, host: str, minutes: float = 0) -> None:
    """Keep a failed attempt."""
    outcome = {
        "unreachable": True,
        "msg": f"Failed to connect to the host via ssh: connect to host {host} port 22: No route to host",
    }
    results.save(folder, results.make_result(host, LAB, "", outcome, START + datetime.timedelta(minutes=minutes)))


def small(folder: str) -> None:
    """Four machines, each of another kind. None has the whole lab of 40 points."""
    grade(folder, "s1", "hello", facts("xdp_hello"))
    grade(folder, "s2", "hello", facts("xdp_hello"))
    grade(folder, "s2", "hello", facts("xdp_drop", received=0), 30)
    grade(folder, "s10", "hello", facts("xdp_hello", received=0))
    grade(folder, "s10", "drop", facts("xdp_drop"), 40)
    unreachable(folder, "s3", 41)


def states(folder: str) -> None:
    """A machine that has all, one that lost it again, one that was rebooted, and one on which nobody has begun."""
    for place, stage in enumerate(CHECKS):
        for host in ("all", "lost"):
            grade(folder, host, stage, facts(f"xdp_{stage}"), place)
    grade(folder, "lost", "hello", facts("xdp_drop", received=0), 30)
    grade(folder, "again", "drop", {**facts("xdp_drop"), "machine": {"stage": "drop", "rebooted": True}}, 31)
    grade(
        folder, "bare", "hello", {"attachments": None, "programs": [], "machine": {"stage": "", "rebooted": False}}, 32
    )


def hostile(folder: str) -> None:
    """One machine whose every answer means harm, and one that sends ten megabytes."""
    answer = facts(HOSTILE, received=0, trace=HOSTILE)
    answer["programs"][0]["pin"] = '=HYPERLINK("http://198.51.100.1/")'
    grade(folder, HOSTILE[:120], "hello", answer)
    grade(folder, "=cmd|'/C calc'!A0", "hello", facts("x" * 10_000_000, trace="\ud800" * 1_000_000), 1)
    outcome = {"unreachable": True, "msg": HOSTILE}
    results.save(folder, results.make_result("@SUM(A1)", LAB, "", outcome, START))
    outcome = {
        "facts": {},
        "checks": [{"name": HOSTILE, "passed": "yes", "hint": HOSTILE, "found": {"a": HOSTILE}, "error": HOSTILE}],
    }
    results.save(folder, results.make_result("-forged", LAB, "drop", outcome, START))


def hundred(folder: str) -> None:
    """A class of a hundred in the middle of the lab."""
    chance = random.Random(7)
    stages = list(CHECKS)
    for number in range(1, 101):
        host = f"lab-{number:03}"
        reached = chance.choices(range(9), [1, 2, 3, 6, 12, 20, 25, 16, 15])[0]
        for place in range(reached):
            stage = stages[place]
            good = chance.random() < 0.9
            before = facts(f"xdp_{stage}", 3 if chance.random() < 0.9 else 0)
            now = facts(f"xdp_{stage}" if good else "xdp_drop", 3 if chance.random() < 0.94 else chance.choice([0, 1]))
            if chance.random() < 0.05:
                now["attachments"] = []
            if chance.random() < 0.3:
                grade(folder, host, stage, before, place * 9)
            grade(folder, host, stage, now, place * 9 + 5 + number / 60)
        if chance.random() < 0.06:
            unreachable(folder, host, 100)
