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
from .._core.resource import Probe
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


def check(destination: str, count: int, interval: float, timeout: float) -> None:
    """Raise BadInput for what cannot be sent."""
    names.ip("destination", destination)
    if not 1 <= count <= 1000:
        raise BadInput("count", count, "is out of range", "use 1 to 1000")
    if not 0.002 <= interval <= 60:
        raise BadInput("interval", interval, "is out of range", "use 0.002 to 60 seconds")
    if not 0.01 <= timeout <= 60:
        raise BadInput("timeout", timeout, "is out of range", "use 0.01 to 60 seconds")


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
    check(destination, count, interval, timeout)
    version = "-6" if ":" in destination else "-4"
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


@dataclass(frozen=True)
class Reachability(Probe):
    """The module reachability as a probe: ``destination`` answers from a namespace, or (``wanted`` False) does not."""

    destination: str
    netns: str
    wanted: bool
    max_loss: float
    count: int
    interval: float
    timeout: float
    source: t.Optional[str]

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> Reachability:
        """From the module's parameters. Raises BadInput."""
        check(params["destination"], params["count"], params["interval"], params["timeout"])
        if not 0 <= params["max_loss"] <= 100:
            raise BadInput("max_loss", params["max_loss"], "is no percentage", "use 0 to 100")
        limits = {name: params[name] for name in ("destination", "max_loss", "count", "interval", "timeout", "source")}
        return cls(netns=names.netns_place("netns", params["netns"]), wanted=params["reachable"], **limits)

    def title(self) -> str:
        """What it does."""
        return f"send {self.count} echo requests to {self._where()}"

    def _where(self) -> str:
        return self.destination + (f" from {self.netns}" if self.netns else "")

    def run(self, host: Host) -> dict[str, t.Any]:
        """Ping, and compare with what is expected. Raises LabError."""
        result = ping(host, self.netns, self.destination, self.count, self.interval, self.timeout, self.source)
        found = {"reachable": result.reachable, **result.as_dict()}
        where = self._where()
        if self.wanted and (not result.reachable or result.loss > self.max_loss):
            why = f" ({result.why})" if result.why else ""
            lost = f"{result.sent - result.received} of {result.sent} requests were not answered" + why
            text = lost if result.sent else f"no request could be sent{why}"
            found.update(failed=True, msg=f"{where} should be reachable, and {text}.")
        elif not self.wanted and result.reachable:
            answered = f"{result.received} of {result.sent} requests were answered"
            found.update(failed=True, msg=f"{where} should not be reachable, and {answered}.")
        return found
