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
from dataclasses import asdict, dataclass

from .._bpf.object.clang import disassemble
from .._bpf.pin.pins import Pin, pins_in
from .._core import files
from .._core.errors import LabError
from .._core.files import sha256_of
from .._core.host import Host
from .._core.resource import Probe
from .._kernel import netns, syscall
from .._kernel.elf import read_object
from .._kernel.rtnl.read import links
from .._kernel.syscall import ProgramInfo
from .._net.iptables.resource import FlushResource
from .._net.topology.observe import observe
from .measuring import Facts, listed, measure
from .schema import Lab, Stage
from .whereabouts import At


def gather(
    host: Host, lab: Lab, stage: Stage, tables: t.Optional[list[t.Any]], at: t.Optional[At], with_maps: bool
) -> Facts:
    """All facts that can be read, plain JSON types in the shape that docs/lab-files.md describes. None: not gathered.

    ``tables`` are those of ``tables_of``, ``at`` is what the journal says of the lab. Without ``with_maps`` the maps'
    entries are left to the probe.
    """
    pins = pins_in(host, lab.pin_path)
    seen = observe(host, lab.topology)
    return {
        "lab": lab.name,
        "stage": stage.name,
        "machine": {"stage": at.stage if at else "", "rebooted": at.rebooted if at else False},
        "kernel": {"release": platform.release(), "machine": platform.machine()},
        "namespaces": sorted(name for name, kind in seen.namespaces.items() if kind == "present"),
        "interfaces": [seen.interfaces[ref].as_dict() for ref in sorted(seen.interfaces)],
        "attachments": _attachments(host, lab, stage, pins),
        "objects": [_object(host, lab, name) for name in lab.objects if os.path.lexists(lab.object_path(name))],
        "host_network": {"ip_forward": _forwarding(), "iptables": tables},
        "refusals": None,
        "traffic": None,
        "trace": None,
        "maps": listed(pins) if with_maps else None,
        "programs": [_program(pin, {}) for pin in pins.values() if isinstance(pin.what, ProgramInfo)],
    }


@dataclass(frozen=True)
class StageProbe(Probe):
    """A stage's traffic and the loads that have to be refused: the facts that ``gather`` left out, beside the rest."""

    lab: Lab
    stage: Stage
    facts: t.Mapping[str, t.Any]

    def title(self) -> str:
        """For people."""
        sent = ", ".join(entry["name"] for entry in self.stage.traffic)
        tried = ", ".join(entry["object"] for entry in self.stage.refused)
        does = [f"send the traffic {sent}" if sent else "", f"have the kernel refuse {tried}" if tried else ""]
        return " and ".join(filter(None, does))

    def run(self, host: Host) -> Facts:
        """Send and load. Raises LabError."""
        facts = dict(self.facts)
        pins = pins_in(host, self.lab.pin_path)
        if self.stage.refused:
            from .refusals import refusals

            facts["refusals"] = refusals(host, self.lab, self.stage)
        facts.update(measure(host, self.stage, pins, {interface.ref for interface in self.lab.topology.interfaces}))
        runs = facts.pop("runs")
        facts["programs"] = [_program(pin, runs) for pin in pins.values() if isinstance(pin.what, ProgramInfo)]
        return {"facts": facts}


def probes_of(lab: Lab, stage: Stage, facts: t.Mapping[str, t.Any], traffic: bool) -> tuple[Probe, ...]:
    """What is still to be found out about a stage."""
    return (StageProbe(lab, stage, facts),) if traffic and (stage.traffic or stage.refused) else ()


def tables_of(part: FlushResource, state: t.Any) -> list[dict[str, t.Any]]:
    """Each table of iptables that the lab is about; one that nobody has made is a table without chains."""
    made: list[dict[str, t.Any]] = part.result(state)["tables"]
    return made + [{**place._asdict(), "chains": []} for place in part.places() if place not in state.tables]


def _program(pin: Pin, runs: t.Mapping[int, t.Any]) -> dict[str, t.Any]:
    what = t.cast(ProgramInfo, pin.what)
    values = asdict(what)
    for name in ("run_count", "run_time_ns"):  # since whenever somebody enabled statistics: nothing to ask about
        del values[name]
    # The kernel cuts names to 15 characters; the pin's name is whole.
    values.update(name=os.path.basename(pin.path), pin=pin.path, map_ids=list(what.map_ids))
    ran = runs.get(what.id)
    values.update(run_cnt=ran.count if ran else 0, run_time_ns=ran.time_ns if ran else 0)
    return values


def _attachments(host: Host, lab: Lab, stage: Stage, pins: t.Mapping[str, Pin]) -> t.Optional[list[dict[str, t.Any]]]:
    """Every XDP program and tc filter on the lab's interfaces, whoever attached it; None where no interface is."""
    by_id = {pin.what.id: pin for pin in pins.values() if isinstance(pin.what, ProgramInfo)}
    wanted = {interface.ref for interface in lab.topology.interfaces}
    wanted |= {(entry["netns"], entry["interface"]) for entry in (*stage.attachments, *stage.filters)}
    found, looked = [], False
    for where in sorted({ref[0] for ref in wanted}):
        if where and netns.kind(where) != "present":
            continue
        for link in links(host.netlink(where)).values():
            if (where, link.name) not in wanted:
                continue
            looked = True
            here = {"interface": link.name, "netns": where}
            if link.xdp_mode:
                found.append({**here, "type": "xdp", "mode": link.xdp_mode, **_attached(link.xdp_id, by_id)})
            if any(entry.filters for entry in lab.stages):  # a lab without tc does not pay for looking
                found += [{**here, **entry} for entry in _filters(host, where, link.index, by_id)]
    return found if looked else None


def _filters(host: Host, where: str, index: int, by_id: t.Mapping[int, Pin]) -> t.Iterator[dict[str, t.Any]]:
    from .._kernel.rtnl import tc

    netlink = host.netlink(where)
    if tc.qdisc(netlink, index):
        for direction in tc.HOOKS:
            for entry in tc.filters(netlink, index, direction):
                found = {"type": "tc", "direction": direction, "priority": entry.priority, "kind": entry.kind}
                yield {**found, **_attached(entry.id, by_id)}


def _attached(number: int, by_id: t.Mapping[int, Pin]) -> dict[str, t.Any]:
    """Which program it is. ``pin`` is "" for one that is not pinned in the lab's folder."""
    program = syscall.program_by_id(number) if number else None
    pin = by_id.get(number)
    name = os.path.basename(pin.path) if pin is not None else (program.name if program is not None else "")
    tag = program.tag if program is not None else ""
    return {"id": number, "program": name, "pin": pin.path if pin is not None else "", "tag": tag}


def _object(host: Host, lab: Lab, name: str) -> dict[str, t.Any]:
    """What an object file holds, from its build record as long as that is about this very file.

    ``current``: compiled from the source as it is now; null when somebody else compiled it.
    """
    path = lab.object_path(name)
    digest = sha256_of(path)
    found: dict[str, t.Any] = {"name": name, "path": path, "digest": digest, "current": None, "disassembly": []}
    claim = host.journal.claimed(f"file:{path}")
    record = (claim.value or {}) if claim is not None else {}
    section = lab.objects[name]["disassemble"]
    if digest is not None and record.get("sha256") == digest:
        found.update(record["info"], current=sha256_of(record["source"]) == record["source_sha256"])
        found["disassembly"] = record["disassembly"].get(section, []) if section else []
        return found
    if digest is None:
        return {**found, "error": f"{path} is a {files.kind(path)}, not an object file"}
    try:
        found.update(read_object(path).as_dict())
        found["disassembly"] = disassemble(host.runner, path, section) if section else []
    except LabError as error:
        found["error"] = str(error)
    return found


def _forwarding() -> dict[str, bool]:
    switches = {"ipv4": "ipv4/ip_forward", "ipv6": "ipv6/conf/all/forwarding"}
    values = {}
    for name, path in switches.items():
        try:
            with open(f"/proc/sys/net/{path}", encoding="ascii") as file:
                values[name] = file.read().strip() == "1"
        except OSError:
            values[name] = False
    return values
