# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stage of a lab as one resource: its parts planned as one plan, each told what the ones before it will change."""

from __future__ import annotations

import base64
import contextlib
import typing as t
from dataclasses import dataclass, field, replace

from .._bpf.object.resource import ObjectState
from .._bpf.pin.folders import MakeFolder, Mount
from .._bpf.pin.pins import Pin
from .._bpf.program.resource import ProgramResource, ProgramState
from .._bpf.program.steps import LoadPrograms
from .._bpf.xdp.steps import KeepForeign
from .._core.converge import Resource
from .._core.errors import BadInput, LabError, Missing, Refused, ToolMissing
from .._core.files import digest
from .._core.host import Host
from .._core.plan import Plan, Step
from .._net.topology.resource import TopologyResource
from .._net.topology.state import Now, Ref, Want
from .facts import gather, tables_of
from .parts import Part, Parts, iptables, parts_absent
from .schema import Lab, Stage, parse
from .tools import need_tools
from .whereabouts import At, SetStage, whereabouts

ANY = "*"


@dataclass(frozen=True)
class LabNow:
    """The parts with what was observed of each, in order; what the journal says of each lab; this boot's id.

    ``missing`` are the tools that the host has not and that an earlier task is to have installed by then; ``later`` are
    the parts of which they alone could tell.
    """

    parts: tuple[tuple[Part, t.Any], ...]
    stages: t.Mapping[str, At]
    boot: str
    missing: tuple[str, ...] = ()
    later: tuple[str, ...] = ()


@dataclass(frozen=True)
class Predicted(Step):
    """A step that is only shown: what it needs is not installed yet, the Python libraries among it."""

    step: Step

    def title(self) -> str:
        return self.step.title()

    def apply(self, host: Host) -> None:
        raise LabError(f"What this step needs is not installed: {self.title()}.")


def _observed(host: Host, part: Part) -> t.Any:
    """What is there of a part while tools are missing; None for one of which they alone could tell."""
    with contextlib.suppress(ToolMissing):
        return part.resource.observe(host)
    return part.resource.without_tools(host) if part.kind == "object" else None


@dataclass
class Pending:
    """What the parts so far will change: a part's plan may depend on files to be written, interfaces to be made."""

    objects: set[str] = field(default_factory=set)  # compiled anew
    pins: set[str] = field(default_factory=set)  # put in place anew, ANY for pins that are not known yet
    kept: set[str] = field(default_factory=set)  # pins of programs that are not loaded anew
    interfaces: set[Ref] = field(default_factory=set)  # made anew
    own: set[Ref] = field(default_factory=set)  # interfaces that the lab made
    hooks: set[Ref] = field(default_factory=set)  # interfaces whose tc filters are all removed
    strays: bool = False  # foreign pins are removed

    def loads(self, path: str) -> bool:
        """Whether the pin at ``path`` will be another one."""
        return path in self.pins or (ANY in self.pins and path not in self.kept)


@dataclass(frozen=True)
class LabResource:
    """A lab at a stage, or (``stage`` None) not there at all. ``exclusive``: with nothing else in what is the lab's.

    ``here``: the stage that the host is at counts, when it is at one. ``force``: also where the lab's network takes
    over what the host is reached by. ``tools_follow``: only a prediction is asked for, and tools that are missing are
    to be installed before it comes true.
    """

    lab: Lab
    stage: t.Optional[Stage]
    sources: t.Mapping[str, bytes]
    traffic: bool = True
    exclusive: bool = False
    here: bool = False
    force: bool = False
    tools_follow: bool = False

    def observe(self, host: Host) -> LabNow:
        """Observe every part. Raises Refused while another lab is up, LabError when tools are missing."""
        stages = whereabouts(host)
        stage = self._stage(stages)
        missing: tuple[str, ...] = ()
        if stage is None:
            parts = parts_absent(host, self.lab)
        else:
            others = [lab for lab, at in stages.items() if lab != self.lab.name and not at.rebooted]
            if others:
                raise Refused(
                    f"The lab {others[0]} is up on this host, and a host holds one lab at a time.",
                    f"Take it down first: ansible-playbook ebpf.lab.teardown --extra-vars lab={others[0]}.",
                )
            lab = replace(self.lab, topology=replace(self.lab.topology, force=self.force))
            try:
                missing = self._missing(host, stage)
            except LabError:
                # What is refused in any case is refused before somebody installs the tools for it.
                network = TopologyResource(lab.topology)
                network.plan(network.observe(host))
                raise
            parts = Parts(host, lab, stage, self.sources, self.exclusive).all()
        seen = [(part, _observed(host, part) if missing else part.resource.observe(host)) for part in parts]
        later = tuple(part.name for part, state in seen if state is None)
        there = tuple((part, state) for part, state in seen if state is not None)
        return LabNow(there, stages, host.journal.boot, missing, later)

    def _missing(self, host: Host, stage: Stage) -> tuple[str, ...]:
        """The tools that are missing and may be. Raises Missing for others."""
        try:
            need_tools(host, self.lab, stage)
        except Missing as error:
            if not self.tools_follow or error.python:
                raise
            return error.names
        return ()

    def _stage(self, stages: t.Mapping[str, At]) -> t.Optional[Stage]:
        return self.lab.stage(stages[self.lab.name].stage) if self.here and self.lab.name in stages else self.stage

    def plan(self, now: LabNow) -> Plan:
        """The parts' plans in order."""
        plans: dict[str, Plan] = {}
        pending = Pending()
        for part, state in now.parts:
            plans[part.name] = self._plan_part(part.kind, part.resource, state, pending)
        stage = self._stage(now.stages)
        wanted = {self.lab.name: At(stage.name)} if stage is not None else {}
        changed = []
        for lab in {**now.stages, **wanted}:
            was, will = now.stages.get(lab), wanted.get(lab)
            if was != will:
                changed.append(SetStage(lab, will.stage if will else "", now.boot, was is not None and was.rebooted))
        before, after = ({lab: str(at) for lab, at in stages.items()} for stages in (now.stages, wanted))
        plans["stage"] = Plan(before=before, after=after, steps=tuple(changed))
        told = {name: plan for name, plan in plans.items() if plan.steps or plan.warnings}
        plan = _without_repeats(Plan.compose(told))
        return replace(plan, steps=tuple(map(Predicted, plan.steps))) if now.missing else plan

    def _plan_part(self, kind: str, part: t.Any, state: t.Any, pending: Pending) -> Plan:
        """One part's plan; what it will change is noted in ``pending``."""
        plan: Plan
        if kind == "topology":
            plan = part.plan(state)
            pending.interfaces |= _remade(part.want, state, plan)
            pending.own |= {interface.ref for interface in part.want.interfaces if interface.key in state.claimed}
        elif kind == "object" and part.present:
            plan = part.plan(self._with_written(state))
            if plan.steps:
                pending.objects.add(part.dest)
        elif kind == "strays":
            plan = part.plan(state)
            pending.strays = pending.strays or bool(plan.steps)
        elif kind == "hooks":
            plan = Plan() if part.ref in pending.interfaces else part.plan(state)
            if plan.steps:
                pending.hooks.add(part.ref)
        elif kind == "program":
            plan = _plan_program(part, state, pending, self.exclusive)
        elif kind == "map":
            devices = state.shape is not None and state.shape.info.type.startswith("devmap")
            plan = part.plan(state, pending.loads(part.ref.path) or (devices and bool(pending.interfaces)))
        elif kind == "attachment":
            remade = (part.netns, part.interface) in pending.interfaces
            plan = part.plan(state, part.present and pending.loads(part.program), remade)
            if (part.netns, part.interface) in pending.own:
                # What a student attached to the lab's own interface is replaced for good, not kept to come back.
                plan = replace(plan, steps=tuple(step for step in plan.steps if not isinstance(step, KeepForeign)))
        elif kind == "filter":
            remade = (part.slot.netns, part.slot.interface) in pending.interfaces | pending.hooks
            plan = part.plan(state, part.present and pending.loads(part.program), part.present and remade)
        else:
            plan = part.plan(state)
        return plan

    def facts(self, host: Host, now: LabNow) -> dict[str, t.Any]:
        """What the checks are asked about; nothing of it after a teardown."""
        stage = self._stage(now.stages)
        result: dict[str, t.Any] = {"lab": self.lab.name, "stage": stage.name if stage else ""}
        if now.missing:
            later = [f"what is to be done for {name}" for name in now.later]
            if stage is not None and stage.objects:
                objects = ", ".join(stage.objects)
                later.append(f"whether {objects} can be compiled, and what the kernel's verifier says of the programs")
            result.update(missing=list(now.missing), known_later=later)
        elif stage is not None:
            tables = [tables_of(host, part.resource, state) for part, state in now.parts if part.kind == "iptables"]
            at = now.stages.get(self.lab.name)
            traffic = self.traffic and not host.only_reads
            result["facts"] = gather(host, self.lab, stage, traffic, tables[0] if tables else None, at)
        return result

    def _with_written(self, state: ObjectState) -> ObjectState:
        """The state of an object with the digests of the files that this very plan writes."""
        written = {f"{self.lab.folder}/{name}": digest(content) for name, content in self.sources.items()}
        if state.inputs is None:
            return state
        headers = state.inputs.headers
        if headers is not None:
            headers = tuple((path, written.get(path, digest)) for path, digest in headers)
        source = written.get(state.inputs.source, state.inputs.source_sha256)
        return replace(state, inputs=replace(state.inputs, source_sha256=source, headers=headers))


def _plan_program(part: ProgramResource, state: ProgramState, pending: Pending, exclusive: bool) -> Plan:
    """Foreign pins in a folder that the lab made are gone by now, or are replaced: none is kept to come back.

    ``exclusive``: a map that somebody put in the place of ours is not used, even where it fits.
    """
    if pending.strays:
        state = replace(state, programs=_claimed(state.programs), maps=_claimed(state.maps), inside=frozenset())
    new = part.object in pending.objects
    plan = part.plan(state, object_pending=new)
    if state.info is None or new:
        pending.pins.add(ANY)
    else:
        names = [*(program.name for program in state.info.programs), *part.pin_maps]
        (pending.pins if plan.steps else pending.kept).update(f"{part.pin_path}/{name}" for name in names)
    maps = [state.maps[name] for name in part.pin_maps if name in state.maps]
    reuse = part.reuse_maps and not (exclusive and any(not pin.intact for pin in maps))
    steps = (
        replace(step, foreign="replace" if state.own_folder else "aside", reuse_maps=reuse)
        if isinstance(step, LoadPrograms)
        else step
        for step in plan.steps
    )
    return replace(plan, steps=tuple(steps))


def _claimed(pins: t.Mapping[str, Pin]) -> dict[str, Pin]:
    return {name: pin for name, pin in pins.items() if pin.claim is not None}


def _without_repeats(plan: Plan) -> Plan:
    """The plan with each folder and mount made once: parts that share one have each planned it."""
    steps: list[Step] = []
    for step in plan.steps:
        if not (isinstance(step, (MakeFolder, Mount)) and step in steps):
            steps.append(step)
    return replace(plan, steps=tuple(steps))


def _remade(want: Want, now: Now, plan: Plan) -> set[Ref]:
    """The interfaces that a topology's plan makes: nothing that was seen on one of their names is there afterwards."""
    made = {note.key for note in plan.notes() if note.action == "claim"}
    return {interface.ref for interface in want.interfaces if interface.key in made}


@dataclass(frozen=True)
class VerifiedResource:
    """A lab that is only looked at."""

    lab: Lab
    stage: str
    traffic: bool = True

    def observe(self, host: Host) -> dict[str, At]:
        """What the journal says of the host."""
        return whereabouts(host)

    def plan(self, now: dict[str, At]) -> Plan:
        """Nothing is changed."""
        others = [lab for lab, at in now.items() if lab != self.lab.name and not at.rebooted]
        return Plan(warnings=tuple(f"The lab {lab} is up on this host, not {self.lab.name}." for lab in others))

    def facts(self, host: Host, now: dict[str, At]) -> dict[str, t.Any]:
        """What the checks are asked about: of the stage asked for, else the host's own, else the lab's default."""
        at = now.get(self.lab.name)
        stage = self.lab.stage(self.stage or (at.stage if at else ""))
        tables: t.Optional[list[t.Any]] = None
        for part in iptables(self.lab):
            with contextlib.suppress(ToolMissing):
                tables = tables_of(host, part.resource, part.resource.observe(host))
        facts = gather(host, self.lab, stage, self.traffic, tables, at)
        return {"lab": self.lab.name, "stage": stage.name, "facts": facts}


def _content(name: str, sent: t.Any) -> bytes:
    """A source as the action plugin sends it: in base64, because it may be in any encoding."""
    try:
        return base64.b64decode(sent, validate=True)
    except (TypeError, ValueError):
        right = "use ebpf.lab.lab as a task: its action plugin sends it"
        raise BadInput(f"sources.{name}", str(sent)[:40], "is not base64", right) from None


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
    sources = {name: _content(name, params["sources"][name]) for name in lab.sources}
    exclusive = params["exclusive"]
    return LabResource(
        lab=lab,
        stage=lab.stage(params["stage"]),
        sources=sources,
        traffic=params["traffic"],
        exclusive=exclusive,
        here=exclusive and not params["stage"],
        force=bool(params.get("force")),
        tools_follow=bool(params.get("tools_follow")),
    )
