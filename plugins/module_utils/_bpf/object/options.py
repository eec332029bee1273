# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of ``bpf_object``, and what they say about the object that is wanted."""

from __future__ import annotations

import os
import typing as t

from ..._core.errors import BadInput
from . import clang
from .clang import Recipe

OPTIONS = {
    "src": {"type": "path"},
    "dest": {"type": "path", "required": True},
    "flags": {"type": "list", "elements": "str", "default": ["-O2", "-g", "-Wall"]},
    "method": {"type": "str", "choices": ["direct", "llc"], "default": "direct"},
    "include_paths": {"type": "list", "elements": "path", "default": []},
    "disassemble": {"type": "str"},
    "overwrite": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def read(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The fields of ``Want`` from the module's parameters. Raises BadInput."""
    present = params.get("state", "present") == "present"
    for option in ("src", "dest"):
        value = params.get(option)
        if value is not None and not value.startswith("/"):
            raise BadInput(option, value, "is not an absolute path", "give one, such as /opt/lab/xdp_pass.c")
    for path in params.get("include_paths") or ():
        if not path.startswith("/"):
            raise BadInput("include_paths", path, "is not an absolute path", "give one, such as /usr/include")
    source, dest = params.get("src") or "", os.path.normpath(params["dest"])
    if present and not source:
        raise BadInput("src", params.get("src"), "names no source", "say which C file to compile")
    if present and os.path.normpath(source) == dest:
        raise BadInput("dest", dest, "is the source itself", "name the object file, such as xdp_pass.o")
    flags = params.get("flags")
    recipe = Recipe(
        os.path.normpath(source),
        params.get("method") or "direct",
        clang.FLAGS if flags is None else tuple(flags),
        tuple(params.get("include_paths") or ()),
    )
    return {
        "dest": dest,
        "recipe": recipe if present else None,
        "present": present,
        "disassemble": params.get("disassemble"),
        "overwrite": bool(params.get("overwrite")),
    }
