# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A line of the kernel's trace as text, taken apart."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass
from decimal import Decimal

EVENT = "bpf_trace_printk"

# TASK-PID [CPU] FLAGS TIMESTAMP: FUNCTION: TEXT, with "(-------)" for the thread group under record-tgid. A task's name
# may hold anything, dashes too, but is too short for all that follows it: the first place that fits is right.
_LINE = re.compile(
    r"^\s*(?P<task>.*?)-(?P<pid>\d+)\s+(?:\(\s*[-\d]+\)\s+)?\[(?P<cpu>\d{3,})\]\s+(?:(?P<flags>\S{4,9})\s+)?"
    r"(?P<time>\d+(?:\.\d+)?): (?P<event>[\w.]+): (?P<text>.*)$"
)
_LOST = re.compile(r"^CPU:(?P<cpu>\d+) \[LOST (?P<count>\d+|EVENTS)")


@dataclass(frozen=True)
class Line:
    """One call of bpf_printk. ``time`` is seconds of the trace clock, from boot unless that was changed.

    ``task`` and ``pid`` are what the CPU was running: for a packet that came from outside, whoever was interrupted.
    """

    task: str
    pid: int
    cpu: int
    time: Decimal
    text: str

    def as_dict(self) -> dict[str, t.Any]:
        """Plain JSON types; the time as text, because a float has not its microseconds."""
        return {"task": self.task, "pid": self.pid, "cpu": self.cpu, "time": str(self.time), "text": self.text}


def parse(line: str) -> t.Optional[Line]:
    """A line of the file ``trace``; None for one that no bpf_printk has written.

    The kernel ends each call with a newline of its own, so a text that ends with one is followed by an empty line.
    """
    match = _LINE.match(line)
    if match is None or match["event"] != EVENT:
        return None
    return Line(match["task"].strip(), int(match["pid"]), int(match["cpu"]), Decimal(match["time"]), match["text"])


def lost(line: str) -> int:
    """How many events a line says were lost on a CPU; 0 for any other line."""
    match = _LOST.match(line)
    if match is None:
        return 0
    return int(match["count"]) if match["count"].isdigit() else 1


def parse_all(lines: t.Iterable[str]) -> t.Iterator[Line]:
    """The calls of bpf_printk in the text of a trace: a text of several lines is put together again."""
    pending: t.Optional[Line] = None
    for raw in lines:
        line = raw.rstrip("\n")
        match = _LINE.match(line)
        if match is None and pending is not None and not line.startswith("#") and not lost(line):
            pending = Line(pending.task, pending.pid, pending.cpu, pending.time, f"{pending.text}\n{line}")
            continue
        if pending is not None:
            yield _without_newlines(pending)
        pending = parse(line)
    if pending is not None:
        yield _without_newlines(pending)


def _without_newlines(line: Line) -> Line:
    return Line(line.task, line.pid, line.cpu, line.time, line.text.rstrip("\n"))
