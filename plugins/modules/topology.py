#!/usr/bin/python
# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: topology
short_description: Converge a whole lab network in one call
version_added: 1.0.0
author: the ebpf.lab authors (@ebpf-lab)
description:
  - Makes sure that namespaces, veth pairs, bridges and VLANs exist, with addresses, routes, permanent neighbours and
    sysctls, all in one plan over one netlink conversation for each namespace.
  - Repairs what drifted and touches nothing that is not named.
options:
  namespaces:
    description: The network namespaces to make.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The namespace's name.
        type: str
        required: true
      sysctls:
        description: Its sysctls, by their full name such as C(net.ipv4.ip_forward).
        type: dict
        default: {}
  state:
    description:
      - V(absent) removes exactly what this collection made of it and puts back what it changed; what was there before
        stays, with a warning.
    type: str
    choices: [present, absent]
    default: present
  force:
    description:
      - Whether O(state=absent) also removes what bears these names and was there before.
      - With O(state=present), whether addresses and routes may take over what this host is reached by, which is the SSH
        session and the default route. Without it, that is refused.
    type: bool
    default: false
seealso:
  - module: ebpf.lab.netns
  - module: ebpf.lab.veth
extends_documentation_fragment: [ebpf.lab.attributes.netlink, ebpf.lab.link.topology]
"""

EXAMPLES = r"""
- name: The lecture's network
  ebpf.lab.topology:
    namespaces:
      - name: vns1
    veths:
      - name: veth1
        addresses: [192.168.100.1/24]
        peer:
          name: vpeer1
          netns: vns1
          addresses: [192.168.100.2/24]
          routes:
            - to: 192.168.100.1
            - to: default
              via: 192.168.100.1

- name: Take it away
  ebpf.lab.topology:
    namespaces:
      - name: vns1
    veths:
      - name: veth1
        peer:
          name: vpeer1
          netns: vns1
    state: absent
"""

RETURN = r"""
namespaces:
  description: Those of the named network namespaces that exist.
  returned: success
  type: list
  elements: str
  sample: [vns1]
interfaces:
  description: The interfaces as they are after the run; in check mode as they are now.
  returned: success
  type: list
  elements: dict
  sample:
    - addresses: ["192.168.100.1/24"]
      kind: veth
      mac: 6e:1a:0c:5b:4e:11
      master: ""
      mtu: 1500
      name: veth1
      neighbours: []
      netns: ""
      parent: null
      peer: {name: vpeer1, netns: vns1}
      routes: []
      sysctls: {}
      up: true
      vlan: null
steps:
  description: What was changed, or in check mode would be, in order.
  returned: success
  type: list
  elements: str
  sample: ["create the network namespace vns1", "set lo in vns1 up", "set veth1 up"]
"""

import typing as t
from dataclasses import replace

from ansible_collections.ebpf.lab.plugins.module_utils import _python  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.ebpf.lab.plugins.module_utils._core.module import run_module
from ansible_collections.ebpf.lab.plugins.module_utils._net.topology.options import topology, topology_options
from ansible_collections.ebpf.lab.plugins.module_utils._net.topology.resource import TopologyResource

OPTIONS = {
    **topology_options(),
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "force": {"type": "bool", "default": False},
}


def desired(params: dict[str, t.Any]) -> TopologyResource:
    """The whole topology."""
    want = topology(params)
    return TopologyResource(replace(want, present=params["state"] == "present", force=params["force"]))


def main() -> None:
    run_module(OPTIONS, desired)


if __name__ == "__main__":
    main()
