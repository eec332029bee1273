# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of iptables_flush."""

from __future__ import annotations

import typing as t

from ..._core.errors import BadInput
from .resource import FlushResource
from .state import BACKENDS, BUILT_IN, FAMILIES, Flush, Policy

_TABLE = {"type": "str", "default": "filter", "choices": list(BUILT_IN)}
OPTIONS: dict[str, t.Any] = {
    "state": {"type": "str", "default": "present", "choices": ["present", "restored"]},
    "policies": {
        "type": "list",
        "elements": "dict",
        "options": {
            "table": _TABLE,
            "chain": {"type": "str", "required": True},
            "policy": {"type": "str", "required": True, "choices": ["ACCEPT", "DROP"]},
        },
    },
    "flush": {
        "type": "list",
        "elements": "dict",
        "options": {"table": _TABLE, "chains": {"type": "list", "elements": "str"}},
    },
    "delete_chains": {"type": "bool", "default": False},
    "families": {"type": "list", "elements": "str", "choices": list(FAMILIES), "default": list(FAMILIES)},
    "backends": {"type": "list", "elements": "str", "choices": list(BACKENDS), "default": list(BACKENDS)},
    "netns": {"type": "str", "default": ""},
    "force": {"type": "bool", "default": False},
}


def from_params(params: t.Mapping[str, t.Any]) -> FlushResource:
    """The resource that a module's parameters ask for. Raises BadInput."""
    state = params.get("state") or "present"
    asked = any(params.get(name) for name in ("policies", "flush"))
    if state == "restored" and asked:
        raise BadInput("state", state, "puts back all that was changed, with no policies, flush", "leave them out")
    for name in ("families", "backends"):
        if params.get(name) == []:
            raise BadInput(name, [], "leaves nothing to look at", "leave it out for all of them")
    flush = [(item["table"], item.get("chains")) for item in params.get("flush") or ()]
    return FlushResource(
        policies=tuple(Policy(i["table"], i["chain"], i["policy"]) for i in params.get("policies") or ()),
        flush=tuple(Flush(table, None if chains is None else tuple(chains)) for table, chains in flush),
        netns=params.get("netns") or "",
        families=tuple(dict.fromkeys(params.get("families") or FAMILIES)),
        backends=tuple(dict.fromkeys(params.get("backends") or BACKENDS)),
        delete_chains=bool(params.get("delete_chains")),
        force=bool(params.get("force")),
        state=state,
    )
