# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load an object's programs beside those that are there, and swap the pins once the verifier has passed them all."""

from __future__ import annotations

import contextlib
import os
import re
import typing as t
from dataclasses import dataclass

from ..._core.errors import LabError, Refused
from ..._core.files import sha256_of
from ..._core.host import Host
from ..._core.plan import Note, Step
from ..._kernel import syscall
from ..._kernel.elf import ObjectInfo
from ..._kernel.syscall import MapInfo, ProgramInfo
from ..object.resource import info_of
from ..pin.folders import MOUNT, ensure, sweep
from ..pin.pins import claim_of, fits, keep, keep_foreign, kept_path, put_back
from . import sections


def staging_of(pin_path: str) -> str:
    """The folder beside ``pin_path``, on the same bpffs, in which new programs wait for the verifier."""
    return os.path.join(os.path.dirname(pin_path), "ebpf_lab_staging")


def clear(staging: str) -> None:
    """Remove a staging folder and the pins in it: what was only pinned there is gone from the kernel."""
    for folder, _folders, names in os.walk(staging, topdown=False):
        for name in names:
            os.unlink(os.path.join(folder, name))
        os.rmdir(folder)


def by_function(info: ObjectInfo, pinned: t.Mapping[str, ProgramInfo]) -> dict[str, str]:
    """The pins' names by the programs' function names.

    bpftool names a pin by the function, before 6.0 by the section with slashes made underscores (libbpf's strict mode
    changed it), so the pins are matched by what the object says and by the name that the kernel keeps.
    """
    found = {}
    for program in info.programs:
        section = program.section.replace("/", "_")
        for name, what in pinned.items():
            same = what.name in ("", program.name[:15])
            if same and name in (program.name, section):
                found[program.name] = name
    return found


def held_pins(info: ObjectInfo, path: str, pin_path: str, pin_maps: t.Collection[str]) -> dict[str, str]:
    """The maps that are pinned because their programs need it, by name, each with its pin.

    A dash is in no name in C, so that the pin of a map is never that of a program; and each object has its own.
    """
    stem = re.sub(r"\W", "_", os.path.splitext(os.path.basename(path))[0], flags=re.ASCII)[:100]
    names = [entry.name for entry in info.maps if entry.needs_pin and entry.name not in pin_maps]
    return {name: os.path.join(pin_path, f"{stem}-{name}") for name in names}


def is_a_folder(path: str) -> Refused:
    """The refusal to pin where a folder is."""
    return Refused(f"pin_path: {path} is a folder, where a pin is to be.", f"Remove it: rm -r {path}.")


def is_pinned(path: str) -> Refused:
    """The refusal to replace what somebody else has pinned."""
    return Refused(
        f"pin_path: {path} is pinned already, and not by the lab.",
        "Choose another folder, or say overwrite: true; state: absent then puts the old pin back.",
    )


@dataclass(frozen=True)
class RemoveStaging(Step):
    """Remove what a run that was killed left in the staging folder."""

    path: str

    def title(self) -> str:
        return f"remove {self.path}, which a run that was stopped left"

    def apply(self, host: Host) -> None:
        clear(self.path)

    def notes(self) -> tuple[Note, ...]:
        return (Note("release", f"dir:{self.path}"),)


@dataclass(frozen=True)
class LoadPrograms(Step):
    """Load ``object`` and pin its programs, and the maps ``pin_maps`` and ``held_pins``, over what is pinned there.

    ``foreign`` says what becomes of foreign pins in the way: "refuse", "aside" (the journal keeps them) or "replace".
    All of them, and pins of ours that the object no longer has a program for, are looked up when the step runs, because
    the object may be made by an earlier step.
    """

    object: str
    pin_path: str
    program_type: str
    pin_maps: tuple[str, ...]
    map_path: str
    reuse_maps: bool
    foreign: str = "refuse"

    def title(self) -> str:
        return f"load {self.object} and pin its programs in {self.pin_path}"

    def notes(self) -> tuple[Note, ...]:
        staging = f"dir:{staging_of(self.pin_path)}"
        return (Note("claim", staging), Note("release", staging))

    def apply(self, host: Host) -> None:
        digest = sha256_of(self.object)
        if digest is None:
            raise LabError(f"object: there is no file {self.object} on this host.", "Compile it first.")
        info = info_of(host, self.object, digest)
        self._check(info)
        from .bpftool import Bpftool  # a run that changes nothing does without it

        for folder in dict.fromkeys((self.pin_path, self.map_path)):
            ensure(host, folder)
        reuse = self._reusable(info)
        held = held_pins(info, self.object, self.pin_path, self.pin_maps)
        staging = staging_of(self.pin_path)
        clear(staging)
        os.mkdir(staging, 0o700)
        touched: list[str] = []
        moved: list[tuple[str, str]] = []
        try:
            programs, maps = f"{staging}/programs", f"{staging}/maps"
            Bpftool(host.runner).loadall(
                self.object,
                programs,
                program_type=self.program_type,
                maps=maps if self.pin_maps or held else None,
                reuse=reuse,
            )
            self._swap(host, digest, info, reuse, held, staging, touched, moved)
        except BaseException:
            self._take_back(host, touched, moved)
            raise
        finally:
            clear(staging)
        host.kept.setdefault(("loaded", self), []).append((touched, moved))

    def undo(self, host: Host) -> None:
        self._take_back(host, *host.kept[("loaded", self)].pop())

    def _check(self, info: ObjectInfo) -> None:
        defined = {entry.name for entry in info.maps}
        for name in self.pin_maps:
            if name not in defined:
                raise LabError(f"pin_maps: {name!r} is no map of {self.object}; it has {sorted(defined) or 'none'}.")
        for entry in info.maps:
            if entry.pin_by_name:
                raise LabError(
                    f"{self.object}: the map {entry.name} says LIBBPF_PIN_BY_NAME, which pins it at {MOUNT} "
                    "itself, outside of the lab's folder.",
                    "Remove that line from the source and name the map in pin_maps.",
                )
        sections.check(self.object, info, self.program_type)

    def _reusable(self, info: ObjectInfo) -> dict[str, str]:
        """The pins of the maps that the new programs take over, by the maps' names."""
        if not self.reuse_maps:
            return {}
        wanted = [
            (entry, os.path.join(self.map_path, entry.name)) for entry in info.maps if entry.name in self.pin_maps
        ]
        return {entry.name: path for entry, path in wanted if fits(entry, syscall.at(path))}

    def _swap(
        self,
        host: Host,
        digest: str,
        info: ObjectInfo,
        reuse: t.Mapping[str, str],
        held: t.Mapping[str, str],
        staging: str,
        touched: list[str],
        moved: list[tuple[str, str]],
    ) -> None:
        """Rename the staged pins over the old ones; each rename is atomic, and none can be refused by the verifier."""
        programs, maps = f"{staging}/programs", f"{staging}/maps"
        pinned = {name: syscall.program_at(os.path.join(programs, name)) for name in os.listdir(programs)}
        names = by_function(info, {name: what for name, what in pinned.items() if what is not None})
        lost = [program.name for program in info.programs if program.name not in names]
        if lost:
            raise LabError(f"bpftool loaded {self.object} without its program {lost[0]}; it pinned {sorted(pinned)}.")
        moves: dict[str, tuple[str, t.Union[ProgramInfo, MapInfo]]] = {}
        for program in info.programs:
            source = os.path.join(programs, names[program.name])
            moves[os.path.join(self.pin_path, program.name)] = (
                source,
                t.cast(ProgramInfo, pinned[names[program.name]]),
            )
        for name, path in {**{name: os.path.join(self.map_path, name) for name in self.pin_maps}, **held}.items():
            source = os.path.join(maps, name)
            moves[path] = (source, t.cast(MapInfo, syscall.at(source)))
        folder = next((path for path in moves if os.path.isdir(path) and not os.path.islink(path)), None)
        if folder is not None:
            raise is_a_folder(folder)
        aside = self._aside(host, [path for path in moves if path not in reuse.values()])
        made_from = {"object": self.object, "sha256": digest, "folder": self.pin_path}
        names_of_held = {path: name for name, path in held.items()}
        claims = []
        for path, (_source, what) in moves.items():
            if path in reuse.values() and claim_of(host, path) is None:
                continue  # a foreign map that our programs use stays foreign
            value = {**made_from, "id": what.id}
            if isinstance(what, ProgramInfo):
                value["map_ids"] = list(what.map_ids)
            if path in names_of_held:
                value["map"] = names_of_held[path]
            claims.append(Note("claim", f"pin:{path}", value))
        host.journal.write(claims)
        for path, kept in aside.items():
            keep_foreign(host, path, kept)
            moved.append((path, kept))
        for path, (source, _what) in moves.items():
            if path in reuse.values():
                continue
            keep(host, path)
            touched.append(path)
            os.rename(source, path)
        stale = [
            key[len("pin:") :]
            for key, entry in host.journal.claims("pin:").items()
            if (entry.value or {}).get("folder") == self.pin_path
            and entry.value.get("object") == self.object
            and key[len("pin:") :] not in moves
        ]
        for path in stale:
            keep(host, path)
            touched.append(path)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        host.journal.write(Note("release", f"pin:{path}") for path in stale)

    def _aside(self, host: Host, paths: t.Sequence[str]) -> dict[str, str]:
        """The foreign pins among ``paths`` and where to keep them; noted in the journal. Raises Refused."""
        foreign = {path: syscall.at(path) for path in paths if os.path.lexists(path) and claim_of(host, path) is None}
        if not foreign or self.foreign == "replace":
            return {}
        if self.foreign == "refuse":
            raise is_pinned(next(iter(foreign)))
        kept = {path: kept_path(what) for path, what in foreign.items() if isinstance(what, (ProgramInfo, MapInfo))}
        host.journal.write(Note("save", f"pin:{path}", {"kept": where}) for path, where in kept.items())
        return kept

    @staticmethod
    def _take_back(host: Host, touched: t.Sequence[str], moved: t.Sequence[tuple[str, str]]) -> None:
        for path in reversed(touched):
            put_back(host, path)
        for path, kept in moved:
            os.rename(kept, path)
            sweep(host, os.path.dirname(kept))
