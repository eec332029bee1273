# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Network sysctls by name, in any namespace, and what the kernel changes along with the forwarding switches.

Names are those of sysctl(8): dots between the parts, and a dot that belongs to an interface's name written as a
slash (``net.ipv4.conf.eth0/100.forwarding``).
"""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from ..._core.errors import KernelRefused
from ..._core.host import Host
from ..._core.plan import Note, Step
from ..._kernel.netns import in_netns

ROOT = "/proc/sys"
IPV4 = "net.ipv4.ip_forward"
IPV6 = "net.ipv6.conf.all.forwarding"
REDIRECTS = "net.ipv4.conf.all.accept_redirects"
# net.ipv4.conf.all.forwarding is left out: it is the same variable as net.ipv4.ip_forward.
ALIAS = "net.ipv4.conf.all.forwarding"
_SWAP = str.maketrans("./", "/.")

Values = dict[str, str]


def path_of(name: str) -> str:
    """The file of a sysctl: ``net.ipv4.ip_forward`` → ``/proc/sys/net/ipv4/ip_forward``."""
    return f"{ROOT}/{name.translate(_SWAP)}"


def name_of(path: str) -> str:
    """The other way round."""
    return os.path.relpath(path, ROOT).translate(_SWAP)


def read(name: str) -> t.Optional[str]:
    """The value in the namespace of the calling thread; None when there is no such sysctl."""
    try:
        with open(path_of(name), encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:
        return None


def write(name: str, value: str) -> None:
    """Set the value in the namespace of the calling thread. Raises KernelRefused."""
    try:
        with open(path_of(name), "w", encoding="ascii") as file:
            file.write(f"{value}\n")
    except OSError as error:
        raise KernelRefused(f"set {name} to {value}", error.errno or 0) from error


def forwarding() -> Values:
    """All sysctls that have to do with forwarding, in the namespace of the calling thread."""
    names = [IPV4, REDIRECTS]
    for family in ("ipv4", "ipv6"):
        folder = f"{ROOT}/net/{family}/conf"
        if os.path.isdir(folder):
            names += [name_of(f"{folder}/{interface}/forwarding") for interface in sorted(os.listdir(folder))]
    values = {name: read(name) for name in names if name != ALIAS}
    return {name: value for name, value in values.items() if value is not None}  # an interface may go meanwhile


def is_on(value: str) -> bool:
    """Whether a switch is on: the kernel takes every number but 0 for that."""
    return value != "0"


def after_write(values: Values, name: str, value: str) -> Values:
    """What ``forwarding()`` says after ``write(name, value)``.

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


def ra_default_routes() -> tuple[str, ...]:
    """The interfaces whose default route, learned from router advertisements, goes when IPv6 forwarding is set.

    rt6_purge_dflt_routers() in net/ipv6/route.c: those with RTF_DEFAULT and RTF_ADDRCONF, unless accept_ra is 2.
    """
    both = 0x00010000 | 0x00040000
    found = set()
    try:
        with open("/proc/thread-self/net/ipv6_route", "rb") as file:
            for line in file:
                fields = line.split(maxsplit=9)  # the last one is the interface's name, which may be any bytes
                if int(fields[8], 16) & both == both:
                    found.add(os.fsdecode(fields[9].strip(b" \n")))
    except FileNotFoundError:  # a kernel without IPv6
        return ()
    return tuple(sorted(i for i in found if read(name_of(f"{ROOT}/net/ipv6/conf/{i}/accept_ra")) != "2"))


@dataclass(frozen=True)
class SysctlStep(Step):
    """Set one sysctl. ``was`` holds the values before, of this one and of all that change with it."""

    netns: str
    name: str
    value: str
    was: tuple[tuple[str, str], ...]
    kept_notes: tuple[Note, ...] = ()

    def title(self) -> str:
        """For example "set net.ipv4.ip_forward to 1"."""
        return f"set {self.name} to {self.value}" + (f" in namespace {self.netns}" if self.netns else "")

    def apply(self, host: Host) -> None:
        """Write it."""
        in_netns(self.netns, lambda: write(self.name, self.value))

    def inverse(self) -> tuple[Step, ...]:
        """This one first, for it sets the others, then those that had a value of their own."""
        return tuple(SysctlStep(self.netns, name, value, ()) for name, value in self.was)

    def undo(self, host: Host) -> None:
        """Take back what still exists: an interface may be gone, with its sysctls."""

        def back() -> None:
            for name, value in self.was:
                if read(name) not in (None, value):
                    write(name, value)

        in_netns(self.netns, back)

    def notes(self) -> tuple[Note, ...]:
        """What the planner wants kept or forgotten."""
        return self.kept_notes
