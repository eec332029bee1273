# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The resources that a stage of a lab consists of, in the order in which they build on each other."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from .._bpf.interface import dictionary, split
from .._bpf.object.resource import ObjectResource
from .._bpf.program.resource import ProgramResource
from .._bpf.xdp.resource import AttachmentResource
from .._core.host import Host
from .._net.iptables.options import from_params as flush
from .._net.sysctl.resource import ForwardResource
from .._net.topology.resource import TopologyResource
from .._net.topology.state import Ref, Want, link_key
from .schema import Lab, Stage
from .sources import SourcesResource

TRACEFS = "/sys/kernel/tracing"
# The modules of maps, filters and the trace are imported where a stage has such parts: a run without a change costs
# little more than its imports.


class Part(t.NamedTuple):
    """A resource, with the name that it has in the diff."""

    name: str
    resource: t.Any


@dataclass(frozen=True)
class Parts:
    """The parts of a stage. What an earlier stage has made and this one does not name are parts that are absent.

    ``exclusive``: what anybody else left in the lab's own things is an absent part too. ``tools_follow``: the tools are
    only installed later.
    """

    host: Host
    lab: Lab
    stage: Stage
    sources: t.Mapping[str, bytes]
    exclusive: bool = False
    tools_follow: bool = False

    def all(self) -> list[Part]:
        """Host settings, network, files; then away with what has to go, from the outside in; then what has to come."""
        return [
            *self._host_network(),
            *tracefs(self.host, self.stage.trace),
            Part("topology", TopologyResource(self._topology())),
            *([Part("sources", SourcesResource(self.lab.folder, self.sources))] if self.lab.sources else []),
            *(Part(f"object {name}", self._object(name)) for name in self.stage.objects),
            *self._detached(),
            *self._unfiltered(),
            *self._unloaded(),
            *([strays(self.lab.pin_path, ends=not self.stage.programs)] if self.exclusive else []),
            *(Part(f"program {entry['object']}", self._program(entry)) for entry in self.stage.programs),
            *self._maps(),
            *(Part(f"attachment {_shown(entry)}", self._attachment(entry)) for entry in self.stage.attachments),
            *self._filters(),
        ]

    def _host_network(self) -> t.Iterator[Part]:
        yield from iptables(self.lab)
        forward = self.lab.host_network["ip_forward"] or {}
        if forward.get("ipv4") is not None or forward.get("ipv6") is not None:
            yield Part("ip_forward", ForwardResource(forward.get("ipv4"), forward.get("ipv6")))

    def _topology(self) -> Want:
        want = self.lab.topology
        if not self.exclusive:
            return want
        only = (replace(interface, exclusive=self._is_ours(interface.ref)) for interface in want.interfaces)
        return replace(want, interfaces=tuple(only))

    def _is_ours(self, ref: Ref) -> bool:
        """Whether the lab made the interface: on such a one everything is part of the exercise."""
        return self.host.journal.claimed(link_key(ref)) is not None

    def _object(self, name: str) -> ObjectResource:
        entry = self.lab.objects[name]
        source = f"{self.lab.folder}/{entry['source']}"
        params = {**entry, "src": source, "dest": self.lab.object_path(name)}
        resource = ObjectResource.from_params(params, own_folder=True)
        return replace(resource, tools_follow=self.tools_follow)

    def _detached(self) -> t.Iterator[Part]:
        wanted = {(entry["netns"], entry["interface"]) for entry in self.stage.attachments}
        gone = dict.fromkeys(set(claimed_attachments(self.host)) - wanted, False)
        if self.exclusive:
            others = (interface.ref for interface in self.lab.topology.interfaces if interface.ref not in wanted)
            gone.update({ref: True for ref in others if self._is_ours(ref)})
        for (netns, interface), foreign in sorted(gone.items()):
            own = self._is_ours((netns, interface))
            part = AttachmentResource(interface, netns, present=False, overwrite=foreign, keep_foreign=not own)
            yield Part(f"attachment {place(netns, interface)}", part)

    def _unfiltered(self) -> t.Iterator[Part]:
        """Our filters that this stage has not, and (exclusive) everybody else's on the lab's interfaces."""
        wanted = {resource.resource.slot.key for resource in self._filters()}
        yield from (part for part in filters_absent(self.host) if part.resource.slot.key not in wanted)
        if self.exclusive:
            from .stray_filters import StrayFiltersResource

            for interface in self.lab.topology.interfaces:
                if self._is_ours(interface.ref):
                    yield Part(f"hooks {place(*interface.ref)}", StrayFiltersResource(interface.ref))

    def _unloaded(self) -> t.Iterator[Part]:
        """Objects whose programs we have pinned in the lab's folder and that this stage does not load."""
        wanted = {self.lab.object_path(entry["object"]) for entry in self.stage.programs}
        pinned = {path for folder, path in loaded(self.host, self.lab.name) if folder == self.lab.pin_path}
        for path in sorted(pinned - wanted):
            stays = bool(self.stage.programs)
            part = ProgramResource(self.lab.pin_path, path, present=False, own_folder=True, stays=stays)
            yield Part(f"programs {path}", part)

    def _program(self, entry: t.Mapping[str, t.Any]) -> ProgramResource:
        path = self.lab.object_path(entry["object"])
        resource = ProgramResource.from_params(
            {
                "object": path,
                "pin_path": self.lab.pin_path,
                "type": entry["type"],
                "pin_maps": entry["pin_maps"],
                "reuse_maps": entry["reuse_maps"],
                "overwrite": True,  # in a folder that the lab did not make, they come back
            }
        )
        return replace(resource, own_folder=True, exclusive=self.exclusive)

    def _maps(self) -> t.Iterator[Part]:
        """The entries that the stage sets; exclusive: and no others, in any map that it pins."""
        named = {entry["map"]: entry for entry in self.stage.maps}
        pinned = [name for entry in self.stage.programs for name in entry["pin_maps"]] if self.exclusive else []
        names = dict.fromkeys([*named, *pinned])
        if not names:
            return
        from .._bpf.map.resource import MapResource

        for name in names:
            entry = named.get(name, {"entries": [], "exclusive": True, "netns": ""})
            params = {**entry, "path": f"{self.lab.pin_path}/{name}", "exclusive": entry["exclusive"] or self.exclusive}
            resource = MapResource.from_params(params)
            yield Part(f"map {name}", resource if name in named else replace(resource, as_loaded=True))

    def _attachment(self, entry: t.Mapping[str, t.Any]) -> AttachmentResource:
        # What a student attached to the lab's own interface is replaced for good, not kept to come back.
        own = self._is_ours((entry["netns"], entry["interface"]))
        params = {**entry, "program": f"{self.lab.pin_path}/{entry['program']}", "overwrite": entry["overwrite"] or own}
        return replace(AttachmentResource.from_params(params), keep_foreign=not own)

    def _filters(self) -> t.Iterator[Part]:
        if self.stage.filters:
            from .._bpf.tc.resource import FilterResource

            for entry in self.stage.filters:
                params = {**entry, "program": f"{self.lab.pin_path}/{entry['program']}"}
                yield Part(f"filter {entry['direction']} of {_shown(entry)}", FilterResource.from_params(params))


def iptables(lab: Lab) -> list[Part]:
    """What the lab asks of iptables: one part, or none."""
    asked = {name: lab.host_network[name] for name in ("policies", "flush")}
    return [Part("iptables", flush(asked))] if any(asked.values()) else []


def strays(folder: str, which: str = "", ends: bool = False) -> Part:
    """Pins of others in a folder that the lab made; ``ends``: the folder goes too."""
    from .strays import StrayPinsResource

    return Part(f"strays {which}".strip(), StrayPinsResource(folder, ends))


def tracefs(host: Host, present: bool) -> t.Iterator[Part]:
    """The mount of tracefs, when it is wanted or ours."""
    if present or host.journal.claimed(f"mount:{TRACEFS}") is not None:
        from .._bpf.info.tracefs import TracefsResource

        yield Part("tracefs", TracefsResource(present))


def filters_absent(host: Host) -> t.Iterator[Part]:
    """The filters that a lab attached."""
    for key, entry in host.journal.claims("tc:").items():
        if entry.owner:
            from .._bpf.tc.resource import FilterResource

            yield Part(f"filter {key[len('tc:') :]}", FilterResource.absent(key))


def claimed_attachments(host: Host) -> list[Ref]:
    """The interfaces on which a lab attached a program, or keeps one that was there before."""
    keys = {key for key, entry in host.journal.entries.items() if entry.owner and key.startswith("xdp:")}
    for entry in host.journal.claims("kept:").values():
        place = str(dictionary(entry.value).get("place", ""))
        if entry.owner and place.startswith("xdp:"):
            keys.add(place)
    return sorted(split(key) for key in keys)


def loaded(host: Host, owner: t.Optional[str] = None) -> set[tuple[str, str]]:
    """The folders and objects of the pins that a lab, or any lab, has loaded."""
    found = set()
    for entry in host.journal.claims("pin:", owner).values():
        value = dictionary(entry.value)
        if entry.owner and isinstance(value.get("object"), str) and isinstance(value.get("folder"), str):
            found.add((value["folder"], value["object"]))
    return found


def place(netns: str, interface: str) -> str:
    """An interface, for people."""
    return f"{interface} in {netns}" if netns else interface


def _shown(entry: t.Mapping[str, t.Any]) -> str:
    return place(entry["netns"], entry["interface"])
