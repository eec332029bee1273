# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in an interface's XDP slot: one link dump and a few bpf system calls."""

from __future__ import annotations

from dataclasses import replace

from ..._core.host import Host
from ..._kernel import lookup, syscall
from ..._kernel import netns as namespaces
from ..._net.management import lifelines
from ..interface import dictionary, look, refuse_lie
from ..pin import folders
from ..pin.kept import KEPT, kept_for
from .state import AttachmentState, Wanted


def observe(host: Host, want: Wanted) -> AttachmentState:
    """The slot, the program that is wanted, and our notes."""
    claimed, saved = host.journal.claimed(want.key), host.journal.saved(want.key)
    if want.present:
        refuse_lie(want.netns)
    link = look(host, want.netns, want.interface)
    kept = kept_for(host, want.key)
    state = AttachmentState(
        link is not None,
        wanted=lookup.program(want.program, "xdp") if want.program else None,
        claim=None if claimed is None else dictionary(claimed.value),
        saved=None if saved is None else dictionary(saved.saved),
        kept=tuple(sorted(kept)),
        folders=folders.look(host, KEPT),
    )
    if link is None:
        return state
    carries = ""
    if want.present and not want.force and namespaces.is_own(want.netns):
        carries = lifelines(host).get(want.interface, "")
    holders: list[int] = []
    if link.xdp_id:
        holders = [
            held.id for held in syscall.xdp_links() if (held.program_id, held.ifindex) == (link.xdp_id, link.index)
        ]
    return replace(
        state,
        id=link.xdp_id,
        mode=link.xdp_mode,
        index=link.index,
        attached=syscall.program_by_id(link.xdp_id) if link.xdp_id else None,
        link_id=holders[0] if holders else 0,
        carries=carries,
    )
