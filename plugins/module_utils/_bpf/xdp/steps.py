# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps that change an interface's XDP program, each one request, and each with the way back."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ..._core.errors import BadInput, KernelRefused, LabError
from ..._core.host import Host
from ..._core.plan import Done, Key, Learned, Note, Step, make, restored, save, unmade
from ..._kernel import lookup, syscall
from ..._kernel.rtnl.read import Link
from ..._kernel.rtnl.xdp import set_program
from ..._kernel.syscall import Handle, ProgramInfo, closing
from ..interface import need, place
from .state import slot


def wrong_type(program: str, found: ProgramInfo) -> BadInput:
    """The error for a program of another type."""
    return BadInput("program", program, f"is a program of the type {found.type}", "XDP needs one of type xdp")


@dataclass(frozen=True)
class _Change(Step):
    """A change of one slot."""

    interface: str
    netns: str

    @property
    def key(self) -> Key:
        """The journal's."""
        return slot(self.netns, self.interface)

    @property
    def where(self) -> str:
        """The interface, for sentences."""
        return place(self.netns, self.interface)

    def slot(self, host: Host, expected: t.Collection[int]) -> tuple[Link, t.Optional[Handle]]:
        """The interface and what is attached to it, held. Raises LabError when that is none of ``expected``."""
        link = need(host, self.netns, self.interface)
        if link.xdp_id not in (0, *expected):
            raise LabError(
                f"interface: somebody attached the program {link.xdp_id} to {self.interface} in the meantime.",
                "Run again.",
            )
        return link, Handle(syscall.program_fd(link.xdp_id)) if link.xdp_id else None

    def undone(self, host: Host, link: Link, old: t.Optional[Handle], new: int, mode: str) -> Done:
        """The way back to what ``link`` says was attached, from the program ``new``, 0 for none."""
        if old is None:
            return Done(undo=(Detach(self.interface, self.netns, new, mode),))
        entry = host.journal.claimed(self.key)
        ours = entry is not None and isinstance(entry.value, dict) and entry.value.get("id") == link.xdp_id
        value = entry.value if entry is not None and ours else None
        again = AttachAgain(self.interface, self.netns, link.xdp_id, link.xdp_mode, new, value)
        return Done(undo=(again,), handles={f"program {link.xdp_id}": old})


@dataclass(frozen=True)
class Attach(_Change):
    """Attach ``program`` in the first of ``modes`` that the kernel takes, in place of the program ``replaces``.

    ``id`` is the program's as far as it is known; ``saved`` is what is noted of a foreign program that is replaced.
    """

    program: str
    modes: tuple[str, ...]
    replaces: t.Optional[int] = None
    id: int = 0
    saved: t.Optional[t.Mapping[str, t.Any]] = None

    def __hash__(self) -> int:
        return hash((self.key, self.program, self.modes, self.replaces))

    def title(self) -> str:
        instead = f" in place of the program {self.replaces}" if self.replaces else ""
        return f"attach {self.program} to {self.where}{instead}, {' or else '.join(self.modes)}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        coming = {"id": self.id, "program": self.program}
        before = () if self.saved is None else (save(self.key, dict(self.saved), coming),)
        return (*before, make(self.key, coming))

    def apply(self, host: Host, learned: Learned) -> Done:
        wanted = lookup.program(self.program, "xdp")
        if wanted is None or (self.id and wanted.id != self.id):
            why = "is not there" if wanted is None else "is another one by now"
            raise LabError(f"program: {self.program} {why}.", "Load it first, for example by ebpf.lab.bpf_program.")
        if wanted.type != "xdp":
            raise wrong_type(self.program, wanted)
        link, old = self.slot(host, (wanted.id, self.replaces or 0))
        refusals: list[KernelRefused] = []
        expected = None if old is None else old.fd
        with closing(syscall.program_fd(wanted.id)) as handle:
            for mode in self.modes:
                doing = f"attach to {self.interface} in mode {mode}"
                try:
                    set_program(host.netlink(self.netns), link, handle, mode, expected, doing)
                    break
                except KernelRefused as error:
                    refusals.append(error)
            else:
                if old is not None:
                    old.close()
                raise refusals[-1]
        reason = "as asked"
        if refusals:
            reason = f"native was refused: {refusals[0].said or refusals[0].message}"
        elif len(self.modes) > 1:
            reason = "the driver takes native XDP"
        elif link.xdp_id:
            reason = "the mode of the program that it replaced"
        value = {"id": wanted.id, "mode": mode, "reason": reason, "program": self.program, "tag": wanted.tag}
        done = self.undone(host, link, old, wanted.id, mode)
        return Done(done.undo, {self.key: {**value, "ifindex": link.index}}, done.handles)


@dataclass(frozen=True)
class Detach(_Change):
    """Take the program ``id`` away, in the mode that it was attached with: another one is refused by the kernel.

    ``saved`` is what is noted of it when it is a foreign one that ours takes the place of, in another mode.
    """

    id: int
    mode: str
    saved: t.Optional[t.Mapping[str, t.Any]] = None

    def __hash__(self) -> int:
        return hash((self.key, self.id, self.mode))

    def title(self) -> str:
        return f"detach the program {self.id} from {self.where}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (unmade(self.key),) if self.saved is None else (save(self.key, dict(self.saved), None),)

    def apply(self, host: Host, learned: Learned) -> Done:
        link, old = self.slot(host, (self.id,))
        if old is None:
            return Done()
        try:
            doing = f"detach from {self.interface} in mode {self.mode}"
            set_program(host.netlink(self.netns), link, -1, link.xdp_mode, old.fd, doing)
        except KernelRefused:
            old.close()
            raise
        return self.undone(host, link, old, 0, "")


@dataclass(frozen=True)
class AttachAgain(_Change):
    """Attach the program ``id`` again, which the run holds, in place of ``replaces``. ``value``: it was ours."""

    id: int
    mode: str
    replaces: int = 0
    value: t.Any = None

    def __hash__(self) -> int:
        return hash((self.key, self.id, self.mode))

    def title(self) -> str:
        return f"attach the program {self.id} to {self.where} again, {self.mode}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (unmade(self.key), restored(self.key)) if self.value is None else (make(self.key, self.value),)

    def apply(self, host: Host, learned: Learned) -> Done:
        link, old = self.slot(host, (self.replaces, self.id))
        handle = learned.handle(f"program {self.id}").fd
        try:
            expected = None if old is None else old.fd
            set_program(host.netlink(self.netns), link, handle, self.mode, expected, self.title())
        finally:
            if old is not None:
                old.close()
        return Done(learned={} if self.value is None else {self.key: self.value})


@dataclass(frozen=True)
class Restore(_Change):
    """Attach the foreign program ``id`` that is kept at ``kept``, in place of our program ``replaces``, 0 for none."""

    replaces: int
    kept: str
    id: int
    mode: str

    def title(self) -> str:
        return f"put the program kept at {self.kept} back on {self.interface}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (unmade(self.key), restored(self.key))

    def apply(self, host: Host, learned: Learned) -> Done:
        link, old = self.slot(host, (self.replaces,))
        try:
            with closing(syscall.get_pinned(self.kept)) as handle:
                expected = None if old is None else old.fd
                set_program(host.netlink(self.netns), link, handle, self.mode, expected, self.title())
        except LabError:
            if old is not None:
                old.close()
            raise
        return self.undone(host, link, old, self.id, self.mode)


@dataclass(frozen=True)
class ForgetBefore(_Change):
    """Not a change of the host: the foreign program that was there before is not kept any more."""

    def title(self) -> str:
        return f"forget what was attached to {self.where} before"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (restored(self.key),)

    def apply(self, host: Host, learned: Learned) -> Done:
        return Done()
