# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may stand in each section of a lab file, as option specs in Ansible's form; docs/lab-files.md explains them.

A section takes its options from the module of the same thing. tests/unit/test_lab_sections.py lists where they differ.
"""

from __future__ import annotations

import typing as t

from .._bpf.map import options as bpf_map
from .._bpf.object import options as bpf_object
from .._bpf.program import options as bpf_program
from .._bpf.tc import options as tc_attachment
from .._bpf.xdp import options as xdp_attachment
from .._net import reachability
from .._net.iptables import options as iptables_flush
from .._net.sysctl import options as ip_forward

PIN_PATH = "/sys/fs/bpf/ebpf"

Spec = t.Mapping[str, t.Any]
NEEDED = {"type": "str", "required": True}


def taken(options: Spec, *names: str) -> dict[str, t.Any]:
    """The options of a module that go by these names."""
    return {name: options[name] for name in names}


LAB: Spec = {
    "name": NEEDED,
    "title": {"type": "str", "default": ""},
    "description": {"type": "raw", "default": ""},
    "default_stage": {"type": "str"},
    "pin_path": {"type": "str", "default": PIN_PATH},
    "headers": {"type": "list", "elements": "str", "default": []},
    "host_network": {"type": "dict", "default": {}},
    "topology": {"type": "dict", "default": {}},
    "objects": {"type": "dict", "default": {}},
    "stages": {"type": "list", "elements": "dict", "required": True},
}
HOST_NETWORK: Spec = {
    **taken(iptables_flush.OPTIONS, "policies", "flush"),
    "ip_forward": {"type": "dict", "default": {}, "options": taken(ip_forward.OPTIONS, "ipv4", "ipv6")},
}
OBJECT: Spec = {"source": NEEDED, **taken(bpf_object.OPTIONS, "method", "flags", "disassemble")}
STAGE: Spec = {
    "name": NEEDED,
    "title": {"type": "str", "default": ""},
    "description": {"type": "raw", "default": ""},
    "programs": {"type": "list", "elements": "dict", "default": []},
    "attachments": {"type": "list", "elements": "dict", "default": []},
    "filters": {"type": "list", "elements": "dict", "default": []},
    "maps": {"type": "list", "elements": "dict", "default": []},
    "refused": {"type": "list", "elements": "dict", "default": []},
    "trace": {"type": "bool", "default": False},
    "traffic": {"type": "list", "elements": "dict", "default": []},
    "checks": {"type": "list", "elements": "dict", "default": []},
}
PROGRAM: Spec = {"object": NEEDED, **taken(bpf_program.OPTIONS, "type", "pin_maps", "reuse_maps")}
ATTACHMENT: Spec = {
    **taken(xdp_attachment.OPTIONS, "interface", "netns", "program", "mode", "overwrite", "force"),
    "program": NEEDED,
}
FILTER: Spec = {
    **taken(tc_attachment.OPTIONS, "interface", "netns", "program", "direction", "priority", "force"),
    "program": NEEDED,
}
MAP: Spec = {
    "map": NEEDED,
    "entries": {**bpf_map.OPTIONS["entries"], "required": True},
    **taken(bpf_map.OPTIONS, "exclusive", "netns"),
}
REFUSED: Spec = {"object": NEEDED, **taken(bpf_program.OPTIONS, "type")}
TRAFFIC: Spec = {
    "name": NEEDED,
    "kind": {"type": "str", "choices": ["ping", "udp"], "default": "ping"},
    "to": NEEDED,
    "port": {"type": "int", "default": 9},
    **taken(reachability.OPTIONS, "netns", "source", "count", "interval", "timeout"),
}
CHECK: Spec = {
    "name": NEEDED,
    "query": NEEDED,
    "expect": {"type": "raw", "required": True},
    "hint": {"type": "str", "default": ""},
    "points": {"type": "int", "default": 1},
}
