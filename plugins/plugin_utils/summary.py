# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The teacher's report as data: a row a machine, a cell a stage. Pure; this is also what report.json holds."""

from __future__ import annotations

import re
import typing as t

from .results import NOT_STARTED, Machine, Number, Result, Standing, drift, one_line

# In the order in which a teacher wants to see them.
IN_PROGRESS = "in progress"
PASSED = "passed"
STATUSES = (IN_PROGRESS, NOT_STARTED, "unreachable", "failed", PASSED, "unseen")


def summarise(
    lab: str,
    machines: t.Sequence[Machine],
    hosts: t.Iterable[str] = (),
    time: str = "",
    warnings: t.Sequence[str] = (),
    worth: t.Optional[t.Mapping[str, Number]] = None,
) -> dict[str, t.Any]:
    """The report over ``machines``; those of ``hosts`` that have no results become rows of status unseen.

    ``worth`` are the points of each stage in the lab file, for results that do not have them.

    Keys: ``format, lab, title, time, warnings, stages, totals, missed, machines``. A machine's ``status`` is passed
    (all points of the whole lab were earned), in progress, not started, unreachable, failed (its last verify broke off)
    or unseen. ``points`` are the best that was ever earned, of the whole lab's ``max_points``; ``now`` is what held
    when it was verified last, and ``failures`` are what did not.
    """
    newest = max((machine.attempt for machine in machines), key=lambda result: str(result["time"]), default=None)
    stages = _stages(machines, newest, worth or {})
    most = {stage["name"]: stage["max_points"] for stage in stages}  # None where nobody knows
    rows = [_row(machine, most) for machine in machines]
    known = {row["host"] for row in rows}
    rows += [_unseen(host, most) for host in dict.fromkeys(one_line(host) for host in hosts) if host not in known]
    rows.sort(key=lambda row: natural(row["host"]))
    for stage in stages:
        states = [cell["state"] for row in rows for cell in row["cells"] if cell["stage"] == stage["name"]]
        stage.update(
            max_points=stage["max_points"] or 0,
            graded=sum(state != "" for state in states),
            passed=states.count(PASSED),
        )
    return {
        "format": 2,
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


def _stages(
    machines: t.Sequence[Machine], newest: t.Optional[Result], worth: t.Mapping[str, Number]
) -> list[dict[str, t.Any]]:
    """The lab's stages in its order as the newest result has them, then stages that only old results know.

    ``max_points`` are the lab file's; where nobody has them, the most that some machine was graded for.
    """
    found = {stage["name"]: dict(stage) for stage in (newest["stages"] if newest else [])}
    graded: dict[str, Number] = {}
    for machine in machines:
        for name, result in machine.stages.items():
            found.setdefault(name, {"name": name, "title": "", "max_points": None})
            graded[name] = max(graded.get(name, 0), result["max_points"])
    for name, stage in found.items():
        if stage["max_points"] is None:
            stage["max_points"] = worth.get(name, graded.get(name))
    return list(found.values())


def _row(machine: Machine, most: t.Mapping[str, t.Optional[Number]]) -> dict[str, t.Any]:
    standing = Standing.of(machine, most)
    cells = [_cell(name, standing, machine.stages.get(name), machine.previous.get(name)) for name in most]
    status = machine.attempt["status"]
    if status == "graded" or (status == NOT_STARTED and standing.points):
        status = PASSED if standing.whole else IN_PROGRESS
    return {
        "host": machine.host,
        "status": status,
        "message": machine.attempt["message"],
        "time": machine.attempt["time"],
        "points": standing.points,
        "max_points": standing.max_points,
        "failed": sum(len(cell["failures"]) for cell in cells),
        "drifted": sum(len(cell["drift"]) for cell in cells),
        "cells": cells,
    }


def _unseen(host: str, most: t.Mapping[str, t.Optional[Number]]) -> dict[str, t.Any]:
    standing = Standing.of(None, most)
    return {
        "host": host,
        "status": "unseen",
        "message": "never verified",
        "time": "",
        "points": 0,
        "max_points": standing.max_points,
        "failed": 0,
        "drifted": 0,
        "cells": [_cell(name, standing, None, None) for name in most],
    }


def _cell(stage: str, standing: Standing, result: t.Optional[Result], previous: t.Optional[Result]) -> dict[str, t.Any]:
    """A stage of a machine: the best and its time, and the newest. ``state`` is "" for one that was never graded."""
    checks = result["checks"] if result else []
    begun = result is not None and result["status"] != NOT_STARTED
    best = standing.best[stage]
    state = "" if best is None else PASSED if standing.passed(stage) else IN_PROGRESS
    if state == IN_PROGRESS and not begun and best is not None and not best.points:
        state = NOT_STARTED
    return {
        "stage": stage,
        "state": state,
        "points": best.points if best else 0,
        "max_points": standing.most[stage] or 0,
        "best_time": best.time if best else "",
        "time": result["time"] if result else "",
        "now": result["points"] if result else 0,
        "started": begun,
        "checks": checks,
        "failures": [check for check in checks if begun and not check["passed"]],
        "drift": drift(previous, result) if result else [],
        "drift_since": previous["time"] if previous else "",
    }


def _missed(rows: t.Sequence[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """The checks that most machines fail, the worst first."""
    counts: dict[tuple[str, str], dict[str, t.Any]] = {}
    for row in rows:
        for cell in row["cells"]:
            for check in cell["checks"] if cell["started"] else ():
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
