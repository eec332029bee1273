#!/usr/bin/python
# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bpf_info
short_description: What a host has of BPF and XDP
version_added: "1.0.0"
author:
  - the ebpf.lab authors (@ebpf-lab)
description:
  - Returns the loaded programs, the maps, the pins, the XDP attachments of all interfaces in all named network
    namespaces, the kernel features that a lab needs, and the versions of the tools, in one call.
  - All but the tools' versions comes from the kernel itself, without a process for each thing.
extends_documentation_fragment: [ebpf.lab.attributes.reads]
options:
  gather_subset:
    description: What is gathered. V(tools) runs each tool once for its version, which takes longest.
    type: list
    elements: str
    choices: [programs, maps, pins, attachments, features, tools]
    default: [programs, maps, pins, attachments, features, tools]
"""

EXAMPLES = r"""
- name: See what is there
  ebpf.lab.bpf_info:
  register: bpf

- name: The program on veth1 is ours and native
  ansible.builtin.assert:
    that:
      - attachment.name == "xdp_allow"
      - attachment.mode == "native"
  vars:
    attachment: "{{ bpf.attachments | selectattr('interface', 'equalto', 'veth1') | first }}"

- name: Only the attachments
  ebpf.lab.bpf_info:
    gather_subset: [attachments]
"""

RETURN = r"""
kernel:
  description: The running kernel.
  returned: success
  type: dict
  sample: {release: 6.12.43+deb13-amd64, machine: x86_64, boot_id: 0bd7a3f5-6c2b-4bd0-b0cf-0d2b7f2a7a0e}
system:
  description: The distribution and its version, as /etc/os-release has them; "" for what it does not tell.
  returned: success
  type: dict
  sample: {distribution: debian, version: "12"}
programs:
  description:
    - The loaded programs of the whole kernel. C(name) is cut at 15 characters, C(loaded_ns) counts from boot, sizes are
      bytes; C(run_time_ns) and C(run_count) stand still unless statistics are enabled.
  returned: when asked for
  type: list
  elements: dict
  sample:
    - id: 42
      type: xdp
      name: xdp_allow
      tag: 3b185187f1855c4c
      map_ids: []
      loaded_ns: 1195971158009
      uid: 0
      gpl_compatible: true
      xlated_bytes: 16
      jited_bytes: 22
      btf_id: 31
      run_time_ns: 0
      run_count: 0
      pins: [/sys/fs/bpf/ebpf/xdp_allow]
maps:
  description: The maps of the whole kernel; sizes are bytes.
  returned: when asked for
  type: list
  elements: dict
  sample:
    - id: 31
      type: hash
      name: pkt_cnt
      key_size: 4
      value_size: 8
      max_entries: 256
      flags: 0
      btf_id: 31
      btf_key_type_id: 8
      btf_value_type_id: 11
      pins: [/sys/fs/bpf/ebpf/pkt_cnt]
pins:
  description: The pins of all bpffs mounts; C(ours) marks those that the lab made.
  returned: when asked for
  type: list
  elements: dict
  sample: [{path: /sys/fs/bpf/ebpf/xdp_allow, kind: program, id: 42, ours: true}]
pins_truncated:
  description: Whether there are more pins than are returned, which are 5000 at the most.
  returned: when asked for
  type: bool
  sample: false
attachments:
  description:
    - The XDP program of each interface that has one. C(netns) is empty for the namespace that Ansible works in;
      C(link_id) is that of the bpf_link that holds the program, 0 for none; C(ours) marks those that the lab attached.
  returned: when asked for
  type: list
  elements: dict
  sample:
    - netns: ""
      interface: veth1
      ifindex: 7
      mode: native
      id: 42
      name: xdp_allow
      tag: 3b185187f1855c4c
      link_id: 0
      ours: true
features:
  description:
    - What a lab needs of the kernel. null where this host does not tell. C(jit), C(unprivileged_bpf_disabled) and
      C(statistics) are the values of the sysctls; C(bpffs) and C(tracefs) where those are mounted.
  returned: when asked for
  type: dict
  sample:
    btf: true
    jit: 1
    unprivileged_bpf_disabled: 2
    statistics: 0
    veth: true
    xdp_on_veth: native
    lockdown: none
    bpffs: [/sys/fs/bpf]
    tracefs: /sys/kernel/tracing
tools:
  description: Versions; null for what is not there or does not run on this kernel.
  returned: when asked for
  type: dict
  sample:
    bpftool: 7.1.0
    clang: 14.0.6
    llc: 14.0.6
    llvm-objdump: 14.0.6
    ip: 6.1.0
    pyroute2: 0.7.2
    pyelftools: "0.29"
"""

from ansible.module_utils import distro
from ansible_collections.ebpf.lab.plugins.module_utils import _python  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.info.inventory import gather
from ansible_collections.ebpf.lab.plugins.module_utils._core.module import run_info_module

SUBSETS = ["programs", "maps", "pins", "attachments", "features", "tools"]
ARGUMENTS = {
    "gather_subset": {"type": "list", "elements": "str", "choices": SUBSETS, "default": SUBSETS},
}


def main() -> None:
    about = distro.os_release_info()
    system = {"distribution": about.get("id", ""), "version": about.get("version_id", "")}
    run_info_module(ARGUMENTS, lambda host, params: {"system": system, **gather(host, params["gather_subset"])})


if __name__ == "__main__":
    main()
