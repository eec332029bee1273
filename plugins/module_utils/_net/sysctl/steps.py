# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps: one sysctl in any namespace, and the file below /etc/sysctl.d."""

from __future__ import annotations

from dataclasses import dataclass

from ..._core import files
from ..._core.errors import KernelRefused
from ..._core.host import Host
from ..._core.own_files import WriteFile, file_key, way_back
from ..._core.plan import Done, Key, Learned, Note, Step, make, release, save
from ..._kernel.netns import in_netns
from .kinds import key_of, path_of, read
from .switches import after_write


def write(name: str, value: str) -> None:
    """Set the value in the namespace of the calling thread. Raises KernelRefused."""
    try:
        with open(path_of(name), "w", encoding="ascii") as file:
            file.write(f"{value}\n")
    except OSError as error:
        raise KernelRefused(f"set {name} to {value}", error.errno or 0) from error


@dataclass(frozen=True)
class SysctlStep(Step):
    """Set one sysctl. ``was`` holds the values before, of this one and of all that the kernel may set along with it.

    ``back``: a value from before is put back, and one that is right already, or gone with its interface, is no error.
    """

    netns: str
    name: str
    value: str
    was: tuple[tuple[str, str], ...]
    noted: tuple[Note, ...] = ()
    back: bool = False

    def title(self) -> str:
        return f"set {self.name} to {self.value}" + (f" in namespace {self.netns}" if self.netns else "")

    def apply(self, host: Host, learned: Learned) -> Done:
        def body() -> None:
            if not self.back or read(self.name) not in (None, self.value):
                write(self.name, self.value)

        in_netns(self.netns, body)
        return Done(undo=self._undo())

    def _undo(self) -> tuple[Step, ...]:
        """This one first, for it sets the others, then those that had a value of their own."""
        before = dict(self.was)
        now = after_write(after_write(before, self.name, self.value), self.name, before[self.name])
        others = {name: value for name, value in before.items() if now[name] != value}
        # What the kernel sets along on the way is our doing too, should the undoing be killed in between.
        lasting = {note.key: note.lasting for note in self.noted}
        notes: list[Note] = []
        for name, value in others.items():
            key = key_of(self.netns, name)
            if key in lasting:
                notes.append(make(key, now[name], lasting=lasting[key]))
                notes.append(save(key, value, now[name], lasting=lasting[key]))
        was = ((self.name, self.value),)
        first = SysctlStep(self.netns, self.name, before[self.name], was, tuple(notes), back=True)
        return (first, *(SysctlStep(self.netns, n, v, ((n, now[n]),), back=True) for n, v in others.items()))

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return self.noted


@dataclass(frozen=True)
class ConfStep(WriteFile):
    """Write the file that sets the switches at boot. ``noted``: what else has to outlive the boot from then on."""

    noted: tuple[Note, ...] = ()

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (*super().notes(learned), *self.noted)

    def apply(self, host: Host, learned: Learned) -> Done:
        back = way_back(host, self.path, self.before)
        files.write(self.path, self.content, durable=True)
        return Done(undo=(back,), learned={file_key(self.path): dict(self.value)})


@dataclass(frozen=True)
class ForgetSaved(Step):
    """Not a change of the host: nothing is to be put back of these keys any more."""

    netns: str
    keys: tuple[Key, ...]

    def title(self) -> str:
        return "forget the saved forwarding settings" + (f" of namespace {self.netns}" if self.netns else "")

    def apply(self, host: Host, learned: Learned) -> Done:
        return Done()

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return tuple(release(key) for key in self.keys)
