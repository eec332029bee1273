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
CUT_TOOLS, CUT_RECORDS, CUT_CLOCKS = 3, 2, 1


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
    names: t.Sequence[str],
    calls: t.Mapping[str, t.Sequence[t.Sequence[t.Any]]],
    chance: random.Random,
    expected: t.Collection[tuple[str, str]],
) -> list[Try]:
    """A few of each of what is not expected to fail: what is takes the long run, because a try is long."""
    each = [one for name, points in calls.items() for one in of_tools(name, points) if one["kind"] != "hanging"]
    found = _some(CUT_TOOLS, each, chance, expected)
    for one in _some(CUT_RECORDS, of_records(names), chance, expected):
        found.append({**one, "most": 3, "seed": chance.randrange(1 << 16)})
    return found + _some(CUT_CLOCKS, of_clocks(names), chance, expected)


def _some(
    most: int, tries: t.Sequence[Try], chance: random.Random, expected: t.Collection[tuple[str, str]]
) -> list[Try]:
    sure = [one for one in tries if (one["kind"], one["scenario"]) not in expected]
    return chance.sample(sure, min(most, len(sure)))


EXPECTED: dict[tuple[str, str], Mark] = {}
