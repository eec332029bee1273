# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stage of a lab as one resource: its parts planned as one plan, each told what the ones before it will change.

Nothing here knows what kind of thing a part is: it is observed, planned with the forecast of the parts before it, and
described, like every resource.
"""

from __future__ import annotations

import base64
import contextlib
import typing as t
from dataclasses import dataclass, field, replace

from .._core.errors import BadInput, LabError, Missing, Refused, ToolMissing
from .._core.host import Host
from .._core.plan import NOTHING, AnyStep, Done, Forecast, Learned, Plan, Step, forecast
from .._core.resource import Kind, Probe, Resource
from .._net.topology.resource import TopologyResource
from .facts import gather, probes_of, tables_of
from .kinds import kinds
from .parts import Part, Parts, iptables
from .schema import Lab, Stage, parse
from .teardown import parts_absent
from .tools import need_tools
from .whereabouts import At, SetStage, whereabouts


@dataclass(frozen=True)
class Unseen(Step):
    """Stands for what is to be done with a part that cannot be looked at: a teardown goes on, and names it."""

    part: str
    why: str

    def title(self) -> str:
        return f"look at {self.part}"

    def apply(self, host: Host, learned: Learned) -> Done:
        raise LabError(self.why)


@dataclass(frozen=True)
class LabState:
    """The parts with what was observed of each, in order; what the journal says of each lab; this boot's id.

    ``missing`` are the tools that the host has not and that an earlier task is to have installed by then; ``later`` are
    the parts of which they alone could tell. ``unseen`` are those that could not be looked at, with the reason.
    ``facts`` are what the checks are asked about, as far as it can be read.
    """

    parts: tuple[tuple[Part, t.Any], ...]
    stages: t.Mapping[str, At]
    boot: str
    missing: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    unseen: t.Mapping[str, str] = field(default_factory=dict)
    facts: t.Mapping[str, t.Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LabResource(Resource[LabState]):
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

    def kinds(self) -> tuple[Kind, ...]:
        """All: a lab's run settles what any run has left."""
        return kinds()

    def takes_away(self) -> bool:
        """Whether it is a teardown."""
        return self.stage is None

    def observe(self, host: Host) -> LabState:
        """Observe every part. Raises Refused while another lab is up, LabError when tools are missing."""
        stages = whereabouts(host)
        stage = self._stage(stages)
        if stage is None:
            return self._observe_absent(host, stages)
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
        parts = Parts(host, lab, stage, self.sources, self.exclusive, bool(missing)).all()
        seen, later = [], []
        for part in parts:
            try:
                seen.append((part, part.resource.observe(host)))
            except ToolMissing:
                if not missing:
                    raise
                later.append(part.name)
        there = tuple(seen)
        facts = {} if missing else self._facts(host, stage, there, stages.get(self.lab.name))
        return LabState(there, stages, host.journal.boot, missing, tuple(later), facts=facts)

    def _observe_absent(self, host: Host, stages: t.Mapping[str, At]) -> LabState:
        seen: list[tuple[Part, t.Any]] = []
        unseen: dict[str, str] = {}
        for part in parts_absent(host, self.lab):
            try:
                seen.append((part, part.resource.observe(host)))
            except LabError as error:
                unseen[part.name] = str(error)
        return LabState(tuple(seen), stages, host.journal.boot, unseen=unseen)

    def _facts(
        self, host: Host, stage: Stage, parts: t.Sequence[tuple[Part, t.Any]], at: t.Optional[At]
    ) -> dict[str, t.Any]:
        tables = [tables_of(part.resource, state) for part, state in parts if part.name == "iptables"]
        with_maps = host.only_reads or not (self.traffic and stage.traffic)
        return gather(host, self.lab, stage, tables[0] if tables else None, at, with_maps)

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

    def plan(self, now: LabState, coming: Forecast = NOTHING) -> Plan:
        """The parts' plans in order, and last what is noted of the stage."""
        plans: dict[str, Plan] = {}
        for part, state in now.parts:
            plan = part.resource.plan(state, coming)
            coming = forecast(plan.steps, coming)
            plans[part.name] = plan
        for name, why in now.unseen.items():
            plans[name] = Plan(steps=(Unseen(name, why),))
        if not now.unseen:
            plans["stage"] = self._plan_stage(now)
        told = {name: plan for name, plan in plans.items() if plan.steps or plan.warnings}
        return replace(Plan.compose(told), missing=now.missing)

    def _plan_stage(self, now: LabState) -> Plan:
        stage = self._stage(now.stages)
        wanted = {self.lab.name: At(stage.name)} if stage is not None else {}
        changed: list[AnyStep] = []
        for lab in {**now.stages, **wanted}:
            was, will = now.stages.get(lab), wanted.get(lab)
            if was != will:
                changed.append(SetStage(lab, will.stage if will else "", now.boot, was is not None and was.rebooted))
        before, after = ({lab: str(at) for lab, at in stages.items()} for stages in (now.stages, wanted))
        return Plan(before=before, after=after, steps=tuple(changed))

    def result(self, now: LabState) -> dict[str, t.Any]:
        """What the checks are asked about; nothing of it after a teardown."""
        stage = self._stage(now.stages)
        found: dict[str, t.Any] = {"lab": self.lab.name, "stage": stage.name if stage else ""}
        if now.missing:
            later = [f"what is to be done for {name}" for name in now.later]
            if stage is not None and stage.objects:
                objects = ", ".join(stage.objects)
                later.append(f"whether {objects} can be compiled, and what the kernel's verifier says of the programs")
            return {**found, "missing": list(now.missing), "known_later": later}
        return found if stage is None else {**found, "facts": dict(now.facts)}

    def probes(self, now: LabState) -> tuple[Probe, ...]:
        """The stage's traffic and refusals."""
        stage = self._stage(now.stages)
        return () if stage is None or now.missing else probes_of(self.lab, stage, now.facts, self.traffic)


@dataclass(frozen=True)
class VerifiedState:
    """What the journal says of each lab, the stage that is looked at, and the facts of it that can be read."""

    stages: t.Mapping[str, At]
    stage: Stage
    facts: t.Mapping[str, t.Any]


@dataclass(frozen=True)
class VerifiedResource(Resource[VerifiedState]):
    """A lab that is only looked at: at ``stage``, else at the host's own, else at the lab's default."""

    lab: Lab
    stage: str
    traffic: bool = True

    def kinds(self) -> tuple[Kind, ...]:
        """All, as for a lab's run."""
        return kinds()

    def observe(self, host: Host) -> VerifiedState:
        """Read what there is. Raises LabError."""
        stages = whereabouts(host)
        at = stages.get(self.lab.name)
        stage = self.lab.stage(self.stage or (at.stage if at else ""))
        tables: t.Optional[list[t.Any]] = None
        for part in iptables(self.lab):
            with contextlib.suppress(ToolMissing):
                tables = tables_of(part.resource, part.resource.observe(host))
        with_maps = host.only_reads or not (self.traffic and stage.traffic)
        return VerifiedState(stages, stage, gather(host, self.lab, stage, tables, at, with_maps))

    def plan(self, now: VerifiedState, coming: Forecast = NOTHING) -> Plan:
        """Nothing is changed."""
        others = [lab for lab, at in now.stages.items() if lab != self.lab.name and not at.rebooted]
        return Plan(warnings=tuple(f"The lab {lab} is up on this host, not {self.lab.name}." for lab in others))

    def result(self, now: VerifiedState) -> dict[str, t.Any]:
        """What the checks are asked about."""
        return {"lab": self.lab.name, "stage": now.stage.name, "facts": dict(now.facts)}

    def probes(self, now: VerifiedState) -> tuple[Probe, ...]:
        """The stage's traffic and refusals."""
        return probes_of(self.lab, now.stage, now.facts, self.traffic)


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
