# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The BPF object as a resource: compiled when its source, headers, flags or compiler are not those it was made from.

The record of a build (what it was made from, what it holds) is what the journal notes of the object file: it goes with
the object, and a run without a change reads it instead of the object.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ..._core.host import Host
from ..._core.own_files import FileKind, TemporaryKind
from ..._core.plan import NOTHING, Forecast, Plan
from ..._core.resource import Kind, Resource
from ..pin.kinds import FolderKind
from . import observe, options
from .plan import plan_absent, plan_present
from .state import ObjectState, Want


@dataclass(frozen=True)
class ObjectResource(Want, Resource[ObjectState]):
    """What ``Want`` says, as a resource."""

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any], own_folder: bool = False) -> ObjectResource:
        """From the parameters of ``bpf_object``. Raises BadInput."""
        return cls(**options.read(params), own_folder=own_folder)

    def kinds(self) -> tuple[Kind, ...]:
        return (FolderKind(), FileKind(), TemporaryKind())

    def takes_away(self) -> bool:
        return not self.present

    def observe(self, host: Host) -> ObjectState:
        return observe.observe(host, self, tools=not self.tools_follow)

    def plan(self, now: ObjectState, coming: Forecast = NOTHING) -> Plan:
        return (plan_present if self.present else plan_absent)(self, now, coming)

    def result(self, now: ObjectState) -> dict[str, t.Any]:
        """What the object holds, as the module returns it."""
        result: dict[str, t.Any] = {"dest": self.dest}
        if now.record is None or not now.intact or not self.present:
            return result
        result.update(now.record["info"], sha256=now.digest, compiler=now.record["compiler"])
        result["diagnostics"] = now.record["diagnostics"]
        result["headers"] = [path for path, _digest in now.record["headers"]]
        if self.disassemble is not None:
            result["disassembly"] = list(now.disassembly)
        return result
