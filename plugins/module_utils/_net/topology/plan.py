# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a network as it is to a network as it is wanted: pure, and the same for one namespace or a thousand.

The order of a plan: namespaces, links that are in the way, new links, sysctls, settings and addresses, routes. Within
each part the steps of one namespace stand together, because neighbours are sent to the kernel in one batch.
"""

from __future__ import annotations

from ..._core.plan import Plan
from .absent import Absent
from .present import Present
from .state import Now, Want


def plan(now: Now, want: Want) -> Plan:
    """The steps from ``now`` to ``want``. Raises Refused for what is foreign, and for what would cut this host off."""
    return Present(now, want).plan() if want.present else Absent(now, want).plan()
