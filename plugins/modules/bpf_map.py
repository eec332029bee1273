#!/usr/bin/python
# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bpf_map
short_description: Make, pin and fill BPF maps
version_added: "1.0.0"
author:
  - the ebpf.lab authors (@ebpf-lab)
description:
  - Sets and deletes entries of any map of this host, named by its pin, its id, or its program and its own name.
  - Keys and values are written as YAML where the map has BTF, and as bytes where it has not.
  - Makes a map that no program defines, and pins maps.
  - What was in a map that the lab did not make is kept in the journal, and comes back with O(state=absent).
extends_documentation_fragment: [ebpf.lab.attributes.converges, ebpf.lab.bpf_map]
attributes:
  diff_mode:
    description: Shows the entries that are named, or all of them with O(exclusive=true), before and after.
options:
  path:
    description:
      - The map's pin, an absolute path on a bpffs.
      - Beside O(id) or O(program), the path at which that map is pinned.
  entries:
    description:
      - Entries that the map has to hold.
      - Where the map has BTF, an integer is a number, a struct a dictionary with all its members, an array a list, an
        array of C(char) text, an enumerator its name. Of a union one member is enough.
      - Without BTF, or with O(format=bytes), text such as V(01 00 00 00) holds the bytes in hexadecimal. An integer is
        taken for one of that size in the byte order of the host.
      - A value of a per-CPU map is a list with one for each possible CPU, or one value that all of them get.
      - The value of a devmap is an interface's name or index, that of a C(prog_array) a program's id.
    type: list
    elements: dict
    suboptions:
      key:
        description: The key.
        type: raw
        required: true
      value:
        description: The value.
        type: raw
        required: true
  absent_keys:
    description:
      - Keys that the map must not hold. An entry of an array cannot be deleted, so it is set to zero.
    type: list
    elements: raw
    default: []
  exclusive:
    description: Whether the map holds O(entries) and no others. The others of an array are set to zero.
    type: bool
    default: false
  netns:
    description: The network namespace, by name or path, in which the interfaces of a devmap are.
    type: str
    default: ""
  type:
    description:
      - Makes a map of this type when there is none at O(path), and pins it there. One of ours that is of another type,
        size or number of entries is replaced, and its entries are lost.
    type: str
    choices:
      - hash
      - array
      - percpu_hash
      - percpu_array
      - lru_hash
      - lru_percpu_hash
      - lpm_trie
      - prog_array
      - devmap
      - devmap_hash
      - cpumap
      - xskmap
      - queue
      - stack
      - ringbuf
      - perf_event_array
  key_type:
    description:
      - The type of a new map's keys, V(u8) to V(u64), V(s8) to V(s64), V(bool), V(char), one of those with a length as
        in V(char[16]), or a dictionary of members, which is laid out as C lays out a struct.
    type: raw
  value_type:
    description: The type of a new map's values, written like O(key_type).
    type: raw
  key_size:
    description: The size of a new map's keys in bytes, in place of O(key_type).
    type: int
  value_size:
    description: The size of a new map's values in bytes, in place of O(value_type).
    type: int
  max_entries:
    description: How many entries a new map can hold; for a ring buffer its size in bytes.
    type: int
  flags:
    description: The C(BPF_F_) flags of a new map, as a number. A trie gets the one that it needs by itself.
    type: int
    default: 0
  state:
    description:
      - V(present) makes sure of the map and its entries.
      - V(absent) takes back what this module did, which is to remove the pin that it made, and to put back the entries
        of a map that the lab did not make. One that somebody else has changed since stays, with a warning, unless a
        program of the lab uses the map.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: ebpf.lab.bpf_map_info
  - module: ebpf.lab.bpf_program
"""

EXAMPLES = r"""
- name: Set the limit that the rate limiter reads
  ebpf.lab.bpf_map:
    path: /sys/fs/bpf/ebpf/limits
    entries:
      - key: 0
        value: {packets_per_second: 100, burst: 20}

- name: Empty the counters
  ebpf.lab.bpf_map:
    path: /sys/fs/bpf/ebpf/pkt_cnt
    entries: []
    exclusive: true

- name: Pin a map of a program that is loaded already
  ebpf.lab.bpf_map:
    program: /sys/fs/bpf/ebpf/xdp_count
    name: pkt_cnt
    path: /sys/fs/bpf/ebpf/pkt_cnt

- name: Make a table of blocked networks that programs can use
  ebpf.lab.bpf_map:
    path: /sys/fs/bpf/ebpf/blocked
    type: lpm_trie
    key_type: {prefixlen: u32, address: "u8[4]"}
    value_type: u64
    max_entries: 64
    entries:
      - key: {prefixlen: 24, address: [192, 0, 2, 0]}
        value: 0

- name: Send what comes for the first port to this interface
  ebpf.lab.bpf_map:
    path: /sys/fs/bpf/ebpf/ports
    entries:
      - key: 0
        value: veth1
"""

RETURN = r"""
map:
  description: The map after the run, in check mode as it is now; null when there is none. Sizes are bytes.
  returned: success
  type: dict
  sample: {id: 31, type: hash, name: pkt_cnt, key_size: 4, value_size: 8, max_entries: 256, flags: 0}
entries:
  description: The entries that were named, or all with O(exclusive=true), up to 1000.
  returned: success
  type: list
  elements: dict
  sample: [{key: 0, value: {packets_per_second: 100, burst: 20}}]
steps:
  description: What was done, or would be done in check mode, in order.
  returned: success
  type: list
  elements: str
  sample: ["set 1 entry of /sys/fs/bpf/ebpf/limits: 0"]
"""

from ansible_collections.ebpf.lab.plugins.module_utils import _python  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.map.options import OPTIONS
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.map.resource import MapResource
from ansible_collections.ebpf.lab.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(OPTIONS, MapResource.from_params)


if __name__ == "__main__":
    main()
