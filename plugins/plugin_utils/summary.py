# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The teacher's report as data: a row a machine, a cell a stage. Pure; this is also what report.json holds."""

from __future__ import annotations

import re
import typing as t

from .results import Machine, Result, drift, one_line

# In the order in which a teacher wants to see them.
STATUSES = ("failing", "unreachable", "failed", "passing", "unseen")


def summarise(
    lab: str,
    machines: t.Sequence[Machine],
    hosts: t.Iterable[str] = (),
    time: str = "",
    warnings: t.Sequence[str] = (),
) -> dict[str, t.Any]:
    """The report over ``machines``; those of ``hosts`` that have no results become rows of status unseen.

    Keys: ``format, lab, title, time, warnings, stages, totals, missed, machines``. A machine's ``status`` is passing
    (every check of every graded stage), failing, unreachable, failed (its last verify broke off) or unseen.
    """
    newest = max((machine.attempt for machine in machines), key=lambda result: str(result["time"]), default=None)
    stages = _stages(machines, newest)
    most = {stage["name"]: stage["max_points"] for stage in stages}
    rows = [_row(machine, most) for machine in machines]
    known = {row["host"] for row in rows}
    rows += [_unseen(host, most) for host in dict.fromkeys(one_line(host) for host in hosts) if host not in known]
    rows.sort(key=lambda row: natural(row["host"]))
    for stage in stages:
        cells = [cell for row in rows for cell in row["cells"] if cell["stage"] == stage["name"] and cell["checks"]]
        stage.update(graded=len(cells), passing=sum(not cell["failures"] for cell in cells))
    return {
        "format": 1,
        "lab": lab,
        "title": newest["title"] if newest else "",
        "time": time,
        "warnings": list(warnings),
        "stages": stages,
        "totals": {
            "machines": len(rows),
            **{status: sum(row["status"] == status for row in rows) for status in STATUSES},
            "drifted": sum(bool(row["drifted"]) for row in rows),
            "points": sum(row["points"] for row in rows),
            "max_points": sum(row["max_points"] for row in rows),
        },
        "missed": _missed(rows),
        "machines": rows,
    }


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sorts s2 before s10."""
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"([0-9]{1,18})", name) if part
    ]


def _stages(machines: t.Sequence[Machine], newest: t.Optional[Result]) -> list[dict[str, t.Any]]:
    """The lab's stages in its order as the newest result has them, then stages that only old results know."""
    titles = {stage["name"]: stage["title"] for stage in (newest["stages"] if newest else [])}
    most: dict[str, t.Any] = {}
    for machine in machines:
        for name, result in machine.stages.items():
            titles.setdefault(name, "")
            most[name] = max(most.get(name, 0), result["max_points"])
    return [{"name": name, "title": title, "max_points": most.get(name, 0)} for name, title in titles.items()]


def _row(machine: Machine, most: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    cells = [_cell(name, machine.stages.get(name), machine.previous.get(name)) for name in most]
    failed = sum(len(cell["failures"]) for cell in cells)
    status = machine.attempt["status"]
    if status == "graded":
        status = "failing" if failed else "passing"
    return {
        "host": machine.host,
        "status": status,
        "message": machine.attempt["message"],
        "time": machine.attempt["time"],
        "points": sum(cell["points"] for cell in cells),
        "max_points": sum(most.values()),
        "failed": failed,
        "drifted": sum(len(cell["drift"]) for cell in cells),
        "cells": cells,
    }


def _unseen(host: str, most: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {
        "host": host,
        "status": "unseen",
        "message": "never verified",
        "time": "",
        "points": 0,
        "max_points": sum(most.values()),
        "failed": 0,
        "drifted": 0,
        "cells": [_cell(name, None, None) for name in most],
    }


def _cell(stage: str, result: t.Optional[Result], previous: t.Optional[Result]) -> dict[str, t.Any]:
    checks = result["checks"] if result else []
    return {
        "stage": stage,
        "time": result["time"] if result else "",
        "points": result["points"] if result else 0,
        "max_points": result["max_points"] if result else 0,
        "checks": checks,
        "failures": [check for check in checks if not check["passed"]],
        "drift": drift(previous, result) if result else [],
        "drift_since": previous["time"] if previous else "",
    }


def _missed(rows: t.Sequence[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """The checks that most machines fail, the worst first."""
    counts: dict[tuple[str, str], dict[str, t.Any]] = {}
    for row in rows:
        for cell in row["cells"]:
            for check in cell["checks"]:
                entry = {
                    "stage": cell["stage"],
                    "check": check["name"],
                    "hint": check["hint"],
                    "failed": 0,
                    "graded": 0,
                }
                entry = counts.setdefault((cell["stage"], check["name"]), entry)
                entry["graded"] += 1
                entry["failed"] += not check["passed"]
    return sorted((entry for entry in counts.values() if entry["failed"]), key=lambda entry: -entry["failed"])
