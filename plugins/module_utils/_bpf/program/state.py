# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wanted of the programs of an object, and what is seen of their pins."""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass, field

from ..._core.errors import LabError
from ..._kernel.elf import ObjectInfo
from ..._kernel.syscall import ProgramInfo
from ..map.layout import fits
from ..pin.folders import Folders
from ..pin.pins import Pin

# The types that can be asked for, by bpftool's names, with the kernel's.
KERNEL_TYPES = {"xdp": "xdp", "classifier": "sched_cls"}


@dataclass(frozen=True)
class Want:
    """All programs of ``object`` pinned in the folder ``pin_path``; ``present`` False: none of ours there.

    ``pin_maps`` are the object's maps to pin in the folder ``map_path``; with ``reuse_maps`` those that are pinned
    there already and fit are used, with their entries. ``overwrite``: foreign pins may be moved aside.
    ``program_type`` is a type as bpftool names it.

    ``own_folder``: where the folder is ours, foreign pins in the way go for good. ``exclusive``: a map that somebody
    put in the place of ours is not used. ``stays``: the folder is not removed, for somebody needs it later in the same
    plan. ``late``: what the programs are made from has been made by now.
    """

    pin_path: str
    object: str = ""
    present: bool = True
    program_type: str = "xdp"
    pin_maps: tuple[str, ...] = ()
    map_path: str = ""
    reuse_maps: bool = True
    overwrite: bool = False
    own_folder: bool = False
    exclusive: bool = False
    stays: bool = False
    late: bool = False

    @property
    def maps(self) -> str:
        """The folder of the maps."""
        return self.map_path or self.pin_path


@dataclass(frozen=True)
class ProgramState:
    """The object's digest and content (None: not there), the pins in the two folders, and our claims of this object.

    ``claimed`` are the paths of the pins that we made in the folder, of the wanted object or, without one, of any.
    ``saved`` are the foreign pins from before, by path, with where they are ``kept``. ``unreadable``: why what is there
    is no object. ``inside``: folders in the folders of the pins.
    """

    digest: t.Optional[str]
    info: t.Optional[ObjectInfo]
    folders: Folders
    programs: t.Mapping[str, Pin]
    maps: t.Mapping[str, Pin]
    claimed: frozenset[str] = frozenset()
    saved: t.Mapping[str, t.Mapping[str, t.Any]] = field(default_factory=dict)
    unreadable: t.Optional[LabError] = None
    inside: frozenset[str] = frozenset()

    @property
    def here(self) -> dict[str, Pin]:
        """All pins by their paths."""
        return {pin.path: pin for pin in (*self.programs.values(), *self.maps.values())}


def held_pins(info: ObjectInfo, path: str, pin_path: str, pin_maps: t.Collection[str]) -> dict[str, str]:
    """The maps that are pinned because their programs need it, by name, each with its pin.

    A dash is in no name in C, so that the pin of a map is never that of a program; and each object has its own.
    """
    stem = re.sub(r"\W", "_", os.path.splitext(os.path.basename(path))[0], flags=re.ASCII)[:100]
    names = [entry.name for entry in info.maps if entry.needs_pin and entry.name not in pin_maps]
    return {name: os.path.join(pin_path, f"{stem}-{name}") for name in names}


def held(want: Want, now: ProgramState) -> dict[str, str]:
    """The maps that are pinned without being named."""
    return {} if now.info is None else held_pins(now.info, want.object, want.pin_path, want.pin_maps)


def is_reused(want: Want, now: ProgramState, pin: Pin) -> bool:
    """Whether a pin is a map that the object's programs may use as it is."""
    name = os.path.basename(pin.path)
    definitions = {entry.name: entry for entry in (now.info.maps if now.info else ())}
    if not want.reuse_maps or name not in want.pin_maps or name not in definitions:
        return False
    return (
        pin.path == os.path.join(want.maps, name)
        and (pin.intact or not want.exclusive)
        and fits(definitions[name], pin.what)
    )


def is_current(want: Want, now: ProgramState, pin: Pin) -> bool:
    """Whether a pin is what would be pinned there if the object were loaded now."""
    if pin.claim is None:
        return is_reused(want, now, pin)
    if isinstance(pin.what, ProgramInfo) and pin.what.type != KERNEL_TYPES[want.program_type]:
        return False
    return pin.intact and pin.claim["sha256"] == now.digest and pin.claim["object"] == want.object
