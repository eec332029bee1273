# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wanted in an interface's XDP slot, what is seen there, and what is noted of it."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ..._core.plan import Key
from ..._kernel.syscall import ProgramInfo
from ..interface import place
from ..pin.folders import Folders


def slot(netns: str, interface: str) -> Key:
    """The journal's key of an interface's XDP program."""
    return f"xdp:{netns}:{interface}"


@dataclass(frozen=True)
class Wanted:
    """``program`` (a pinned path, an id or a name) attached to ``interface`` of ``netns``; ``present`` False: not.

    ``mode`` "auto" is native, and generic where the driver refuses native. ``overwrite``: a foreign program may be
    replaced; ``keep_foreign``: it is kept, and comes back when ours goes. ``force``: the interface may be one that this
    host is reached by. ``was`` is what ``program`` named before earlier steps of the plan: somebody may have attached
    that one, and it is no foreign one.
    """

    interface: str
    netns: str = ""
    program: str = ""
    present: bool = True
    mode: str = "auto"
    overwrite: bool = False
    force: bool = False
    keep_foreign: bool = True
    was: int = 0

    @property
    def key(self) -> Key:
        """The journal's."""
        return slot(self.netns, self.interface)

    @property
    def where(self) -> str:
        """The interface, for sentences."""
        return place(self.netns, self.interface)

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes that are as wanted, the best first."""
        return ("native", "generic") if self.mode == "auto" else (self.mode,)


@dataclass(frozen=True)
class AttachmentState:
    """One interface's XDP slot. ``id`` 0 and ``mode`` "": nothing is attached. ``attached`` is the program's info.

    ``index`` is the interface's, 0 when it is not known. ``link_id`` is that of the bpf_link that holds the program, 0
    when none does. ``wanted`` is the program asked for, None when it is not there yet. ``claim`` is what we noted of
    the program that we attached, ``saved`` of the foreign one that we replaced; ``kept`` are the pins that keep such
    ones for this slot, in the folder that ``folders`` tells of. ``carries`` says what would be cut off with the
    interface, "" for nothing.
    """

    exists: bool
    id: int = 0
    mode: str = ""
    index: int = 0
    attached: t.Optional[ProgramInfo] = None
    link_id: int = 0
    wanted: t.Optional[ProgramInfo] = None
    claim: t.Optional[dict[str, t.Any]] = None
    saved: t.Optional[dict[str, t.Any]] = None
    kept: tuple[str, ...] = ()
    folders: Folders = field(default_factory=Folders)
    carries: str = ""

    @property
    def ours(self) -> bool:
        """Whether what is attached is what we attached."""
        return bool(self.id) and (self.claim or {}).get("id") == self.id

    @property
    def before(self) -> t.Optional[dict[str, t.Any]]:
        """The foreign program that this very interface had before, as long as it is kept."""
        saved = self.saved
        if saved is None or saved.get("kept") not in self.kept or not self.exists:
            return None
        return saved if saved.get("ifindex") in (None, 0, self.index) else None

    def describe(self, program: str) -> dict[str, t.Any]:
        """For the diff; ``program`` is how the user names the one that is wanted."""
        if not self.id:
            return {"state": "detached"}
        ours = self.wanted is not None and self.wanted.id == self.id
        name = program if ours else (self.attached.name if self.attached is not None else "")
        return {"state": "attached", "program": name, "id": self.id, "mode": self.mode}
