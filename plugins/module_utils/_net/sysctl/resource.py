# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The forwarding switches as one resource: at run time, over a reboot, and back.

Journal keys: ``sysctl:NETNS:NAME`` for each value that changes, also of those that the kernel changes along,
``file:PATH`` for the file below /etc/sysctl.d and ``dir:PATH`` for its folder.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ..._core.host import Host
from ..._core.own_files import FileKind
from ..._core.plan import NOTHING, Forecast, Plan
from ..._core.resource import Kind, Resource
from . import observe
from .kinds import Sysctls
from .plan import plan_present, plan_restored
from .state import FILE, State, Want
from .switches import SWITCHES, is_on


@dataclass(frozen=True)
class ForwardResource(Want, Resource[State]):
    """What is wanted, as a resource."""

    def kinds(self) -> tuple[Kind, ...]:
        from ..._bpf.pin.kinds import FolderKind  # late: only a journal with entries asks for them

        return (Sysctls(), FileKind(), FolderKind())

    def takes_away(self) -> bool:
        return self.state == "restored"

    def observe(self, host: Host) -> State:
        return observe.observe(host, self)

    def plan(self, now: State, coming: Forecast = NOTHING) -> Plan:
        return plan_restored(self, now) if self.state == "restored" else plan_present(self, now)

    def result(self, now: State) -> dict[str, t.Any]:
        """``ipv4`` and ``ipv6`` (None where the kernel has it not), and ``persisted``, the file or None."""
        on = {name: is_on(now.values[key]) if key in now.values else None for name, key in SWITCHES.items()}
        return {**on, "persisted": FILE if now.file is not None and now.file_ours else None}
