# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which parts fail in the campaign: each tool at each of its calls, the records in every way, the clock.

tools.py, records.py and clocks.py have what is done in the machines. Each kind of fault of a tool is a test of its own.
"""

from __future__ import annotations

import random
import typing as t

from . import clocks, records, tools
from .expected import Mark
from .scenarios import scenarios

Try = dict[str, t.Any]
TOOLS = {name: f"a tool is {name}" for name in tools.FAULTS} | {
    "failing": "a tool fails",
    "hanging": "a tool hangs",
    "half": "a tool says half",
    "lying": "a tool lies",
    "garbage": "a tool talks nonsense",
}
KINDS = {**TOOLS, "records": "records broken", "clock": "another clock"}
FUNCTIONS = {
    **dict.fromkeys(TOOLS, "tools:fault"),
    "calls": "tools:count",
    "records": "records:broken",
    "clock": "clocks:otherwise",
}
CUT_TOOLS, CUT_RECORDS, CUT_CLOCKS = 3, 1, 1


def groups() -> dict[str, str]:
    """The tests that are about no scenario, by their names, with their kinds."""
    return {**dict.fromkeys(records.WAYS, "records"), **dict.fromkeys(clocks.names(), "clock")}


def of_tools(name: str, calls: t.Sequence[t.Sequence[t.Any]]) -> list[Try]:
    """Each call of each tool with each fault. Of some faults one manner after another: they are many."""
    found = []
    for index, (point, number) in enumerate(calls):
        for turn, (fault, manners) in enumerate(tools.FAULTS.items()):
            how = list(manners)[(index + number) % len(manners)]
            lasting = fault == "missing" or bool((index + turn) % 2)
            aim = {"point": point, "number": number, "how": how, "lasting": lasting}
            found.append({"kind": fault, "scenario": name, **aim})
    return found


def of_records(names: t.Iterable[str]) -> list[Try]:
    """All ways, in shares."""
    return [
        {"kind": "records", "scenario": name, "nth": nth}
        for name in names
        if name in records.WAYS
        for nth in range(1, records.SHARES[name] + 1)
    ]


def of_clocks(names: t.Iterable[str]) -> list[Try]:
    """Each once."""
    return [{"kind": "clock", "scenario": name, "nth": 1} for name in names if name in clocks.names()]


def rounds_of(name: str) -> int:
    """How many tries the long run makes of one of ``groups``."""
    return records.SHARES.get(name, 1)


def cut(
    names: t.Sequence[str], calls: t.Mapping[str, t.Sequence[t.Sequence[t.Any]]], chance: random.Random
) -> list[Try]:
    """A few of each; nothing that hangs, for it takes as long as the product waits."""
    each = [one for name, points in calls.items() for one in of_tools(name, points) if one["kind"] != "hanging"]
    shares, times = of_records(names), of_clocks(names)
    found = chance.sample(each, min(CUT_TOOLS, len(each)))
    for one in chance.sample(shares, min(CUT_RECORDS, len(shares))):
        found.append({**one, "most": 3, "seed": chance.randrange(1 << 16)})
    return found + chance.sample(times, min(CUT_CLOCKS, len(times)))


def _expected() -> dict[tuple[str, str], Mark]:
    """What fails today, each with a try that shows it."""
    # What is noted of another boot is taken for gone with it, and is not when somebody has written that by hand.
    found = {("records", "records of elsewhere"): Mark("boot", {"nth": 1})}
    reads = "/usr/sbin/iptables-legacy-save"
    for name, scenario in scenarios().items():
        lab, _blank, what = name.partition(" ")
        if lab not in HOSTS_RULES or what.startswith("verify"):
            continue
        teardown = scenario.target.stdin == scenario.down.stdin
        for kind, manners in tools.FAULTS.items():
            # A teardown reads all before it does anything. What fails when the end is proved is said, and that all
            # was changed is not; that is the third time that its one or two tables are read.
            aim = {"point": reads, "number": 1 if teardown else 3 if lab == "redirect" else 5}
            how = {"garbage": "a list"}.get(kind, next(iter(manners)))
            found[kind, name] = Mark("C13" if teardown else "proof", {**aim, "how": how, "lasting": kind == "missing"})
    for kind, name, case, point, number, how in OF_TOOLS:
        aim = {"point": f"/usr/bin/{point}", "number": number}
        found[kind, name] = Mark(case, {**aim, "how": how, "lasting": kind == "missing"})
    return found


# "proof" as above; "output": what a tool says that is not as expected is a traceback; "dpkg": what it was doing when it
# failed is in the way of the next run, or it is not named.
OF_TOOLS = (
    ("missing", "golang there", "proof", "setpriv", 2, ""),
    ("hanging", "golang there", "proof", "setpriv", 2, "by itself"),
    ("missing", "golang back", "C13", "setpriv", 2, ""),
    ("hanging", "golang back", "C13", "setpriv", 1, "with a child"),
    ("missing", "iproute2 there", "proof", "dpkg-query", 5, ""),
    ("failing", "iproute2 there", "proof", "dpkg-query", 5, "no word"),
    ("hanging", "iproute2 there", "proof", "dpkg-query", 5, "by itself"),
    ("silent", "iproute2 there", "output", "gcc", 1, ""),
    ("garbage", "iproute2 there", "output", "dpkg-query", 1, "a list"),
    ("half", "iproute2 there", "output", "dpkg-query", 1, ""),
    ("missing", "iproute2 back", "C13", "dpkg-query", 1, ""),
    ("failing", "iproute2 back", "C13", "dpkg-query", 2, "no word"),
    ("hanging", "iproute2 back", "C13", "dpkg-query", 1, "by itself"),
    ("garbage", "iproute2 back", "output", "dpkg-query", 1, "a list"),
    ("half", "iproute2 back", "output", "dpkg-query", 2, ""),
    ("failing", "bpftool there", "proof", "gcc", 8, "no word"),
    ("hanging", "bpftool there", "proof", "gcc", 8, "by itself"),
    ("silent", "bpftool there", "output", "gcc", 1, ""),
    ("missing", "packages there", "dpkg", "tar", 2, ""),
    ("failing", "packages there", "dpkg", "tar", 1, "no word"),
    ("silent", "packages there", "dpkg", "tar", 1, ""),
    ("lying", "packages there", "dpkg", "dpkg-deb", 1, ""),
    ("hanging", "packages there", "dpkg", "dpkg", 5, "by itself"),
    ("garbage", "packages there", "output", "dpkg-query", 1, "a list"),
    ("half", "packages there", "output", "dpkg-query", 3, ""),
)


HOSTS_RULES = ("lecture2", "xdp_hello", "redirect", "iptables_flush")  # what changes the host's own packet filter
EXPECTED = _expected()
