#!/usr/bin/python
# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xdp_attachment
short_description: Attach an XDP program to an interface
version_added: "1.0.0"
author:
  - the ebpf.lab authors (@ebpf-lab)
description:
  - Attaches a loaded XDP program to an interface in any network namespace, and detaches it again.
  - A program that this module attached is replaced in one step, so that no packet comes in without one, unless the mode
    changes too.
  - What somebody else attached is not replaced unasked. When O(overwrite=true), it is kept alive by a pin and put back
    by O(state=absent). A program that is held by a bpf_link cannot be replaced over netlink and is always refused.
extends_documentation_fragment: [ebpf.lab.attributes.converges, ebpf.lab.link.attachment]
attributes:
  diff_mode:
    description: Shows which program is and will be attached, and in which mode.
options:
  program:
    description:
      - The program by its pinned path, its id, or its name. A name must be that of one loaded XDP program only.
      - Required while O(state=present).
    type: str
  mode:
    description:
      - V(native) runs it in the driver, V(generic) in the network stack, V(offload) on the network card.
      - V(auto) is native, and generic when the driver refuses native. RV(mode) says which it became, and
        RV(mode_reason) why.
    type: str
    choices: [auto, native, generic, offload]
    default: auto
  overwrite:
    description: Whether a program that the lab did not attach may be replaced, a dispatcher of libxdp or bpfman too.
    type: bool
    default: false
  state:
    description: Whether the program is attached. V(absent) detaches what this module attached and nothing else.
    type: str
    choices: [present, absent]
    default: present
notes:
  - In check mode, and in a run that makes them later, the interface and the program need not be there yet; a warning
    says so.
seealso:
  - module: ebpf.lab.bpf_program
"""

EXAMPLES = r"""
- name: Attach the lecture's program to the lab's interface
  ebpf.lab.xdp_attachment:
    interface: veth1
    program: /sys/fs/bpf/ebpf/xdp_allow
    overwrite: true

- name: Attach inside a namespace, in the network stack
  ebpf.lab.xdp_attachment:
    interface: vpeer1
    netns: vns1
    program: /sys/fs/bpf/ebpf/xdp_allow
    mode: generic

- name: Detach it
  ebpf.lab.xdp_attachment:
    interface: veth1
    state: absent
"""

RETURN = r"""
interface:
  description: The interface's name.
  returned: success
  type: str
  sample: vpeer1
netns:
  description: Its namespace, as given.
  returned: success
  type: str
  sample: vns1
attached:
  description: Whether a program is attached; one that is not ours counts.
  returned: success
  type: bool
  sample: true
mode:
  description: The mode in which it is attached.
  returned: when a program is attached
  type: str
  sample: native
mode_reason:
  description: Why it is this mode.
  returned: when a program is attached
  type: str
  sample: the driver takes native XDP
program:
  description: The attached program. C(name) is cut at 15 characters; C(ours) tells whether this module attached it.
  returned: when a program is attached
  type: dict
  sample: {id: 42, name: xdp_allow, tag: 3b185187f1855c4c, ours: true}
steps:
  description: What was done, or would be done in check mode, in order.
  returned: success
  type: list
  elements: str
  sample: ["attach /sys/fs/bpf/ebpf/xdp_allow to veth1, native or else generic"]
"""

from ansible_collections.ebpf.lab.plugins.module_utils import _python  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.xdp.options import OPTIONS
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.xdp.resource import AttachmentResource
from ansible_collections.ebpf.lab.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(OPTIONS, AttachmentResource.from_params)


if __name__ == "__main__":
    main()
