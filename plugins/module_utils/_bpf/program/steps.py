# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load an object's programs aside, and pin what the verifier has passed, each pin in a step of its own."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from ..._core import files
from ..._core.errors import LabError
from ..._core.files import sha256_of
from ..._core.host import Host
from ..._core.own_files import COMING, temporary_notes
from ..._core.plan import Done, Learned, Note, Step, make
from ..._kernel import syscall
from ..._kernel.elf import ObjectInfo
from ..._kernel.syscall import Handle, ProgramInfo
from ..pin.pins import object_key
from ..pin.steps import PinObject, hold, pin_key


def staging_of(pin_path: str) -> str:
    """The folder beside ``pin_path``, on the same bpffs, in which new programs wait for the verifier."""
    return os.path.join(os.path.dirname(pin_path), "ebpf_lab_staging")


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


@dataclass(frozen=True)
class Load(Step):
    """Load ``object``, of the digest ``digest``, and hold its programs and the maps ``maps``; nothing of it is pinned.

    ``reuse``: maps by name, with the pins of those to use in their place. What was loaded is learned under the
    object's key: the programs' ids and those of their maps by function, the maps' ids by name.
    """

    object: str
    digest: str
    info: ObjectInfo
    pin_path: str
    program_type: str
    maps: tuple[str, ...] = ()
    reuse: tuple[tuple[str, str], ...] = ()

    def title(self) -> str:
        return f"load {self.object}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return temporary_notes(staging_of(self.pin_path))

    def apply(self, host: Host, learned: Learned) -> Done:
        from .bpftool import Bpftool  # a run that changes nothing does without it

        if sha256_of(self.object) != self.digest:
            raise LabError(f"object: {self.object} is another one by now than when it was looked at.", "Run again.")
        staging = staging_of(self.pin_path)
        files.remove_tree(staging)
        handles: dict[str, Handle] = {}
        try:
            os.mkdir(staging, 0o700)
            programs, maps = f"{staging}/programs", f"{staging}/maps"
            Bpftool(host.runner).loadall(
                self.object,
                programs,
                program_type=self.program_type,
                maps=maps if self.maps else None,
                reuse=dict(self.reuse),
            )
            found = self._held(programs, maps, handles)
        except BaseException as error:
            for handle in handles.values():
                handle.close()
            if isinstance(error, OSError):
                raise files.failed(self.title(), error) from error
            raise
        finally:
            files.remove_tree(staging)
        return Done(learned={object_key(self.object): found}, handles=handles)

    def _held(self, programs: str, maps: str, handles: dict[str, Handle]) -> dict[str, t.Any]:
        """Open what is pinned in the staging folder; returns what was loaded."""

        def opened(path: str) -> t.Any:
            held = hold(path)
            if held is None:
                raise LabError(f"bpftool loaded {self.object} and has not pinned {os.path.basename(path)}.")
            if handles.setdefault(*held) is not held[1]:
                held[1].close()
            return syscall.describe(handles[held[0]].fd)

        pinned = {name: opened(os.path.join(programs, name)) for name in sorted(os.listdir(programs))}
        names = by_function(self.info, {name: what for name, what in pinned.items() if isinstance(what, ProgramInfo)})
        lost = [program.name for program in self.info.programs if program.name not in names]
        if lost:
            raise LabError(f"bpftool loaded {self.object} without its program {lost[0]}; it pinned {sorted(pinned)}.")
        loaded = {function: pinned[name] for function, name in names.items()}
        return {
            "programs": {name: {"id": what.id, "map_ids": list(what.map_ids)} for name, what in loaded.items()},
            "maps": {name: {"id": opened(os.path.join(maps, name)).id} for name in self.maps},
        }


@dataclass(frozen=True)
class PinLoaded(Step):
    """Pin the program or map (``kind``) ``name`` that ``Load`` holds, in place of a pin of ours that may be there.

    ``value`` is what the journal notes of it besides its id.
    """

    path: str
    object: str
    kind: str
    name: str
    value: t.Mapping[str, t.Any]

    def title(self) -> str:
        return f"pin the {self.kind} {self.name} at {self.path}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (make(pin_key(self.path), {**self._value(learned), COMING: True}),)

    def apply(self, host: Host, learned: Learned) -> Done:
        value = self._value(learned)
        return PinObject(self.path, f"{self.kind} {value.get('id')}", value, self.name).apply(host, learned)

    def _value(self, learned: Learned) -> dict[str, t.Any]:
        loaded = learned.get(object_key(self.object)) or {}
        return {**self.value, **loaded.get(f"{self.kind}s", {}).get(self.name, {})}
