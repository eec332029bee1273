# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stage of a lab as one resource: its parts in the order in which they build on each other, planned as one plan."""

from __future__ import annotations

import importlib.util
import os
import typing as t
from dataclasses import dataclass, replace

from .._bpf.attachments import AttachmentResource
from .._bpf.folders import MakeFolder, MountBpffs
from .._bpf.objects import ObjectResource, ObjectState
from .._bpf.programs import ProgramResource, ProgramState
from .._core.converge import Resource
from .._core.errors import BadInput, LabError, Refused
from .._core.host import Host
from .._core.journal import Entry
from .._core.plan import Note, Plan, Step
from .._net.ip_forward import ForwardResource
from .._net.iptables_flush import FlushResource
from .._net.iptables_flush import desired as flush
from .._net.state import Interface, Now, Want, link_key
from .._net.topology import TopologyResource
from .facts import gather
from .schema import WORK_FOLDER, Lab, Stage, parse
from .sources import SourcesResource, digest_of

ANY = "*"
# A part's plan may depend on the parts before it: on files that are to be written, on interfaces that are to be made.
Part = tuple[str, Resource[t.Any]]


@dataclass(frozen=True)
class LabNow:
    """The parts with what was observed of each, in order; ``stages`` are what the journal says of each lab."""

    parts: tuple[tuple[str, Resource[t.Any], t.Any], ...]
    stages: t.Mapping[str, str]


@dataclass(frozen=True)
class SetStage(Step):
    """Note in the journal which stage the host is at; "" for none."""

    lab: str
    stage: str

    def title(self) -> str:
        return f"note that the lab {self.lab} is " + (f"at the stage {self.stage}" if self.stage else "gone")

    def apply(self, host: Host) -> None:
        pass

    def notes(self) -> tuple[Note, ...]:
        key = f"lab:{self.lab}"
        return (Note("claim", key, {"stage": self.stage}),) if self.stage else (Note("release", key),)


def stages_of(host: Host) -> dict[str, str]:
    """The stage that each lab on this host is at, as the journal says."""
    return {key[len("lab:") :]: str(entry.value["stage"]) for key, entry in host.journal.claims("lab:").items()}


@dataclass(frozen=True)
class LabResource:
    """A lab at a stage, or (``stage`` None) not there at all."""

    lab: Lab
    stage: t.Optional[Stage]
    sources: t.Mapping[str, str]
    traffic: bool = True

    def observe(self, host: Host) -> LabNow:
        """Observe every part. Raises Refused while another lab is up, LabError when tools are missing."""
        if self.stage is not None:
            others = [lab for lab in stages_of(host) if lab != self.lab.name]
            if others:
                raise Refused(
                    f"The lab {others[0]} is up on this host, and a host holds one lab at a time.",
                    f"Take it down first: ansible-playbook ebpf.lab.teardown --extra-vars lab={others[0]}.",
                )
            need_tools(host, self.stage, self.lab)
        parts = self._parts(host) if self.stage is not None else self._parts_absent(host)
        return LabNow(tuple((name, part, part.observe(host)) for name, part in parts), stages_of(host))

    def plan(self, now: LabNow) -> Plan:
        """The parts' plans in order, each told what the ones before it will have changed."""
        plans: dict[str, Plan] = {}
        pending: set[str] = set()  # objects that are compiled anew
        loading: set[str] = set()  # pins that are put in place anew
        remade: set[tuple[str, str]] = set()  # interfaces that are made anew
        for name, part, state in now.parts:
            if isinstance(part, ObjectResource) and part.present:
                plans[name] = part.plan(self._with_written(state))
                if plans[name].steps:
                    pending.add(part.dest)
            elif isinstance(part, ProgramResource) and part.present:
                plans[name] = part.plan(state, object_pending=part.object in pending)
                if plans[name].steps:
                    loading |= _programs(part, state, part.object in pending)
            elif isinstance(part, AttachmentResource) and part.present:
                loads = bool({part.program, ANY} & loading)
                plans[name] = part.plan(state, loads, (part.netns, part.interface) in remade)
            else:
                plans[name] = part.plan(state)
            if isinstance(part, TopologyResource):
                remade |= _remade(part.want, state, plans[name])
        stages = dict(now.stages)
        if self.stage is not None:
            stages[self.lab.name] = self.stage.name
        else:
            stages = dict.fromkeys(stages, "")
        changed = [SetStage(lab, stage) for lab, stage in stages.items() if stage != now.stages.get(lab, "")]
        plans["stage"] = Plan(before=dict(now.stages), after=stages, steps=tuple(changed))
        return _without_repeats(Plan.compose({name: plan for name, plan in plans.items() if plan.steps}))

    def facts(self, host: Host, now: LabNow) -> dict[str, t.Any]:
        """What the checks are asked about; nothing of it after a teardown."""
        result: dict[str, t.Any] = {"lab": self.lab.name, "stage": self.stage.name if self.stage else ""}
        if self.stage is not None:
            result["facts"] = gather(host, self.lab, self.stage, self.traffic)
        return result

    def _with_written(self, state: ObjectState) -> ObjectState:
        """The state of an object with the digests of the files that this very plan writes."""
        written = {f"{self.lab.folder}/{name}": digest_of(content) for name, content in self.sources.items()}
        if state.inputs is None:
            return state
        headers = state.inputs.headers
        if headers is not None:
            headers = tuple((path, written.get(path, digest)) for path, digest in headers)
        source = written.get(state.inputs.source, state.inputs.source_sha256)
        return replace(state, inputs=replace(state.inputs, source_sha256=source, headers=headers))

    def _parts(self, host: Host) -> list[Part]:
        stage = t.cast(Stage, self.stage)
        lab = self.lab
        parts: list[Part] = []
        network = lab.host_network
        if network["policies"] or network["flush"]:
            parts.append(("iptables", flush({"policies": network["policies"], "flush": network["flush"]})))
        forward = network["ip_forward"] or {}
        if forward.get("ipv4") is not None or forward.get("ipv6") is not None:
            parts.append(("ip_forward", ForwardResource(forward.get("ipv4"), forward.get("ipv6"))))
        parts.append(("topology", TopologyResource(lab.topology)))
        if lab.sources:
            parts.append(("sources", SourcesResource(lab.folder, self.sources)))
        for name in stage.objects:
            parts.append((f"object {name}", self._object(name)))
        attached = {(entry["netns"], entry["interface"]) for entry in stage.attachments}
        parts += [
            (f"attachment of {netns}/{interface}", AttachmentResource(interface, netns, present=False))
            for netns, interface in self._claimed_attachments(host)
            if (netns, interface) not in attached
        ]
        loaded = {self._path(entry["object"]) for entry in stage.programs}
        parts += [
            (f"programs of {path}", ProgramResource(lab.pin_path, path, present=False))
            for path in self._claimed_objects(host)
            if path not in loaded
        ]
        for entry in stage.programs:
            params = {**entry, "object": self._path(entry["object"]), "pin_path": lab.pin_path}
            parts.append((f"program {entry['object']}", ProgramResource.from_params(params)))
        for entry in stage.attachments:
            ref = (entry["netns"], entry["interface"])
            # On an interface that the lab made whatever a student attached is part of the exercise.
            overwrite = entry["overwrite"] or host.journal.claimed(link_key(ref)) is not None
            params = {**entry, "program": f"{lab.pin_path}/{entry['program']}", "overwrite": overwrite}
            name = f"attachment {entry['netns']}/{entry['interface']}"
            parts.append((name, AttachmentResource.from_params(params)))
        return parts

    def _parts_absent(self, host: Host) -> list[Part]:
        """Detach, unpin, files, links, namespaces, host settings: nothing is taken from under what still uses it.

        What is up is what the journal says, so that it goes whole also when the lab file was changed in between.
        """
        parts: list[Part] = [
            (f"attachment of {netns}/{interface}", AttachmentResource(interface, netns, present=False))
            for netns, interface in self._claimed_attachments(host)
        ]
        claims = {key: entry for key, entry in host.journal.claims().items() if entry.owner}
        values = [entry.value for key, entry in claims.items() if _is_program(key, entry)]
        pinned = {(value["folder"], value["object"]) for value in values}
        parts += [
            (f"programs of {path}", ProgramResource(folder, path, present=False)) for folder, path in sorted(pinned)
        ]
        files = {key[len("file:") :]: entry for key, entry in claims.items() if key.startswith(f"file:{WORK_FOLDER}/")}
        parts += [
            (f"object {path}", ObjectResource(path, None, present=False))
            for path, entry in sorted(files.items())
            if "written" not in (entry.value or {})
        ]
        folders = sorted({os.path.dirname(path) for path in files})
        parts += [(f"sources in {folder}", SourcesResource(folder, {}, present=False)) for folder in folders]
        parts.append(("topology", TopologyResource(self._topology_absent(claims))))
        parts.append(("ip_forward", ForwardResource(state="restored")))
        parts.append(("iptables", FlushResource(state="restored")))
        return parts

    def _topology_absent(self, claims: t.Mapping[str, Entry]) -> Want:
        """The lab file's topology, and whatever else a lab has made."""
        want = replace(self.lab.topology, present=False)
        named = {interface.ref for interface in want.interfaces}
        more = []
        for key in claims:
            netns, _slash, name = key[len("link:") :].rpartition("/")
            if key.startswith("link:") and (netns, name) not in named:
                more.append(Interface(netns, name, ""))
        claimed = [key[len("netns:") :] for key in claims if key.startswith("netns:")]
        namespaces = dict.fromkeys([*want.namespaces, *claimed])
        return replace(want, namespaces=tuple(namespaces), interfaces=(*want.interfaces, *more))

    def _object(self, name: str) -> ObjectResource:
        entry = self.lab.objects[name]
        return ObjectResource.from_params(
            {**entry, "src": f"{self.lab.folder}/{entry['source']}", "dest": self._path(name)}
        )

    def _path(self, name: str) -> str:
        return f"{self.lab.folder}/{name}.o"

    def _claimed_attachments(self, host: Host) -> list[tuple[str, str]]:
        found = []
        for key, entry in host.journal.claims("xdp:").items():
            netns, _colon, interface = key[len("xdp:") :].rpartition(":")
            if entry.owner:
                found.append((netns, interface))
        return sorted(found)

    def _claimed_objects(self, host: Host) -> list[str]:
        """The objects whose programs we have pinned in the lab's folder."""
        claims = host.journal.claims("pin:", owner=self.lab.name).items()
        values = [entry.value for key, entry in claims if _is_program(key, entry)]
        return sorted({value["object"] for value in values if value["folder"] == self.lab.pin_path})


def _without_repeats(plan: Plan) -> Plan:
    """The plan with each folder and mount made once: parts that share one have each planned it."""
    steps: list[Step] = []
    for step in plan.steps:
        if not (isinstance(step, (MakeFolder, MountBpffs)) and step in steps):
            steps.append(step)
    return replace(plan, steps=tuple(steps))


def _programs(part: ProgramResource, state: ProgramState, pending: bool) -> set[str]:
    """The pins that a load puts in place; ANY while the object is not compiled and may hold whatever."""
    if state.info is None or pending:
        return {ANY}
    return {f"{part.pin_path}/{program.name}" for program in state.info.programs}


def _is_program(key: str, entry: Entry) -> bool:
    """Whether a claim is one on a pin that was loaded from an object."""
    return key.startswith("pin:") and "object" in (entry.value or {})


def _remade(want: Want, now: Now, plan: Plan) -> set[tuple[str, str]]:
    """The interfaces that a topology's plan makes: nothing that was seen on one of their names is there afterwards."""
    made = {note.key for note in plan.notes() if note.action == "claim"}
    return {interface.ref for interface in want.interfaces if interface.key in made}


@dataclass(frozen=True)
class VerifiedResource:
    """A lab that is only looked at."""

    lab: Lab
    stage: str
    traffic: bool = True

    def observe(self, host: Host) -> Stage:
        """The stage to grade: the one asked for, else the one that the host is at, else the lab's default."""
        return self.lab.stage(self.stage or stages_of(host).get(self.lab.name, ""))

    def plan(self, now: Stage) -> Plan:
        """Nothing is changed."""
        return Plan()

    def facts(self, host: Host, now: Stage) -> dict[str, t.Any]:
        """What the checks are asked about."""
        return {"lab": self.lab.name, "stage": now.name, "facts": gather(host, self.lab, now, self.traffic)}


def desired(params: t.Mapping[str, t.Any]) -> Resource[t.Any]:
    """The resource from the module's parameters. Raises BadInput and BadLab."""
    if not params["content"]:
        raise BadInput("content", None, "is missing", "use ebpf.lab.lab as a task: its action plugin reads the file")
    lab = parse(params["content"], params["file"])
    if params["state"] == "verified":
        return VerifiedResource(lab, params["stage"], params["traffic"])
    if params["state"] == "absent":
        return LabResource(lab, None, {})
    missing = [name for name in lab.sources if name not in params["sources"]]
    if missing:
        raise BadInput("sources", missing[0], "was not sent", "use ebpf.lab.lab as a task: its action plugin sends it")
    return LabResource(lab, lab.stage(params["stage"]), params["sources"], params["traffic"])


def need_tools(host: Host, stage: Stage, lab: Lab) -> None:
    """Raise LabError with all that the stage needs and this host has not, as ``missing``."""
    tools = ["ip"]
    if stage.objects:
        tools += ["clang", "bpftool"]
        if any(lab.objects[name]["method"] == "llc" for name in stage.objects):
            tools.append("llc")
        if any(lab.objects[name]["disassemble"] for name in stage.objects):
            tools.append("llvm-objdump")
    if stage.traffic:
        tools.append("ping")
    if lab.host_network["policies"] or lab.host_network["flush"]:
        tools.append("iptables")
    missing = [tool for tool in tools if host.runner.which(tool) is None]
    importlib.invalidate_caches()
    missing += [name for name in ("pyroute2", "elftools") if importlib.util.find_spec(name) is None]
    if missing:
        raise LabError(
            f"This host lacks what the lab needs: {', '.join(missing)}.",
            "Install it with the role ebpf.lab.prerequisites.",
            missing=missing,
        )
