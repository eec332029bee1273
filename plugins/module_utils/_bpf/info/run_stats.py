# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How often programs ran and how long, measured over a time: the kernel counts only while statistics are enabled."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import time
import typing as t
from dataclasses import dataclass, field

from ..._core.errors import BadInput, KernelRefused, LabError
from ..._core.host import Host
from ..._core.resource import Probe
from ..._kernel import lookup, syscall
from ..._kernel.syscall import ProgramInfo, call

ENABLE_STATS, RUN_TIME = 32, 0  # bpf_cmd BPF_ENABLE_STATS, bpf_stats_type BPF_STATS_RUN_TIME
SYSCTL = "/proc/sys/kernel/bpf_stats_enabled"


@contextlib.contextmanager
def enabled() -> t.Iterator[None]:
    """Statistics are enabled inside of the ``with`` block, and again what they were after it.

    The kernel counts descriptors (Linux 5.8 and later), so that a process that is killed leaves nothing behind and two
    measurements do not disturb each other. Before that, the sysctl kernel.bpf_stats_enabled is set and put back.
    """
    try:
        handle = call(ENABLE_STATS, struct.pack("=I", RUN_TIME), "enable the statistics of BPF programs")[0]
    except KernelRefused as error:
        if error.errno != errno.EINVAL:
            raise
        with _by_sysctl():
            yield
        return
    try:
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _by_sysctl() -> t.Iterator[None]:
    try:
        with open(SYSCTL, encoding="ascii") as file:
            before = file.read().strip()
        with open(SYSCTL, "w", encoding="ascii") as file:
            file.write("1")
    except OSError as error:
        raise LabError(f"This kernel counts no runs of BPF programs: {SYSCTL}: {error.strerror}.") from error
    try:
        yield
    finally:
        with open(SYSCTL, "w", encoding="ascii") as file:
            file.write(before)


@dataclass(frozen=True)
class Runs:
    """What a program did during a measurement: ``count`` runs that took ``time_ns`` nanoseconds together."""

    id: int
    count: int
    time_ns: int

    def as_dict(self) -> dict[str, t.Any]:
        """Plain JSON types; ``ns_per_run`` is null when it did not run."""
        mean = round(self.time_ns / self.count, 1) if self.count else None
        return {"id": self.id, "run_cnt": self.count, "run_time_ns": self.time_ns, "ns_per_run": mean}


@dataclass
class Measurement:
    """The programs' runs, filled in at the end of ``measure``; a program that was unloaded meanwhile is not there."""

    runs: dict[int, Runs] = field(default_factory=dict)


@contextlib.contextmanager
def measure(programs: t.Iterable[int]) -> t.Iterator[Measurement]:
    """Count the runs of the programs with these ids inside of the ``with`` block. Raises KernelRefused, LabError."""
    result = Measurement()
    with enabled():
        before = _seen(programs)
        yield result
        after = _seen(before)
    for number, then in before.items():
        now = after.get(number)
        if now is not None:
            result.runs[number] = Runs(number, now.run_count - then.run_count, now.run_time_ns - then.run_time_ns)


def _seen(programs: t.Iterable[int]) -> dict[int, ProgramInfo]:
    found = {number: syscall.program_by_id(number) for number in programs}
    return {number: info for number, info in found.items() if info is not None}


def find(which: str, option: str = "programs") -> ProgramInfo:
    """A program by its pinned path, its id or its name. Raises BadInput."""
    info = lookup.program(which, option=option)
    if info is None:
        raise BadInput(option, which, "is no program that is loaded", "give its pin's path, its id or its name")
    return info


@dataclass(frozen=True)
class Statistics(Probe):
    """The module bpf_stats_info as a probe: the runs of ``programs`` (all loaded ones) during ``seconds``."""

    programs: tuple[str, ...]
    seconds: float

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> Statistics:
        """From the module's parameters. Raises BadInput."""
        seconds = params["duration"]
        if not 0 < seconds <= 3600:
            raise BadInput("duration", seconds, "is out of range", "give more than 0 and no more than 3600 seconds")
        return cls(tuple(params["programs"]), seconds)

    def title(self) -> str:
        """What it does."""
        which = ", ".join(self.programs) or "all programs"
        return f"count the runs of {which} for {self.seconds:g} seconds"

    def run(self, host: Host) -> dict[str, t.Any]:
        """Count. Raises BadInput."""
        named = {find(program).id: program for program in self.programs}
        infos = _seen(named or syscall.program_ids())
        begun = time.monotonic()
        with measure(infos) as measurement:
            time.sleep(self.seconds)
        found = []
        for number, runs in sorted(measurement.runs.items()):
            info = infos[number]
            about = {"program": named.get(number, ""), "name": info.name, "type": info.type, "tag": info.tag}
            found.append({**about, **runs.as_dict()})
        return {"programs": found, "seconds": round(time.monotonic() - begun, 3)}
