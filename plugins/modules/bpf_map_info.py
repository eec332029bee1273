#!/usr/bin/python
# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bpf_map_info
short_description: Show a BPF map and its entries
version_added: "1.0.0"
author:
  - the ebpf.lab authors (@ebpf-lab)
description:
  - Lists the entries of any map of this host, named by its pin, its id, or its program and its own name.
  - Keys and values are plain values where the map has BTF, and bytes in hexadecimal where it has not.
  - Changes nothing. A map that a program writes meanwhile may show an entry late.
extends_documentation_fragment: [ebpf.lab.attributes.reads, ebpf.lab.bpf_map]
options:
  limit:
    description: How many entries are listed at the most.
    type: int
    default: 1000
  sum_per_cpu:
    description: Whether the values of a per-CPU map are added up, each member and element for itself.
    type: bool
    default: false
seealso:
  - module: ebpf.lab.bpf_map
"""

EXAMPLES = r"""
- name: See what was counted
  ebpf.lab.bpf_map_info:
    path: /sys/fs/bpf/ebpf/pkt_cnt
  register: counted

- name: The sums over all CPUs
  ebpf.lab.bpf_map_info:
    program: /sys/fs/bpf/ebpf/xdp_count
    name: pkt_cnt
    sum_per_cpu: true
"""

RETURN = r"""
map:
  description: The map; sizes are bytes, C(cpus) is the number of values of a per-CPU map, else 0.
  returned: success
  type: dict
  sample:
    {id: 31, type: hash, name: pkt_cnt, key_size: 4, value_size: 8, max_entries: 256, flags: 0, btf: true, cpus: 0}
entries:
  description:
    - The entries, sorted by key. A value of a per-CPU map is the list of the CPUs' values, or their sum.
  returned: success
  type: list
  elements: dict
  sample: [{key: 1, value: 12}]
truncated:
  description: Whether there are more than O(limit).
  returned: success
  type: bool
  sample: false
"""

import typing as t

from ansible_collections.ebpf.lab.plugins.module_utils import _python  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.map.contents import gather
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.map.options import OPTIONS
from ansible_collections.ebpf.lab.plugins.module_utils._core.module import run_info_module

ARGUMENTS: dict[str, t.Any] = {
    **{name: OPTIONS[name] for name in ("path", "id", "program", "name", "format")},
    "limit": {"type": "int", "default": 1000},
    "sum_per_cpu": {"type": "bool", "default": False},
}


def main() -> None:
    run_info_module(ARGUMENTS, gather)


if __name__ == "__main__":
    main()
