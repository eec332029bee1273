#!/usr/bin/python
# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: lab
short_description: Bring a host to a stage of a lab, grade it, or take the lab down
version_added: 1.0.0
author: the ebpf.lab authors (@ebpf-lab)
description:
  - Reads a lab file and converges host network, topology, sources, objects, programs, attachments, filters and maps of
    one stage as one plan in one call.
  - Then sends the stage's traffic, gathers facts, and evaluates the stage's checks on the control node.
  - What an earlier stage loaded and attached, and this one does not name, is taken away again.
  - This is an action plugin with a module of the same name. The lab file and its sources are read on the control node.
options:
  lab:
    required: true
  stage:
    description:
      - The stage. Without it, the lab's default, and for O(state=verified) the stage that the host was brought to, also
        when it was rebooted since.
      - With O(state=verified) V(all) evaluates the checks of each stage in turn on the host as it is.
    type: str
    default: ""
  state:
    description:
      - V(present) brings the host to the stage.
      - V(verified) changes nothing and only gathers and grades.
      - V(absent) takes the lab down and puts back what it changed.
    type: str
    choices: [present, verified, absent]
    default: present
  exclusive:
    description:
      - Whether what anybody else left in the lab's own things is taken away too, with O(state=present).
      - That is XDP programs and tc filters on interfaces that the lab made, their further addresses and routes, pins
        in the lab's folder, and entries of its pinned maps that the lab file does not set.
      - Files stay. A source that was edited, or an object that was compiled by hand, is kept beside what replaces it.
      - Without O(stage), the stage that the host was brought to counts, also when it was rebooted since.
    type: bool
    default: false
  force:
    description:
      - Whether the lab's network may take over what the host is reached by.
      - Without it, a lab on the subnet of the SSH session or of the default route is refused before the first change.
    type: bool
    default: false
  traffic:
    description: Whether the stage's traffic is sent before the facts are gathered. In check mode none is sent.
    type: bool
    default: true
  report_missing:
    description:
      - What to do when tools of the lab are missing on the host.
      - V(true) returns their names as RV(missing), unchanged and not failed, so that a later task can install them.
      - A Python library that is there and cannot be imported is an error in any case.
    type: bool
    default: false
  tools_follow:
    description:
      - In check mode, whether an earlier task of the same play is to install the tools that are missing. What would be
        done is predicted then, as far as it can be known without them. Without check mode it does nothing.
    type: bool
    default: false
  prove:
    description:
      - Whether a check that fails makes the task fail, and a short table of what was proven is shown.
      - In check mode the steps that would be taken are shown.
    type: bool
    default: false
  quiet:
    description: Whether the lines are left out that show a long run's progress.
  sources:
    description: The contents of the lab's source files by their names, in base64. Set by the action plugin.
    type: dict
    default: {}
seealso:
  - module: ebpf.lab.topology
  - module: ebpf.lab.bpf_program
  - module: ebpf.lab.xdp_attachment
extends_documentation_fragment: [ebpf.lab.attributes.netlink, ebpf.lab.lab_file, ebpf.lab.telling]
"""

EXAMPLES = r"""
- name: Bring the machine to the stage hello of the lecture's lab
  ebpf.lab.lab:
    lab: xdp_hello
    stage: hello

- name: Grade it
  ebpf.lab.lab:
    lab: xdp_hello
    state: verified

- name: Repair what drifted, and throw away what experiments left
  ebpf.lab.lab:
    lab: xdp_hello
    exclusive: true

- name: Take it down
  ebpf.lab.lab:
    lab: xdp_hello
    state: absent
"""

RETURN = r"""
lab:
  description: The lab's name.
  returned: success
  type: str
  sample: xdp_hello
stage:
  description: The stage that the checks are about; empty after O(state=absent).
  returned: success
  type: str
  sample: hello
facts:
  description: What was found on the host. Everything in it is the host's word, with invisible characters escaped.
  returned: when O(state) is not V(absent)
  type: dict
  sample: {attachments: [{interface: veth1, mode: native, netns: "", program: xdp_allow, type: xdp}]}
checks:
  description: The stage's checks with their outcome.
  returned: when O(state) is not V(absent)
  type: list
  elements: dict
  sample:
    - {name: "veth1 runs xdp_allow", passed: true, points: 1, max_points: 1, expected: xdp_allow, found: xdp_allow}
points:
  description: The points of the checks that passed.
  returned: when O(state) is not V(absent)
  type: int
  sample: 5
max_points:
  description: The points of all checks.
  returned: when O(state) is not V(absent)
  type: int
  sample: 5
started:
  description:
    - Whether anybody has begun on the host.
    - V(false) when its journal names no stage and none of the things of the lab is there; then no check passes.
  returned: when O(state) is not V(absent)
  type: bool
  sample: true
stages:
  description: The checks and points of each stage by its name.
  returned: when O(stage=all)
  type: dict
  sample: {hello: {stage: hello, checks: [], points: 11, max_points: 11}}
missing:
  description: The tools and libraries that the lab needs and the host has not.
  returned: when something is missing
  type: list
  elements: str
  sample: [clang, bpftool]
would_probe:
  description: What would be found out by doing, each in a few words. It is not done in check mode.
  returned: in check mode, when there is something
  type: list
  elements: str
  sample: ["send the traffic out, in"]
known_later:
  description: What O(tools_follow) cannot predict.
  returned: in check mode, when something is missing
  type: list
  elements: str
  sample: ["whether xdp_pass can be compiled, and what the kernel's verifier says of the programs"]
steps:
  description: What was changed, or in check mode would be, in order.
  returned: success
  type: list
  elements: str
  sample: ["create the network namespace vns1"]
"""

import typing as t

from ansible_collections.ebpf.lab.plugins.module_utils import _python  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.ebpf.lab.plugins.module_utils._core.module import run_module
from ansible_collections.ebpf.lab.plugins.module_utils._core.progress import TELLING, progress_file
from ansible_collections.ebpf.lab.plugins.module_utils._core.resource import Resource
from ansible_collections.ebpf.lab.plugins.module_utils._lab.resource import desired


def resource(params: dict[str, t.Any]) -> Resource[t.Any]:
    """The lab at its stage, graded, or gone."""
    return desired(params)


def main() -> None:
    run_module(
        {
            "lab": {"type": "str", "required": True},
            "stage": {"type": "str", "default": ""},
            "state": {"type": "str", "choices": ["present", "verified", "absent"], "default": "present"},
            "exclusive": {"type": "bool", "default": False},
            "force": {"type": "bool", "default": False},
            "traffic": {"type": "bool", "default": True},
            "report_missing": {"type": "bool", "default": False},
            "tools_follow": {"type": "bool", "default": False},
            "prove": {"type": "bool", "default": False},
            "content": {"type": "dict"},
            "file": {"type": "str", "default": "lab"},
            "sources": {"type": "dict", "default": {}},
            **TELLING,
        },
        resource,
        owner=lambda params: str((params["content"] or {}).get("name", "")),
        progress=progress_file,
    )


if __name__ == "__main__":
    main()
