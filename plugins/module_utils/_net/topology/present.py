# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan a topology that is to be there: make what is missing, repair what drifted, touch nothing that is not named."""

from __future__ import annotations

import typing as t
from collections import defaultdict
from dataclasses import replace

from ..._core.errors import Refused
from ..._core.plan import Plan, Step
from ..management import refuse_takeovers
from .changes import clear_steps, create_step, falling_first, fresh, route_steps, setting_steps, settle, sysctl_steps
from .namespace_steps import LIES, CreateNamespace, MakeFolder, NeedNamespace, RemoveNamespace
from .planner import Planner
from .requests import Adopted
from .state import LAB_GROUP, Interface, Ref, netns_key
from .steps import SetLink, SetSysctl


class Present(Planner):
    """Make and repair."""

    def plan(self) -> Plan:
        """The steps to what is wanted. Raises Refused."""
        refuse_takeovers(self.want, self.now)
        absent = [name for name in self.want.namespaces if self.now.namespaces[name] != "present"]
        self._namespaces(absent)
        current = self._links()
        settled = {ref: settle(seen, self.wanted[ref]) for ref, seen in current.items()}
        # Within a namespace the wanted order is kept, but for a VLAN, which can only go up after its parent.
        ordered = sorted(settled.values(), key=lambda after: (after.netns, self.depth(self.wanted[after.ref])))
        for name in self.want.namespaces:
            self._namespace_sysctls(name, absent)
        for after in ordered:
            foreign = after.ref not in self.made and not self.ours(after)
            self.steps += sysctl_steps(current[after.ref], after, "save" if foreign else "")
        there = self.now.interfaces
        vlans = [after for after in ordered if after.kind == "vlan" and after.ref in there]
        sleeping = [after for after in vlans if not there[after.ref].up]
        here_in: dict[str, list[Interface]] = defaultdict(list)
        for after in ordered:
            here_in[after.netns].append(after)
        for name in sorted({*self.want.namespaces, *here_in}):
            if name in self.want.namespaces and name not in self.now.loopback:
                seen = Interface(name, "lo", "loopback", up=False)
                adopted = Adopted(seen, replace(seen, up=True)) if self._is_foreign(name, absent) else None
                self.steps.append(SetLink(name, adopted, "lo", "up", False, True))
            here = falling_first([(current[after.ref], after) for after in here_in[name]])
            for build in (clear_steps, setting_steps, route_steps):
                for now, after in here:
                    self.steps += [self._lifting(step, sleeping) for step in build(now, after, self._adopted(after))]
        return self.finish({name: "present" for name in self.now.namespaces}, settled.values())

    def _adopted(self, after: Interface) -> t.Optional[Adopted]:
        """What the journal keeps of an interface that is changed and that we did not make."""
        seen = self.now.interfaces.get(after.ref)
        return None if seen is None or after.ref in self.made or self.ours(seen) else Adopted(seen, after)

    def _lifting(self, step: Step, sleeping: t.Sequence[Interface]) -> Step:
        """The step; one that sets a link up says which VLANs of others the kernel sets up with it.

        ``sleeping`` are the VLANs that are down, each after its parent.
        """
        if not isinstance(step, SetLink) or step.setting != "up" or not step.new:
            return step
        lifted = {(step.netns, step.name)}
        adopted: list[t.Optional[Adopted]] = []
        for after in sleeping:
            if (after.netns, after.parent or "") in lifted:
                lifted.add(after.ref)
                adopted.append(self._adopted(after))
        return replace(step, lifts=tuple(one for one in adopted if one is not None))

    def _is_foreign(self, name: str, absent: list[str]) -> bool:
        """Whether a namespace was there before us."""
        return name not in absent and netns_key(name) not in self.now.claimed

    def _namespaces(self, absent: list[str]) -> None:
        for name, kind in sorted(self.now.namespaces.items()):
            if kind in LIES:
                self._name_that_lies(name, kind)
            if kind != "present" and name not in self.want.namespaces:
                self.steps.append(NeedNamespace(name))
                self.warnings.append(f"The network namespace {name} has to be made by an earlier task of the play.")
        if absent and not self.now.folder:
            self.steps.append(MakeFolder(new=not self.now.exists))
        self.steps += [RemoveNamespace(name, self.now.namespaces[name]) for name in absent if self._lies(name)]
        self.steps += [CreateNamespace(name, stray=self.now.namespaces[name] == "stray") for name in absent]

    def _lies(self, name: str) -> bool:
        return self.now.namespaces[name] in LIES

    def _name_that_lies(self, name: str, kind: str) -> None:
        """A name of the lab's own is taken away and given anew; raises Refused for anybody else's."""
        ours = netns_key(name) in self.now.claimed
        if not ours or (kind == "twin" and name not in self.want.namespaces):
            raise Refused(
                f"netns: the name {name} in /run/netns stands for {LIES[kind]}, so what is meant for it would change "
                "that one.",
                f"Choose another name, or take this one away with 'ip netns del {name}', which leaves what it stands "
                "for as it is.",
            )

    def _links(self) -> dict[Ref, Interface]:
        """Plan the links that have to go and those that have to be made; returns what there is then."""
        self.made: set[Ref] = set()
        creates: list[tuple[Interface, t.Optional[Interface]]] = []
        for one, other in sorted(self.pairs(), key=lambda pair: self.depth(pair[0])):
            ends = [end for end in (one, other) if end is not None]
            if not all(self._is_as_made(end) for end in ends):
                creates.append((one, other))
                self.made |= {end.ref for end in ends}
        for one, other in reversed(creates):  # a VLAN before the link that it stands on, which would take it along
            for end in (one, other):
                seen = self.now.interfaces.get(end.ref) if end is not None else None
                if end is not None and seen is not None:
                    self._refuse_foreign(seen, end)
                    self.delete(seen, None)
        ours = ([None if end is None else replace(end, group=LAB_GROUP) for end in pair] for pair in creates)
        steps = [(self.depth(one), create_step(one, other)) for one, other in ours if one is not None]
        steps.sort(key=lambda item: (item[0], item[1].netns, item[1].interface.parent or ""))
        self.steps += [step for _depth, step in steps]
        current = {}
        for ref, wanted in self.wanted.items():
            seen = self.now.interfaces.get(ref)
            state = fresh(wanted) if ref in self.made or seen is None else seen
            if state.master and (state.netns, state.master) in self.made:
                state = replace(state, master="")  # the bridge that it was in has gone
            current[ref] = state
        lifted: set[Ref] = set()  # the kernel sets them up together with what they stand on
        for wanted in sorted(self.wanted.values(), key=self.depth):
            parent = (wanted.netns, wanted.parent or "")
            rises = parent in self.wanted and self.wanted[parent].up and not current[parent].up
            if not wanted.up and (rises or parent in lifted):
                lifted.add(wanted.ref)
                current[wanted.ref] = replace(current[wanted.ref], up=True)
        return current

    def _is_as_made(self, want: Interface) -> bool:
        """Whether the interface is there and is what only making it anew could change."""
        seen = self.now.interfaces.get(want.ref)
        if seen is None or seen.kind != want.kind or seen.peer != want.peer:
            return False
        if want.kind == "vlan" and (want.netns, want.parent) in self.made:
            return False
        return (seen.parent, seen.vlan) == (want.parent, want.vlan)

    def _refuse_foreign(self, seen: Interface, want: Interface) -> None:
        if self.ours(seen):
            return
        raise Refused(
            f"name: an interface {seen} is there already, and it is not ours: a {seen.kind or 'device'}"
            + (", whose peer is not the wanted one" if seen.kind == want.kind == "veth" else "")
            + ".",
            "Choose another name for the lab's interface, or remove that one if nobody needs it.",
        )

    def _namespace_sysctls(self, name: str, absent: list[str]) -> None:
        old = dict(self.now.sysctls.get(name, frozenset()))
        way = "save" if self._is_foreign(name, absent) else ""
        for path, value in sorted(self.want.sysctls.get(name, frozenset())):
            if old.get(path) != value:
                self.steps.append(SetSysctl(name, path, old.get(path, ""), value, way))
