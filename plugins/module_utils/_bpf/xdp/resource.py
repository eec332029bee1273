# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The XDP program of one interface as a resource: attached, replaced in one step, and detached in its own mode.

The journal's claim on the interface's slot notes the program that we attached; a foreign program that the user let us
replace is kept alive by a pin of ours, and comes back when ours goes.
"""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, replace

from ..._core.errors import BadInput, Refused
from ..._core.host import Host
from ..._core.plan import Forget, Plan, Step
from ..._kernel import netns as namespaces
from ..._kernel import syscall
from ..._kernel.rtnl.read import links
from ..._kernel.syscall import ProgramInfo
from ..._net.management import lifelines
from ..._net.names import interface_name, netns_name
from ..pin.folders import check_pin_path
from ..pin.pins import kept_path
from .steps import Attach, Detach, KeepForeign, Restore, find_program, slot, wrong_type

DISPATCHER = "xdp_dispatcher"


@dataclass(frozen=True)
class AttachmentState:
    """One interface's XDP slot. ``id`` 0 and ``mode`` "": nothing is attached. ``attached`` is the program's info.

    ``link_id`` is that of the bpf_link that holds the program, 0 when none does. ``wanted`` is the program asked for,
    None when it is not there yet. ``claim`` is what we noted when we attached, ``saved`` the foreign program that we
    replaced. ``carries`` says what would be cut off with the interface, "" for nothing.
    """

    exists: bool
    id: int = 0
    mode: str = ""
    attached: t.Optional[ProgramInfo] = None
    link_id: int = 0
    wanted: t.Optional[ProgramInfo] = None
    claim: t.Optional[dict[str, t.Any]] = None
    saved: t.Optional[dict[str, t.Any]] = None
    carries: str = ""

    def describe(self, program: str) -> dict[str, t.Any]:
        """For the diff; ``program`` is how the user names the one that is wanted."""
        if not self.id:
            return {"state": "detached"}
        ours = self.wanted is not None and self.wanted.id == self.id
        name = program if ours else (self.attached.name if self.attached is not None else "")
        return {"state": "attached", "program": name, "id": self.id, "mode": self.mode}


@dataclass(frozen=True)
class AttachmentResource:
    """``program`` (a pinned path, an id or a name) attached to ``interface`` of ``netns``; ``present`` False: not.

    ``mode`` "auto" is native, and generic where the driver refuses native. ``overwrite``: a foreign program may be
    replaced; the journal keeps it. ``force``: the interface may be one that this host is reached by.
    """

    interface: str
    netns: str = ""
    program: str = ""
    present: bool = True
    mode: str = "auto"
    overwrite: bool = False
    force: bool = False

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> AttachmentResource:
        """From the parameters of ``xdp_attachment``. Raises BadInput."""
        present = params.get("state", "present") == "present"
        netns = params.get("netns") or ""
        if netns and not netns.startswith("/"):
            netns_name("netns", netns)
        program = str(params.get("program") or "")
        if present and not program:
            right = "give its pinned path, such as /sys/fs/bpf/ebpf/xdp_allow, its id or its name"
            raise BadInput("program", params.get("program"), "names no program", right)
        return cls(
            interface=interface_name("interface", params["interface"]),
            netns=netns,
            program=check_pin_path("program", program) if program.startswith("/") else program,
            present=present,
            mode=params.get("mode") or "auto",
            overwrite=bool(params.get("overwrite")),
            force=bool(params.get("force")),
        )

    def observe(self, host: Host) -> AttachmentState:
        """One link dump and a few bpf system calls."""
        key = slot(self.netns, self.interface)
        claimed, saved = host.journal.claimed(key), host.journal.saved(key)
        claim = None if claimed is None else claimed.value or {}
        wanted = find_program(self.program) if self.program else None
        here = (
            os.path.exists(self.netns)
            if self.netns.startswith("/")
            else (not self.netns or namespaces.kind(self.netns) == "present")
        )
        link = links(host.netlink(self.netns)).get(self.interface) if here else None
        empty = AttachmentState(
            link is not None, wanted=wanted, claim=claim, saved=None if saved is None else saved.saved
        )
        if link is None:
            return empty
        carries = ""
        if self.present and not self.force and namespaces.is_own(self.netns):
            carries = lifelines(host).get(self.interface, "")
        holders: list[int] = []
        if link.xdp_id:
            holders = [
                held.id for held in syscall.xdp_links() if (held.program_id, held.ifindex) == (link.xdp_id, link.index)
            ]
        return replace(
            empty,
            id=link.xdp_id,
            mode=link.xdp_mode,
            attached=syscall.program_by_id(link.xdp_id) if link.xdp_id else None,
            link_id=holders[0] if holders else 0,
            carries=carries,
        )

    @property
    def where(self) -> str:
        """The interface, for sentences."""
        return f"{self.interface} in the namespace {self.netns}" if self.netns else self.interface

    def plan(self, now: AttachmentState, program_pending: bool = False, interface_pending: bool = False) -> Plan:
        """Attach when nothing, another program or one in another mode is attached.

        ``program_pending``: an earlier part of the same plan loads the program anew, so its id is not known.
        ``interface_pending``: an earlier part makes the interface anew, so nothing is attached to it.
        """
        if interface_pending:
            now = AttachmentState(True, wanted=now.wanted, claim=now.claim, saved=now.saved)
        before = now.describe(self.program)
        if not self.present:
            return self._plan_absent(now, before)
        wanted = None if program_pending else now.wanted
        if wanted is not None and wanted.type != "xdp":
            raise wrong_type(self.program, wanted)
        if wanted is not None and wanted.id == now.id and now.mode in self._modes():
            return Plan(before=before, after=before)
        if now.carries:
            raise Refused(
                f"interface: {self.interface} carries {now.carries} of this host.",
                "A program that drops packets there cuts the host off; say force: true if you mean it.",
            )
        foreign = self._foreign(now, program_pending)
        steps: list[Step] = []
        if foreign is not None:
            self._may_replace(now, foreign)
            if now.claim is None:  # with a claim, what was there before the lab is known already
                kept = kept_path(foreign)
                steps.append(KeepForeign(self.interface, self.netns, now.id, now.mode, foreign.name, kept))
        steps.append(Attach(self.interface, self.netns, self.program, self._tries(now), now.id or None))
        warnings = []
        if not now.exists:
            warnings.append(f"interface: there is no {self.where} yet; the run needs it.")
        if wanted is None and not program_pending:
            warnings.append(f"program: {self.program} is not loaded yet; the run needs it.")
        after = {
            "state": "attached",
            "program": self.program,
            "id": wanted.id if wanted is not None else "of the program when it is loaded",
            "mode": self.mode if self.mode != "auto" else " or else ".join(self._tries(now)),
        }
        return Plan(before=before, after=after, steps=tuple(steps), warnings=tuple(warnings))

    def _modes(self) -> tuple[str, ...]:
        return ("native", "generic") if self.mode == "auto" else (self.mode,)

    def _tries(self, now: AttachmentState) -> tuple[str, ...]:
        """The modes to try, in order. A mode in which something is attached goes first: only that is one step."""
        return (now.mode,) if self.mode == "auto" and now.mode in self._modes() else self._modes()

    def _foreign(self, now: AttachmentState, program_pending: bool) -> t.Optional[ProgramInfo]:
        """The program in the slot, when it is neither ours nor the one that is wanted; refuses what cannot be moved."""
        if not now.id and not now.mode:
            return None
        if now.mode == "multiple" or now.attached is None:
            raise Refused(
                f"interface: {self.where} has an XDP program that cannot be told from here, in the mode {now.mode}.",
                "Detach it by hand first: ip link set dev INTERFACE xdp off.",
            )
        if now.link_id:
            raise Refused(
                f"interface: the XDP program {now.attached.name} (id {now.id}) on {self.where} is held by the bpf_link "
                f"{now.link_id}, and the kernel replaces such a one only through that link.",
                f"End the program that holds it, or run: bpftool link detach id {now.link_id}.",
                link_id=now.link_id,
                program_id=now.id,
            )
        same = now.wanted is not None and now.wanted.id == now.id
        return None if same or (now.claim or {}).get("id") == now.id else now.attached

    def _may_replace(self, now: AttachmentState, foreign: ProgramInfo) -> None:
        if self.overwrite:
            return
        what = f"the XDP program {foreign.name or 'without a name'} (id {foreign.id})"
        if foreign.name == DISPATCHER:
            what = f"a dispatcher of libxdp or bpfman (id {foreign.id}), which runs the programs of others,"
        raise Refused(
            f"interface: {what} is on {self.where}, and the lab did not attach it.",
            "Say overwrite: true to replace it; state: absent then puts it back.",
            program_id=foreign.id,
        )

    def _plan_absent(self, now: AttachmentState, before: dict[str, t.Any]) -> Plan:
        key = slot(self.netns, self.interface)
        detached = {"state": "detached"}
        ours = now.id and (
            (now.claim or {}).get("id") == now.id
            # a run that was killed between attaching and noting the id
            or (now.wanted is not None and now.wanted.id == now.id and now.claim is not None)
            or (self.overwrite and not now.link_id)
        )
        if now.saved is not None and (ours or (now.exists and not now.id)):
            name, mode = now.saved["name"], now.saved["mode"]
            after = {"state": "attached", "program": name, "id": now.saved["id"], "mode": mode}
            restore = Restore(self.interface, self.netns, now.id, now.mode, now.saved["kept"], mode)
            return Plan(before=before, after=after, steps=(restore,))
        if ours:
            return Plan(before=before, after=detached, steps=(Detach(self.interface, self.netns, now.id, now.mode),))
        warnings: tuple[str, ...] = ()
        if now.id:
            held = f", held by the bpf_link {now.link_id}," if now.link_id else ""
            name = now.attached.name if now.attached is not None else "?"
            what = f"the XDP program {name} (id {now.id}){held} on {self.where}"
            warnings = (f"interface: {what} is not ours and stays.",)
        steps: tuple[Step, ...] = ()
        if now.saved is not None:
            steps = (Restore("", "", 0, "", now.saved["kept"], "", key),)
        elif now.claim is not None:
            steps = (Forget(key),)
        return Plan(before=before, after=before, steps=steps, warnings=warnings)

    def facts(self, host: Host, now: AttachmentState) -> dict[str, t.Any]:
        """What is attached, as the module returns it."""
        result: dict[str, t.Any] = {"interface": self.interface, "netns": self.netns, "attached": bool(now.id)}
        if now.id:
            noted = (now.claim or {}).get("id") == now.id
            result["mode"] = now.mode
            result["mode_reason"] = (now.claim or {}).get("reason") if noted else "it was attached so by somebody else"
            result["program"] = {
                "id": now.id,
                "name": now.attached.name if now.attached is not None else "",
                "tag": now.attached.tag if now.attached is not None else "",
                "ours": noted,
            }
        return result
