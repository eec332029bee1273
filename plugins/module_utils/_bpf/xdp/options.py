# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What xdp_attachment is asked: its parameters, checked."""

from __future__ import annotations

import typing as t

from ..interface import asked

OPTIONS: dict[str, t.Any] = {
    "interface": {"type": "str", "required": True},
    "netns": {"type": "str", "default": ""},
    "program": {"type": "str"},
    "mode": {"type": "str", "choices": ["auto", "native", "generic", "offload"], "default": "auto"},
    "overwrite": {"type": "bool", "default": False},
    "force": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def checked(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The fields of ``Wanted``. Raises BadInput."""
    present, interface, netns, program = asked(params, "xdp_allow")
    return {
        "interface": interface,
        "netns": netns,
        "program": program,
        "present": present,
        "mode": params.get("mode") or "auto",
        "overwrite": bool(params.get("overwrite")),
        "force": bool(params.get("force")),
    }
