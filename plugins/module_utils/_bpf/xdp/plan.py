# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be done to bring an interface's XDP slot from what it is to what is wanted. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ..._core.errors import Refused
from ..._core.plan import AnyStep, Forecast, Forget, Later, Plan, Step, make
from ..._core.resource import Resource
from ..._kernel.syscall import ProgramInfo
from ..interface import becomes, is_pending
from ..pin.folders import emptying, making_on_bpffs
from ..pin.kept import KEPT, Keep, kept_path, letting_go
from .state import AttachmentState, Wanted
from .steps import Attach, Detach, ForgetBefore, Restore, wrong_type

DISPATCHER = "xdp_dispatcher"
GONE = ", which kept a program whose interface is gone"


def after(now: AttachmentState, what: str) -> AttachmentState:
    """The slot of an interface that earlier steps have "made" anew or "removed" by then."""
    if not what:
        return now
    return AttachmentState(
        what == "made", index=-1, wanted=now.wanted, saved=now.saved, kept=now.kept, folders=now.folders
    )


def plan_present(want: Wanted, now: AttachmentState, coming: Forecast, later: t.Callable[..., Resource[t.Any]]) -> Plan:
    """Attach when nothing, another program or one in another mode is attached.

    ``later`` makes the resource, with other fields, that plans what depends on earlier steps when its turn comes.
    """
    now = after(now, becomes(coming, want.netns, want.interface))
    before = now.describe(want.program)
    pending = is_pending(coming, want.program, now.wanted is not None)
    wanted = None if pending else now.wanted
    if wanted is not None and wanted.type != "xdp":
        raise wrong_type(want.program, wanted)
    if wanted is not None and wanted.id == now.id and now.mode in want.modes:
        return Plan(before=before, after=before)
    if now.carries:
        raise Refused(
            f"interface: {want.interface} carries {now.carries} of this host.",
            "A program that drops packets there cuts the host off; say force: true if you mean it.",
        )
    foreign = _foreign(want, now)
    steps: list[AnyStep] = []
    kept = now.before["kept"] if now.before is not None else ""
    saved = None
    if foreign is not None:
        _may_replace(want, now, foreign)
        if want.keep_foreign and now.before is None:  # else what was there before the lab is known already
            kept = kept_path("program", now.id, want.key)
            saved = {"id": now.id, "mode": now.mode, "name": foreign.name, "kept": kept, "ifindex": now.index}
            if kept not in now.kept:  # a run that was stopped has got so far
                steps += making_on_bpffs("interface", KEPT, now.folders, coming)
                steps.append(Keep("program", now.id, foreign.name, kept, want.key, want.interface))
    steps = [*_over(want, now, coming, kept), *steps]
    tries = _tries(want, now)
    replaces = now.id or None
    if now.id and now.mode not in tries:  # the kernel has native and generic exclude each other
        steps.append(Detach(want.interface, want.netns, now.id, now.mode, saved))
        saved, replaces = None, None
    number = wanted.id if wanted is not None else 0
    attach = Attach(want.interface, want.netns, want.program, tries, replaces, number, saved)
    was = now.wanted.id if now.wanted is not None else 0
    steps.append(Later(later(was=was), attach.title(), (make(want.key),)) if pending else attach)
    warnings = []
    if not now.exists:
        warnings.append(f"interface: there is no {want.where} yet; the run needs it.")
    if wanted is None and not pending:
        warnings.append(f"program: {want.program} is not loaded yet; the run needs it.")
    then = {
        "state": "attached",
        "program": want.program,
        "id": wanted.id if wanted is not None else "of the program when it is loaded",
        "mode": want.mode if want.mode != "auto" else " or else ".join(tries),
    }
    return Plan(before=before, after=then, steps=tuple(steps), warnings=tuple(warnings))


def _tries(want: Wanted, now: AttachmentState) -> tuple[str, ...]:
    """The modes to try, in order. A mode in which something is attached goes first: only that is one request."""
    return (now.mode,) if want.mode == "auto" and now.mode in want.modes else want.modes


def _over(want: Wanted, now: AttachmentState, coming: Forecast, mine: str = "") -> list[Step]:
    """Away with what was noted and kept for an interface that is gone, or by a run that was stopped; not ``mine``."""
    steps: list[Step] = []
    gone = not now.exists or now.index < 0
    if now.saved is not None and now.before is None:
        steps.append(Forget(want.key) if gone else ForgetBefore(want.interface, want.netns))
    others = [path for path in now.kept if path != mine]
    steps += [letting_go(path, want.key, GONE if gone else "") for path in others]
    if not mine and (KEPT in now.folders.inside or not want.present):  # one may have been stopped at the folder
        steps += emptying(KEPT, now.folders, others, coming)
    return steps


def _foreign(want: Wanted, now: AttachmentState) -> t.Optional[ProgramInfo]:
    """The program in the slot, when it is neither ours nor the one that is wanted; refuses what cannot be moved."""
    if not now.id and not now.mode:
        return None
    if now.mode == "multiple" or now.attached is None:
        raise Refused(
            f"interface: {want.where} has an XDP program that cannot be told from here, in the mode {now.mode}.",
            "Detach it by hand first: ip link set dev INTERFACE xdp off.",
        )
    if now.link_id:
        raise Refused(
            f"interface: the XDP program {now.attached.name} (id {now.id}) on {want.where} is held by the bpf_link "
            f"{now.link_id}, and the kernel replaces such a one only through that link.",
            f"End the program that holds it, or run: bpftool link detach id {now.link_id}.",
            link_id=now.link_id,
            program_id=now.id,
        )
    same = now.wanted is not None and now.wanted.id == now.id
    return None if same or now.ours or now.id == want.was else now.attached


def _may_replace(want: Wanted, now: AttachmentState, foreign: ProgramInfo) -> None:
    if want.overwrite:
        return
    what = f"the XDP program {foreign.name or 'without a name'} (id {foreign.id})"
    if foreign.name == DISPATCHER:
        what = f"a dispatcher of libxdp or bpfman (id {foreign.id}), which runs the programs of others,"
    raise Refused(
        f"interface: {what} is on {want.where}, and the lab did not attach it.",
        "Say overwrite: true to replace it; state: absent then puts it back.",
        program_id=foreign.id,
    )


def plan_absent(want: Wanted, now: AttachmentState, coming: Forecast) -> Plan:
    """Put back what was there before, or detach ours; what somebody attached since then stays."""
    now = after(now, becomes(coming, want.netns, want.interface))
    before = now.describe(want.program)
    away = now.ours or (bool(now.id) and want.overwrite and not now.link_id)
    saved = now.before
    detach = Detach(want.interface, want.netns, now.id, now.mode)
    steps: list[Step] = []
    if saved is not None and (away or not now.id):
        replaces = now.id
        if now.id and now.mode != saved["mode"]:
            steps.append(detach)
            replaces = 0
        steps.append(Restore(want.interface, want.netns, replaces, saved["kept"], saved["id"], saved["mode"]))
        steps += [letting_go(path, want.key) for path in now.kept]
        steps += emptying(KEPT, now.folders, now.kept, coming)
        after_it = {"state": "attached", "program": saved["name"], "id": saved["id"], "mode": saved["mode"]}
        return Plan(before=before, after=after_it, steps=tuple(steps))
    if away:
        steps = [detach, *_over(want, now, coming)]
        return Plan(before=before, after={"state": "detached"}, steps=tuple(steps))
    warnings: tuple[str, ...] = ()
    if now.id:
        held = f", held by the bpf_link {now.link_id}," if now.link_id else ""
        name = now.attached.name if now.attached is not None else "?"
        what = f"the XDP program {name} (id {now.id}){held} on {want.where}"
        warnings = (f"interface: {what} is not ours and stays.",)
    over = _over(want, replace(now, saved=now.saved if saved is None else None), coming)
    if saved is not None or (now.claim is not None and not any(isinstance(step, Forget) for step in over)):
        over = [Forget(want.key), *over]
    return Plan(before=before, after=before, steps=tuple(over), warnings=warnings)
