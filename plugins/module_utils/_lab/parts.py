# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The resources that a lab consists of, in the order in which they build on each other; and on the way down."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, replace

from .._bpf.object.resource import ObjectResource
from .._bpf.program.resource import ProgramResource
from .._bpf.xdp.resource import AttachmentResource
from .._core.host import Host
from .._core.journal import Entry
from .._net.iptables.resource import FlushResource
from .._net.iptables.resource import desired as flush
from .._net.sysctl.resource import ForwardResource
from .._net.topology.resource import TopologyResource
from .._net.topology.state import Interface, Ref, Want, link_key
from .schema import WORK_FOLDER, Lab, Stage
from .sources import SourcesResource

TRACEFS = "/sys/kernel/tracing"
# The modules of maps, filters and the trace are imported where a stage has such parts: a run without a change costs
# little more than its imports.


class Part(t.NamedTuple):
    """A resource, what kind of part it is, and which one of them."""

    kind: str
    which: str
    resource: t.Any

    @property
    def name(self) -> str:
        """Its key in the diff."""
        return f"{self.kind} {self.which}".strip()


@dataclass(frozen=True)
class Parts:
    """The parts of a stage. What an earlier stage has made and this one does not name are parts that are absent.

    ``exclusive``: what anybody else left in the lab's own things is an absent part too.
    """

    host: Host
    lab: Lab
    stage: Stage
    sources: t.Mapping[str, bytes]
    exclusive: bool = False

    def all(self) -> list[Part]:
        """Host settings, network, files; then away with what has to go, from the outside in; then what has to come."""
        return [
            *self._host_network(),
            *_tracefs(self.host, self.stage.trace),
            Part("topology", "", TopologyResource(self._topology())),
            *([Part("sources", "", SourcesResource(self.lab.folder, self.sources))] if self.lab.sources else []),
            *(Part("object", name, self._object(name)) for name in self.stage.objects),
            *self._detached(),
            *self._unfiltered(),
            *self._unloaded(),
            *([_strays(self.lab.pin_path)] if self.exclusive else []),
            *(Part("program", entry["object"], self._program(entry)) for entry in self.stage.programs),
            *self._maps(),
            *(Part("attachment", _shown(entry), self._attachment(entry)) for entry in self.stage.attachments),
            *self._filters(),
        ]

    def _host_network(self) -> t.Iterator[Part]:
        yield from iptables(self.lab)
        forward = self.lab.host_network["ip_forward"] or {}
        if forward.get("ipv4") is not None or forward.get("ipv6") is not None:
            yield Part("ip_forward", "", ForwardResource(forward.get("ipv4"), forward.get("ipv6")))

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
        return ObjectResource.from_params(params, own_folder=True)

    def _detached(self) -> t.Iterator[Part]:
        wanted = {(entry["netns"], entry["interface"]) for entry in self.stage.attachments}
        gone = dict.fromkeys(set(claimed_attachments(self.host)) - wanted, False)
        if self.exclusive:
            others = (interface.ref for interface in self.lab.topology.interfaces if interface.ref not in wanted)
            gone.update({ref: True for ref in others if self._is_ours(ref)})
        for (netns, interface), foreign in sorted(gone.items()):
            part = AttachmentResource(interface, netns, present=False, overwrite=foreign)
            yield Part("attachment", _place(netns, interface), part)

    def _unfiltered(self) -> t.Iterator[Part]:
        """Our filters that this stage has not, and (exclusive) everybody else's on the lab's interfaces."""
        wanted = {resource.resource.slot.key for resource in self._filters()}
        yield from (part for part in _filters_absent(self.host) if part.resource.slot.key not in wanted)
        if self.exclusive:
            from .stray_filters import StrayFiltersResource

            for interface in self.lab.topology.interfaces:
                if self._is_ours(interface.ref):
                    yield Part("hooks", _place(*interface.ref), StrayFiltersResource(interface.ref))

    def _unloaded(self) -> t.Iterator[Part]:
        """Objects whose programs we have pinned in the lab's folder and that this stage does not load."""
        loaded = {self.lab.object_path(entry["object"]) for entry in self.stage.programs}
        claims = self.host.journal.claims("pin:", owner=self.lab.name).items()
        values = [entry.value for key, entry in claims if _is_program(key, entry)]
        pinned = {value["object"] for value in values if value["folder"] == self.lab.pin_path}
        for path in sorted(pinned - loaded):
            yield Part("programs", path, ProgramResource(self.lab.pin_path, path, present=False))

    def _program(self, entry: t.Mapping[str, t.Any]) -> ProgramResource:
        path = self.lab.object_path(entry["object"])
        return ProgramResource.from_params(
            {
                "object": path,
                "pin_path": self.lab.pin_path,
                "type": entry["type"],
                "pin_maps": entry["pin_maps"],
                "reuse_maps": entry["reuse_maps"],
                "overwrite": True,  # in a folder that the lab did not make, they come back
            }
        )

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
            yield Part("map", name, resource if name in named else replace(resource, as_loaded=True))

    def _attachment(self, entry: t.Mapping[str, t.Any]) -> AttachmentResource:
        overwrite = entry["overwrite"] or self._is_ours((entry["netns"], entry["interface"]))
        params = {**entry, "program": f"{self.lab.pin_path}/{entry['program']}", "overwrite": overwrite}
        return AttachmentResource.from_params(params)

    def _filters(self) -> t.Iterator[Part]:
        if self.stage.filters:
            from .._bpf.tc.resource import FilterResource

            for entry in self.stage.filters:
                params = {**entry, "program": f"{self.lab.pin_path}/{entry['program']}"}
                yield Part("filter", f"{entry['direction']} of {_shown(entry)}", FilterResource.from_params(params))


def iptables(lab: Lab) -> list[Part]:
    """What the lab asks of iptables: one part, or none."""
    asked = {name: lab.host_network[name] for name in ("policies", "flush")}
    return [Part("iptables", "", flush(asked))] if any(asked.values()) else []


def parts_absent(host: Host, lab: Lab) -> list[Part]:
    """Detach, unpin, files, links, namespaces, host settings: nothing is taken from under what still uses it.

    What is up is what the journal says, so that it goes whole also when the lab file was changed in between.
    """
    parts = [
        Part("attachment", _place(netns, interface), AttachmentResource(interface, netns, present=False))
        for netns, interface in claimed_attachments(host)
    ]
    parts += _filters_absent(host)
    claims = {key: entry for key, entry in host.journal.claims().items() if entry.owner}
    values = [entry.value for key, entry in claims.items() if _is_program(key, entry)]
    pinned = {(value["folder"], value["object"]) for value in values}
    parts += [Part("programs", path, ProgramResource(folder, path, present=False)) for folder, path in sorted(pinned)]
    parts += [_strays(folder, folder) for folder in sorted({lab.pin_path, *(folder for folder, _path in pinned)})]
    files = {key[len("file:") :]: entry for key, entry in claims.items() if key.startswith(f"file:{WORK_FOLDER}/")}
    parts += [
        Part("object", path, ObjectResource(path, None, present=False, own_folder=True))
        for path, entry in sorted(files.items())
        if "written" not in (entry.value or {})
    ]
    made = {key[len("dir:") :] for key in claims if key.startswith(f"dir:{WORK_FOLDER}/")}
    folders = sorted({*made, *(os.path.dirname(path) for path in files)})
    parts += [Part("sources", folder, SourcesResource(folder, {}, present=False)) for folder in folders]
    parts.append(Part("topology", "", TopologyResource(_topology_absent(lab, claims))))
    parts += _tracefs(host, False)
    parts.append(Part("ip_forward", "", ForwardResource(state="restored")))
    parts.append(Part("iptables", "", FlushResource(state="restored")))
    return parts


def _strays(folder: str, which: str = "") -> Part:
    from .strays import StrayPinsResource

    return Part("strays", which, StrayPinsResource(folder))


def _tracefs(host: Host, present: bool) -> t.Iterator[Part]:
    if present or host.journal.claimed(f"mount:{TRACEFS}") is not None:
        from .._bpf.info.tracefs import TracefsResource

        yield Part("tracefs", "", TracefsResource(present))


def _filters_absent(host: Host) -> t.Iterator[Part]:
    """The filters that a lab attached."""
    for key, entry in host.journal.claims("tc:").items():
        if entry.owner:
            from .._bpf.tc.resource import FilterResource

            yield Part("filter", key[len("tc:") :], FilterResource.absent(key))


def _topology_absent(lab: Lab, claims: t.Mapping[str, Entry]) -> Want:
    """The lab file's topology, and whatever else a lab has made."""
    want = replace(lab.topology, present=False)
    named = {interface.ref for interface in want.interfaces}
    more = []
    for key in claims:
        netns, _slash, name = key[len("link:") :].rpartition("/")
        if key.startswith("link:") and (netns, name) not in named:
            more.append(Interface(netns, name, ""))
    claimed = [key[len("netns:") :] for key in claims if key.startswith("netns:")]
    namespaces = dict.fromkeys([*want.namespaces, *claimed])
    return replace(want, namespaces=tuple(namespaces), interfaces=(*want.interfaces, *more))


def claimed_attachments(host: Host) -> list[Ref]:
    """The interfaces on which a lab attached a program."""
    found = []
    for key, entry in host.journal.claims("xdp:").items():
        netns, _colon, interface = key[len("xdp:") :].rpartition(":")
        if entry.owner:
            found.append((netns, interface))
    return sorted(found)


def _is_program(key: str, entry: Entry) -> bool:
    """Whether a claim is one on a pin that was loaded from an object."""
    return key.startswith("pin:") and "object" in (entry.value or {})


def _place(netns: str, interface: str) -> str:
    return f"{interface} in {netns}" if netns else interface


def _shown(entry: t.Mapping[str, t.Any]) -> str:
    return _place(entry["netns"], entry["interface"])
