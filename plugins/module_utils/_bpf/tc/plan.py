# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be done to bring a filter's place from what it is to what is wanted. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ..._core.errors import Refused
from ..._core.plan import AnyStep, Forecast, Forget, Later, Plan, Step, make
from ..._core.resource import Resource
from ..._kernel.rtnl import tc
from ..interface import becomes, is_pending
from .state import FilterState, Slot, Wanted, qdisc_key
from .steps import TYPE, AttachFilter, DetachFilter, MakeClsact, RemoveClsact, wrong_type


def after(want: Wanted, now: FilterState, coming: Forecast) -> FilterState:
    """The hooks as earlier steps will have left them."""
    slot = want.slot
    what = becomes(coming, slot.netns, slot.interface)
    if what:
        now = FilterState(what == "made", wanted=now.wanted)
    told = coming.get(qdisc_key(slot.netns, slot.interface))
    if told is not None:
        made = told.what == "made"
        now = replace(now, qdisc="clsact" if made else "", qdisc_claimed=made, here=(), others=())
    here = _filters_after(slot, slot.direction, now.here, coming)
    other = next(direction for direction in tc.HOOKS if direction != slot.direction)
    return replace(now, here=here, others=_filters_after(slot, other, now.others, coming))


def _filters_after(slot: Slot, direction: str, seen: tuple[tc.Filter, ...], coming: Forecast) -> tuple[tc.Filter, ...]:
    """The filters of a hook without those that earlier steps remove, and with those that they attach."""
    prefix = f"tc:{slot.netns}:{slot.interface}:{direction}:"
    told = {key: what for key, what in coming.items() if key.startswith(prefix)}
    places = {entry: replace(slot, direction=direction, priority=entry.priority, handle=entry.handle) for entry in seen}
    stay = [entry for entry, place in places.items() if place.key not in told]
    for key, what in told.items():
        if what.what == "made":
            place = Slot.of(key)
            number = what.value.get("id", 0) if isinstance(what.value, dict) else 0
            stay.append(tc.Filter("bpf", place.priority, place.handle, tc.ETH_P_ALL, id=number, direct=True))
    return tuple(sorted(stay, key=lambda entry: entry.priority))


def in_slot(want: Wanted, now: FilterState) -> t.Optional[tc.Filter]:
    """The filter in the very place."""
    return next((entry for entry in now.here if want.slot.holds(entry)), None)


def plan_present(want: Wanted, now: FilterState, coming: Forecast, later: t.Callable[..., Resource[t.Any]]) -> Plan:
    """Attach when the slot is free or has another program.

    ``later`` makes the resource, with other fields, that plans what depends on earlier steps when its turn comes.
    """
    now = after(want, now, coming)
    slot, mine = want.slot, in_slot(want, now)
    before = _describe(want, mine, now)
    pending = is_pending(coming, want.program, now.wanted is not None)
    wanted = None if pending else now.wanted
    if wanted is not None and wanted.type != TYPE:
        raise wrong_type(want.program, wanted.type)
    if mine is not None and wanted is not None and mine.id == wanted.id and mine.direct:
        return Plan(before=before, after=before)
    if now.carries:
        raise Refused(
            f"interface: {slot.interface} carries {now.carries} of this host.",
            "A filter that drops packets there cuts the host off; say force: true if you mean it.",
        )
    _may_use(want, now, mine)
    steps: list[AnyStep] = [] if now.qdisc else [MakeClsact(slot.interface, slot.netns)]
    replaces, number = mine.id if mine is not None else 0, wanted.id if wanted is not None else 0
    attach = AttachFilter(slot, want.program, replaces, number)
    was = now.wanted.id if now.wanted is not None else 0
    steps.append(Later(later(was=was), attach.title(), (make(slot.key),), attach.libraries) if pending else attach)
    then = {
        "state": "attached",
        "program": want.program,
        "id": wanted.id if wanted is not None else "of the program when it is loaded",
        "priority": slot.priority,
    }
    return Plan(before=before, after=then, steps=tuple(steps), warnings=_warnings(want, now, pending))


def _describe(want: Wanted, mine: t.Optional[tc.Filter], now: FilterState) -> dict[str, t.Any]:
    if mine is None:
        return {"state": "detached"}
    ours = now.wanted is not None and now.wanted.id == mine.id
    name = want.program if ours else mine.name
    return {"state": "attached", "program": name, "id": mine.id, "priority": mine.priority}


def _may_use(want: Wanted, now: FilterState, mine: t.Optional[tc.Filter]) -> None:
    slot = want.slot
    if now.qdisc == "ingress" and slot.direction == "egress":
        raise Refused(
            f"direction: {slot.interface} has an ingress qdisc, which has no hook for egress.",
            "The clsact qdisc takes its place: remove the old one by tc qdisc del dev INTERFACE ingress.",
        )
    same_wanted = mine is not None and mine.id in (now.wanted.id if now.wanted is not None else 0, want.was)
    if mine is not None and now.claim is None and not same_wanted:
        raise Refused(
            f"priority: {slot.priority} at {slot} has a filter that the lab did not attach ({mine.kind} {mine.name}).",
            "Choose another priority.",
        )
    for entry in now.here:
        if entry.priority == slot.priority and (entry.kind, entry.protocol) != ("bpf", tc.ETH_P_ALL):
            raise Refused(
                f"priority: {slot.priority} at {slot} has {entry.kind} filters, and the kernel takes one kind and "
                "protocol for a priority.",
                "Choose another priority.",
            )


def _warnings(want: Wanted, now: FilterState, pending: bool) -> tuple[str, ...]:
    found = []
    if not now.exists:
        found.append(f"interface: there is no {want.slot.interface} yet; the run needs it.")
    if now.wanted is None and not pending:
        found.append(f"program: {want.program} is not loaded yet; the run needs it.")
    earlier = [entry for entry in now.here if entry.priority < want.slot.priority]
    if earlier:
        found.append(
            f"priority: the filter {earlier[0].name or earlier[0].kind} (priority {earlier[0].priority}) at "
            f"{want.slot} is asked first, and its verdict can be the last word."
        )
    return tuple(found)


def plan_absent(want: Wanted, now: FilterState, coming: Forecast) -> Plan:
    """Detach our filter, and take our qdisc away when nothing is at it then."""
    now = after(want, now, coming)
    mine = in_slot(want, now)
    before = then = _describe(want, mine, now)
    steps: list[Step] = []
    warnings = []
    ours = mine is not None and now.claim is not None and now.claim.get("id") == mine.id
    if mine is not None and ours:
        steps.append(DetachFilter(want.slot, mine.id))
        then = {"state": "detached"}
    elif mine is not None:
        warnings.append(f"priority: the filter {mine.name or mine.kind} at {want.slot} is not ours and stays.")
    if now.claim is not None and not ours:
        steps.append(Forget(want.slot.key))
    left = [entry for entry in (*now.here, *now.others) if not (ours and entry is mine)]
    if now.qdisc_claimed and not left:
        key = qdisc_key(want.slot.netns, want.slot.interface)
        steps.append(RemoveClsact(want.slot.interface, want.slot.netns) if now.qdisc == "clsact" else Forget(key))
    return Plan(before=before, after=then, steps=tuple(steps), warnings=tuple(warnings))
