# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The forwarding switches: which sysctls they are, and what the kernel makes of others when one of them is set."""

from __future__ import annotations

IPV4 = "net.ipv4.ip_forward"
IPV6 = "net.ipv6.conf.all.forwarding"
REDIRECTS = "net.ipv4.conf.all.accept_redirects"
# net.ipv4.conf.all.forwarding is left out: it is the same variable as net.ipv4.ip_forward.
ALIAS = "net.ipv4.conf.all.forwarding"
SWITCHES = {"ipv4": IPV4, "ipv6": IPV6}

Values = dict[str, str]


def switch_of(name: str) -> str:
    """The switch along with which the kernel sets a sysctl; "" for one that it does not set along."""
    if name == ALIAS or name in (IPV4, IPV6):
        return ""
    if name == REDIRECTS or (name.startswith("net.ipv4.conf.") and name.endswith(".forwarding")):
        return IPV4
    return IPV6 if name.startswith("net.ipv6.conf.") and name.endswith(".forwarding") else ""


def is_ours(name: str) -> bool:
    """Whether a sysctl is one of those that the forwarding switches change."""
    return name in (IPV4, IPV6) or bool(switch_of(name))


def is_on(value: str) -> bool:
    """Whether a switch is on: the kernel takes every number but 0 for that."""
    return value != "0"


def family(values: Values, switch: str) -> Values:
    """The switch, and all that the kernel sets along with it, now or on the way back; the switch first."""
    return {switch: values[switch], **{name: value for name, value in values.items() if switch_of(name) == switch}}


def after_write(values: Values, name: str, value: str) -> Values:
    """What ``observe.forwarding()`` says after ``name`` was set to ``value``.

    Kernel: inet_forward_change() in net/ipv4/devinet.c and addrconf_fixup_forwarding() in net/ipv6/addrconf.c.
    """
    after = {**values, name: value}
    if name == IPV4 and values.get(name) != value:
        for other in values:
            if other.startswith("net.ipv4.conf.") and other.endswith(".forwarding"):
                after[other] = value
        after[REDIRECTS] = "0" if is_on(value) else "1"
    if name == IPV6 and is_on(values.get(name, value)) != is_on(value):
        for other in values:
            if other.startswith("net.ipv6.conf.") and other.endswith(".forwarding"):
                after[other] = value
    return after
