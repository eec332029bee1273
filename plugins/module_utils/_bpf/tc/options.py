# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tc_attachment is asked: its parameters, checked."""

from __future__ import annotations

import typing as t

from ..._core.errors import BadInput
from ..interface import asked
from .state import Slot

OPTIONS: dict[str, t.Any] = {
    "interface": {"type": "str", "required": True},
    "netns": {"type": "str", "default": ""},
    "direction": {"type": "str", "choices": ["ingress", "egress"], "default": "ingress"},
    "program": {"type": "str"},
    "priority": {"type": "int", "default": 1},
    "handle": {"type": "int", "default": 1},
    "force": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def checked(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The fields of ``Wanted``. Raises BadInput."""
    present, interface, netns, program = asked(params, "tc_filter")
    priority, handle = params.get("priority") or 1, params.get("handle") or 1
    if not 0 < priority < 1 << 16:
        raise BadInput("priority", priority, "is out of range", "give 1 to 65535")
    if not 0 < handle < 1 << 32:
        raise BadInput("handle", handle, "is out of range", "give 1 to 4294967295")
    return {
        "slot": Slot(interface, netns, params.get("direction") or "ingress", priority, handle),
        "program": program,
        "present": present,
        "force": bool(params.get("force")),
    }
