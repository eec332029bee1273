# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ping from a namespace, and what came back."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .._core.errors import LabError
from .._core.host import Host
from .netns import in_netns

_COUNTS = re.compile(r"(?P<sent>\d+) packets transmitted, (?P<received>\d+) received")
_TRIPS = re.compile(r"^(?:rtt|round-trip) [^=]*= (?P<min>[\d.]+)/(?P<avg>[\d.]+)/(?P<max>[\d.]+)", re.MULTILINE)


@dataclass(frozen=True)
class PingResult:
    """``loss`` in percent; round trips in milliseconds, None without an answer; ``said`` is why ping sent nothing."""

    destination: str
    netns: str
    sent: int
    received: int
    loss: float
    reachable: bool
    rtt_min: t.Optional[float] = None
    rtt_avg: t.Optional[float] = None
    rtt_max: t.Optional[float] = None
    said: str = ""


def read(destination: str, netns: str, count: int, stdout: str, stderr: str) -> PingResult:
    """The result that the output of iputils' ping tells. ``reachable``: at least one answer came back."""
    counts = _COUNTS.search(stdout)
    if counts is None:  # "Network is unreachable": nothing was sent, so everything is lost
        said = (stderr.strip() or stdout.strip() or "ping said nothing").splitlines()[-1]
        return PingResult(destination, netns, 0, 0, 100.0, False, said=said)
    sent, received = int(counts["sent"]), int(counts["received"])
    trips = _TRIPS.search(stdout)
    times = [float(trips[name]) if trips else None for name in ("min", "avg", "max")]
    loss = 100.0 if not sent else round(100.0 * (sent - received) / sent, 1)
    return PingResult(destination, netns, sent, received, loss, received > 0, *times)


def ping(
    host: Host,
    netns: str,
    destination: str,
    count: int = 3,
    interval: float = 0.2,
    timeout: float = 1.0,
    source: t.Optional[str] = None,
) -> PingResult:
    """Send ``count`` echo requests ``interval`` seconds apart and wait ``timeout`` seconds for the last answer.

    Raises LabError when ping cannot be started or the namespace not be entered; no answer is a result, not an error.
    """
    argv = ["ping", "-n", "-q", "-c", str(count), "-i", f"{interval:g}", "-W", f"{timeout:g}"]
    argv += [*(["-I", source] if source else []), "--", destination]
    limit = count * (interval + timeout) + 10
    done = in_netns(netns, lambda: host.runner.run(argv, check=False, timeout=limit, doing=f"ping {destination}"))
    if done.rc > 1 and "packets transmitted" not in done.stdout and "unreachable" not in done.stderr:
        raise LabError(f"ping {destination}: {(done.stderr or done.stdout).strip()}.", argv=argv)
    return read(destination, netns, count, done.stdout, done.stderr)
