# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that the verifier has to refuse: each is tried, and what should be loaded all the same is let go at once."""

from __future__ import annotations

import os
import typing as t

from .._bpf.pin.folders import MOUNT, is_bpffs
from .._bpf.program import sections
from .._bpf.program.bpftool import Bpftool, LoadRefused
from .._core import files
from .._core.errors import LabError
from .._core.host import Host
from .._core.own_files import temporary_key
from .._core.temporary import noted
from .._kernel.elf import read_object
from .schema import Lab, Stage

LOG_END = 4000  # characters of the verifier's log: it says at its end why it stopped


def refusals(host: Host, lab: Lab, stage: Stage) -> dict[str, dict[str, t.Any]]:
    """For each object of the stage's ``refused``: whether the kernel refused it, in which words, and where.

    ``refused`` is None where the verifier was not asked.
    """
    return {entry["object"]: _try(host, lab.object_path(entry["object"]), entry["type"]) for entry in stage.refused}


def _try(host: Host, path: str, program_type: str) -> dict[str, t.Any]:
    if not os.path.isfile(path):
        return _result(None, reason=f"there is no object {path}")
    if not is_bpffs(MOUNT):  # bpftool would mount one
        return _result(None, reason=f"no bpffs is mounted at {MOUNT}")
    folder = f"{MOUNT}/ebpf_lab_try_{os.getpid()}"
    with noted(host, temporary_key(folder)):
        return _load(host, path, program_type, folder)


def _load(host: Host, path: str, program_type: str, folder: str) -> dict[str, t.Any]:
    try:
        sections.check(path, read_object(path), program_type)
        Bpftool(host.runner).loadall(path, folder, program_type=program_type)
    except LoadRefused as error:
        if not error.details["verifier_log"]:  # the loader gave up before the verifier saw the program
            return _result(None, reason=error.details["reason"])
        return _result(
            True,
            reason=error.details["reason"],
            location=error.details["source_location"],
            source_line=error.details["source_line"],
            log=error.details["verifier_log"][-LOG_END:],
        )
    except LabError as error:
        return _result(None, reason=str(error))
    finally:
        files.remove_tree(folder)
    return _result(False, reason="the kernel loaded it")


def _result(
    refused: t.Optional[bool], reason: str = "", location: str = "", source_line: str = "", log: str = ""
) -> dict[str, t.Any]:
    return {"refused": refused, "reason": reason, "location": location, "source_line": source_line, "log": log}
