#!/usr/bin/python
# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: veth
short_description: Make, repair and remove a veth pair with both its ends
version_added: 1.0.0
author: the ebpf.lab authors (@ebpf-lab)
description:
  - Makes sure that a veth pair exists with each end in its namespace, with its addresses, routes and settings.
  - Repairs what drifted, for example an address that is gone, a link that is down or an end in the wrong namespace.
  - A pair that cannot be repaired in place is made anew, if it is one that this collection made; a foreign interface of
    the same name is left alone and refused.
options:
  <<: &interface
    name:
      description: The name of the interface, 1 to 15 bytes.
      type: str
      required: true
    netns:
      description:
        - The network namespace that it is in, by name or as the absolute path of its file.
        - Empty is the namespace that the module runs in.
      type: str
      default: ""
    up:
      description: Whether the link is up.
      type: bool
      default: true
    mtu:
      description: The MTU in bytes. Without it, it is left as it is.
      type: int
    mac:
      description: The unicast MAC address. Without it, it is left as it is.
      type: str
    master:
      description:
        - The bridge in the same namespace that it is a port of; empty for none.
        - Without it, it is left as it is.
      type: str
    addresses:
      description:
        - Addresses with their prefix length, IPv4 and IPv6.
        - IPv6 addresses are set without duplicate address detection, so that they answer at once.
      type: list
      elements: str
      default: []
    routes:
      description: Routes of the main table that leave by this interface.
      type: list
      elements: dict
      default: []
      suboptions:
        to:
          description: A network, an address, or V(default).
          type: str
          required: true
        via:
          description: The gateway. Without it, the destination is on the link.
          type: str
        metric:
          description: The metric; 0 is the kernel's default.
          type: int
          default: 0
    neighbours:
      description: Permanent neighbour entries.
      type: list
      elements: dict
      default: []
      suboptions:
        address:
          description: The neighbour's IP address.
          type: str
          required: true
        mac:
          description: The neighbour's MAC address.
          type: str
          required: true
    sysctls:
      description: Sysctls of this interface, V(ipv4.NAME) or V(ipv6.NAME) below C(net.FAMILY.conf.INTERFACE).
      type: dict
      default: {}
    exclusive:
      description: Whether other addresses, routes and permanent neighbours are taken away.
      type: bool
      default: false
  peer:
    description: The other end. Required while O(state=present).
    type: dict
    suboptions: *interface
  force:
    description:
      - Whether addresses and routes may take over what this host is reached by, the SSH session and the default route.
      - Without it, that is refused.
    type: bool
    default: false
  state:
    description:
      - V(absent) deletes the pair, whoever made it.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: ebpf.lab.topology
extends_documentation_fragment:
  - ebpf.lab.converging
"""

EXAMPLES = r"""
- name: Join the lab's namespace to this host
  ebpf.lab.veth:
    name: veth1
    addresses: [192.168.100.1/24]
    peer:
      name: vpeer1
      netns: vns1
      addresses: [192.168.100.2/24]
      routes:
        - to: 192.168.100.1
        - to: default
          via: 192.168.100.1

- name: Delete it
  ebpf.lab.veth:
    name: veth1
    state: absent
"""

RETURN = r"""
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
  sample: ["create the network namespace vns1", "set lo in vns1 up"]
"""

import typing as t

from ansible_collections.ebpf.lab.plugins.module_utils import _python  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.ebpf.lab.plugins.module_utils._core.converge import run_module
from ansible_collections.ebpf.lab.plugins.module_utils._net.topology.resource import (
    TopologyResource,
    one_veth,
    veth_options,
)


def desired(params: dict[str, t.Any]) -> TopologyResource:
    """The pair alone, as a topology."""
    return TopologyResource(one_veth(params, params["state"] == "present", params["force"]))


def main() -> None:
    state = {"type": "str", "choices": ["present", "absent"], "default": "present"}
    options = {**veth_options(), "state": state, "force": {"type": "bool", "default": False}}
    run_module(options, desired, required_if=[("state", "present", ["peer"])])


if __name__ == "__main__":
    main()
