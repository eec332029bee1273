#!/usr/bin/python
# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn packet forwarding on or off, and put it back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ip_forward
short_description: Turn packet forwarding on or off, and put it back
version_added: "1.0.0"
author:
  - the ebpf.lab authors (@ebpf-lab)
description:
  - Sets C(net.ipv4.ip_forward) and C(net.ipv6.conf.all.forwarding) at run time, and in
    C(/etc/sysctl.d/60-ebpf-lab.conf) for the next boot.
  - A switch is written only when it differs, since the kernel sets C(net.ipv4.conf.*.forwarding),
    C(net.ipv4.conf.all.accept_redirects) and C(net.ipv6.conf.*.forwarding) along with it. Only the one key is applied,
    never all of C(/etc/sysctl.d).
  - All values that change, those that the kernel changes along included, go to the journal of the host;
    O(state=restored) puts them back.
options:
  state:
    description:
      - V(present) sets what is asked for.
      - V(restored) puts back what the journal holds, also after a reboot, and removes the file. A value that somebody
        has changed since to another one stays, and so does a file that somebody has edited; both are named in a
        warning.
    type: str
    choices: [present, restored]
    default: present
  ipv4:
    description: Whether IPv4 packets are forwarded. Without it, that stays as it is.
    type: bool
  ipv6:
    description:
      - Whether IPv6 packets are forwarded. Without it, that stays as it is.
      - When it is turned on, the kernel drops default routes that came from router advertisements, except on
        interfaces with C(accept_ra=2). When there is such a route this is refused, unless O(force) is set.
    type: bool
  persist:
    description:
      - Whether the file below C(/etc/sysctl.d) is written.
      - The default is V(true) on the host itself. In a namespace it is not possible, since a namespace does not
        survive the boot.
    type: bool
  force:
    description: Turns IPv6 forwarding on also when the kernel drops a default route over it.
    type: bool
    default: false
extends_documentation_fragment: [ebpf.lab.attributes.converges, ebpf.lab.link.netns]
attributes:
  diff_mode:
    description: Shows the values and the file before and after.
notes:
  - The kernel turns off large receive offload of an interface when forwarding is turned on, and does not turn it on
    again. This is no sysctl and is not put back.
seealso:
  - module: ebpf.lab.iptables_flush
"""

EXAMPLES = r"""
- name: Forward IPv4 packets, now and after the next boot
  ebpf.lab.ip_forward:
    ipv4: true

- name: Forward both until the next boot only
  ebpf.lab.ip_forward:
    ipv4: true
    ipv6: true
    persist: false

- name: Put everything back as it was
  ebpf.lab.ip_forward:
    state: restored
"""

RETURN = r"""
ipv4:
  description: Whether IPv4 packets are forwarded after the run (in check mode, now).
  returned: success
  type: bool
  sample: true
ipv6:
  description: The same of IPv6; null when the kernel runs without it.
  returned: success
  type: bool
  sample: false
persisted:
  description: The file that sets it at boot, null when there is none of ours.
  returned: success
  type: str
  sample: /etc/sysctl.d/60-ebpf-lab.conf
steps:
  description: What was changed, or would be in check mode, a sentence each.
  returned: success
  type: list
  elements: str
  sample: ["set net.ipv4.ip_forward to 1", "write /etc/sysctl.d/60-ebpf-lab.conf"]
"""

from ansible_collections.ebpf.lab.plugins.module_utils import _python  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.ebpf.lab.plugins.module_utils._core.module import run_module
from ansible_collections.ebpf.lab.plugins.module_utils._net.sysctl.options import OPTIONS, from_params


def main() -> None:
    """The module's entry."""
    run_module(OPTIONS, from_params)


if __name__ == "__main__":
    main()
