# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run's outcome as a few lines for the terminal: what was proven, and what was changed."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ..module_utils._lab.grading.plain import plain, visible

STEPS = 40  # lines of what was changed; the task's result holds them all


def outcome(host: str, result: t.Any) -> list[str]:
    """Lines about one host's result of ebpf.lab.lab, with nothing invisible in them."""
    result = plain(result)
    facts = _mapping(result.get("facts"))
    points = f": {result['points']} of {result['max_points']} points" if "checks" in result else ""
    lines = [f"{host}: lab {_text(result.get('lab'))}, stage {_text(result.get('stage'))}{points}"]
    rows = [["program", "id", "tag", "on", "mode"]]
    for entry in _mappings(facts.get("attachments")):
        where = _text(entry.get("interface")) + (f" in {_text(entry['netns'])}" if entry.get("netns") else "")
        rows.append([*(_text(entry.get(key)) for key in ("program", "id", "tag")), where, _text(entry.get("mode"))])
    lines += _table(rows)
    rows = [["traffic", "to", "loss", "round trip"]]
    for name, entry in _mapping(facts.get("traffic")).items():
        sent = _mapping(entry)
        trip = sent.get("rtt_avg")
        shown = f"{trip:.3f} ms" if isinstance(trip, (int, float)) else "none"
        loss = "unknown" if sent.get("loss") is None else f"{_text(sent['loss'])} %"
        rows.append([_text(name), _text(sent.get("destination")), loss, shown])
    lines += _table(rows)
    steps = _steps(result)
    return [*lines, f"  changed: {len(steps)} steps" if steps else "  changed: nothing", *_listed(steps)]


def prediction(host: str, result: t.Any, listed: bool = True) -> list[str]:
    """Lines about what a run of ebpf.lab.lab would do to one host, as check mode says; its steps when ``listed``."""
    result = plain(result)
    steps = _steps(result)
    head = f"{host}: lab {_text(result.get('lab'))}, stage {_text(result.get('stage'))}"
    if not steps:
        return [f"{head}: nothing would change"]
    missing = [_text(name) for name in _sequence(result.get("missing"))]
    when = f", once {', '.join(missing)} are installed" if missing else ""
    lines = [f"{head}: would take {len(steps)} steps{when}"]
    if listed:
        later = _sequence(result.get("known_later"))
        lines += [*_listed(steps), *(f"  known only while it runs: {_text(line, 200)}" for line in later)]
    return lines


def _steps(result: t.Any) -> list[str]:
    return [step for step in _sequence(result.get("steps")) if isinstance(step, str)]


def _listed(steps: t.Sequence[str]) -> list[str]:
    told = [_text(step, 160) for step in steps]
    if len(told) > STEPS:  # the last one notes the stage, and whether the host was rebooted
        told[STEPS - 1 : -1] = [f"and {len(told) - STEPS} more"]
    return [f"    {line}" for line in told]


def failed_checks(checks: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """One sentence a failed check: what was expected, what was found, and the hint; "" when all passed."""
    failed = [check for check in checks if not check["passed"]]
    return " ".join(
        f"{check['name']}: expected {check['expected']}, found {check['error'] or check['found']}."
        + (f" {check['hint']}" if check["hint"] else "")
        for check in failed
    )


def _table(rows: list[list[str]]) -> list[str]:
    if len(rows) == 1:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _text(value: t.Any, limit: int = 60) -> str:
    return "none" if value is None else visible(str(value), limit)


def _mapping(value: t.Any) -> t.Mapping[str, t.Any]:
    return value if isinstance(value, Mapping) else {}


def _sequence(value: t.Any) -> t.Sequence[t.Any]:
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def _mappings(value: t.Any) -> list[t.Mapping[str, t.Any]]:
    return [entry for entry in _sequence(value) if isinstance(entry, Mapping)]
