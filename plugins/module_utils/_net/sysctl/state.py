# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wanted of the forwarding switches, and what was seen of them."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, field

from ..._core.errors import BadInput
from .switches import Values

FILE = "/etc/sysctl.d/60-ebpf-lab.conf"
FOLDER = os.path.dirname(FILE)
DIR_KEY = f"dir:{FOLDER}"
HEAD = "# Written by ebpf.lab, and removed when its lab is taken down (ebpf.lab.ip_forward with state: restored).\n"


@dataclass(frozen=True)
class Want:
    """Forwarding on, off, or (None) as it is. ``persist`` None means: yes on the host itself, no in a namespace."""

    ipv4: t.Optional[bool] = None
    ipv6: t.Optional[bool] = None
    netns: str = ""
    persist: t.Optional[bool] = None
    force: bool = False
    state: str = "present"

    def __post_init__(self) -> None:
        """Raises BadInput."""
        asked = self.ipv4 is not None or self.ipv6 is not None
        if self.state == "present" and not asked:
            raise BadInput("ipv4", None, "asks for nothing, and so does ipv6", "give one of them as true or false")
        if self.state == "restored" and asked:
            raise BadInput("state", self.state, "puts back all that was changed, with no ipv4, ipv6", "leave them out")
        if self.persist and self.netns:
            raise BadInput("persist", True, f"is not possible in the namespace {self.netns}", "leave it out")

    @property
    def persists(self) -> bool:
        """Whether the file below /etc/sysctl.d is written."""
        return not self.netns if self.persist is None else self.persist


class Saved(t.NamedTuple):
    """What the journal holds of a sysctl: the value from before us, and what we may have made of it.

    ``ours``: ip_forward wrote it last, see kinds.py. ``lasting``: it outlives the boot.
    """

    before: str
    wrote: tuple[t.Any, ...] = ()
    ours: bool = True
    lasting: bool = False


@dataclass(frozen=True)
class State:
    """What was observed. ``saved`` is the journal's, by sysctl; ``file`` the content of our file, None without one.

    ``file_ours``: it is as we wrote it; ``file_noted``: the journal says that we did. ``file_before`` is the file that
    was in its place before us, ``file_theirs`` the one that is there and not ours, each as ``own_files.saved_file``
    returns it; ``odd`` what is there instead of a file. ``folder`` and ``folder_ours`` are about /etc/sysctl.d,
    ``neighbours`` is what else is in there. ``purged`` are interfaces whose default route IPv6 forwarding takes away.
    ``gone`` says that the namespace is not there any more.
    """

    values: Values
    saved: t.Mapping[str, Saved] = field(default_factory=dict)
    file: t.Optional[str] = None
    file_ours: bool = False
    file_noted: bool = False
    file_before: t.Optional[t.Mapping[str, t.Any]] = None
    file_theirs: t.Optional[t.Mapping[str, t.Any]] = None
    odd: str = ""
    folder: bool = True
    folder_ours: bool = False
    neighbours: tuple[str, ...] = ()
    purged: tuple[str, ...] = ()
    gone: bool = False
