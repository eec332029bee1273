#!/usr/bin/python
# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tc_attachment
short_description: Attach a BPF program to an interface as a tc filter
version_added: "1.0.0"
author:
  - the ebpf.lab authors (@ebpf-lab)
description:
  - Attaches a loaded program of the type C(sched_cls) to the ingress or egress hook of an interface, in direct action
    mode, which means that what the program returns is the verdict.
  - Adds the clsact qdisc that has these hooks when there is none, and takes it away again with the last filter.
  - A filter is told from others by its priority and handle. Another program in our place is replaced in one step; other
    filters stay as they are.
extends_documentation_fragment: [ebpf.lab.attributes.netlink, ebpf.lab.link.attachment]
attributes:
  diff_mode:
    description: Shows what is and what will be attached.
options:
  direction:
    description: Whether packets are filtered as they come in or as they go out.
    type: str
    choices: [ingress, egress]
    default: ingress
  program:
    description:
      - The program, by its pinned path, its id or its name. Required while O(state=present).
      - M(ebpf.lab.bpf_program) loads one with C(type=classifier).
    type: str
  priority:
    description: The filter's priority, 1 to 65535. Smaller ones are asked first.
    type: int
    default: 1
  handle:
    description: The filter's handle among those of the same priority.
    type: int
    default: 1
  state:
    description: Whether the filter is there. V(absent) removes what this module attached and nothing else.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: ebpf.lab.bpf_program
  - module: ebpf.lab.xdp_attachment
"""

EXAMPLES = r"""
- name: Load the filter
  ebpf.lab.bpf_program:
    object: /opt/lab/tc_filter.o
    pin_path: /sys/fs/bpf/ebpf
    type: classifier

- name: Filter what comes in by veth1
  ebpf.lab.tc_attachment:
    interface: veth1
    program: /sys/fs/bpf/ebpf/tc_filter

- name: Detach it
  ebpf.lab.tc_attachment:
    interface: veth1
    state: absent
"""

RETURN = r"""
interface:
  description: The interface.
  returned: success
  type: str
  sample: veth1
netns:
  description: Its namespace.
  returned: success
  type: str
  sample: ""
direction:
  description: The hook.
  returned: success
  type: str
  sample: ingress
attached:
  description: Whether there is a filter in the place that O(priority) and O(handle) name.
  returned: success
  type: bool
  sample: true
qdisc:
  description: The qdisc that the hooks belong to, V(clsact) or V(ingress); empty when there is none.
  returned: success
  type: str
  sample: clsact
filters:
  description: All filters at the hook, whoever attached them, in the order in which they are asked.
  returned: success
  type: list
  elements: dict
  sample: [{kind: bpf, priority: 1, handle: 1, id: 42, name: tc_filter, tag: 3b185187f1855c4c}]
steps:
  description: What was done, or would be done in check mode, in order.
  returned: success
  type: list
  elements: str
  sample: ["add the clsact qdisc to veth1", "attach /sys/fs/bpf/ebpf/tc_filter to ingress of veth1, priority 1"]
"""

from ansible_collections.ebpf.lab.plugins.module_utils import _python  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.tc.options import OPTIONS
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.tc.resource import FilterResource
from ansible_collections.ebpf.lab.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(OPTIONS, FilterResource.from_params)


if __name__ == "__main__":
    main()
