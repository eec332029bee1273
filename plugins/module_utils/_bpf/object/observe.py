# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at an object file, at what it was made from, and at what it would be made from now."""

from __future__ import annotations

import os
import typing as t

from ..._core import files
from ..._core.files import sha256_of
from ..._core.host import Host
from ..._core.own_files import file_key, saved_file
from ..._kernel.elf import ObjectInfo, read_object
from ..pin import folders
from . import clang
from .clang import Recipe
from .state import Inputs, ObjectState, Want

# What a record of a build has; an entry of the journal without these is not one.
RECORD = frozenset(
    "sha256 info diagnostics tools compiler source source_sha256 method flags include_paths headers disassembly".split()
)


def record_of(host: Host, path: str) -> t.Optional[dict[str, t.Any]]:
    """What is noted of the build of an object file of ours; None without a note."""
    claim = host.journal.claimed(file_key(path))
    value = claim.value if claim is not None else None
    return value if isinstance(value, dict) and value.keys() >= RECORD else None


def info_of(host: Host, path: str, digest: str) -> ObjectInfo:
    """What the object file with this digest holds: from its build record when there is one, else from the file."""
    record = record_of(host, path)
    if record is not None and record["sha256"] == digest:
        return ObjectInfo.from_dict(record["info"])
    return read_object(path)


def observe(host: Host, want: Want, tools: bool = True) -> ObjectState:
    """Digests of the object, its source and the headers it was made from; the compiler's version.

    ``tools`` False: the compiler is still to be installed.
    """
    record = record_of(host, want.dest)
    folder = os.path.dirname(want.dest)
    folder_gone = want.own_folder and files.kind(folder) not in ("", "folder")
    saved = host.journal.saved(file_key(want.dest))
    unknown = want.overwrite and want.present and record is None and saved is None
    digest = None if folder_gone else sha256_of(want.dest, follow=False)
    return ObjectState(
        digest=digest,
        claimed=host.journal.claimed(file_key(want.dest)) is not None,
        made_from=Inputs.of(record) if record else None,
        inputs=_inputs(host, want.recipe, record, tools) if want.recipe is not None else None,
        folders=folders.look(host, os.path.dirname(folder) if folder_gone else folder),
        record=record,
        saved=saved.saved if saved is not None else None,
        foreign=saved_file(want.dest) if unknown else None,
        there="" if folder_gone else files.kind(want.dest),
        folder_gone=folder_gone,
        disassembly=_disassembly(host, want, record, digest),
    )


def _disassembly(
    host: Host, want: Want, record: t.Optional[dict[str, t.Any]], digest: t.Optional[str]
) -> tuple[str, ...]:
    if want.disassemble is None or record is None or digest != record["sha256"]:
        return ()
    known = record["disassembly"].get(want.disassemble)
    return tuple(clang.disassemble(host.runner, want.dest, want.disassemble) if known is None else known)


def _inputs(host: Host, recipe: Recipe, record: t.Optional[dict[str, t.Any]], tools: bool) -> Inputs:
    version = "the one that is installed then"
    if tools:
        identity = clang.identity(host.runner, recipe.tools())
        # Asking clang for its version costs more than all the rest: the record knows it for these very files.
        known = record is not None and record["tools"] == identity
        version = record["compiler"] if record and known else clang.version(host.runner, recipe.tools())
    return Inputs(
        recipe.source,
        sha256_of(recipe.source),
        recipe.method,
        recipe.flags,
        recipe.include_paths,
        version,
        tuple((path, sha256_of(path)) for path, _old in record["headers"]) if record else None,
    )
