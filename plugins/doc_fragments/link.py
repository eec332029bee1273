# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a link is, and what a link can be given: the options of one, wherever it stands among a module's options."""

from __future__ import annotations

import textwrap

_NETNS = r"""
netns:
  description:
    - The network namespace, by name or as the absolute path of its file.
    - Empty is the namespace that the module runs in.
  type: str
  default: ""
"""
_LINK = rf"""
name:
  description: The name of the interface, 1 to 15 bytes.
  type: str
  required: true
{_NETNS}
up:
  description: Whether the link is up.
  type: bool
  default: true
mtu:
  description: The MTU in bytes. Without it, it is left as it is.
  type: int
mac:
  description: The unicast MAC address. Without it, it is left as it is.
  type: str
master:
  description:
    - The bridge in the same namespace that it is a port of; empty for none.
    - Without it, it is left as it is.
  type: str
addresses:
  description:
    - Addresses with their prefix length, IPv4 and IPv6.
    - IPv6 addresses are set without duplicate address detection, so that they answer at once.
  type: list
  elements: str
  default: []
routes:
  description: Routes of the main table that leave by this interface.
  type: list
  elements: dict
  default: []
  suboptions:
    to:
      description: A network, an address, or V(default).
      type: str
      required: true
    via:
      description: The gateway. Without it, the destination is on the link.
      type: str
    metric:
      description: The metric; 0 is the kernel's default.
      type: int
      default: 0
neighbours:
  description: Permanent neighbour entries.
  type: list
  elements: dict
  default: []
  suboptions:
    address:
      description: The neighbour's IP address.
      type: str
      required: true
    mac:
      description: The neighbour's MAC address.
      type: str
      required: true
sysctls:
  description: Sysctls of this interface, V(ipv4.NAME) or V(ipv6.NAME) below C(net.FAMILY.conf.INTERFACE).
  type: dict
  default: {{}}
exclusive:
  description: Whether other addresses, routes and permanent neighbours are taken away.
  type: bool
  default: false
"""
_PAIR = rf"""
{_LINK}
peer:
  description: The other end. Required while O(state=present).
  type: dict
  suboptions:
{textwrap.indent(_LINK, "    ")}
"""


class ModuleDocFragment:
    """``ebpf.lab.link.NETNS`` and so on, by what the module is about."""

    NETNS: str = f"options:\n{textwrap.indent(_NETNS, '  ')}"
    ATTACHMENT: str = rf"""
{NETNS}
  interface:
    description: The interface's name.
    type: str
    required: true
  force:
    description: Whether the interface may be one that carries the SSH session or the default route of this host.
    type: bool
    default: false
"""
    VETH: str = f"options:\n{textwrap.indent(_PAIR, '  ')}"
    TOPOLOGY: str = rf"""
options:
  bridges:
    description: Bridges. Their ports are the interfaces that name them as C(master).
    type: list
    elements: dict
    default: []
    suboptions:
{textwrap.indent(_LINK, "      ")}
  veths:
    description: Veth pairs.
    type: list
    elements: dict
    default: []
    suboptions:
{textwrap.indent(_PAIR, "      ")}
  vlans:
    description: VLANs (IEEE 802.1Q).
    type: list
    elements: dict
    default: []
    suboptions:
      parent:
        description: The interface in the same namespace that carries the tagged frames.
        type: str
        required: true
      id:
        description: The VLAN's number, 1 to 4094.
        type: int
        required: true
{textwrap.indent(_LINK, "      ")}
"""
