# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab on the way down: for each kind of key that the journal has, the parts that take away or put back.

What is up is what the journal says, so that it goes whole also when the lab file was changed in between.
"""

from __future__ import annotations

import os
import typing as t
from dataclasses import replace

from .._bpf.object.resource import ObjectResource
from .._bpf.pin.resource import FoldersResource
from .._bpf.program.resource import ProgramResource
from .._bpf.xdp.resource import AttachmentResource
from .._core.errors import LabError
from .._core.host import Host
from .._core.plan import Key
from .._net.iptables.resource import FlushResource
from .._net.sysctl.resource import ForwardResource
from .._net.topology.resource import TopologyResource
from .._net.topology.state import Interface, Want
from .parts import Part, claimed_attachments, filters_absent, loaded, place, strays, tracefs
from .schema import WORK_FOLDER, Lab
from .sources import SourcesResource

Restorer = t.Callable[[Host, Lab], t.Iterator[Part]]


def _attachments(host: Host, lab: Lab) -> t.Iterator[Part]:
    for netns, interface in claimed_attachments(host):
        part = AttachmentResource(interface, netns, present=False)
        yield Part(f"attachment {place(netns, interface)}", part)


def _filters(host: Host, lab: Lab) -> t.Iterator[Part]:
    yield from filters_absent(host)


def _entries(host: Host, lab: Lab) -> t.Iterator[Part]:
    """Entries of maps that are not ours."""
    numbers = {key.split(":")[1] for key, entry in host.journal.entries.items() if key.startswith("entry:")}
    if numbers:
        from .._bpf.map.entries import MapRef
        from .._bpf.map.resource import MapResource

        for number in sorted(filter(str.isdecimal, numbers), key=int):
            yield Part(f"entries of map {number}", MapResource(MapRef(id=int(number)), present=False))


def _pins(host: Host, lab: Lab) -> t.Iterator[Part]:
    pinned = sorted(loaded(host))
    for folder, path in pinned:
        yield Part(f"programs {path} in {folder}", ProgramResource(folder, path, present=False, own_folder=True))
    for folder in sorted({lab.pin_path, *(folder for folder, _path in pinned)}):
        yield strays(folder, folder, ends=True)
    for key in _claims(host, "map:"):
        from .._bpf.map.entries import MapRef
        from .._bpf.map.resource import MapResource

        path = _path(key)
        yield Part(f"map {path}", MapResource(MapRef(path=path), present=False, pin=path))


def _files(host: Host, lab: Lab) -> t.Iterator[Part]:
    """Objects and sources in the folders that labs work in, and those folders."""
    files = {_path(key): entry for key, entry in _claims(host, "file:").items() if _path(key).startswith(WORK_FOLDER)}
    for path, entry in sorted(files.items()):
        if not isinstance(entry.value, dict) or "written" not in entry.value:
            yield Part(f"object {path}", ObjectResource(path, None, present=False, own_folder=True))
    made = {_path(key) for key in _claims(host, "dir:") if _path(key).startswith(WORK_FOLDER)}
    for folder in sorted({lab.folder, *made, *(os.path.dirname(path) for path in files)}):
        yield Part(f"sources {folder}", SourcesResource(folder, {}, present=False))


def _folders(host: Host, lab: Lab) -> t.Iterator[Part]:
    """Folders that nothing was put into, or that are empty by now."""
    paths = tuple(_path(key) for kind in ("dir:", "mount:") for key in _claims(host, kind))
    if paths:
        yield Part("folders", FoldersResource(paths))


def _topology(host: Host, lab: Lab) -> t.Iterator[Part]:
    """The lab file's topology, and whatever else a lab has made."""
    want = replace(lab.topology, present=False)
    named = {interface.ref for interface in want.interfaces}
    refs = [_path(key).rpartition("/")[::2] for key in _claims(host, "link:")]
    more = tuple(Interface(netns, name, "") for netns, name in refs if (netns, name) not in named)
    namespaces = dict.fromkeys([*want.namespaces, *map(_path, _claims(host, "netns:"))])
    whole: Want = replace(want, namespaces=tuple(namespaces), interfaces=(*want.interfaces, *more))
    yield Part("topology", TopologyResource(whole))


def _tracefs(host: Host, lab: Lab) -> t.Iterator[Part]:
    yield from tracefs(host, False)


def _host_network(host: Host, lab: Lab) -> t.Iterator[Part]:
    yield Part("ip_forward", ForwardResource(state="restored"))
    yield Part("iptables", FlushResource(state="restored"))


# Detach, put entries back, unpin, files, links, namespaces, host settings: nothing is taken from under what uses it.
RESTORERS: tuple[tuple[tuple[str, ...], Restorer], ...] = (
    (("xdp:", "kept:"), _attachments),
    (("tc:", "qdisc:"), _filters),
    (("entry:",), _entries),
    (("pin:", "map:"), _pins),
    (("file:",), _files),
    (("link:", "netns:", "namespaces:", "sysctl:"), _topology),
    (("mount:",), _tracefs),
    (("dir:", "mount:"), _folders),
    (("sysctl:", "iptables:"), _host_network),
)


def parts_absent(host: Host, lab: Lab) -> list[Part]:
    """All of them in order. Raises LabError for a journal with a path that no lab has written."""
    for key in host.journal.entries:
        if ".." in _path(key).split("/"):
            raise LabError(
                f"The journal {host.journal.path} names a path with '..' in it: {key}.",
                "No run has written that; restore the journal, or take the entry out.",
            )
    return [part for _prefixes, restorer in RESTORERS for part in restorer(host, lab)]


def _claims(host: Host, prefix: str) -> dict[Key, t.Any]:
    """What labs have made."""
    return {key: entry for key, entry in host.journal.claims(prefix).items() if entry.owner}


def _path(key: Key) -> str:
    return key.partition(":")[2]
