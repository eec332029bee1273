# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps that change an interface's XDP program, each with the way back."""

from __future__ import annotations

import contextlib
import os
import typing as t
from dataclasses import dataclass

from ..._core.errors import BadInput, KernelRefused, LabError
from ..._core.host import Host
from ..._core.plan import Note, Step
from ..._kernel import netns as namespaces
from ..._kernel import syscall
from ..._kernel.rtnl.read import Link, links
from ..._kernel.rtnl.xdp import set_program
from ..._kernel.syscall import Handle, ProgramInfo
from ..pin.folders import ensure, sweep, unsweep


def slot(netns: str, interface: str) -> str:
    """The journal's key of an interface's XDP program."""
    return f"xdp:{netns}:{interface}"


def find_program(program: str, kind: str = "xdp") -> t.Optional[ProgramInfo]:
    """A loaded program by its pinned path, its id or its name; None when there is none.

    ``kind`` is the type of the programs that are looked through for a name. Raises BadInput when it fits several of
    them, or something else is pinned at the path.
    """
    if program.startswith("/"):
        what = syscall.at(program)
        if what is not None and not isinstance(what, ProgramInfo):
            raise BadInput("program", program, "is the pin of a map or a link", "name a program's pin")
        return what
    if program.isdigit():
        return syscall.program_by_id(int(program))
    found = []
    for number in syscall.program_ids():
        what = syscall.program_by_id(number)
        if what is not None and what.type == kind and what.name == program[:15]:  # the kernel cuts names there
            found.append(what)
    if len(found) > 1:
        ids = ", ".join(str(what.id) for what in found)
        raise BadInput("program", program, f"is the name of {len(found)} programs (ids {ids})", "give an id or a pin")
    return found[0] if found else None


def wrong_type(program: str, found: ProgramInfo) -> BadInput:
    """The error for a program of another type."""
    return BadInput("program", program, f"is a program of the type {found.type}", "XDP needs one of type xdp")


def find_link(host: Host, netns: str, interface: str) -> Link:
    """The interface as it is now. Raises LabError with what is there instead."""
    host.forget_netlink(netns)  # an earlier step may have made the namespace anew
    where = f"in the namespace {netns}" if netns else "on this host"
    here = os.path.exists(netns) if netns.startswith("/") else not netns or namespaces.kind(netns) == "present"
    if not here:
        if namespaces.kind(netns) == "own":
            raise namespaces.lie(netns)
        names = ", ".join(namespaces.names()) or "none"
        raise LabError(f"netns: there is no network namespace {netns}; there are: {names}.")
    seen = links(host.netlink(netns))
    if interface not in seen:
        raise LabError(f"interface: there is no {interface} {where}; there are: {', '.join(sorted(seen))}.")
    return seen[interface]


@dataclass(frozen=True)
class KeepForeign(Step):
    """Pin the foreign program that is about to be replaced, so that it lives until it is put back."""

    interface: str
    netns: str
    id: int
    mode: str
    name: str
    kept: str

    def title(self) -> str:
        return f"keep the foreign program {self.name} (id {self.id}) of {self.interface} at {self.kept}"

    def apply(self, host: Host) -> None:
        ensure(host, os.path.dirname(self.kept))
        if not os.path.lexists(self.kept):
            with syscall.closing(syscall.program_fd(self.id)) as handle:
                syscall.pin(handle, self.kept)

    def undo(self, host: Host) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.kept)
        sweep(host, os.path.dirname(self.kept))

    def notes(self) -> tuple[Note, ...]:
        value = {"id": self.id, "mode": self.mode, "name": self.name, "kept": self.kept}
        return (Note("save", slot(self.netns, self.interface), value),)


@dataclass(frozen=True)
class _Change(Step):
    """A change of one slot. What was there before is held, and attached again when the change is taken back."""

    interface: str
    netns: str

    def set(self, host: Host, link: Link, handle: int, mode: str) -> None:
        """Put ``handle`` (-1: nothing) into the slot in place of what ``link`` says is there."""
        doing = f"{'attach to' if handle >= 0 else 'detach from'} {self.interface} in mode {mode}"
        netlink = host.netlink(self.netns)
        if not link.xdp_id:
            if handle >= 0:
                set_program(netlink, link, handle, mode, None, doing)
            return
        old = Handle(syscall.program_fd(link.xdp_id))
        host.kept[self, "before"] = (old, link.xdp_mode)
        host.kept[self, "handle"] = old
        if handle >= 0 and mode == link.xdp_mode:
            set_program(netlink, link, handle, mode, old.fd, doing)
            return
        # The kernel has native and generic exclude each other, so a change of mode is two requests.
        set_program(netlink, link, -1, link.xdp_mode, old.fd, doing)
        if handle >= 0:
            try:
                set_program(netlink, link, handle, mode, None, doing)
            except KernelRefused:
                set_program(netlink, link, old.fd, link.xdp_mode, None, f"put the old program back on {self.interface}")
                raise

    def undo(self, host: Host) -> None:
        link = find_link(host, self.netns, self.interface)
        handle, mode = host.kept.pop((self, "before"), (None, ""))
        netlink, doing = host.netlink(self.netns), f"put back the program of {self.interface}"
        if link.xdp_id and (handle is None or mode != link.xdp_mode):
            with syscall.closing(syscall.program_fd(link.xdp_id)) as current:
                set_program(netlink, link, -1, link.xdp_mode, current, doing)
            link = find_link(host, self.netns, self.interface)
        if handle is None:
            return
        if not link.xdp_id:
            set_program(host.netlink(self.netns), link, handle.fd, mode, None, doing)
            return
        with syscall.closing(syscall.program_fd(link.xdp_id)) as current:
            set_program(host.netlink(self.netns), link, handle.fd, mode, current, doing)


@dataclass(frozen=True)
class Attach(_Change):
    """Attach ``program`` in the first of ``modes`` that the kernel takes, in place of the program ``replaces``."""

    program: str
    modes: tuple[str, ...]
    replaces: t.Optional[int] = None

    def title(self) -> str:
        where = f" in the namespace {self.netns}" if self.netns else ""
        instead = f" in place of the program {self.replaces}" if self.replaces else ""
        return f"attach {self.program} to {self.interface}{where}{instead}, {' or else '.join(self.modes)}"

    def apply(self, host: Host) -> None:
        link = find_link(host, self.netns, self.interface)
        wanted = find_program(self.program)
        if wanted is None:
            raise LabError(
                f"program: {self.program} is not there.", "Load it first, for example by ebpf.lab.xdp_program."
            )
        if wanted.type != "xdp":
            raise wrong_type(self.program, wanted)
        if link.xdp_id not in (0, wanted.id, self.replaces):
            raise LabError(
                f"interface: somebody attached the program {link.xdp_id} to {self.interface} in the meantime.",
                "Run again.",
            )
        refusals = []
        with syscall.closing(syscall.program_fd(wanted.id)) as handle:
            for mode in self.modes:
                try:
                    self.set(host, link, handle, mode)
                    break
                except KernelRefused as error:
                    refusals.append(error)
            else:
                raise refusals[-1]
        reason = "as asked"
        if refusals:
            reason = f"native was refused: {refusals[0].said or refusals[0].message}"
        elif len(self.modes) > 1:
            reason = "the driver takes native XDP"
        elif link.xdp_id and self.modes == (link.xdp_mode,):
            reason = "the mode of the program that it replaced"
        value = {"id": wanted.id, "mode": mode, "reason": reason, "program": self.program, "tag": wanted.tag}
        host.journal.write([Note("claim", slot(self.netns, self.interface), value)])

    def notes(self) -> tuple[Note, ...]:
        # The id is noted once it is known; until then the claim says that the slot is ours.
        return (Note("claim", slot(self.netns, self.interface)),)


@dataclass(frozen=True)
class Detach(_Change):
    """Take the program ``id`` away, in the mode that it was attached with: another one is refused by the kernel."""

    id: int
    mode: str

    def title(self) -> str:
        where = f" in the namespace {self.netns}" if self.netns else ""
        return f"detach the program {self.id} from {self.interface}{where}"

    def apply(self, host: Host) -> None:
        link = find_link(host, self.netns, self.interface)
        if link.xdp_id not in (0, self.id):
            raise LabError(f"interface: {self.interface} has the program {link.xdp_id} by now.", "Run again.")
        self.set(host, link, -1, self.mode)

    def notes(self) -> tuple[Note, ...]:
        return (Note("release", slot(self.netns, self.interface)),)


@dataclass(frozen=True)
class Restore(_Change):
    """Put the foreign program that is kept at ``kept`` back in place of ours; without an interface, just let it go."""

    id: int
    mode: str
    kept: str
    kept_mode: str
    key: str = ""

    def title(self) -> str:
        if not self.interface:
            return f"let the program kept at {self.kept} go, whose interface is gone"
        return f"put the program kept at {self.kept} back on {self.interface}"

    def apply(self, host: Host) -> None:
        if os.path.lexists(self.kept):
            handle = Handle(syscall.get_pinned(self.kept))
            host.kept[self, "kept"] = handle
        elif self.interface:
            raise LabError(
                f"The program that {self.interface} had before is no longer kept at {self.kept}.",
                "Somebody removed that pin; detach ours with ip link set dev INTERFACE xdp off, and attach yours anew.",
            )
        else:
            return
        if self.interface:
            self.set(host, find_link(host, self.netns, self.interface), handle.fd, self.kept_mode)
        os.unlink(self.kept)
        sweep(host, os.path.dirname(self.kept))

    def undo(self, host: Host) -> None:
        handle = host.kept.pop((self, "kept"), None)
        if handle is None:
            return
        unsweep(host, os.path.dirname(self.kept))
        syscall.pin(handle.fd, self.kept)
        handle.close()
        if self.interface:
            super().undo(host)

    def notes(self) -> tuple[Note, ...]:
        return (Note("release", self.key or slot(self.netns, self.interface)),)
