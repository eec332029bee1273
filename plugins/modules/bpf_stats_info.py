#!/usr/bin/python
# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bpf_stats_info
short_description: Measure how often BPF programs run, and how long
version_added: "1.0.0"
author:
  - the ebpf.lab authors (@ebpf-lab)
description:
  - Enables the kernel's run statistics for a while, and returns what each program did meanwhile.
  - Afterwards the statistics are again what they were before, even when the run is killed (from Linux 5.8 on).
extends_documentation_fragment: [ebpf.lab.attributes.probes]
options:
  programs:
    description: The programs, each by its pin's path, its id or its name. Empty means all that are loaded.
    type: list
    elements: str
    default: []
  duration:
    description: How many seconds are measured.
    type: float
    default: 1
seealso:
  - module: ebpf.lab.bpf_test_run
"""

EXAMPLES = r"""
- name: What does the counter cost, while traffic comes in?
  ebpf.lab.bpf_stats_info:
    programs: [/sys/fs/bpf/ebpf/xdp_count]
    duration: 10
"""

RETURN = r"""
programs:
  description:
    - The programs by id, without those that were unloaded meanwhile. C(ns_per_run) is null for one that did not run.
  returned: success
  type: list
  elements: dict
  sample:
    - program: /sys/fs/bpf/ebpf/xdp_count
      name: xdp_count
      type: xdp
      tag: 3b185187f1855c4c
      id: 42
      run_cnt: 1000
      run_time_ns: 170000
      ns_per_run: 170.0
seconds:
  description: How long was measured.
  returned: success
  type: float
  sample: 10.001
"""

import typing as t

from ansible_collections.ebpf.lab.plugins.module_utils import _python  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.info.run_stats import Statistics
from ansible_collections.ebpf.lab.plugins.module_utils._core.module import run_probe_module

ARGUMENTS: dict[str, t.Any] = {
    "programs": {"type": "list", "elements": "str", "default": []},
    "duration": {"type": "float", "default": 1},
}


def main() -> None:
    run_probe_module(ARGUMENTS, Statistics.from_params)


if __name__ == "__main__":
    main()
