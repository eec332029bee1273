# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of ``bpf_program``, and what they say about the programs that are wanted."""

from __future__ import annotations

import os
import typing as t

from ..._core.errors import BadInput
from ..pin.folders import check_pin_path

OPTIONS = {
    "object": {"type": "path"},
    "pin_path": {"type": "path", "required": True},
    "type": {"type": "str", "choices": ["xdp", "classifier"], "default": "xdp"},
    "pin_maps": {"type": "list", "elements": "str", "default": []},
    "map_pin_path": {"type": "path"},
    "reuse_maps": {"type": "bool", "default": True},
    "overwrite": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def read(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The fields of ``Want`` from the module's parameters. Raises BadInput."""
    present = params.get("state", "present") == "present"
    path = check_pin_path("pin_path", params["pin_path"])
    source = params.get("object") or ""
    if present and not source:
        raise BadInput("object", params.get("object"), "names no object", "say which object file to load")
    if source and not source.startswith("/"):
        raise BadInput("object", source, "is not an absolute path", "give one, such as /opt/lab/xdp_pass.o")
    map_path = params.get("map_pin_path")
    return {
        "pin_path": path,
        "object": os.path.normpath(source) if source else "",
        "present": present,
        "program_type": params.get("type") or "xdp",
        "pin_maps": tuple(params.get("pin_maps") or ()),
        "map_path": check_pin_path("map_pin_path", map_path) if map_path else path,
        "reuse_maps": params.get("reuse_maps", True),
        "overwrite": bool(params.get("overwrite")),
    }
