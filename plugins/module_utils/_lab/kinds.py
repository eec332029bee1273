# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every kind of thing that the journal can be about: a lab's run settles what any run has left."""

from __future__ import annotations

import typing as t

from .._core.host import Host
from .._core.journal import Entry
from .._core.plan import Key
from .._core.resource import Kind


class DecidedKind(Kind):
    """Decided: which stage the host is at. Nothing of the host can gainsay it."""

    prefix = "lab:"
    way = "decided"

    def look(self, host: Host, entries: t.Mapping[Key, Entry]) -> dict[Key, t.Any]:
        return {key: entry.coming if entry.about else entry.value for key, entry in entries.items()}


def kinds() -> tuple[Kind, ...]:
    """All of them. Imported when it comes to settling: a run that changes nothing does without."""
    from .._bpf.info.kinds import PROBES
    from .._bpf.map.kinds import EntryKind, MapPinKind
    from .._bpf.pin.kept import KeptKind
    from .._bpf.pin.kinds import FolderKind, MountKind
    from .._bpf.program.kinds import LoadedKind
    from .._bpf.tc.kinds import FilterKind, QdiscKind
    from .._bpf.xdp.kinds import SlotKind
    from .._core.own_files import FileKind, TemporaryKind
    from .._net.iptables.kinds import IptablesKind
    from .._net.sysctl.kinds import Sysctls
    from .._net.topology.kinds import Folder, Links, Namespaces

    files = (FileKind(), TemporaryKind(), FolderKind(), MountKind())
    pins = (LoadedKind(), MapPinKind(), KeptKind(), EntryKind())
    hooks = (SlotKind(), QdiscKind(), FilterKind())
    return (DecidedKind(), *files, *pins, *hooks, Folder(), Namespaces(), Links(), Sysctls(), IptablesKind(), *PROBES)
