#!/usr/bin/python
# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: toolchain_info
short_description: The lab's tools on this host, and whether they work here
version_added: "1.0.0"
author: the ebpf.lab authors (@ebpf-lab)
description:
  - Looks at each tool of the lab. It counts as working when it did a small piece of its real work on this host, such
    as compiling a BPF program, and not when its file is there.
extends_documentation_fragment: [ebpf.lab.attributes.reads]
attributes:
  check_mode:
    description: It only reads; in check mode no packet is sent, so that ping is only asked for its version.
seealso:
  - module: ebpf.lab.bpftool
  - module: ebpf.lab.golang
  - module: ebpf.lab.iproute2
"""

EXAMPLES = r"""
- name: Look at the tools
  become: true
  ebpf.lab.toolchain_info:
  register: toolchain

- name: Insist that bpftool works here
  ansible.builtin.assert:
    that: toolchain.tools | selectattr('name', 'eq', 'bpftool') | map(attribute='works') | first
"""

RETURN = r"""
tools:
  description: A dictionary for each tool.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The tool's name.
      type: str
      sample: bpftool
    path:
      description: Where it is; empty when it is not installed.
      type: str
      sample: /usr/sbin/bpftool
    version:
      description: Its version, as it says itself.
      type: str
      sample: 7.1.0
    origin:
      description: The package that it is from, or the source that it was built from.
      type: str
      sample: package bpftool
    works:
      description: Whether it did its work here.
      type: bool
      sample: true
    why:
      description: Why it did not; empty when it did.
      type: str
      sample: ""
table:
  description: The same as lines of text, for people.
  returned: always
  type: list
  elements: str
  sample: ["bpftool       7.1.0        package bpftool          works"]
"""

import typing as t
from dataclasses import asdict

from ansible_collections.ebpf.lab.plugins.module_utils import _python  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.ebpf.lab.plugins.module_utils._core.host import Host
from ansible_collections.ebpf.lab.plugins.module_utils._core.module import run_info_module
from ansible_collections.ebpf.lab.plugins.module_utils._tools import probes


def main() -> None:
    run_info_module({}, gather)


def gather(host: Host, params: dict[str, t.Any]) -> dict[str, t.Any]:
    findings = probes.gather(host)
    return {"tools": [asdict(finding) for finding in findings], "table": probes.table(findings)}


if __name__ == "__main__":
    main()
