# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a loaded program on packets by BPF_PROG_TEST_RUN: no interface, no traffic, the verdict as the answer.

The program runs for real, so what it writes into its maps is there afterwards: the entries are shown when asked for,
and put back as they were. Source: the kernel's Documentation/bpf/bpf_prog_run.rst and net/bpf/test_run.c.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import struct
import typing as t
from dataclasses import dataclass

from ..._core.errors import BadInput, KernelRefused
from ..._core.host import Host
from ..._core.resource import Kind, Probe
from ..._kernel import syscall
from ..._kernel.syscall import ProgramInfo, call, closing
from ..map.contents import dump
from ..map.entries import MapRef
from ..map.layout import KEYLESS
from .kinds import EntriesKind, entries_as_they_were
from .run_stats import find

PROG_TEST_RUN = 10
GROWTH = 4096  # bytes that a program may add to a packet; the kernel's headroom and tailroom are less
MOST = 65535
MOST_ENTRIES = 1 << 20  # of a map: what a test run leaves in a larger one stays
LEAST = 14  # ETH_HLEN: the kernel wants a whole Ethernet header
VERDICTS = {
    "xdp": {0: "XDP_ABORTED", 1: "XDP_DROP", 2: "XDP_PASS", 3: "XDP_TX", 4: "XDP_REDIRECT"},
    "sched_cls": {
        -1: "TC_ACT_UNSPEC", 0: "TC_ACT_OK", 1: "TC_ACT_RECLASSIFY", 2: "TC_ACT_SHOT", 3: "TC_ACT_PIPE",
        4: "TC_ACT_STOLEN", 5: "TC_ACT_QUEUED", 6: "TC_ACT_REPEAT", 7: "TC_ACT_REDIRECT", 8: "TC_ACT_TRAP",
    },
}  # fmt: skip


@dataclass(frozen=True)
class Packet:
    """A packet to run a program on; ``expect`` is the verdict that it should get, "" for any."""

    data: bytes
    name: str = ""
    expect: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a packet: the verdict's name and number, the packet as the program left it, the mean time."""

    verdict: str
    number: int
    data: bytes
    ns_per_run: int


def run(handle: int, kind: str, data: bytes, repeat: int = 1) -> Outcome:
    """Run the program behind a descriptor ``repeat`` times on the same packet. Raises KernelRefused."""
    size = len(data) + GROWTH
    source = ctypes.create_string_buffer(data, len(data))
    room = ctypes.create_string_buffer(size)
    addresses = (ctypes.addressof(source), ctypes.addressof(room))
    attributes = struct.pack("=IIIIQQII", handle, 0, len(data), size, *addresses, repeat, 0)
    try:
        _result, raw = call(PROG_TEST_RUN, attributes, f"run the program on a packet of {len(data)} bytes")
    except KernelRefused as error:
        if error.errno == errno.EINVAL:
            error.fix = "On this kernel a packet has to fit into one page with what XDP keeps free: about 3500 bytes."
        elif error.errno in (errno.EOPNOTSUPP, 524):
            error.fix = f"This kernel has no test runs for programs of the type {kind}."
        raise
    number, _in, length, _source, _room, _repeat, duration = struct.unpack_from("=IIIQQII", raw, 4)
    number = struct.unpack("=i", struct.pack("=I", number))[0]
    verdict = VERDICTS.get(kind, {}).get(number, str(number))
    return Outcome(verdict, number, room.raw[: min(length, size)], duration)


def packets_from(params: t.Sequence[t.Mapping[str, t.Any]], kind: str) -> list[Packet]:
    """The packets from the parameters. Raises BadInput."""
    found = []
    for at, entry in enumerate(params):
        text = entry.get("hex")
        if not isinstance(text, str) or not text:
            raise BadInput(f"packets[{at}]", text, "has no packet", "give hex, fields or pcap")
        try:
            data = bytes.fromhex(text.replace(":", " "))
        except ValueError:
            right = "write two digits a byte, such as ff ff ff ff ff ff"
            raise BadInput(f"packets[{at}].hex", text[:80], "is not hexadecimal", right) from None
        if not LEAST <= len(data) <= MOST:
            raise BadInput(f"packets[{at}].hex", text[:80], f"has {len(data)} bytes", f"give {LEAST} to {MOST}")
        expect = entry.get("expect") or ""
        names = list(VERDICTS[kind].values())
        if expect and expect not in names:
            raise BadInput(f"packets[{at}].expect", expect, "is no verdict", f"one of {', '.join(names)}")
        found.append(Packet(data, entry.get("name") or f"packet {at + 1}", expect))
    if not found:
        raise BadInput("packets", [], "is empty", "give at least one packet")
    return found


def _maps(info: ProgramInfo) -> dict[str, int]:
    """The program's maps that have entries, by name."""
    found = {}
    for number in info.map_ids:
        with closing(syscall.map_fd(number)) as handle:
            about = syscall.map_info(handle)
        if about.type not in KEYLESS:
            found[about.name] = number
    return found


@contextlib.contextmanager
def maps_as_they_were(host: Host, info: ProgramInfo) -> t.Iterator[dict[str, int]]:
    """Put the entries of the program's maps back at the end of the ``with`` block; gives their ids by name."""
    maps = _maps(info)
    with entries_as_they_were(host, [MapRef(id=number) for number in maps.values()], MOST_ENTRIES):
        yield maps


@dataclass(frozen=True)
class TestRun(Probe):
    """The module bpf_test_run as a probe; ``failed`` when a packet did not get the verdict that was expected."""

    __test__ = False  # no test of pytest's

    program: str
    packets: t.Sequence[t.Mapping[str, t.Any]]
    repeat: int
    maps: t.Sequence[str]
    limit: int

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> TestRun:
        """From the module's parameters. Raises BadInput; a verdict's name is checked when the type is known."""
        repeat = params["repeat"]
        if not 0 < repeat <= 10**8:
            raise BadInput("repeat", repeat, "is out of range", "give 1 to 100000000")
        packets_from([{**entry, "expect": ""} for entry in params["packets"]], "xdp")
        return cls(str(params["program"]), params["packets"], repeat, params["maps"], params["limit"])

    def kinds(self) -> tuple[Kind, ...]:
        """The entries of the program's maps, from before."""
        return (EntriesKind(),)

    def title(self) -> str:
        """What it does."""
        return f"run {self.program} on {len(self.packets)} packets, {self.repeat} times each"

    def run(self, host: Host) -> dict[str, t.Any]:
        """Do it. Raises BadInput."""
        info = find(self.program, "program")
        if info.type not in VERDICTS:
            right = "give one of the type xdp or sched_cls"
            raise BadInput("program", self.program, f"is a program of the type {info.type}", right)
        packets = packets_from(self.packets, info.type)
        results, wrong = [], []
        with closing(syscall.program_fd(info.id)) as handle, maps_as_they_were(host, info) as maps:
            missing = [name for name in self.maps if name[:15] not in maps]
            if missing:
                right = f"it has {', '.join(sorted(maps)) or 'none'}"
                raise BadInput("maps", missing[0], f"is no map of {self.program}", right)
            for packet in packets:
                outcome = run(handle, info.type, packet.data, self.repeat)
                if packet.expect not in ("", outcome.verdict):
                    wrong.append(f"{packet.name}: {outcome.verdict} instead of {packet.expect}")
                results.append(_as_dict(packet, outcome))
            entries = {name: dump(maps[name[:15]], self.limit) for name in self.maps}
        result: dict[str, t.Any] = {"program_id": info.id, "results": results, "maps": entries}
        if wrong:
            result.update(failed=True, msg=f"{self.program}: not the verdicts that were expected: {'; '.join(wrong)}.")
        return result


def _as_dict(packet: Packet, outcome: Outcome) -> dict[str, t.Any]:
    return {
        "name": packet.name,
        "verdict": outcome.verdict,
        "number": outcome.number,
        "passed": packet.expect in ("", outcome.verdict),
        "packet_out": outcome.data.hex(),
        "changed_packet": outcome.data != packet.data,
        "ns_per_run": outcome.ns_per_run,
    }
