# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs of an object as a resource: loaded, and pinned in a folder of bpffs under their functions' names.

What a pin was loaded from (the object's digest, the ids of the program and its maps) is the value of the journal's
claim on the pin; like the pin, it is over at the next boot.
"""

from __future__ import annotations

import os
import typing as t
from dataclasses import asdict, dataclass, replace

from ..._core.errors import BadInput, LabError, Refused
from ..._core.files import sha256_of
from ..._core.host import Host
from ..._core.plan import Plan, Step
from ..._kernel.elf import ObjectInfo
from ..._kernel.syscall import MapInfo, ProgramInfo
from ..object.resource import info_of
from ..pin.folders import (
    MOUNT,
    MountBpffs,
    Sweep,
    check_pin_path,
    existing,
    is_bpffs,
    making,
    mounting,
    nearest,
    ours_and_empty,
)
from ..pin.pins import Pin, Unpin, fits, folders_in, pins_in
from . import sections
from .steps import LoadPrograms, RemoveStaging, held_pins, is_a_folder, is_pinned, staging_of

# The types that can be asked for, by bpftool's names, with the kernel's.
KERNEL_TYPES = {"xdp": "xdp", "classifier": "sched_cls"}


@dataclass(frozen=True)
class ProgramState:
    """The object's digest and content (None: not there), the pins in the two folders, and our claims of this object.

    ``claimed`` are the paths of the pins that we made in the folder, of the resource's object or, without one, of any.
    ``unreadable``: why what is there is no object. ``own_folder``: the folder of the pins was made by us;
    ``inside``: folders in it.
    """

    digest: t.Optional[str]
    info: t.Optional[ObjectInfo]
    mounted: bool
    folders: frozenset[str]
    programs: t.Mapping[str, Pin]
    maps: t.Mapping[str, Pin]
    claimed: frozenset[str] = frozenset()
    empty: tuple[str, ...] = ()
    staging: bool = False
    unreadable: t.Optional[LabError] = None
    own_folder: bool = False
    inside: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ProgramResource:
    """All programs of ``object`` pinned in the folder ``pin_path``; ``present`` False: none of ours there.

    ``pin_maps`` are the object's maps to pin in the folder ``map_path``; with ``reuse_maps`` those that are pinned
    there already and fit are used, with their entries. ``overwrite``: foreign pins may be moved aside.
    ``program_type`` is a type as bpftool names it.
    """

    pin_path: str
    object: str = ""
    present: bool = True
    program_type: str = "xdp"
    pin_maps: tuple[str, ...] = ()
    map_path: str = ""
    reuse_maps: bool = True
    overwrite: bool = False

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> ProgramResource:
        """From the parameters of ``xdp_program``. Raises BadInput."""
        present = params.get("state", "present") == "present"
        path = check_pin_path("pin_path", params["pin_path"])
        source = params.get("object") or ""
        if present and not source:
            raise BadInput("object", params.get("object"), "names no object", "say which object file to load")
        if source and not source.startswith("/"):
            raise BadInput("object", source, "is not an absolute path", "give one, such as /opt/lab/xdp_pass.o")
        map_path = params.get("map_pin_path")
        return cls(
            pin_path=path,
            object=os.path.normpath(source) if source else "",
            present=present,
            program_type=params.get("type") or "xdp",
            pin_maps=tuple(params.get("pin_maps") or ()),
            map_path=check_pin_path("map_pin_path", map_path) if map_path else path,
            reuse_maps=params.get("reuse_maps", True),
            overwrite=bool(params.get("overwrite")),
        )

    def observe(self, host: Host) -> ProgramState:
        """The object's digest, and what is pinned: a few bpf system calls, no process."""
        maps = self.map_path or self.pin_path
        for option, path in (("pin_path", self.pin_path), ("map_pin_path", maps)):
            if os.path.lexists(path) and not os.path.isdir(path):
                raise BadInput(option, path, "is a pin or a file", f"name the folder, such as {os.path.dirname(path)}")
        digest = sha256_of(self.object) if self.present else None
        claimed = {
            key[len("pin:") :]
            for key, entry in host.journal.claims("pin:").items()
            if (entry.value or {}).get("folder") == self.pin_path
            and (not self.object or (entry.value or {}).get("object") == self.object)
        }
        programs = pins_in(host, self.pin_path)
        info, unreadable = None, None
        if digest is not None:
            try:
                info = info_of(host, self.object, digest)
            except LabError as error:  # of no matter when it is compiled anew
                unreadable = error
        mounted = is_bpffs(nearest(self.pin_path)) and is_bpffs(nearest(maps))
        return ProgramState(
            digest=digest,
            info=info,
            mounted=mounted,
            folders=existing(self.pin_path) | existing(maps),
            programs=programs,
            maps=programs if maps == self.pin_path else pins_in(host, maps),
            claimed=frozenset(claimed),
            empty=ours_and_empty(host, self.pin_path) or ours_and_empty(host, maps),
            staging=os.path.isdir(staging_of(self.pin_path))
            and host.journal.claimed(f"dir:{staging_of(self.pin_path)}") is not None,
            unreadable=unreadable,
            inside=frozenset(path for folder in (self.pin_path, maps) for path in folders_in(folder)),
            own_folder=host.journal.claimed(f"dir:{self.pin_path}") is not None,
        )

    def plan(self, now: ProgramState, object_pending: bool = False) -> Plan:
        """Load when a pin is missing, is not what we loaded, or comes from another object than is there now.

        ``object_pending``: an earlier part of the same plan makes the object anew, so what it will hold is not known.
        """
        if not self.present:
            return self._plan_absent(now)
        if object_pending:  # what the old one holds says nothing
            now = replace(now, info=None, unreadable=None)
        if now.info is not None:
            sections.check(self.object, now.info, self.program_type)
        elif now.unreadable is not None:
            raise now.unreadable
        wanted = self._wanted(now)
        here = {pin.path: pin for pin in (*now.programs.values(), *now.maps.values())}
        stale = sorted(now.claimed - wanted)
        before = {path: here[path].describe() for path in sorted(here) if path in wanted or path in now.claimed}
        current = now.info is not None
        ok = current and not stale and all(path in here and self._is_current(here[path], now) for path in wanted)
        if ok:
            return Plan(before=before, after=before)
        foreign = [here[path] for path in sorted(wanted) if path in here and here[path].claim is None]
        foreign = [pin for pin in foreign if not self._reused(pin, now)]
        if foreign and not self.overwrite:
            raise is_pinned(foreign[0].path)
        blocked = sorted(wanted & now.inside)
        if blocked:
            raise is_a_folder(blocked[0])
        warnings = []
        if now.info is None and not object_pending:
            warnings.append(f"object: {self.object} is not there yet; the run needs it.")
        for pin in here.values():
            lost = pin.path in wanted and isinstance(pin.what, MapInfo) and not self._reused(pin, now)
            if lost and current and os.path.basename(pin.path) in self.pin_maps:
                warnings.append(f"The pinned map {pin.path} is replaced by a new one: its entries are lost.")
        made_from = {"object": self.object, "sha256": now.digest if current else "of the object when it is loaded"}
        after = {path: made_from for path in sorted(wanted)} or {self.pin_path: made_from}
        return Plan(
            before=before,
            after=after,
            steps=(*self._prepare(now), self._load()),
            warnings=tuple(warnings),
        )

    def _wanted(self, now: ProgramState) -> set[str]:
        """The paths of the pins that should be there, as far as the object at hand tells."""
        if now.info is None:
            return set()
        defined = {entry.name for entry in now.info.maps}
        missing = [name for name in self.pin_maps if name not in defined]
        if missing:
            right = f"it has {', '.join(sorted(defined))}" if defined else "it has none"
            raise BadInput("pin_maps", missing[0], f"is no map of {self.object}", right)
        maps = self.map_path or self.pin_path
        programs = {os.path.join(self.pin_path, program.name) for program in now.info.programs}
        pinned = {os.path.join(maps, name) for name in self.pin_maps}
        both = programs & pinned
        if both:
            raise BadInput("pin_maps", os.path.basename(both.pop()), "is a program's name too", "give a map_pin_path")
        return programs | pinned | set(self._held(now).values())

    def _held(self, now: ProgramState) -> dict[str, str]:
        """The maps that are pinned without being named."""
        return held_pins(now.info, self.object, self.pin_path, self.pin_maps) if now.info is not None else {}

    def _is_current(self, pin: Pin, now: ProgramState) -> bool:
        if pin.claim is None:
            return self._reused(pin, now)
        if isinstance(pin.what, ProgramInfo) and pin.what.type != KERNEL_TYPES[self.program_type]:
            return False
        return pin.intact and pin.claim["sha256"] == now.digest and pin.claim["object"] == self.object

    def _reused(self, pin: Pin, now: ProgramState) -> bool:
        """Whether a pin is a map that the object's programs may use as it is."""
        name = os.path.basename(pin.path)
        definitions = {entry.name: entry for entry in (now.info.maps if now.info else ())}
        return self.reuse_maps and name in self.pin_maps and name in definitions and fits(definitions[name], pin.what)

    def _prepare(self, now: ProgramState) -> tuple[Step, ...]:
        if now.mounted:
            exists = set(now.folders)
        elif not self.pin_path.startswith(f"{MOUNT}/") or not (self.map_path or MOUNT + "/").startswith(f"{MOUNT}/"):
            raise Refused(
                f"pin_path: {self.pin_path} is not on a bpffs.", f"Choose a folder below {MOUNT}, or mount one there."
            )
        else:
            exists = {MOUNT}
        mount: tuple[Step, ...] = () if now.mounted else (mounting(MountBpffs(), now.folders),)
        programs = making(self.pin_path, exists)
        maps = making(self.map_path or self.pin_path, exists) if self.pin_maps else ()
        return (*mount, *dict.fromkeys((*programs, *maps)))

    def _load(self) -> LoadPrograms:
        return LoadPrograms(
            object=self.object,
            pin_path=self.pin_path,
            program_type=self.program_type,
            pin_maps=self.pin_maps,
            map_path=self.map_path or self.pin_path,
            reuse_maps=self.reuse_maps,
            foreign="aside" if self.overwrite else "refuse",
        )

    def _plan_absent(self, now: ProgramState) -> Plan:
        here = {pin.path: pin for pin in (*now.programs.values(), *now.maps.values())}
        before = {path: here[path].describe() for path in sorted(here)}
        steps: list[Step] = [RemoveStaging(staging_of(self.pin_path))] if now.staging else []
        steps += [Unpin(path) for path in sorted(now.claimed)]
        if not steps and now.empty:
            steps = [Sweep(now.empty[0])]
        after = {path: what for path, what in before.items() if path not in now.claimed}
        return Plan(before=before, after=after, steps=tuple(steps))

    def facts(self, host: Host, now: ProgramState) -> dict[str, t.Any]:
        """What is loaded, as the module returns it."""
        definitions = {program.name: program.section for program in (now.info.programs if now.info else ())}
        programs = [
            {"name": name, "pin": pin.path, "section": definitions[name], **_public(pin.what)}
            for name, pin in now.programs.items()
            if isinstance(pin.what, ProgramInfo) and name in definitions
        ]
        maps = [
            {"name": name, "pin": pin.path, **_public(pin.what)}
            for name, pin in now.maps.items()
            if isinstance(pin.what, MapInfo) and name in self.pin_maps
        ]
        for name, path in self._held(now).items():
            held = now.programs.get(os.path.basename(path))
            if held is not None and isinstance(held.what, MapInfo):
                maps.append({"name": name, "pin": path, **_public(held.what)})
        return {"pin_path": self.pin_path, "object_sha256": now.digest, "programs": programs, "maps": maps}


def _public(info: t.Union[ProgramInfo, MapInfo]) -> dict[str, t.Any]:
    """What a user may want of an info: the name in it is cut by the kernel, so it goes under another key."""
    values = asdict(info)
    values["kernel_name"] = values.pop("name")
    for number in ("run_time_ns", "run_count", "btf_key_type_id", "btf_value_type_id"):
        values.pop(number, None)
    if "map_ids" in values:
        values["map_ids"] = list(values["map_ids"])
    return values
