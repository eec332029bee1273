# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The changes of a network, as data. Each names what it changes, makes it, and knows what takes it back."""

from __future__ import annotations

import errno
import os
import typing as t
from dataclasses import dataclass, replace

from ..._core.errors import KernelRefused, LabError
from ..._core.plan import GroupFailed, Note, Step
from ..._kernel import netns
from .observe import SYSCTL
from .state import Interface, Ref, Route

if t.TYPE_CHECKING:
    from ..._core.host import Host

# What the kernel answers when the thing to delete is gone already, which is what was wanted.
GONE = (errno.ENODEV, errno.ENXIO, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENOENT)
LAB_GROUP = 0x65627066  # a link group (IFLA_GROUP) for links that are deleted together
# What a name can stand for in place of a namespace of its own.
LIES = {"own": "this host's own network namespace", "twin": "a network namespace that has another name of the lab"}
HOLDABLE = ("present", *LIES)
FOLDER_KEY = f"mount:{netns.FOLDER}"


def netns_key(name: str) -> str:
    """The journal's key of a namespace."""
    return f"netns:{name}"


@dataclass(frozen=True)
class NeedNamespace(Step):
    """Not a change: stops the run before the first change when a namespace is missing that nobody here makes."""

    name: str
    option: str = "netns"

    def title(self) -> str:
        return f"require the network namespace {self.name}"

    def apply(self, host: Host) -> None:
        kind = netns.kind(self.name)
        if kind == "own":
            raise netns.lie(self.name)
        if kind != "present":
            raise LabError(
                f"{self.option}: the network namespace {self.name!r} does not exist on this host; "
                "make it first with ebpf.lab.netns, or name it under namespaces of ebpf.lab.topology."
            )


@dataclass(frozen=True)
class MakeFolder(Step):
    """Make /run/netns the shared mount that holds the names."""

    def title(self) -> str:
        return f"mount {netns.FOLDER}"

    def apply(self, host: Host) -> None:
        netns.make_folder()

    def inverse(self) -> tuple[Step, ...]:
        return (RemoveFolder(),)

    def notes(self) -> tuple[Note, ...]:
        return (Note("claim", FOLDER_KEY),)


@dataclass(frozen=True)
class RemoveFolder(Step):
    """Take /run/netns away; does nothing while a name is in it."""

    def title(self) -> str:
        return f"unmount {netns.FOLDER}"

    def apply(self, host: Host) -> None:
        netns.remove_folder()

    def inverse(self) -> tuple[Step, ...]:
        return (MakeFolder(),)

    def notes(self) -> tuple[Note, ...]:
        return (Note("release", FOLDER_KEY),)


@dataclass(frozen=True)
class CreateNamespace(Step):
    """Make a network namespace; ``stray`` when a plain file of its name is in the way and is taken over."""

    name: str
    stray: bool = False

    def title(self) -> str:
        return f"create the network namespace {self.name}" + (" over a stray file" if self.stray else "")

    def apply(self, host: Host) -> None:
        netns.create([self.name], lambda _name: None)

    def inverse(self) -> tuple[Step, ...]:
        return (RemoveNamespace(self.name, before="absent", after="stray" if self.stray else "absent"),)

    def notes(self) -> tuple[Note, ...]:
        return (Note("claim", netns_key(self.name)),)

    def group(self) -> t.Hashable:
        return "create namespaces"

    @classmethod
    def apply_group(cls, host: Host, steps: t.Sequence[t.Any]) -> None:
        made: list[str] = []
        try:
            netns.create([step.name for step in steps], made.append)
        except LabError as error:
            raise GroupFailed(steps[: len(made)], steps[len(made)], error) from error


@dataclass(frozen=True)
class RemoveNamespace(Step):
    """Remove a namespace's name; ``before`` is what bore it: a kind of netns.kind, twin, or absent when undoing.

    ``after`` is absent, or stray when a plain file was there before the namespace that goes. ``forget`` are the
    journal's keys of what goes with it. The namespace is held open until the call has succeeded, so that undoing gives
    the very same one its name back.
    """

    name: str
    before: str = "present"
    forget: tuple[str, ...] = ()
    after: str = "absent"

    def title(self) -> str:
        if self.before in LIES:
            return f"remove the name {self.name}, which stands for {LIES[self.before]}"
        what = "stray file" if self.before == "stray" else "network namespace"
        return f"remove the {what} {self.name}"

    def apply(self, host: Host) -> None:
        host.forget_netlink(self.name)
        if self.before in HOLDABLE:
            host.kept["namespace", self.name] = netns.Held(self.name)
        netns.remove(self.name)
        if self.after == "stray":
            netns.make_stray(self.name)

    def undo(self, host: Host) -> None:
        if self.before in HOLDABLE:
            host.forget_netlink(self.name)
            host.kept["namespace", self.name].put_back()
        elif self.before == "stray":
            netns.make_stray(self.name)

    def notes(self) -> tuple[Note, ...]:
        return tuple(Note("release", key) for key in (netns_key(self.name), *self.forget))


@dataclass(frozen=True)
class Request(Step):
    """A change made by one rtnetlink request; neighbours in one namespace go to the kernel in one batch.

    ``adopted`` is the interface as it was before us, when it is not ours: the journal keeps it.
    """

    libraries: t.ClassVar[tuple[str, ...]] = ("pyroute2",)

    netns: str
    adopted: t.Optional[Interface]

    def message(self, host: Host, held: list[int]) -> t.Any:
        """The pyroute2 message; descriptors that must stay open until it is sent go into ``held``."""
        raise NotImplementedError

    def deletes(self) -> bool:
        """Whether it takes something away; what is gone already, say with the link that went down, is no failure."""
        return not getattr(self, "add", True)

    def cause(self, code: int) -> str:
        """What to tell the reader about a refusal, when we know more than the kernel says."""
        return ""

    def notes(self) -> tuple[Note, ...]:
        return () if self.adopted is None else (Note("save", self.adopted.key, self.adopted.to_saved()),)

    def group(self) -> t.Hashable:
        return ("netlink", self.netns)

    def apply(self, host: Host) -> None:
        try:
            self.apply_group(host, [self])
        except GroupFailed as failure:
            raise failure.error from failure

    @classmethod
    def apply_group(cls, host: Host, steps: t.Sequence[t.Any]) -> None:
        held: list[int] = []
        try:
            netlink = host.netlink(steps[0].netns)
            answers = netlink.request([step.message(host, held) for step in steps])
        except LabError as error:
            raise GroupFailed([], steps[0], error) from error
        finally:
            for handle in held:
                os.close(handle)
        failed = [
            (step, answer)
            for step, answer in zip(steps, answers)
            if answer.error and not (step.deletes() and answer.error in GONE)
        ]
        if failed:
            step, answer = failed[0]
            done = [step for step, answer in zip(steps, answers) if not answer.error]
            refused = KernelRefused(step.title(), answer.error, answer.said, step.cause(answer.error))
            raise GroupFailed(done, step, refused)


def index_of(host: Host, ref: Ref) -> int:
    """A link's index, read once a socket and kept until a link is deleted in its namespace."""
    netlink = host.netlink(ref[0])
    known = netlink.indexes
    if ref[1] not in known:
        from ..._kernel.rtnl.read import links

        known.update({name: link.index for name, link in links(netlink).items()})
    if ref[1] not in known:
        where = f" in the network namespace {ref[0]}" if ref[0] else ""
        raise KernelRefused(f"look up the interface {ref[1]}{where}", errno.ENODEV)
    return known[ref[1]]


def _forget_indexes(host: Host, *namespaces: str) -> None:
    for name in namespaces:
        host.netlink(name).indexes.clear()


@dataclass(frozen=True)
class CreateLink(Request):
    """Make a veth pair (``peer`` given), a bridge or a VLAN, with MTU and MAC; all else is set by later steps."""

    interface: Interface
    peer: t.Optional[Interface] = None

    def title(self) -> str:
        if self.peer is not None:
            return f"create the veth pair {self.interface} and {self.peer}"
        if self.interface.kind == "vlan":
            return f"create the VLAN {self.interface} ({self.interface.vlan} on {self.interface.parent})"
        return f"create the {self.interface.kind} {self.interface}"

    def message(self, host: Host, held: list[int]) -> t.Any:
        from ..._kernel.rtnl import write as messages

        one, other = self.interface, self.peer
        if other is not None:
            handle = netns.opened(other.netns)
            held.append(handle)
            return messages.create_veth(one.name, one.mtu, one.mac, other.name, other.mtu, other.mac, handle)
        if one.kind == "vlan":
            parent = index_of(host, (one.netns, one.parent or ""))
            return messages.create_vlan(one.name, parent, one.vlan, one.mtu, one.mac)
        return messages.create_link(one.name, one.kind, one.mtu, one.mac, [])

    def cause(self, code: int) -> str:
        if code == errno.EEXIST:
            return "An interface of one of these names appeared in the meantime."
        if code == errno.EOPNOTSUPP:
            return f"This kernel has no {self.interface.kind} interfaces: it needs the module {self.interface.kind}."
        return ""

    def inverse(self) -> tuple[Step, ...]:
        return (DeleteLink(self.netns, None, self.interface, self.peer),)

    def group(self) -> t.Hashable:
        # A VLAN's request names its parent by index, so the parent has to be there before the batch is written.
        return ("create links", self.netns, self.interface.parent)

    def notes(self) -> tuple[Note, ...]:
        ends = (self.interface, self.peer) if self.peer else (self.interface,)
        return tuple(Note("claim", end.key) for end in ends)


@dataclass(frozen=True)
class DeleteLink(Request):
    """Delete a link, and with a veth its other end; several of one namespace are deleted as a group.

    ``interface`` and ``peer`` are as they were seen, so that undoing makes them again; ``rebuild`` is how.
    """

    interface: Interface
    peer: t.Optional[Interface] = None
    rebuild: tuple[Step, ...] = ()

    def title(self) -> str:
        return f"delete {self.interface}" + (f" and its peer {self.peer}" if self.peer else "")

    def ends(self) -> tuple[Interface, ...]:
        """The interfaces that go: one, or a veth's two."""
        return (self.interface, self.peer) if self.peer else (self.interface,)

    def inverse(self) -> tuple[Step, ...]:
        return self.rebuild

    def undo(self, host: Host) -> None:
        if not self.rebuild:
            raise LabError("one end alone does not tell how the pair was made.")
        super().undo(host)

    def notes(self) -> tuple[Note, ...]:
        return tuple(Note("release", end.key) for end in self.ends())

    def group(self) -> t.Hashable:
        return ("delete links", self.netns)

    @classmethod
    def apply_group(cls, host: Host, steps: t.Sequence[t.Any]) -> None:
        from ..._kernel.rtnl import write as messages

        where = steps[0].netns
        names = [step.interface.name for step in steps]
        netlink = host.netlink(where)
        _forget_indexes(host, where, *(step.peer.netns for step in steps if step.peer))
        if len(names) == 1:
            answers = netlink.request([messages.delete_link(names[0])])
        else:
            answers = netlink.request([messages.set_link(name, group=LAB_GROUP) for name in names])
            answers += netlink.request([messages.delete_group(LAB_GROUP)])
        refused = [answer for answer in answers if answer.error and answer.error not in GONE]
        if refused:
            error = KernelRefused(steps[0].title(), refused[0].error, refused[0].said)
            raise GroupFailed([], steps[0], error)


@dataclass(frozen=True)
class SetLink(Request):
    """Set one of a link's settings: up, mtu, mac or master (a bridge's name, "" for none)."""

    name: str
    setting: str
    old: t.Any
    new: t.Any

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

    def cause(self, code: int) -> str:
        if self.setting == "mtu" and code in (errno.EINVAL, errno.ERANGE):
            return "Native XDP on a veth limits its peer's MTU to about 3500 bytes."
        return ""

    def inverse(self) -> tuple[Step, ...]:
        return (replace(self, old=self.new, new=self.old),)


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

    def cause(self, code: int) -> str:
        if code in (errno.EACCES, errno.EPERM) and ":" in self.address:
            return "IPv6 is turned off on this interface (sysctl disable_ipv6)."
        if code == errno.EINVAL and ":" in self.address:
            return "IPv6 needs an MTU of 1280 bytes or more."
        return ""

    def inverse(self) -> tuple[Step, ...]:
        return (replace(self, add=not self.add),)


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

    def cause(self, code: int) -> str:
        if code == errno.ENETUNREACH:
            return f"The gateway {self.route.via} is in no network of this interface."
        if code == errno.EEXIST:
            return "A route to the same destination with the same metric leaves by another interface."
        return ""

    def inverse(self) -> tuple[Step, ...]:
        return (replace(self, add=not self.add),)


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

    def inverse(self) -> tuple[Step, ...]:
        return (replace(self, add=not self.add),)


@dataclass(frozen=True)
class SetSysctl(Step):
    """Write a key below /proc/sys/net in a namespace. ``saved`` is the journal's key when the old value is foreign."""

    netns: str
    path: str
    old: str
    new: str
    saved: str = ""

    def title(self) -> str:
        where = f" in {self.netns}" if self.netns else ""
        return f"set the sysctl net.{self.path.replace('/', '.')} to {self.new}{where}"

    def apply(self, host: Host) -> None:
        def write() -> None:
            try:
                with open(os.path.join(SYSCTL, self.path), "w", encoding="ascii") as file:
                    file.write(self.new)
            except OSError as error:
                raise KernelRefused(self.title(), error.errno or 0) from error

        netns.in_netns(self.netns, write)

    def inverse(self) -> tuple[Step, ...]:
        # Without an old value the key came with a link that this run made, and goes with it.
        return (replace(self, old=self.new, new=self.old),) if self.old else ()

    def notes(self) -> tuple[Note, ...]:
        return (Note("save", self.saved, self.old),) if self.saved else ()
