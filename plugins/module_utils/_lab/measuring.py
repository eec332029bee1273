# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send a stage's traffic, and tell what it left in the maps and in the trace. The maps are put back as they were."""

from __future__ import annotations

import contextlib
import os
import socket
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor

from .._bpf.pin.pins import Pin
from .._core.errors import LabError
from .._core.host import Host
from .._kernel.netns import in_netns
from .._kernel.rtnl.read import links, way_to
from .._kernel.syscall import MapInfo, ProgramInfo
from .._net.ping import ping
from .._net.topology.state import Ref
from .schema import Stage

MAP_ENTRIES = 256  # of each map: a check reads a few, and a student's map may hold millions
KEPT_ENTRIES = 1 << 16  # a map with room for more is not put back: that would take longer than the lab's whole run
TRACE_LINES = 200
AT_ONCE = 8

Facts = dict[str, t.Any]


def listed(pins: t.Mapping[str, Pin]) -> list[Facts]:
    """The fact ``maps`` without any traffic."""
    maps = [pin for pin in pins.values() if isinstance(pin.what, MapInfo)]
    return [_map(pin, *_twice(_entries(pin))) for pin in maps]


def measure(host: Host, stage: Stage, pins: t.Mapping[str, Pin], refs: t.Collection[Ref]) -> Facts:
    """The facts ``traffic``, ``maps``, ``trace``, and ``runs``: each program's runs by its id.

    ``refs`` are the lab's interfaces: traffic that would leave by another one is not sent. None: not gathered.
    """
    maps = [pin for pin in pins.values() if isinstance(pin.what, MapInfo)]
    if not stage.traffic:
        return {"traffic": None, "trace": None, "maps": listed(pins), "runs": {}}
    before = {pin.path: _entries(pin) for pin in maps}
    with _kept(host, maps), contextlib.ExitStack() as stack:
        recording, reason = _recording(host, stack) if stage.trace else (None, "")
        sent, runs = _watched(host, stage, pins, refs)
        trace = [line.as_dict() for line in recording.lines(limit=TRACE_LINES)] if recording is not None else None
        after = {pin.path: _entries(pin) for pin in maps}
    found = [_map(pin, before[pin.path], after[pin.path]) for pin in maps]
    return {"traffic": sent, "maps": found, "trace": trace, "runs": runs, **({"trace_error": reason} if reason else {})}


def _watched(
    host: Host, stage: Stage, pins: t.Mapping[str, Pin], refs: t.Collection[Ref]
) -> tuple[Facts, dict[int, t.Any]]:
    """Send the traffic; also the pinned programs' runs meanwhile, where the kernel counts them."""
    programs = [pin.what.id for pin in pins.values() if isinstance(pin.what, ProgramInfo)]
    if not programs:
        return _send(host, stage, refs), {}
    from .._bpf.info.run_stats import measure as measured

    with contextlib.ExitStack() as stack:
        try:
            counted: t.Any = stack.enter_context(measured(programs))
        except LabError:
            counted = None
        sent = _send(host, stage, refs)
    return sent, counted.runs if counted is not None else {}


def _recording(host: Host, stack: contextlib.ExitStack) -> tuple[t.Any, str]:
    """A recording of its own, which takes no line from a student's open trace_pipe; or None and why there is none."""
    from .._bpf.info.trace import TraceUnavailable, recording

    try:
        return stack.enter_context(recording(host)), ""
    except TraceUnavailable as error:
        return None, str(error)


def _send(host: Host, stage: Stage, refs: t.Collection[Ref]) -> Facts:
    """What came of each entry of the stage's traffic, by its name. They start together: a ping is mostly waiting."""

    stray = {entry["name"]: _leaves_the_lab(host, entry, refs) for entry in stage.traffic}

    def one(entry: t.Mapping[str, t.Any]) -> Facts:
        where = {"destination": entry["to"], "netns": entry["netns"]}
        try:
            if stray[entry["name"]]:
                raise LabError(stray[entry["name"]])
            if entry["kind"] == "udp":
                return {**where, **_send_udp(entry)}
            options = {name: entry[name] for name in ("count", "interval", "timeout", "source")}
            result = ping(host, entry["netns"], entry["to"], **options)
            if not result.sent:
                raise LabError(result.why)
            return {**where, **result.as_dict(), "reachable": result.reachable}
        except LabError as error:
            # Nothing was sent, so nothing is known: a ping that was never sent is not one that was dropped.
            return {**where, "sent": 0, "received": None, "loss": None, "reachable": None, "why": str(error)}

    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        return dict(zip((entry["name"] for entry in stage.traffic), pool.map(one, stage.traffic)))


def _leaves_the_lab(host: Host, entry: t.Mapping[str, t.Any], refs: t.Collection[Ref]) -> str:
    """Why an entry must not be sent: while the lab is not up, its packets would go to somebody else's network."""
    netns, to = entry["netns"], entry["to"]
    try:
        names = {link.index: name for name, link in links(host.netlink(netns)).items()}
        name = names.get(way_to(host.netlink(netns), to), "")
    except LabError as error:
        return f"there is no way to {to}: {error.message}"
    if name == "lo" or (netns, name) in refs:
        return ""
    return f"{to} would be reached by {name or 'another interface'}, which is not the lab's, so nothing was sent."


def _send_udp(entry: t.Mapping[str, t.Any]) -> Facts:
    """Datagrams to a port at which nobody has to listen (9 is discard, RFC 863). ``received`` is not known."""
    to = entry["to"]

    def send() -> Facts:
        sent, why = 0, ""
        with socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM) as udp:
            try:
                if entry["source"]:
                    udp.bind((entry["source"], 0))
                for _number in range(entry["count"]):
                    udp.sendto(b"ebpf.lab", (to, entry["port"]))
                    sent += 1
                    time.sleep(entry["interval"])
            except OSError as error:
                why = error.strerror or str(error)
        return {"sent": sent, "received": None, "loss": None, "reachable": None, "why": why}

    return in_netns(entry["netns"], send)


def _kept(host: Host, maps: t.Sequence[Pin]) -> t.ContextManager[None]:
    """Put the entries of ``maps`` back when the measurement is over, also after an error, or a kill."""
    refs = [pin.path for pin in maps if t.cast(MapInfo, pin.what).max_entries <= KEPT_ENTRIES]
    if not refs:
        return contextlib.nullcontext()
    from .._bpf.info.kinds import entries_as_they_were
    from .._bpf.map.entries import MapRef

    return entries_as_they_were(host, [MapRef(path=path) for path in refs], KEPT_ENTRIES)


def _entries(pin: Pin) -> t.Optional[list[Facts]]:
    """Up to MAP_ENTRIES entries, those of each CPU summed; None for a map that cannot be listed."""
    from .._bpf.map.contents import dump

    try:
        return dump(pin.path, limit=MAP_ENTRIES, sum_per_cpu=True)
    except LabError:
        return None


def _twice(value: t.Any) -> tuple[t.Any, t.Any]:
    return value, value


def _map(pin: Pin, before: t.Optional[list[Facts]], after: t.Optional[list[Facts]]) -> Facts:
    what = t.cast(MapInfo, pin.what)
    old = {repr(entry["key"]): entry["value"] for entry in before or ()}
    return {
        "name": (pin.claim or {}).get("map") or os.path.basename(pin.path),
        "pin": pin.path,
        "id": what.id,
        "type": what.type,
        "max_entries": what.max_entries,
        "before": before or [],
        "entries": [{**entry, "change": _change(old.get(repr(entry["key"])), entry["value"])} for entry in after or ()],
    }


def _change(old: t.Any, new: t.Any) -> t.Any:
    """What was added to a value, member by member; what was not there before counts from zero; None for no number."""
    if isinstance(new, dict):
        return {name: _change(old.get(name) if isinstance(old, dict) else None, value) for name, value in new.items()}
    if isinstance(new, bool) or not isinstance(new, int):
        return None
    return new - (old if isinstance(old, int) else 0)
