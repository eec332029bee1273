# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The changes of namespaces and of the folder that holds their names. How each is told from others': kinds.py."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from ..._core.errors import KernelRefused, LabError
from ..._core.plan import Done, Learned, Note, Outcome, Step, make, release
from ..._kernel import netns
from ..._kernel.rtnl.socket import Netlink, set_alias
from .state import ALIAS, FOLDER_KEY, netns_key

if t.TYPE_CHECKING:
    from ..._core.host import Host

LOOPBACK = 1  # the index of lo in every namespace
# What a name can stand for in place of a namespace of its own.
LIES = {"own": "this host's own network namespace", "twin": "a network namespace that has another name of the lab"}
HOLDABLE = ("present", *LIES)


@dataclass(frozen=True)
class NeedNamespace(Step):
    """Not a change: stops the run before the first change when a namespace is missing that nobody here makes."""

    name: str
    option: str = "netns"

    def title(self) -> str:
        return f"require the network namespace {self.name}"

    def apply(self, host: Host, learned: Learned) -> Done:
        kind = netns.kind(self.name)
        if kind == "own":
            raise netns.lie(self.name)
        if kind != "present":
            raise LabError(
                f"{self.option}: the network namespace {self.name!r} does not exist on this host; "
                "make it first with ebpf.lab.netns, or name it under namespaces of ebpf.lab.topology."
            )
        return Done()


@dataclass(frozen=True)
class MakeFolder(Step):
    """Make /run/netns the shared mount that holds the names; ``new``: and the folder, which is not there."""

    new: bool = True

    def title(self) -> str:
        return f"mount {netns.FOLDER}"

    def apply(self, host: Host, learned: Learned) -> Done:
        made = netns.make_folder()
        return Done(undo=replace(self, new=made).inverse(), learned={FOLDER_KEY: {"made": made}})

    def inverse(self) -> tuple[Step, ...]:
        """What takes it back."""
        return (RemoveFolder(self.new),)

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (make(FOLDER_KEY, {"made": self.new}),)


@dataclass(frozen=True)
class RemoveFolder(Step):
    """Take the mount of /run/netns away, which has to be empty; ``made``: and the folder, which was made with it."""

    made: bool = True

    def title(self) -> str:
        return f"unmount {netns.FOLDER}"

    def apply(self, host: Host, learned: Learned) -> Done:
        netns.remove_folder(self.made)
        return Done(undo=self.inverse())

    def inverse(self) -> tuple[Step, ...]:
        """What takes it back."""
        return (MakeFolder(self.made),)

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (release(FOLDER_KEY),)


@dataclass(frozen=True)
class CreateNamespace(Step):
    """Make a network namespace; ``stray`` when a file of its name is in the way and is taken over."""

    name: str
    stray: bool = False

    def title(self) -> str:
        return f"create the network namespace {self.name}" + (" over a stray file" if self.stray else "")

    def inverse(self) -> tuple[Step, ...]:
        """What takes it back."""
        return (RemoveNamespace(self.name, before="absent", after="stray" if self.stray else "absent"),)

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (make(netns_key(self.name), {"alias": ALIAS, "over": "stray" if self.stray else "absent"}),)

    def learns(self) -> dict[str, t.Any]:
        """What is noted of it when it is there."""
        return {netns_key(self.name): {"alias": ALIAS}}

    def group(self) -> t.Hashable:
        return "create namespaces"

    @classmethod
    def apply_many(cls, host: Host, steps: t.Sequence[t.Any], learned: Learned) -> list[Outcome]:
        failed = netns.create([step.name for step in steps], _mark)
        return [error or Done(undo=step.inverse(), learned=step.learns()) for step, error in zip(steps, failed)]


def _mark() -> None:
    """Give the lo of the calling thread's namespace our alias. Raises KernelRefused."""
    netlink = Netlink()
    try:
        (answer,) = netlink.request([set_alias(LOOPBACK, ALIAS.encode())])
    finally:
        netlink.close()
    if answer.error:
        raise KernelRefused("mark a new network namespace", answer.error, answer.said)


@dataclass(frozen=True)
class RemoveNamespace(Step):
    """Remove a namespace's name; ``before`` is what bore it: a kind of netns.kind, twin, or absent when undoing.

    ``after`` is absent, or stray when a plain file was there before the namespace that goes. ``forget`` are the
    journal's keys of what goes with it. The namespace is held until the run is over, so that undoing gives the very
    same one its name back.
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

    def apply(self, host: Host, learned: Learned) -> Done:
        host.forget_netlink(self.name)
        ours = host.journal.claimed(netns_key(self.name)) is not None
        held = netns.Held(self.name) if self.before in HOLDABLE else None
        try:
            netns.remove(self.name, keep_file=self.after == "stray")
            if self.after == "stray":
                netns.make_stray(self.name)
        except LabError:
            if held is not None:
                held.close()
            raise
        if held is None:
            return Done(undo=self.inverse("", ours))
        return Done(undo=self.inverse(held.title, ours), handles={held.title: held})

    def inverse(self, held: str, ours: bool) -> tuple[Step, ...]:
        """What takes it back, the namespace being ``held`` under that name."""
        if self.before == "absent":
            return ()
        return (NameAgain(self.name, held, ours),)

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return tuple(release(key) for key in (netns_key(self.name), *self.forget))

    def group(self) -> t.Hashable:
        return "remove namespaces"

    @classmethod
    def apply_many(cls, host: Host, steps: t.Sequence[t.Any], learned: Learned) -> list[Outcome]:
        host.look_anew(reload=False)  # what goes with the namespaces is known by its index in others
        return super().apply_many(host, steps, learned)


@dataclass(frozen=True)
class NameAgain(Step):
    """Give a namespace that is ``held`` its name again; without one, the stray file that bore it is made again."""

    name: str
    held: str
    ours: bool

    def title(self) -> str:
        return f"put back {'the network namespace' if self.held else 'the stray file'} {self.name}"

    def apply(self, host: Host, learned: Learned) -> Done:
        host.forget_netlink(self.name)
        if self.held:
            learned.handle(self.held).put_back()
        else:
            netns.make_stray(self.name)
        return Done(learned={netns_key(self.name): {"alias": ALIAS}} if self.ours else {})

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (make(netns_key(self.name), {"alias": ALIAS, "over": "absent"}),) if self.ours else ()
