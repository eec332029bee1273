# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at the forwarding switches, at all that changes with them, at the file that sets them at boot, and the journal.

Nothing is written.
"""

from __future__ import annotations

import os
import typing as t

from ..._core import files
from ..._core.host import Host
from ..._core.own_files import digest_of, file_key, saved_file
from ..._kernel import netns as namespaces
from .kinds import ROOT, key_of, name_of, read
from .state import DIR_KEY, FILE, FOLDER, Saved, State, Want
from .switches import ALIAS, IPV4, REDIRECTS, Values, is_ours

FILE_KEY = file_key(FILE)


def observe(host: Host, want: Want) -> State:
    """All that ``want`` is about. Raises LabError for a namespace that does not exist."""
    saved = _saved(host, want.netns)
    if want.netns and namespaces.kind(want.netns) != "present":
        if want.state != "restored":
            raise namespaces.missing(want.netns)
        return State({}, saved, gone=True)
    values, purged = namespaces.in_netns(want.netns, lambda: (forwarding(), ra_default_routes()))
    if want.netns:
        return State(values, saved, purged=purged)
    content, kind = files.read(FILE), files.kind(FILE)
    claim, before = host.journal.claimed(FILE_KEY), host.journal.saved(FILE_KEY)
    ours = content is not None and claim is not None and digest_of(claim.value) == files.digest(content)
    there = os.path.isdir(FOLDER)
    return State(
        values,
        saved,
        file=None if content is None else os.fsdecode(content),
        file_ours=ours,
        file_noted=claim is not None,
        file_before=before.saved if before is not None and _is_file(before.saved) else None,
        file_theirs=None if ours or content is None else _theirs(want, content),
        odd=kind if kind != "file" else "",
        folder=there,
        folder_ours=host.journal.claimed(DIR_KEY) is not None,
        neighbours=tuple(sorted(set(os.listdir(FOLDER)) - {os.path.basename(FILE)})) if there else (),
        purged=purged,
    )


def _saved(host: Host, netns: str) -> dict[str, Saved]:
    prefix = key_of(netns, "")
    found = {}
    for key, entry in host.journal.entries.items():
        name = key[len(prefix) :]
        if key.startswith(prefix) and entry.has_saved and is_ours(name) and isinstance(entry.saved, str):
            found[name] = Saved(entry.saved, entry.wrote, entry.claimed, not entry.boot)
    return found


def _theirs(want: Want, content: bytes) -> t.Optional[t.Mapping[str, t.Any]]:
    """Somebody's file; as a whole where it is to be saved."""
    return saved_file(FILE) if want.state == "present" else {"sha256": files.digest(content)}


def _is_file(value: t.Any) -> bool:
    """Whether a value in the journal is somebody's file as ``saved_file`` returns it."""
    kinds = {"sha256": str, "mode": int, "content": str}
    return isinstance(value, dict) and all(isinstance(value.get(name), kind) for name, kind in kinds.items())


def forwarding() -> Values:
    """All sysctls that have to do with forwarding, in the namespace of the calling thread."""
    names = [IPV4, REDIRECTS]
    for version in ("ipv4", "ipv6"):
        folder = f"{ROOT}/net/{version}/conf"
        if os.path.isdir(folder):
            names += [name_of(f"{folder}/{interface}/forwarding") for interface in sorted(os.listdir(folder))]
    values = {name: read(name) for name in names if name != ALIAS}
    return {name: value for name, value in values.items() if value is not None}  # an interface may go meanwhile


def ra_default_routes() -> tuple[str, ...]:
    """The interfaces whose default route, learned from router advertisements, goes when IPv6 forwarding is set.

    rt6_purge_dflt_routers() in net/ipv6/route.c: those with RTF_DEFAULT and RTF_ADDRCONF, unless accept_ra is 2.
    """
    both = 0x00010000 | 0x00040000
    found = set()
    try:
        with open("/proc/thread-self/net/ipv6_route", "rb") as file:
            for line in file:
                fields = line.split(maxsplit=9)  # the last one is the interface's name, which may be any bytes
                if int(fields[8], 16) & both == both:
                    found.add(os.fsdecode(fields[9].strip(b" \n")))
    except FileNotFoundError:  # a kernel without IPv6
        return ()
    return tuple(sorted(i for i in found if read(name_of(f"{ROOT}/net/ipv6/conf/{i}/accept_ra")) != "2"))
