# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs of an object as a resource: loaded, and pinned in a folder of bpffs under their functions' names.

What a pin was loaded from (the object's digest, the ids of the program and its maps) is what the journal notes of the
pin; like the pin, it is over at the next boot.
"""

from __future__ import annotations

import os
import typing as t
from dataclasses import asdict, dataclass, replace

from ..._core.host import Host
from ..._core.own_files import TemporaryKind
from ..._core.plan import NOTHING, Forecast, Plan
from ..._core.resource import Kind, Resource
from ..._kernel.syscall import MapInfo, ProgramInfo
from ..pin.kinds import FolderKind, MountKind
from . import observe, options
from .kinds import LoadedKind
from .plan import plan_absent, plan_present
from .state import ProgramState, Want, held


@dataclass(frozen=True)
class ProgramResource(Want, Resource[ProgramState]):
    """What ``Want`` says, as a resource."""

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> ProgramResource:
        """From the parameters of ``bpf_program``. Raises BadInput."""
        return cls(**options.read(params))

    def kinds(self) -> tuple[Kind, ...]:
        return (FolderKind(), MountKind(), LoadedKind(), TemporaryKind())

    def takes_away(self) -> bool:
        return not self.present

    def observe(self, host: Host) -> ProgramState:
        return observe.observe(host, self)

    def plan(self, now: ProgramState, coming: Forecast = NOTHING) -> Plan:
        if not self.present:
            return plan_absent(self, now, coming)
        return plan_present(self, now, coming, replace(self, late=True))

    def result(self, now: ProgramState) -> dict[str, t.Any]:
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
        for name, path in held(self, now).items():
            pin = now.programs.get(os.path.basename(path))
            if pin is not None and isinstance(pin.what, MapInfo):
                maps.append({"name": name, "pin": path, **_public(pin.what)})
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
