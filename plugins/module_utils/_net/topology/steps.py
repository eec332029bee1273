# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change the settings of what is there, as data. Each step names what it changes, and knows what takes it back."""

from __future__ import annotations

import errno
import os
import typing as t
from dataclasses import dataclass, replace

from ..._core.errors import KernelRefused, LabError
from ..._core.plan import BatchStep, Done, Key, Learned, Note, Outcome, Step, release, save
from ..._core.resource import UNKNOWN
from ..._kernel import netns
from ..sysctl.kinds import name_of
from .requests import Adopted, Request, Seen, index_of
from .state import SYSCTL, Route, satisfies, sysctl_key

if t.TYPE_CHECKING:
    from ..._core.host import Host


@dataclass(frozen=True)
class SetLink(Request):
    """Set one of a link's settings: up, mtu, mac or master (a bridge's name, "" for none).

    ``lifts`` are the VLANs of others that the kernel sets up together with the link that they stand on.
    """

    name: str
    setting: str
    old: t.Any
    new: t.Any
    lifts: tuple[Adopted, ...] = ()

    def title(self) -> str:
        where = f"{self.name} in {self.netns}" if self.netns else self.name
        if self.setting == "up":
            return f"set {where} {'up' if self.new else 'down'}"
        if self.setting == "master":
            return f"put {where} into the bridge {self.new}" if self.new else f"take {where} out of {self.old}"
        return f"set the {self.setting.upper()} of {where} to {self.new}"

    def message(self, host: Host, held: list[int]) -> t.Any:
        from ..._kernel.rtnl import write as messages

        value = self.new
        if self.setting == "master":
            value = index_of(host, (self.netns, self.new)) if self.new else 0
        return messages.set_link(self.name, **{self.setting: value})

    def took_effect(self, seen: Seen) -> bool:
        link = seen.links.get(self.name)
        wanted = seen.index(self.new) if self.setting == "master" and self.new else self.new or 0
        return link is not None and getattr(link, self.setting) == wanted

    def cause(self, code: int) -> str:
        if self.setting == "mtu" and code in (errno.EINVAL, errno.ERANGE):
            return "Native XDP on a veth limits its peer's MTU to about 3500 bytes."
        return ""

    def inverse(self) -> tuple[Step, ...]:
        return (replace(self, adopted=None, old=self.new, new=self.old, lifts=()),)

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (*super().notes(learned), *(one.note() for one in self.lifts))


@dataclass(frozen=True)
class SetAddress(Request):
    """Add or delete an address."""

    name: str
    address: str
    add: bool = True

    def title(self) -> str:
        verb, word = ("add", "to") if self.add else ("delete", "from")
        return f"{verb} {self.address} {word} {self.name}" + (f" in {self.netns}" if self.netns else "")

    def message(self, host: Host, held: list[int]) -> t.Any:
        from ..._kernel.rtnl import write as messages

        return messages.address(index_of(host, (self.netns, self.name)), self.address, self.add)

    def took_effect(self, seen: Seen) -> bool:
        return ((seen.index(self.name), self.address) in seen.addresses) == self.add

    def cause(self, code: int) -> str:
        if code in (errno.EACCES, errno.EPERM) and ":" in self.address:
            return "IPv6 is turned off on this interface (sysctl disable_ipv6)."
        if code == errno.EINVAL and ":" in self.address:
            return "IPv6 needs an MTU of 1280 bytes or more."
        return ""

    def inverse(self) -> tuple[Step, ...]:
        return (replace(self, adopted=None, add=not self.add),)


@dataclass(frozen=True)
class SetRoute(Request):
    """Add or delete a route out of a link."""

    name: str
    route: Route
    add: bool = True

    def title(self) -> str:
        verb = "add" if self.add else "delete"
        where = f" in {self.netns}" if self.netns else ""
        return f"{verb} the route {self.route} dev {self.name}{where}"

    def message(self, host: Host, held: list[int]) -> t.Any:
        from ..._kernel.rtnl import write as messages

        return messages.route(index_of(host, (self.netns, self.name)), self.route, self.add)

    def took_effect(self, seen: Seen) -> bool:
        index = seen.index(self.name)
        there = (Route(route.to, route.via, route.metric) for route in seen.routes if route.index == index)
        return any(satisfies(route, self.route) for route in there) == self.add

    def cause(self, code: int) -> str:
        if code == errno.ENETUNREACH:
            return f"The gateway {self.route.via} is in no network of this interface."
        if code == errno.EEXIST:
            return "A route to the same destination with the same metric leaves by another interface."
        return ""

    def inverse(self) -> tuple[Step, ...]:
        return (replace(self, adopted=None, add=not self.add),)


@dataclass(frozen=True)
class SetNeighbour(Request):
    """Set or delete a permanent neighbour entry."""

    name: str
    address: str
    mac: str
    add: bool = True

    def title(self) -> str:
        verb = "set" if self.add else "delete"
        where = f" in {self.netns}" if self.netns else ""
        return f"{verb} the neighbour {self.address} at {self.mac} dev {self.name}{where}"

    def message(self, host: Host, held: list[int]) -> t.Any:
        from ..._kernel.rtnl import write as messages

        return messages.neighbour(index_of(host, (self.netns, self.name)), self.address, self.mac, self.add)

    def took_effect(self, seen: Seen) -> bool:
        found = seen.neighbours.get((seen.index(self.name), self.address))
        return found == self.mac if self.add else found is None

    def inverse(self) -> tuple[Step, ...]:
        return (replace(self, adopted=None, add=not self.add),)


@dataclass(frozen=True)
class SetSysctl(Step):
    """Write a key below /proc/sys/net in a namespace.

    ``way`` is what it is to the journal: "save" for a value that is somebody's, "release" for one that is put back.
    """

    netns: str
    path: str
    old: str
    new: str
    way: str = ""

    def title(self) -> str:
        where = f" in {self.netns}" if self.netns else ""
        return f"set the sysctl {name_of(f'{SYSCTL}/{self.path}')} to {self.new}{where}"

    def apply(self, host: Host, learned: Learned) -> Done:
        def write() -> None:
            try:
                with open(os.path.join(SYSCTL, self.path), "w", encoding="ascii") as file:
                    file.write(self.new)
            except OSError as error:
                raise KernelRefused(self.title(), error.errno or 0) from error

        netns.in_netns(self.netns, write)
        return Done(undo=self.inverse())

    def inverse(self) -> tuple[Step, ...]:
        """What takes it back. Without an old value the key came with a link that this run made, and goes with it."""
        return (replace(self, old=self.new, new=self.old, way=""),) if self.old else ()

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        key = sysctl_key(self.netns, self.path)
        if self.way == "release":
            return (release(key),)
        return (save(key, self.old, self.new),) if self.way else ()


@dataclass(frozen=True)
class ForgetSaved(BatchStep):
    """Not a change of the host: an interface is what it was before us, so the journal need not keep that any more.

    What could not be put back stays noted.
    """

    key: Key

    def title(self) -> str:
        return f"forget the journal's entry {self.key}"

    @classmethod
    def apply_many(cls, host: Host, steps: t.Sequence[t.Any], learned: Learned) -> list[Outcome]:
        from .kinds import Links

        entries = {step.key: host.journal.entries[step.key] for step in steps if step.key in host.journal.entries}
        seen = Links().look(host, entries)
        known = {key: entry for key, entry in entries.items() if seen.get(key) is not UNKNOWN}
        back = {key for key, entry in known.items() if Links().is_back(entry.saved, seen.get(key))}
        return [
            Done() if step.key in back or step.key not in entries
            else LabError(f"{step.key.partition(':')[2].lstrip('/')} is not as it was before the lab.")
            for step in steps
        ]  # fmt: skip

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (release(self.key),)

    def group(self) -> t.Hashable:
        return "forget saved interfaces"
