# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of ip_forward."""

from __future__ import annotations

import typing as t

from .resource import ForwardResource

OPTIONS: dict[str, t.Any] = {
    "state": {"type": "str", "default": "present", "choices": ["present", "restored"]},
    "ipv4": {"type": "bool"},
    "ipv6": {"type": "bool"},
    "netns": {"type": "str", "default": ""},
    "persist": {"type": "bool"},
    "force": {"type": "bool", "default": False},
}


def from_params(params: t.Mapping[str, t.Any]) -> ForwardResource:
    """The resource that a module's parameters ask for. Raises BadInput."""
    return ForwardResource(
        ipv4=params.get("ipv4"),
        ipv6=params.get("ipv6"),
        netns=params.get("netns") or "",
        persist=params.get("persist"),
        force=bool(params.get("force")),
        state=params.get("state") or "present",
    )
