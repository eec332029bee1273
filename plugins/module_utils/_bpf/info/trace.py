# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What bpf_printk wrote, read without taking it away from anybody.

Reading ``trace_pipe`` consumes; reading ``trace`` does not, and a marker needs no line in the buffer: each CPU's
``stats`` has the clock of its part of the buffer, and how many lines others have consumed. Lines that a student's
``cat trace_pipe`` took are therefore known to be missing, and not to be had. ``recording`` gets them all: it has an
own instance of tracefs in which the event bpf_trace_printk is enabled (Linux 5.9 and later), so that the buffer that
everybody reads stays as it is. Sources: the kernel's Documentation/trace/ftrace.rst and kernel/trace/bpf_trace.c.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import re
import sys
import time
import typing as t
from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal

from ..._core import files
from ..._core.errors import BadInput, LabError
from ..._core.host import Host
from ..._core.temporary import noted
from .kinds import TRACE
from .trace_lines import EVENT, Line, parse_all

FOLDERS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
LOCKDOWN = "/sys/kernel/security/lockdown"
PREFIX = "ebpf_lab_"


class TraceUnavailable(LabError):
    """The trace cannot be read on this host; the message says why, ``fix`` what to do."""


@dataclass(frozen=True)
class Marker:
    """A moment: for each CPU the trace clock, the events consumed by readers and those overwritten so far."""

    now: t.Mapping[int, Decimal] = field(default_factory=dict)
    consumed: int = 0
    overrun: int = 0

    def as_dict(self) -> dict[str, t.Any]:
        """Plain JSON types."""
        now = {str(cpu): str(value) for cpu, value in self.now.items()}
        return {"now": now, "consumed": self.consumed, "overrun": self.overrun}

    @classmethod
    def from_dict(cls, value: t.Any) -> Marker:
        """The inverse of ``as_dict``. Raises BadInput."""
        try:
            now = {int(cpu): Decimal(str(moment)) for cpu, moment in value["now"].items()}
            return cls(now, int(value["consumed"]), int(value["overrun"]))
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
            right = "give the marker that ebpf.lab.bpf_trace_info returned"
            raise BadInput("since", value, "is no marker", right) from None


def folder() -> str:
    """Where tracefs is mounted. Raises TraceUnavailable; looks only, so nothing gets mounted."""
    for path in FOLDERS:
        if os.path.exists(f"{path}/trace"):
            return path
    raise TraceUnavailable(
        "Tracefs is not mounted on this host, so what bpf_printk writes cannot be read.",
        f"Mount it: mount -t tracefs tracefs {FOLDERS[0]}.",
    )


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError as error:
        raise _refused(path, error) from error


def _refused(path: str, error: OSError) -> TraceUnavailable:
    mode = ""
    with contextlib.suppress(OSError), open(LOCKDOWN, encoding="ascii") as file:
        mode = file.read().partition("[")[2].partition("]")[0]
    if error.errno == errno.EPERM and mode == "confidentiality":
        return TraceUnavailable(
            "The kernel is locked down in the mode confidentiality, in which nobody reads the trace.",
            "Start it without lockdown=confidentiality.",
        )
    fix = "Reading the trace needs root." if error.errno in (errno.EPERM, errno.EACCES) else ""
    return TraceUnavailable(f"{path} cannot be read: {error.strerror}.", fix)


def mark(host: Host) -> Marker:
    """This moment, for ``since``. Writes nothing. Raises TraceUnavailable."""
    now, consumed, overrun = {}, 0, 0
    for path in glob.glob(f"{folder()}/per_cpu/cpu*/stats"):
        values = dict(re.findall(r"^([a-z ]+): +([\d.]+)", _read(path), re.MULTILINE))
        now[int(re.sub(r"\D", "", path.rsplit("/", 2)[1]))] = Decimal(values["now ts"])
        consumed += int(values["read events"])
        overrun += int(values["overrun"])
    return Marker(now, consumed, overrun)


def since(
    host: Host, marker: t.Optional[Marker] = None, *, matches: str = "", pid: t.Optional[int] = None, limit: int = 1000
) -> list[Line]:
    """The last ``limit`` lines that are in the buffer, written after ``marker``, with ``matches`` in the text.

    ``matches`` is a regular expression that is searched for. Raises TraceUnavailable, BadInput.
    """
    path = f"{folder()}/trace"
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return select(parse_all(file), marker, matches, pid, limit)
    except OSError as error:
        raise _refused(path, error) from error


def select(
    lines: t.Iterable[Line], marker: t.Optional[Marker], matches: str, pid: t.Optional[int], limit: int
) -> list[Line]:
    """The last ``limit`` of ``lines`` that fit."""
    pattern = compiled(matches)
    fitting: deque[Line] = deque(maxlen=min(limit, sys.maxsize))
    for line in lines:
        if marker is not None and line.time < marker.now.get(line.cpu, Decimal(0)):
            continue
        if pid in (None, line.pid) and pattern.search(line.text):
            fitting.append(line)
    return list(fitting)


def compiled(matches: str) -> re.Pattern[str]:
    """The expression. Raises BadInput."""
    try:
        return re.compile(matches)
    except re.error as error:
        raise BadInput(
            "matches", matches, f"is no regular expression: {error}", "escape . * + ? ( ) [ ] with \\"
        ) from None


def why_silent() -> str:
    """What keeps bpf_printk from being seen although the trace can be read; "" for nothing."""
    path = folder()
    if _read(f"{path}/tracing_on").strip() == "0":
        return f"Tracing is off: echo 1 > {path}/tracing_on turns it on."
    event = f"{path}/events/bpf_trace/{EVENT}/enable"
    # The kernel enables the event by itself when a program that calls bpf_printk is loaded.
    if os.path.exists(event) and _read(event).strip() == "0":
        return (
            "No program that calls bpf_printk has been loaded since the boot, or its event was turned off: "
            f"echo 1 > {event} turns it on."
        )
    return ""


@dataclass(frozen=True)
class Recording:
    """An own instance of tracefs, at ``path``, that records bpf_printk."""

    path: str

    def lines(self, *, matches: str = "", pid: t.Optional[int] = None, limit: int = 1000) -> list[Line]:
        """The last ``limit`` lines recorded so far, as ``since`` has them."""
        with open(f"{self.path}/trace", encoding="utf-8", errors="surrogateescape") as file:
            return select(parse_all(file), None, matches, pid, limit)


@contextlib.contextmanager
def recording(host: Host) -> t.Iterator[Recording]:
    """Record bpf_printk within the ``with`` block. Nobody else's lines are touched.

    Raises TraceUnavailable, also on a kernel that has no such event (before 5.9).
    """
    path = f"{folder()}/instances/{PREFIX}{time.monotonic_ns()}_{os.getpid()}"
    with noted(host, f"{TRACE}{path}"):
        try:
            os.mkdir(path)
        except OSError as error:
            raise _refused(path, error) from error
        try:
            _enable(path)
            yield Recording(path)
        finally:
            try:
                os.rmdir(path)
            except OSError as error:
                raise files.failed(f"remove the trace instance {path}", error) from error


def _enable(path: str) -> None:
    try:
        with open(f"{path}/events/bpf_trace/{EVENT}/enable", "w", encoding="ascii") as file:
            file.write("1")
    except FileNotFoundError:
        raise TraceUnavailable("This kernel has no trace event for bpf_printk; Linux 5.9 and later do.") from None
    except OSError as error:
        raise _refused(path, error) from error


def gather(host: Host, params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The module bpf_trace_info: what is there, or ``available`` false and the reason."""
    marker = Marker.from_dict(params["since"]) if params.get("since") else None
    limit, wait, count = params["limit"], params["timeout"], params["count"]
    compiled(params["matches"])
    for option, value, least in (("limit", limit, 1), ("timeout", wait, 0), ("count", count, 1)):
        if value < least:
            raise BadInput(option, value, "is too little", f"give {least} or more")
    try:
        lines = _wait_for(host, marker, params, time.monotonic() + wait)
        now = mark(host)
        reason = "" if lines else why_silent()
    except TraceUnavailable as error:
        return {"available": False, "reason": str(error), "lines": [], "marker": None, "consumed": 0, "overwritten": 0}
    then = marker or Marker()
    return {
        "available": True,
        "reason": reason,
        "lines": [line.as_dict() for line in lines],
        "marker": now.as_dict(),
        "consumed": now.consumed - then.consumed if marker else 0,
        "overwritten": now.overrun - then.overrun if marker else 0,
    }


def _wait_for(host: Host, marker: t.Optional[Marker], params: t.Mapping[str, t.Any], deadline: float) -> list[Line]:
    while True:
        lines = since(host, marker, matches=params["matches"], pid=params.get("pid"), limit=params["limit"])
        left = deadline - time.monotonic()
        if len(lines) >= params["count"] or left <= 0:
            return lines
        time.sleep(min(left, 0.1))
