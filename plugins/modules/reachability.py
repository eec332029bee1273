#!/usr/bin/python
# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: reachability
short_description: Check whether an address can be reached from a network namespace
version_added: 1.0.0
author: the ebpf.lab authors (@ebpf-lab)
description:
  - Pings an address from a network namespace and returns loss and round trip times.
  - Fails when the address can be reached and should not be, or the other way round. Never changes anything.
requirements:
  - C(ping) of iputils on the managed host.
options:
  destination:
    description: The IPv4 or IPv6 address to ping.
    type: str
    required: true
  source:
    description: The address or the interface to ping from.
    type: str
  reachable:
    description: What is expected. V(true) needs at least one answer, V(false) none at all.
    type: bool
    default: true
  max_loss:
    description: The loss in percent up to which an address that should be reachable counts as such.
    type: float
    default: 99.9
  count:
    description: How many echo requests are sent, 1 to 1000.
    type: int
    default: 3
  interval:
    description: Seconds between two requests.
    type: float
    default: 0.2
  timeout:
    description: Seconds to wait for the answer to the last request.
    type: float
    default: 1.0
extends_documentation_fragment: [ebpf.lab.attributes.probes, ebpf.lab.link.netns]
seealso:
  - module: ebpf.lab.topology
"""

EXAMPLES = r"""
- name: The host's end answers
  ebpf.lab.reachability:
    netns: vns1
    destination: 192.168.100.1

- name: Nothing comes through while the program drops
  ebpf.lab.reachability:
    destination: 192.168.100.2
    reachable: false
    count: 2
"""

RETURN = r"""
reachable:
  description: Whether there was an answer.
  returned: when it was tried
  type: bool
  sample: true
sent:
  description: The number of requests that were sent.
  returned: when it was tried
  type: int
  sample: 3
received:
  description: The number of answers.
  returned: when it was tried
  type: int
  sample: 3
loss:
  description: The share of requests without an answer in percent.
  returned: when it was tried
  type: float
  sample: 0.0
rtt_min:
  description: The shortest round trip in milliseconds; null without an answer.
  returned: when it was tried
  type: float
  sample: 0.045
rtt_avg:
  description: The mean round trip in milliseconds; null without an answer.
  returned: when it was tried
  type: float
  sample: 0.061
rtt_max:
  description: The longest round trip in milliseconds; null without an answer.
  returned: when it was tried
  type: float
  sample: 0.083
why:
  description: What was said about requests that were not answered; empty for silence.
  returned: when it was tried
  type: str
  sample: "192.168.100.2: Destination Host Unreachable"
"""

from ansible_collections.ebpf.lab.plugins.module_utils import _python  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.ebpf.lab.plugins.module_utils._core.module import run_probe_module
from ansible_collections.ebpf.lab.plugins.module_utils._net.ping import Reachability
from ansible_collections.ebpf.lab.plugins.module_utils._net.reachability import OPTIONS


def main() -> None:
    run_probe_module(OPTIONS, Reachability.from_params)


if __name__ == "__main__":
    main()
