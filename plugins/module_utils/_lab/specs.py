# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may stand in each section of a lab file, as option specs in Ansible's form; docs/lab-files.md explains them."""

from __future__ import annotations

import typing as t

PIN_PATH = "/sys/fs/bpf/ebpf"

Spec = t.Mapping[str, t.Any]

LAB: Spec = {
    "name": {"type": "str", "required": True},
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
TABLE = {"type": "str", "default": "filter"}
HOST_NETWORK: Spec = {
    "policies": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "table": TABLE,
            "chain": {"type": "str", "required": True},
            "policy": {"type": "str", "required": True, "choices": ["ACCEPT", "DROP"]},
        },
    },
    "flush": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"table": TABLE, "chains": {"type": "list", "elements": "str"}},
    },
    "ip_forward": {"type": "dict", "default": {}, "options": {"ipv4": {"type": "bool"}, "ipv6": {"type": "bool"}}},
}
OBJECT: Spec = {
    "source": {"type": "str", "required": True},
    "method": {"type": "str", "choices": ["direct", "llc"], "default": "direct"},
    "flags": {"type": "list", "elements": "str"},
    "disassemble": {"type": "str"},
}
STAGE: Spec = {
    "name": {"type": "str", "required": True},
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
PROGRAM_TYPE = {"type": "str", "choices": ["xdp", "classifier"], "default": "xdp"}
PROGRAM: Spec = {
    "object": {"type": "str", "required": True},
    "type": PROGRAM_TYPE,
    "pin_maps": {"type": "list", "elements": "str", "default": []},
    "reuse_maps": {"type": "bool", "default": True},
}
ATTACHMENT: Spec = {
    "interface": {"type": "str", "required": True},
    "netns": {"type": "str", "default": ""},
    "program": {"type": "str", "required": True},
    "mode": {"type": "str", "choices": ["auto", "native", "generic", "offload"], "default": "auto"},
    "overwrite": {"type": "bool", "default": False},
    "force": {"type": "bool", "default": False},
}
FILTER: Spec = {
    "interface": {"type": "str", "required": True},
    "netns": {"type": "str", "default": ""},
    "program": {"type": "str", "required": True},
    "direction": {"type": "str", "choices": ["ingress", "egress"], "default": "ingress"},
    "priority": {"type": "int", "default": 1},
    "force": {"type": "bool", "default": False},
}
MAP: Spec = {
    "map": {"type": "str", "required": True},
    "entries": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {"key": {"type": "raw", "required": True}, "value": {"type": "raw", "required": True}},
    },
    "exclusive": {"type": "bool", "default": False},
    "netns": {"type": "str", "default": ""},
}
REFUSED: Spec = {"object": {"type": "str", "required": True}, "type": PROGRAM_TYPE}
TRAFFIC: Spec = {
    "name": {"type": "str", "required": True},
    "netns": {"type": "str", "default": ""},
    "kind": {"type": "str", "choices": ["ping", "udp"], "default": "ping"},
    "to": {"type": "str", "required": True},
    "source": {"type": "str"},
    "port": {"type": "int", "default": 9},
    "count": {"type": "int", "default": 3},
    "interval": {"type": "float", "default": 0.2},
    "timeout": {"type": "float", "default": 1.0},
}
CHECK: Spec = {
    "name": {"type": "str", "required": True},
    "query": {"type": "str", "required": True},
    "expect": {"type": "raw", "required": True},
    "hint": {"type": "str", "default": ""},
    "points": {"type": "int", "default": 1},
}
