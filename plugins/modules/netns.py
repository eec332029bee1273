#!/usr/bin/python
# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: netns
short_description: Make and remove network namespaces
version_added: 1.0.0
author: the ebpf.lab authors (@ebpf-lab)
description:
  - Makes sure that network namespaces exist, with their loopback up, or that they do not.
  - Names are compared exactly. A plain file that a killed C(ip netns del) left under a wanted name is taken over.
  - The C(lo) of a namespace that is made has the alias C(ebpf.lab), by which it is told from one of somebody else's.
options:
  name:
    description: The namespaces' names.
    type: list
    elements: str
    required: true
  sysctls:
    description: Sysctls of each of them, by their full name such as C(net.ipv4.ip_forward).
    type: dict
    default: {}
  state:
    description:
      - V(present) makes them and sets their loopback up.
      - V(absent) removes them, whoever made them, with every virtual link in them.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: ebpf.lab.topology
extends_documentation_fragment: [ebpf.lab.attributes.netlink]
"""

EXAMPLES = r"""
- name: Make the lab's namespace
  ebpf.lab.netns:
    name: vns1

- name: Make two that forward
  ebpf.lab.netns:
    name: [left, right]
    sysctls:
      net.ipv4.ip_forward: 1

- name: Remove them
  ebpf.lab.netns:
    name: [vns1, left, right]
    state: absent
"""

RETURN = r"""
namespaces:
  description: Those of O(name) that exist.
  returned: success
  type: list
  elements: str
  sample: [vns1]
steps:
  description: What was changed, or in check mode would be, in order.
  returned: success
  type: list
  elements: str
  sample: ["create the network namespace vns1", "set lo in vns1 up"]
"""

import typing as t

from ansible_collections.ebpf.lab.plugins.module_utils import _python  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.ebpf.lab.plugins.module_utils._core.module import run_module
from ansible_collections.ebpf.lab.plugins.module_utils._net.topology.options import namespaces
from ansible_collections.ebpf.lab.plugins.module_utils._net.topology.resource import TopologyResource


def desired(params: dict[str, t.Any]) -> TopologyResource:
    """The namespaces alone, as a topology."""
    return TopologyResource(namespaces(params["name"], params["sysctls"], params["state"] == "present"))


def main() -> None:
    run_module(
        {
            "name": {"type": "list", "elements": "str", "required": True},
            "sysctls": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        desired,
    )


if __name__ == "__main__":
    main()
