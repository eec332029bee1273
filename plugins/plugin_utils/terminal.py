# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results of verify as lines for the terminal: one machine in full, a class as a table."""

from __future__ import annotations

import textwrap
import typing as t

from .plain import visible
from .results import Result
from .summary import natural

WIDTH = 100  # columns
Line = tuple[str, str]  # text, and good, bad, odd or "" for its colour


def view(results: t.Sequence[Result]) -> list[Line]:
    """What to show: a single machine's checks one by one, else a line a machine."""
    return one(results[0]) if len(results) == 1 else several(results)


def one(result: Result) -> list[Line]:
    """The student's view: what passes, what does not, what was found, and the hint."""
    name = next((stage["title"] for stage in result["stages"] if stage["name"] == result["stage"]), "")
    head = f"{result['lab']}, stage {result['stage'] or '(unknown)'}" + (f": {name}" if name else "")
    if result["status"] != "graded":
        return [(head, ""), *_wrapped(f"  {result['status']}: ", result["message"], "odd")]
    lines: list[Line] = [(f"{head}. {result['points']} of {result['max_points']} points", "")]
    for check in result["checks"]:
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
    return lines


def _wrapped(head: str, text: str, colour: str = "") -> list[Line]:
    """Text after a head, its further lines below its first."""
    indent = " " * len(head)
    parts: list[str] = []
    for paragraph in text.split("\n"):
        parts += textwrap.wrap(paragraph, max(WIDTH - len(head), 30), break_on_hyphens=False) or [""]
    return [(f"{indent if number else head}{part}".rstrip(), colour) for number, part in enumerate(parts)]


def several(results: t.Sequence[Result]) -> list[Line]:
    """A class: a line a machine, and the sum."""
    rows = [("machine", "stage", "points", "failed checks", "")]
    for result in sorted(results, key=lambda result: natural(result["host"])):
        host, stage = visible(result["host"], 30), visible(result["stage"], 20)
        if result["status"] != "graded":
            rows.append((host, stage or "-", "-", _short(f"{result['status']}: {result['message']}"), "odd"))
            continue
        missed = "; ".join(check["name"] for check in result["checks"] if not check["passed"])
        points = f"{result['points']}/{result['max_points']}"
        rows.append((host, stage, points, _short(missed) if missed else "-", "bad" if missed else "good"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = []
    for machine, stage, points, missed, colour in rows:
        text = f"  {machine:<{widths[0]}}  {stage:<{widths[1]}}  {points:>{widths[2]}}  {missed}"
        lines.append((text.rstrip(), colour))
    return lines


def _short(text: str, limit: int = 70) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def verdict(results: t.Sequence[Result]) -> str:
    """One sentence about what is not as it should be; "" when every check of every machine passed."""
    graded = [result for result in results if result["status"] == "graded"]
    checks = sum(len(result["checks"]) for result in graded)
    failed = [sum(not check["passed"] for check in result["checks"]) for result in graded]
    machines = {result["host"] for result in results}
    parts = []
    if sum(failed):
        on = {result["host"] for result, count in zip(graded, failed) if count}
        where = f" on {len(on)} of {len(machines)} machines" if len(machines) > 1 else ""
        parts.append(f"{sum(failed)} of {checks} checks failed{where}")
    for status, words in (("unreachable", "unreachable"), ("failed", "not graded")):
        count = len({result["host"] for result in results if result["status"] == status})
        if count:
            who = f"{count} machine{'s were' if count > 1 else ' was'}" if len(machines) > 1 else "the machine was"
            parts.append(f"{who} {words}")
    text = ", ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""
