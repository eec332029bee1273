# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results of verify as lines for the terminal: one machine in full, a class as a table, all stages side by side."""

from __future__ import annotations

import textwrap
import typing as t

from ..module_utils._lab.grading.plain import visible
from .results import NOT_STARTED, Result, Standing
from .summary import natural

WIDTH = 100  # columns
Line = tuple[str, str]  # text, and good, bad, odd or "" for its colour


def view(results: t.Sequence[Result], standings: t.Optional[t.Mapping[str, Standing]] = None) -> list[Line]:
    """What to show: a single machine's checks one by one, else a line a machine; and what each has of the whole lab."""
    standings = standings or {}
    return one(results[0], standings.get(results[0]["host"])) if len(results) == 1 else several(results, standings)


def one(result: Result, standing: t.Optional[Standing] = None) -> list[Line]:
    """The student's view: what passes, what does not, what was found, and the hint."""
    name = next((stage["title"] for stage in result["stages"] if stage["name"] == result["stage"]), "")
    head = f"{result['lab']}, stage {result['stage'] or '(unknown)'}" + (f": {name}" if name else "")
    lines: list[Line] = []
    if result["status"] != "graded":
        lines += [(head, ""), *_wrapped(f"  {result['status']}: ", result["message"], "odd")]
    else:
        lines.append((f"{head}. {result['points']} of {result['max_points']} points", ""))
        lines += _wrapped("  ", result["message"], "odd") if result["message"] else []
    for check in result["checks"] if result["status"] == "graded" else ():
        points = f"{check['points']}/{check['max_points']}"
        word = "pass" if check["passed"] else "FAIL"
        lines += _wrapped(f"  {word}  {points:>5}  ", check["name"], "good" if check["passed"] else "bad")
        if check["passed"]:
            continue
        if check["error"]:
            lines += _wrapped("               error     ", check["error"])
        else:
            lines += _wrapped("               expected  ", visible(check["expected"], 400))
            lines += _wrapped("               found     ", visible(check["found"], 400))
        if check["hint"]:
            lines += _wrapped("               hint      ", check["hint"])
    best = standing.best.get(result["stage"]) if standing is not None else None
    if best is not None and best.points > result["points"]:
        lines.append((f"  the best so far: {best.points} points, {best.time}", ""))
    if standing is not None and standing.max_points:
        passed = sum(standing.passed(stage) for stage in standing.most)
        what = f"{standing.points} of {standing.max_points} points, {passed} of {len(standing.most)} stages passed"
        lines.append((f"  the whole lab: {what}", ""))
    return lines


def _wrapped(head: str, text: str, colour: str = "") -> list[Line]:
    """Text after a head, its further lines below its first."""
    indent = " " * len(head)
    parts: list[str] = []
    for paragraph in text.split("\n"):
        parts += textwrap.wrap(paragraph, max(WIDTH - len(head), 30), break_on_hyphens=False) or [""]
    return [(f"{indent if number else head}{part}".rstrip(), colour) for number, part in enumerate(parts)]


def several(results: t.Sequence[Result], standings: t.Mapping[str, Standing]) -> list[Line]:
    """A class: a line a machine."""
    total = bool(standings)
    rows = [(("machine", "stage", "points", *(["whole lab"] if total else []), "failed checks"), "")]
    for result in sorted(results, key=lambda result: natural(result["host"])):
        host, stage = visible(result["host"], 30), visible(result["stage"], 20)
        lab = [f"{has.points}/{has.max_points}" for has in [standings[result["host"]]]] if total else []
        if result["status"] != "graded":
            rows.append(((host, stage or "-", "-", *lab, _short(_state(result))), "odd"))
            continue
        missed = "; ".join(check["name"] for check in result["checks"] if not check["passed"])
        points = f"{result['points']}/{result['max_points']}"
        told = "; ".join(text for text in (result["message"], missed) if text)
        rows.append(((host, stage, points, *lab, _short(told) or "-"), "bad" if missed else "good"))
    return _table(rows, "<<>><" if total else "<<><")


def every_stage(results: t.Sequence[Result], standings: t.Mapping[str, Standing]) -> list[Line]:
    """What holds now at each stage, beside the best that was earned there: one machine in full, a class as a table.

    ``results`` are a machine's for each stage, one machine after the other, or one for a machine that gave none.
    """
    machines: dict[str, list[Result]] = {}
    for result in results:
        machines.setdefault(result["host"], []).append(result)
    if len(machines) == 1:
        host, found = next(iter(machines.items()))
        return _stages_of(found, standings[host])
    stages = list(next(iter(standings.values())).most)
    rows = [(("machine", *(visible(stage, 20) for stage in stages), "best of all"), "")]
    for host in sorted(machines, key=natural):
        has, found = standings[host], machines[host]
        odd = found[0]["status"] != "graded"
        if found[0]["status"] in ("graded", NOT_STARTED):
            now = {result["stage"]: f"{result['points']}" for result in found}
        else:
            now = dict.fromkeys(stages, "-")
        cells = [f"{now.get(stage, '-')} ({_best(has, stage)})" for stage in stages]
        total = f"{has.points}/{has.max_points}" + (f"  {_short(_state(found[0]))}" if odd else "")
        rows.append(((visible(host, 30), *cells, total), "odd" if odd else "good" if has.whole else ""))
    head = f"{results[0]['lab']}: points that hold now, in brackets the best that were earned; nothing of this is kept"
    return [(head, ""), *_table(rows, "<" + ">" * len(stages) + "<")]


def _stages_of(results: t.Sequence[Result], has: Standing) -> list[Line]:
    lines: list[Line] = [(f"{results[0]['lab']}: what holds now and the best that was earned; nothing is kept", "")]
    if results[0]["status"] != "graded":
        lines += _wrapped(f"  {results[0]['status']}: ", results[0]["message"], "odd")
    elif results[0]["message"]:
        lines += _wrapped("  ", results[0]["message"], "odd")
    now = {result["stage"]: f"{result['points']}/{result['max_points']}" for result in results if result["checks"]}
    rows = [(("stage", "now", "best", "earned"), "")]
    for stage, worth in has.most.items():
        best = has.best[stage]
        earned = f"{best.points}/{worth}" if best is not None else "-"
        time = best.time if best is not None and best.points else "-"
        colour = "good" if best is not None and has.passed(stage) else ""
        rows.append(((visible(stage, 20), now.get(stage, "-"), earned, time), colour))
    rows.append((("all", "", f"{has.points}/{has.max_points}", ""), ""))
    return [*lines, *_table(rows, "<>><")]


def _best(has: Standing, stage: str) -> str:
    best = has.best[stage]
    return f"{best.points}" if best is not None else "-"


def _state(result: Result) -> str:
    return f"{result['status']}: {result['message']}"


def _table(rows: t.Sequence[tuple[tuple[str, ...], str]], sides: str) -> list[Line]:
    """Rows and their colours as lines; ``sides`` says for each column whether it stands to the left or to the right."""
    widths = [max(len(cells[column]) for cells, _colour in rows) for column in range(len(sides) - 1)]
    lines = []
    for cells, colour in rows:
        parts = [f"{cell:{side}{width}}" for cell, side, width in zip(cells, sides, [*widths, 0])]
        lines.append(("  " + "  ".join(parts).rstrip(), colour))
    return lines


def _short(text: str, limit: int = 70) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def verdict(results: t.Sequence[Result], grades: bool = True) -> str:
    """One sentence about what is not as it should be; "" when every check of every machine passed.

    Without ``grades``, when a machine gave no answer.
    """
    graded = [result for result in results if grades and result["status"] == "graded"]
    checks = sum(len(result["checks"]) for result in graded)
    failed = [sum(not check["passed"] for check in result["checks"]) for result in graded]
    machines = {result["host"] for result in results}
    parts = []
    if sum(failed):
        on = {result["host"] for result, count in zip(graded, failed) if count}
        where = f" on {len(on)} of {len(machines)} machines" if len(machines) > 1 else ""
        parts.append(f"{sum(failed)} of {checks} checks failed{where}")
    for status, words in (
        (NOT_STARTED, ("has not started", "have not started")),
        ("unreachable", ("was unreachable", "were unreachable")),
        ("failed", ("was not graded", "were not graded")),
    ):
        count = len({result["host"] for result in results if result["status"] == status})
        if count and (grades or status != NOT_STARTED):
            who = f"{count} machine{'s' if count > 1 else ''}" if len(machines) > 1 else "the machine"
            parts.append(f"{who} {words[count > 1]}")
    text = ", ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""
