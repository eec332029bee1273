# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send echo requests from a namespace and count what comes back."""

from __future__ import annotations

import re
import typing as t
from dataclasses import asdict, dataclass

from .._core.errors import BadInput, CommandFailed, LabError
from .._core.host import Host
from .._kernel import netns
from . import names

_COUNTS = re.compile(r"^(\d+) packets transmitted, (\d+) (?:packets )?received", re.MULTILINE)
_TIMES = re.compile(r"^(?:rtt|round-trip) min/avg/max\S* = ([\d.]+)/([\d.]+)/([\d.]+)", re.MULTILINE)
_WHY = re.compile(r"^From (\S+?):? icmp_seq=\d+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class PingResult:
    """``loss`` in percent, round trips in milliseconds (None without an answer).

    ``why`` is what a router, the kernel or ping itself said about requests that were not answered, "" for silence.
    """

    sent: int
    received: int
    loss: float
    rtt_min: t.Optional[float] = None
    rtt_avg: t.Optional[float] = None
    rtt_max: t.Optional[float] = None
    why: str = ""

    @property
    def reachable(self) -> bool:
        """Whether there was an answer."""
        return self.received > 0

    def as_dict(self) -> dict[str, t.Any]:
        """Plain JSON types for a module's result."""
        return asdict(self)


def parse(output: str) -> PingResult:
    """The figures in what iputils' ping prints. Raises LabError when there are none."""
    counts = _COUNTS.search(output)
    if counts is None:
        raise LabError(f"ping printed no summary: {output.strip()[-200:]!r}.", "Is it the ping of iputils?")
    sent, received = int(counts[1]), int(counts[2])
    times = _TIMES.search(output)
    low, mean, high = (float(value) for value in times.groups()) if times else (None, None, None)
    said = _WHY.search(output)
    loss = round(100.0 * (sent - received) / sent, 1) if sent else 100.0
    return PingResult(sent, received, loss, low, mean, high, f"{said[1]}: {said[2].strip()}" if said else "")


def ping(
    host: Host,
    namespace: str,
    destination: str,
    count: int = 3,
    interval: float = 0.2,
    timeout: float = 1.0,
    source: t.Optional[str] = None,
) -> PingResult:
    """Ping ``destination``, an address, from a namespace by name or path ("" is the caller's).

    ``interval`` between requests and ``timeout``, for which the last answer is waited, are seconds. ``source`` is an
    address or an interface. Silence and unreachability are results, not errors. Raises BadInput, ToolMissing,
    KernelRefused (no such namespace), and CommandFailed when ping cannot run at all.
    """
    version = "-6" if ":" in names.ip("destination", destination) else "-4"
    if not 1 <= count <= 1000:
        raise BadInput("count", count, "is out of range", "use 1 to 1000")
    if not 0.002 <= interval <= 60:
        raise BadInput("interval", interval, "is out of range", "use 0.002 to 60 seconds")
    if not 0.01 <= timeout <= 60:
        raise BadInput("timeout", timeout, "is out of range", "use 0.01 to 60 seconds")
    argv = ["ping", version, "-n", "-c", str(count), "-i", f"{interval:g}", "-W", f"{timeout:g}"]
    argv += ["-I", source] if source else []
    doing = f"ping {destination}" + (f" from {namespace}" if namespace else "")

    def run() -> PingResult:
        limit = count * interval + timeout + 10
        done = host.runner.run([*argv, "--", destination], check=False, timeout=limit, doing=doing)
        if _COUNTS.search(done.stdout):
            return parse(done.stdout)
        # Without a route ping sends nothing and says why, which is an answer to whether it can be reached.
        said = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        if done.rc == 2 and "unreachable" in said:
            return PingResult(0, 0, 100.0, why=said.partition(": ")[2].removeprefix("connect: ") or said)
        raise CommandFailed(done, doing)

    return netns.in_netns(namespace, run)
