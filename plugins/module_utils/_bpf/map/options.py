# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What bpf_map is asked: its parameters, checked."""

from __future__ import annotations

import json
import os
import typing as t

from ..._core.errors import BadInput
from ..pin.folders import check_pin_path
from .entries import MapRef
from .new import NewMap

_MADE = (
    "hash array percpu_hash percpu_array lru_hash lru_percpu_hash lpm_trie prog_array devmap devmap_hash cpumap xskmap "
    "queue stack ringbuf perf_event_array"
).split()
OPTIONS: dict[str, t.Any] = {
    "path": {"type": "path"},
    "id": {"type": "int"},
    "program": {"type": "str"},
    "name": {"type": "str"},
    "entries": {
        "type": "list",
        "elements": "dict",
        "options": {
            "key": {"type": "raw", "required": True, "no_log": False},
            "value": {"type": "raw", "required": True},
        },
    },
    "absent_keys": {"type": "list", "elements": "raw", "default": [], "no_log": False},
    "exclusive": {"type": "bool", "default": False},
    "format": {"type": "str", "choices": ["auto", "bytes"], "default": "auto"},
    "netns": {"type": "str", "default": ""},
    "type": {"type": "str", "choices": _MADE},
    "key_type": {"type": "raw"},
    "value_type": {"type": "raw"},
    "key_size": {"type": "int"},
    "value_size": {"type": "int"},
    "max_entries": {"type": "int"},
    "flags": {"type": "int", "default": 0},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def checked(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The fields of ``Wanted``. Raises BadInput."""
    present = params.get("state", "present") == "present"
    ref, pin = ref_from_params(params, pin_too=True)
    entries, keys = params.get("entries"), params.get("absent_keys") or []
    exclusive = bool(params.get("exclusive"))
    if not present and (entries or keys or exclusive):
        raise BadInput("state", "absent", "is given with entries", "list what is to go in absent_keys, or leave it out")
    if exclusive and entries is None:
        raise BadInput("exclusive", True, "is given without entries", "give entries: [] to empty the map")
    new = None
    if present and params.get("type"):
        if not ref.path:
            raise BadInput("type", params["type"], "is given with id or program", "a new map needs only a path")
        new, pin = NewMap.from_params(params, os.path.basename(ref.path)), ref.path
    return {
        "ref": ref,
        "entries": json.dumps(entries or []),
        "absent_keys": json.dumps(keys),
        "exclusive": exclusive,
        "present": present,
        "new": new,
        "pin": pin,
        "netns": params.get("netns") or "",
        "raw": params.get("format") == "bytes",
    }


def ref_from_params(params: t.Mapping[str, t.Any], pin_too: bool = False) -> tuple[MapRef, str]:
    """Which map the parameters name, and (``pin_too``) the path at which it is to be pinned. Raises BadInput."""
    path, number = params.get("path") or "", params.get("id") or 0
    program, name = str(params.get("program") or ""), params.get("name") or ""
    ways = [option for option in ("path", "id", "program") if params.get(option)]
    right = "give a pinned path, an id, or a program and the map's name"
    if not ways:
        raise BadInput("path", None, "names no map", right)
    if len(ways) > (2 if pin_too and path else 1):
        raise BadInput(ways[-1], params[ways[-1]], f"is given beside {ways[-2]}", right)
    if bool(program) != bool(name):
        wrong = "name" if program else "program"
        raise BadInput(wrong, params.get(wrong), "is missing", "a map is named by its program and its name together")
    if number < 0:
        raise BadInput("id", number, "is no id", right)
    path = check_pin_path("path", path) if path else ""
    if number or program:
        return MapRef(id=number, program=program, name=name), path
    return MapRef(path=path), path if pin_too and params.get("state") == "absent" else ""
