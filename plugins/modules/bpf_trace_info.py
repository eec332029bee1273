#!/usr/bin/python
# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bpf_trace_info
short_description: Read what BPF programs wrote by bpf_printk
version_added: "1.0.0"
author:
  - the ebpf.lab authors (@ebpf-lab)
description:
  - Reads the kernel's trace buffer and takes the lines of C(bpf_printk) apart.
  - Nothing is consumed and nothing is written, so that a C(cat trace_pipe) that somebody has open gets every line. What
    such a reader took before this module looked is gone from the buffer, and RV(consumed) says so.
  - A buffer that cannot be read is no failure; RV(available) is false then, and RV(reason) says why.
extends_documentation_fragment: [ebpf.lab.attributes.reads]
options:
  since:
    description: A RV(marker) that an earlier call returned. Without it, all that the buffer still has.
    type: dict
  matches:
    description: Only lines with this regular expression in their text.
    type: str
    default: ""
  pid:
    description: Only lines that were written while this process was running.
    type: int
  limit:
    description: The last so many lines are returned.
    type: int
    default: 1000
  timeout:
    description: How many seconds are waited, at the most, until there are O(count) lines.
    type: float
    default: 0
  count:
    description: How many lines are waited for. More may be returned.
    type: int
    default: 1
"""

EXAMPLES = r"""
- name: Remember this moment
  ebpf.lab.bpf_trace_info:
    limit: 1
  register: before

- name: Send packets
  ansible.builtin.command: ping -c 1 -W 1 192.168.100.2
  changed_when: false
  failed_when: false

- name: See what the program said about them
  ebpf.lab.bpf_trace_info:
    since: "{{ before.marker }}"
    matches: You Shall Not Pass
    timeout: 2
  register: said
"""

RETURN = r"""
available:
  description: Whether the trace can be read on this host.
  returned: success
  type: bool
  sample: true
reason:
  description:
    - Why the trace cannot be read, or, when there is no line, what keeps lines from being written; empty for nothing.
  returned: success
  type: str
  sample: ""
lines:
  description:
    - The lines, oldest first. C(time) is seconds on the trace's clock as text, C(task) and C(pid) are what the CPU was
      running then, which for a packet from outside is whoever was interrupted.
  returned: success
  type: list
  elements: dict
  sample: [{task: ping, pid: 11813, cpu: 1, time: "3685.680883", text: "You Shall Not Pass!!"}]
marker:
  description: The moment of this call, for O(since) of a later one; null when the trace cannot be read.
  returned: success
  type: dict
  sample: {now: {"0": "3685.654818", "1": "3685.654633"}, consumed: 0, overrun: 0}
consumed:
  description: How many lines readers of C(trace_pipe) have taken since O(since); 0 without it.
  returned: success
  type: int
  sample: 0
overwritten:
  description: How many lines were overwritten since O(since), because the buffer was full; 0 without it.
  returned: success
  type: int
  sample: 0
"""

import typing as t

from ansible_collections.ebpf.lab.plugins.module_utils import _python  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.info.trace import gather
from ansible_collections.ebpf.lab.plugins.module_utils._core.module import run_info_module

ARGUMENTS: dict[str, t.Any] = {
    "since": {"type": "dict"},
    "matches": {"type": "str", "default": ""},
    "pid": {"type": "int"},
    "limit": {"type": "int", "default": 1000},
    "timeout": {"type": "float", "default": 0},
    "count": {"type": "int", "default": 1},
}


def main() -> None:
    run_info_module(ARGUMENTS, gather)


if __name__ == "__main__":
    main()
