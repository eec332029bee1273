# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the checks are asked about: the lab's objects on this host, and what its traffic met.

Gathering leaves the host as it was: entries that the traffic makes in the lab's maps are put back.
"""

from __future__ import annotations

import os
import platform
import typing as t
from dataclasses import asdict

from .._bpf import syscall
from .._bpf.pins import Pin, pins_in
from .._bpf.syscall import ProgramInfo
from .._core.errors import LabError
from .._core.host import Host
from .._net import netns
from .._net.links import links
from .._net.observe import observe
from .._net.ping import ping
from .schema import Lab, Stage

MAP_ENTRIES = 256  # of each map: a check reads a few, and a student's map may hold millions


def gather(host: Host, lab: Lab, stage: Stage, traffic: bool) -> dict[str, t.Any]:
    """All facts as plain JSON types, in the shape that docs/lab-files.md describes."""
    pins = pins_in(host, lab.pin_path)
    seen = observe(host, lab.topology)
    facts: dict[str, t.Any] = {
        "lab": lab.name,
        "stage": stage.name,
        "kernel": {"release": platform.release(), "machine": platform.machine()},
        "namespaces": sorted(name for name, kind in seen.namespaces.items() if kind == "present"),
        "interfaces": [seen.interfaces[ref].as_dict() for ref in sorted(seen.interfaces)],
        "programs": [_program(pin) for pin in pins.values() if isinstance(pin.what, ProgramInfo)],
        "attachments": _attachments(host, lab, stage, pins),
        "objects": _objects(host, lab),
        "host_network": _host_network(),
    }
    facts.update(_during_traffic(host, lab, stage, pins, traffic))
    return facts


def _program(pin: Pin) -> dict[str, t.Any]:
    what = t.cast(ProgramInfo, pin.what)
    values = asdict(what)
    # The kernel cuts names to 15 characters; the pin's name is whole.
    values.update(name=os.path.basename(pin.path), pin=pin.path, map_ids=list(what.map_ids))
    return values


def _attachments(host: Host, lab: Lab, stage: Stage, pins: t.Mapping[str, Pin]) -> list[dict[str, t.Any]]:
    """Every XDP program on the lab's interfaces, whoever attached it."""
    names = {pin.what.id: name for name, pin in pins.items() if isinstance(pin.what, ProgramInfo)}
    wanted = {interface.ref for interface in lab.topology.interfaces}
    wanted |= {(entry["netns"], entry["interface"]) for entry in stage.attachments}
    found = []
    for where in sorted({ref[0] for ref in wanted}):
        if where and netns.kind(where) != "present":
            continue
        for link in links(host.netlink(where)).values():
            if link.xdp_id and (where, link.name) in wanted:
                program = syscall.program_by_id(link.xdp_id)
                found.append(
                    {
                        "interface": link.name,
                        "netns": where,
                        "type": "xdp",
                        "mode": link.xdp_mode,
                        "id": link.xdp_id,
                        "program": names.get(link.xdp_id) or (program.name if program else ""),
                        "tag": program.tag if program else "",
                    }
                )
    return found


def _objects(host: Host, lab: Lab) -> list[dict[str, t.Any]]:
    """What the build records say of the lab's objects that are there."""
    found = []
    for name in lab.objects:
        path = f"{lab.folder}/{name}.o"
        entry = host.journal.claimed(f"file:{path}")
        if entry is None or not entry.value or not os.path.exists(path):
            continue
        record = entry.value
        section = lab.objects[name]["disassemble"]
        lines = record.get("disassembly", {}).get(section, []) if section else []
        found.append({"name": name, "path": path, **record["info"], "disassembly": lines})
    return found


def _host_network() -> dict[str, t.Any]:
    switches = {"ipv4": "ipv4/ip_forward", "ipv6": "ipv6/conf/all/forwarding"}
    values = {}
    for name, path in switches.items():
        try:
            with open(f"/proc/sys/net/{path}", encoding="ascii") as file:
                values[name] = file.read().strip() == "1"
        except OSError:
            values[name] = False
    return {"ip_forward": values}


def _during_traffic(
    host: Host, lab: Lab, stage: Stage, pins: t.Mapping[str, Pin], traffic: bool
) -> dict[str, t.Any]:
    """The traffic's outcome, and what it left in the maps and in the trace."""
    return {"traffic": _traffic(host, stage) if traffic else {}}


def _traffic(host: Host, stage: Stage) -> dict[str, t.Any]:
    """Each ping of the stage by its name, in the order of the file."""
    found = {}
    for entry in stage.traffic:
        try:
            result = ping(
                host,
                entry["netns"],
                entry["to"],
                count=entry["count"],
                interval=entry["interval"],
                timeout=entry["timeout"],
                source=entry["source"],
            )
            found[entry["name"]] = asdict(result)
        except LabError as error:
            found[entry["name"]] = {"reachable": False, "error": str(error)}
    return found
