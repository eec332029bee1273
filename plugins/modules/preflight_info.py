#!/usr/bin/python
# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight_info
short_description: Can this host run a lab?
version_added: "1.0.0"
author:
  - the ebpf.lab authors (@ebpf-lab)
description:
  - Looks at what a lab needs, and at what could get in its way, and says for each finding why it matters and what cures
    it. The kernel and its BPF features, lockdown, tracefs, bpffs, disk, memory, tools, XDP programs of others, chains
    of Docker, libvirt and the like, and network managers that would touch the lab's links.
  - When a tool is missing, the archives that it would be fetched from are asked whether they can be reached, by apt's
    own means, so with its proxies.
  - Changes nothing. It mounts nothing, loads no kernel module and makes no table while it looks.
  - An action plugin of the same name shows the findings in the terminal and fails when there is a problem.
extends_documentation_fragment: [ebpf.lab.attributes.reads, ebpf.lab.lab_file]
options:
  lab:
    description:
      - The name of a lab of this collection, or the path of a lab file, as of M(ebpf.lab.lab).
      - With it, the findings say whether the lab's network would take over what the host is reached by.
    default: ""
  force:
    description: Whether that is a warning only, because it is meant.
    type: bool
    default: false
  show:
    description: Whether to show the findings in the terminal.
    type: bool
    default: false
  fail:
    description: Whether the task fails when a finding is a problem.
    type: bool
    default: false
seealso:
  - module: ebpf.lab.bpf_info
  - module: ebpf.lab.toolchain_info
"""

EXAMPLES = r"""
- name: Can these hosts run the lab?
  become: true
  ebpf.lab.preflight_info:
    lab: lecture2
    show: true
    fail: true
"""

RETURN = r"""
findings:
  description: What was found, problems first.
  returned: success
  type: list
  elements: dict
  contains:
    topic:
      description: What it is about.
      type: str
      sample: tracefs
    level:
      description: V(problem) when the lab cannot work, V(warning) when somebody should look, or V(ok).
      type: str
      sample: warning
    what:
      description: What was found.
      type: str
      sample: tracefs is not mounted.
    why:
      description: Why it matters; empty when it is fine.
      type: str
      sample: What bpf_printk writes is read there.
    cure:
      description: What to do; empty when it is fine.
      type: str
      sample: Run mount -t tracefs tracefs /sys/kernel/tracing.
ready:
  description: Whether no finding is a problem.
  returned: success
  type: bool
  sample: true
lines:
  description: The same as text, for people.
  returned: success
  type: list
  elements: str
  sample: ["ok: bpf, kernel, btf, netns, bpffs, tracefs, disk, memory, tools, xdp, iptables, links"]
"""

import typing as t
from dataclasses import asdict

from ansible_collections.ebpf.lab.plugins.module_utils import _python  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.ebpf.lab.plugins.module_utils._core.host import Host
from ansible_collections.ebpf.lab.plugins.module_utils._core.module import run_info_module
from ansible_collections.ebpf.lab.plugins.module_utils._lab import preflight
from ansible_collections.ebpf.lab.plugins.module_utils._lab.machine import look
from ansible_collections.ebpf.lab.plugins.module_utils._lab.schema import parse
from ansible_collections.ebpf.lab.plugins.module_utils._net.topology.state import Want


def gather(host: Host, params: dict[str, t.Any]) -> dict[str, t.Any]:
    """The findings as plain values."""
    want = parse(params["content"], params["file"]).topology if params["content"] else Want()
    findings = preflight.judge(look(host, want), params["force"])
    return {
        "findings": [asdict(finding) for finding in findings],
        "ready": all(finding.level != "problem" for finding in findings),
        "lines": preflight.lines(findings),
    }


def main() -> None:
    run_info_module(
        {
            "lab": {"type": "str", "default": ""},
            "force": {"type": "bool", "default": False},
            "content": {"type": "dict"},
            "file": {"type": "str", "default": "lab"},
            "show": {"type": "bool", "default": False},
            "fail": {"type": "bool", "default": False},
        },
        gather,
    )


if __name__ == "__main__":
    main()
