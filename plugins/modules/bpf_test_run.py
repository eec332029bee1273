#!/usr/bin/python
# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bpf_test_run
short_description: Run a BPF program on packets and see its verdicts
version_added: "1.0.0"
author:
  - the ebpf.lab authors (@ebpf-lab)
description:
  - Runs a loaded XDP program or tc classifier on packets of your choice by the kernel's C(BPF_PROG_TEST_RUN), without
    an interface and without traffic.
  - Packets are given as bytes, by fields, or as a capture. The latter two are built and read by scapy on the control
    node.
  - The entries of the program's maps are put back as they were before the run. What real traffic counted in between is
    lost with them, and lines of C(bpf_printk) stay in the trace.
requirements:
  - Python 3.9 or later on the managed host, as root.
  - scapy on the control node, for packets by fields or from a capture.
extends_documentation_fragment: [ebpf.lab.attributes.probes]
attributes:
  action:
    description: Builds the packets on the control node.
    support: full
options:
  program:
    description: The program, by its pin's path or its id.
    type: str
    required: true
  packets:
    description: The packets, with their Ethernet headers. Each has one of C(hex), C(fields) and C(pcap).
    type: list
    elements: dict
    required: true
    suboptions:
      hex:
        description: The bytes in hexadecimal, 14 to 65535.
        type: str
      fields:
        description:
          - The packet's layers, outermost first. Each is the name of a scapy class, or a dictionary of that name with
            its fields. What is left out is filled in by scapy, lengths and checksums for example.
        type: list
        elements: raw
      pcap:
        description:
          - A pcap or pcapng file on the control node, by an absolute path or as a file of the playbook or role. The
            program is run on each packet in it.
        type: path
      name:
        description: What the packet is called in the results.
        type: str
      expect:
        description:
          - The verdict that it should get, such as V(XDP_DROP) or V(TC_ACT_SHOT). The task fails when it gets another.
        type: str
  repeat:
    description: How often the program is run on each packet; the time of a run is the mean.
    type: int
    default: 1
  maps:
    description: Names of the program's maps whose entries after the run are returned.
    type: list
    elements: str
    default: []
  limit:
    description: How many entries of each map are returned at the most.
    type: int
    default: 1000
seealso:
  - module: ebpf.lab.bpf_program
"""

EXAMPLES = r"""
- name: The program lets ping pass and drops the rest
  ebpf.lab.bpf_test_run:
    program: /sys/fs/bpf/ebpf/xdp_filter
    packets:
      - name: ping
        fields: [Ether, {IP: {src: 192.168.100.2, dst: 192.168.100.1}}, ICMP]
        expect: XDP_PASS
      - name: telnet
        fields: [Ether, {IP: {dst: 192.168.100.1}}, {TCP: {dport: 23, flags: S}}]
        expect: XDP_DROP

- name: How long does it take, and what does it count?
  ebpf.lab.bpf_test_run:
    program: /sys/fs/bpf/ebpf/xdp_count
    packets:
      - hex: "02000000000102000000000208004500"
    repeat: 100000
    maps: [pkt_cnt]
"""

RETURN = r"""
program_id:
  description: The program's id.
  returned: when it was run
  type: int
  sample: 42
results:
  description:
    - For each packet the verdict by name and number, whether it was the one that was expected, and the packet as the
      program left it. C(ns_per_run) is the mean of O(repeat) runs in nanoseconds; some 30 of them are the test's own.
  returned: when it was run
  type: list
  elements: dict
  sample:
    - name: ping
      verdict: XDP_PASS
      number: 2
      passed: true
      packet_out: 0200000000010200000000020800
      changed_packet: false
      ns_per_run: 35
maps:
  description: The entries of O(maps) after the run.
  returned: when it was run
  type: dict
  sample: {pkt_cnt: [{key: 1, value: 100000}]}
"""

import typing as t

from ansible_collections.ebpf.lab.plugins.module_utils import _python  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.info.test_run import TestRun
from ansible_collections.ebpf.lab.plugins.module_utils._core.module import run_probe_module

ARGUMENTS: dict[str, t.Any] = {
    "program": {"type": "str", "required": True},
    "packets": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "hex": {"type": "str"},
            "fields": {"type": "list", "elements": "raw"},
            "pcap": {"type": "path"},
            "name": {"type": "str"},
            "expect": {"type": "str"},
        },
    },
    "repeat": {"type": "int", "default": 1},
    "maps": {"type": "list", "elements": "str", "default": []},
    "limit": {"type": "int", "default": 1000},
}


def main() -> None:
    run_probe_module(ARGUMENTS, TestRun.from_params)


if __name__ == "__main__":
    main()
