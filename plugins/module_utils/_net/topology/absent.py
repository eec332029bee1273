# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan a topology away: what the lab made goes, what it changed is put back, what was there before stays."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from ..._core.plan import Forget, Plan, Step
from .changes import clear_steps, falling_first, route_steps, setting_steps, settle, sysctl_steps
from .link_steps import DeleteLink
from .namespace_steps import RemoveFolder, RemoveNamespace
from .planner import Planner
from .state import FOLDER_KEY, Interface, Ref, interface_of, link_key, netns_key, ref_of, sysctl_key
from .steps import ForgetSaved, SetLink, SetSysctl


class Absent(Planner):
    """Take away what the lab made, put back what it changed, leave what was there before."""

    def plan(self) -> Plan:
        """The steps to its absence."""
        staying: list[Interface] = []
        # VLANs before veths before bridges, whatever the order they were named in, so that undoing can make them again.
        standing = sorted(self.pairs(), key=lambda pair: (self.depth(pair[0]), pair[0].kind != "bridge"))
        for one, other in reversed(standing):
            staying += self._interfaces([end for end in (one, other) if end is not None])
        # What is in a namespace that goes, goes with it, whoever made it.
        staying = [seen for seen in self._released(staying) if not self._goes(seen.netns)]
        kept = self._put_back(sorted(staying, key=self.depth))
        namespaces = dict(self.now.namespaces)
        self.inside = self._keys_inside()
        for name in self.want.namespaces:
            self._namespace(name, namespaces)
        stay = set(self.now.others) | {name for name, kind in namespaces.items() if kind != "absent"}
        if FOLDER_KEY in self.now.claimed and not any(netns_key(name) in self.now.claimed for name in stay):
            self.steps.append(Forget(FOLDER_KEY) if stay else RemoveFolder(self.now.made))
        return self.finish(namespaces, kept)

    def _goes(self, name: str) -> bool:
        """Whether a namespace is taken away."""
        there = name in self.want.namespaces and self.now.namespaces[name] != "absent"
        return there and (self.want.force or netns_key(name) in self.now.claimed)

    def _keys_inside(self) -> dict[str, set[str]]:
        """The journal's entries of what goes with each namespace."""
        found: dict[str, set[str]] = defaultdict(set)
        for key in {*self.now.claimed, *self.now.saved}:
            if key.startswith("link:"):
                found[ref_of(key)[0]].add(key)
        for name, pairs in self.now.saved_sysctls.items():
            found[name] |= {sysctl_key(name, path) for path, _value in pairs}
        return found

    def _interfaces(self, wanted: list[Interface]) -> list[Interface]:
        """Plan one interface or pair; returns what stays."""
        seen = [self.now.interfaces[end.ref] for end in wanted if end.ref in self.now.interfaces]
        going = [end for end in seen if self.want.force or self.ours(end)]
        if len(seen) == 2 and going and seen[0].peer == seen[1].ref:
            self.delete(seen[0], seen[1])
            return []
        for end in going:
            self.delete(end, None)
        there = {end.ref for end in seen}
        for end in wanted:
            if end.ref not in there and (end.key in self.now.claimed or end.key in self.now.saved):
                self.steps.append(Forget(end.key))
        return [end for end in seen if end not in going]

    def _released(self, staying: list[Interface]) -> list[Interface]:
        """What stays is taken out of the bridges that go before they go, so that undoing can put it in again."""
        gone = {end.ref for step in self.steps if isinstance(step, DeleteLink) for end in step.ends()}
        ports = [seen for seen in staying if seen.master and (seen.netns, seen.master) in gone]
        self.steps = [*(SetLink(port.netns, None, port.name, "master", port.master, "") for port in ports), *self.steps]
        return [replace(seen, master="") if seen in ports else seen for seen in staying]

    def _put_back(self, staying: list[Interface]) -> list[Interface]:
        """Plan what was there before back to what it was; parents come before the VLANs on them."""
        changes: list[tuple[Interface, Interface]] = []
        forget: list[Step] = []
        risen: set[Ref] = set()
        for seen in staying:
            saved = self.now.saved.get(seen.key)
            sysctls = frozenset(
                pair
                for pair in self.now.saved_sysctls.get(seen.netns, frozenset())
                if interface_of(pair[0]) == seen.name
            )
            if saved is None and not sysctls:
                self.warnings.append(f"The interface {seen} was there before the lab and stays.")
            want = replace(saved or Interface(*seen.ref, seen.kind, seen.up), sysctls=sysctls)
            lifted = (seen.netns, seen.parent or "") in risen  # the kernel sets it up together with what it stands on
            now = replace(seen, up=True) if lifted and not want.up else seen
            if lifted or (want.up and not seen.up):
                risen.add(seen.ref)
            changes.append((now, settle(now, want)))
            forget += [Forget(sysctl_key(seen.netns, path)) for path, _value in sorted(sysctls & seen.sysctls)]
            forget += [ForgetSaved(seen.key)] if saved else []
        for now, after in changes:
            self.steps += sysctl_steps(now, after, "release")
        for build in (clear_steps, setting_steps, route_steps):
            for now, after in falling_first(changes):
                self.steps += build(now, after, None)
        self.steps += forget
        return [after for _now, after in changes]

    def _namespace(self, name: str, namespaces: dict[str, str]) -> None:
        kind = self.now.namespaces[name]
        named = {interface.key for interface in self.want.interfaces}
        if self._goes(name):
            self.steps.append(RemoveNamespace(name, kind, tuple(sorted(self.inside[name]))))
            namespaces[name] = "absent"
            return
        if netns_key(name) in self.now.claimed:
            self.steps.append(Forget(netns_key(name)))
        if kind != "present":
            self.steps += [Forget(key) for key in sorted(self.inside[name]) if key not in named]
            return
        self.warnings.append(f"The network namespace {name} was there before the lab and stays.")
        if link_key((name, "lo")) in self.now.saved:
            if name in self.now.loopback:
                self.steps.append(SetLink(name, None, "lo", "up", True, False))
            self.steps.append(ForgetSaved(link_key((name, "lo"))))
        old = dict(self.now.sysctls.get(name, frozenset()))
        for path, value in sorted(self.now.saved_sysctls.get(name, frozenset())):
            if path not in old:
                continue
            if old[path] == value:
                self.steps.append(Forget(sysctl_key(name, path)))
            else:
                self.steps.append(SetSysctl(name, path, old[path], value, "release"))
