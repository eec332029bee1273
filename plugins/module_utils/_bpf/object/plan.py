# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When an object is compiled, when it goes, and what becomes of somebody's file in its place."""

from __future__ import annotations

import os
import typing as t

from ..._core.backup import KeepFile
from ..._core.errors import Refused
from ..._core.own_files import RemoveFile, RestoreFile, file_key
from ..._core.plan import Forecast, Forget, Plan, Step
from ..pin.folders import emptying, making
from .clang import Recipe
from .state import Inputs, ObjectState, Want
from .steps import Compile, Place


def plan_present(want: Want, now: ObjectState, coming: Forecast) -> Plan:
    """Compile when anything that the object is made from differs, or the object is not what was made."""
    recipe, inputs = t.cast(Recipe, want.recipe), t.cast(Inputs, now.inputs).after(coming)
    if now.intact and now.made_from == inputs:
        return Plan(before=now.describe(), after=now.describe())
    kept: tuple[Step, ...] = ()
    if now.occupied and not now.intact and want.own_folder:
        kept = (KeepFile(want.dest),)
    elif now.there not in ("", "file"):
        raise Refused(f"dest: {want.dest} is there, and is a {now.there}.", "Choose another dest, or move it away.")
    elif now.occupied and now.record is None and now.saved is None and not want.overwrite:
        raise Refused(
            f"dest: {want.dest} is there and was not made by the lab.",
            "Choose another dest, or say overwrite: true; state: absent then puts the old file back.",
        )
    warnings: tuple[str, ...] = ()
    if inputs.source_sha256 is None:
        warnings = (f"src: {recipe.source} is not there yet; the run needs it.",)
    steps = (
        *making(os.path.dirname(want.dest), now.folders, coming, lasting=True),
        *kept,
        Compile(want.dest, recipe, want.disassemble),
        Place(want.dest, None if kept else now.foreign),
    )
    after = {"state": "present", "made_from": inputs.summary()}
    return Plan(before=now.describe(), after=after, steps=steps, warnings=warnings)


def plan_absent(want: Want, now: ObjectState, coming: Forecast) -> Plan:
    """Remove what we made; what somebody made of it since stays, or is kept beside what was there before the lab."""
    steps: tuple[Step, ...] = ()
    gone: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    after = now.describe()
    somebodys = now.occupied and not now.intact
    if now.folder_gone:
        steps = (Forget(file_key(want.dest)),) if now.claimed else ()
    elif now.saved is not None:
        kept = (KeepFile(want.dest),) if somebodys else ()
        steps = (*kept, RestoreFile(want.dest, now.saved))
        after = {"state": "as it was before the lab"}
    elif somebodys:
        warnings = (f"dest: {want.dest} was not made by the lab and stays.",)
        steps = (Forget(file_key(want.dest)),) if now.claimed else ()
    elif now.claimed:
        steps, gone = (RemoveFile(want.dest),), (want.dest,)
        after = {"state": "absent"}
    if not now.folder_gone:
        steps = (*steps, *emptying(os.path.dirname(want.dest), now.folders, gone, coming))
    return Plan(before=now.describe(), after=after, steps=steps, warnings=warnings)
