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
  - Both ends are made in a link group of their own, by which they are told from others; C(ip link) shows its number.
options:
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
extends_documentation_fragment: [ebpf.lab.attributes.netlink, ebpf.lab.link.veth]
"""

EXAMPLES = r"""
- name: Join the lab's namespace to this host
  ebpf.lab.veth:
    name: veth1
    addresses: [192.168.100.1/24]
    peer: {name: vpeer1, netns: vns1, addresses: [192.168.100.2/24]}

- name: Delete it
  ebpf.lab.veth:
    name: veth1
    state: absent
"""

RETURN = r"""
interfaces:
  description: The ends of the pair that exist after the run; in check mode, those that exist now.
  returned: success
  type: list
  elements: dict
  sample:
    - {name: veth1, netns: "", kind: veth, peer: {name: vpeer1, netns: vns1}, up: true, mtu: 1500, master: "",
       mac: 6e:1a:0c:5b:4e:11, addresses: [192.168.100.1/24], routes: [], neighbours: [], sysctls: {}, parent: null,
       vlan: null}
steps:
  description: What was changed, or in check mode would be, in order.
  returned: success
  type: list
  elements: str
  sample: ["create the veth pair veth1 and vpeer1 in vns1", "set veth1 up"]
"""

import typing as t

from ansible_collections.ebpf.lab.plugins.module_utils import _python  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.ebpf.lab.plugins.module_utils._core.module import run_module
from ansible_collections.ebpf.lab.plugins.module_utils._net.topology.options import one_veth, veth_options
from ansible_collections.ebpf.lab.plugins.module_utils._net.topology.resource import TopologyResource


def desired(params: dict[str, t.Any]) -> TopologyResource:
    """The pair alone, as a topology."""
    return TopologyResource(one_veth(params, params["state"] == "present", params["force"]))


def main() -> None:
    state = {"type": "str", "choices": ["present", "absent"], "default": "present"}
    options = {**veth_options(), "state": state, "force": {"type": "bool", "default": False}}
    run_module(options, desired, required_if=[("state", "present", ["peer"])])


if __name__ == "__main__":
    main()
