# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is at an interface's hooks: a link dump, a qdisc dump and two filter dumps."""

from __future__ import annotations

from ..._core.host import Host
from ..._kernel import lookup, syscall
from ..._kernel import netns as namespaces
from ..._kernel.rtnl import tc
from ..._net.management import lifelines
from ..interface import dictionary, look, refuse_lie
from .state import FilterState, Wanted, qdisc_key
from .steps import TYPE


def observe(host: Host, want: Wanted) -> FilterState:
    """The hooks, the program that is wanted, and our notes."""
    slot = want.slot
    claimed = host.journal.claimed(slot.key)
    claim = None if claimed is None else dictionary(claimed.value)
    made = host.journal.claimed(qdisc_key(slot.netns, slot.interface)) is not None
    wanted = lookup.program(want.program, TYPE) if want.program else None
    if want.present:
        refuse_lie(slot.netns)
    link = look(host, slot.netns, slot.interface)
    if link is None:
        return FilterState(False, claim=claim, qdisc_claimed=made, wanted=wanted)
    carries = ""
    if want.present and not want.force and namespaces.is_own(slot.netns):
        carries = lifelines(host).get(slot.interface, "")
    netlink = host.netlink(slot.netns)
    qdisc = tc.qdisc(netlink, link.index)
    at = {name: tuple(tc.filters(netlink, link.index, name)) for name in tc.hooks(qdisc)}
    here = at.pop(slot.direction, ())
    infos = {entry.id: syscall.program_by_id(entry.id) for entry in here if entry.id}
    return FilterState(
        True,
        qdisc=qdisc,
        qdisc_claimed=made,
        here=here,
        others=next(iter(at.values()), ()),
        claim=claim,
        wanted=wanted,
        programs={number: info for number, info in infos.items() if info is not None},
        carries=carries,
    )
