# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The resource that netns, veth, topology and lab converge."""

from __future__ import annotations

import typing as t

from ..._core.host import Host
from ..._core.plan import NOTHING, Forecast, Plan
from ..._core.resource import Kind, Resource
from .state import Now, Want


class TopologyResource(Resource[Now]):
    """A topology for ``converge``: observes and plans only what ``want`` names.

    Observer and planner are imported where they are used: the control node only reads arguments, for every lab file.
    """

    def __init__(self, want: Want) -> None:
        self.want = want

    def kinds(self) -> tuple[Kind, ...]:
        """Links, namespaces, the folder of their names, and sysctls."""
        from ..sysctl.kinds import Sysctls
        from .kinds import Folder, Links, Namespaces

        return (Folder(), Namespaces(), Links(), Sysctls())

    def takes_away(self) -> bool:
        """Whether it is to be absent."""
        return not self.want.present

    def observe(self, host: Host) -> Now:
        """What there is of it."""
        from .observe import observe

        return observe(host, self.want)

    def plan(self, now: Now, coming: Forecast = NOTHING) -> Plan:
        """The steps to what is wanted. Nothing that earlier parts of a plan do changes it."""
        from .plan import plan

        return plan(now, self.want)

    def result(self, now: Now) -> dict[str, t.Any]:
        """The namespaces and interfaces of the topology as they are now."""
        return {
            "namespaces": sorted(name for name, kind in now.namespaces.items() if kind == "present"),
            "interfaces": [now.interfaces[ref].as_dict() for ref in sorted(now.interfaces)],
        }
