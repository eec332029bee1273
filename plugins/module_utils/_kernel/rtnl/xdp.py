# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Set the XDP program of an interface over netlink.

Netlink rather than bpf_link: a link goes with the process or pin that holds it, and this is what the lecture shows by
``ip link`` and ``bpftool net``. Attributes and flags: the kernel's include/uapi/linux/if_link.h.
"""

from __future__ import annotations

import struct
import typing as t

from ..._core.errors import KernelRefused
from .read import Link
from .socket import HEADER, Netlink

RTM_SETLINK = 19
IFLA_XDP = 43
NLA_F_NESTED = 0x8000
XDP_FD, XDP_FLAGS, XDP_EXPECTED_FD = 1, 3, 8
IF_NOEXIST, REPLACE = 0x01, 0x10
MODES = {"native": 0x04, "generic": 0x02, "offload": 0x08}

# The kernel's words for a refusal, and what helps.
CURES = (
    ("mtu is too large", "A packet has to fit into one page: lower the MTU of the peer, or use generic or auto."),
    ("rx queues not less than peer tx queues", "Make the pair with as many receive queues as its peer has transmit "
     "queues, or use mode generic or auto."),
    ("can't be active at the same time", "Detach the program in the other mode first."),
    ("already attached", "Another program came in between; run again."),
    ("too many fragments", "Turn receive offloads off with ethtool -K, or use mode generic."),
    ("lro", "Turn large receive offload off: ethtool -K INTERFACE lro off."),
    ("not supported", "This driver has no XDP in this mode: use mode generic or auto."),
)  # fmt: skip


class XdpMessage(dict[str, t.Any]):
    """RTM_SETLINK with the XDP attribute, ready for ``Netlink.request``. ``fd`` -1 takes the program away."""

    def __init__(self, index: int, fd: int, flags: int, expected: t.Optional[int]) -> None:
        super().__init__(header={"type": RTM_SETLINK})
        parts = [(XDP_FD, struct.pack("=i", fd)), (XDP_FLAGS, struct.pack("=I", flags))]
        if expected is not None:
            parts.append((XDP_EXPECTED_FD, struct.pack("=i", expected)))
        nested = b"".join(struct.pack("=HH", 4 + len(value), kind) + value for kind, value in parts)
        attribute = struct.pack("=HH", 4 + len(nested), IFLA_XDP | NLA_F_NESTED) + nested
        self.body = struct.pack("=BxHiII", 0, 0, index, 0, 0) + attribute
        self.data = b""

    def encode(self) -> None:
        """Put the header before the body."""
        header = self["header"]
        length = HEADER.size + len(self.body)
        self.data = HEADER.pack(length, header["type"], header["flags"], header["sequence_number"], 0) + self.body


def set_program(netlink: Netlink, link: Link, handle: int, mode: str, expected: t.Optional[int], doing: str) -> None:
    """Attach (or with -1 detach) a program, atomically and only while ``expected`` is what is attached.

    ``expected`` is a descriptor of the program to replace, None when there must be none. Raises KernelRefused.
    """
    flags = MODES[mode] | (IF_NOEXIST if expected is None else REPLACE)
    (answer,) = netlink.request([XdpMessage(link.index, handle, flags, expected)])
    if answer.error:
        said = answer.said.lower()
        fix = next((cure for sign, cure in CURES if sign in said), "")
        if not fix and answer.error in (95, 524):  # EOPNOTSUPP, ENOTSUPP
            fix = "This driver has no XDP in this mode: use mode generic or auto."
        raise KernelRefused(doing, answer.error, answer.said, fix)
