# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compile an object beside its place, and put it there by a rename: a reader never sees half an object."""

from __future__ import annotations

import contextlib
import os
import typing as t
from dataclasses import dataclass

from ..._core import files
from ..._core.errors import LabError
from ..._core.files import sha256_of
from ..._core.host import Host
from ..._core.own_files import COMING, Value, file_key, temporary_key, way_back, written
from ..._core.plan import Done, Key, Learned, Note, Step, make, release
from ..._kernel.elf import read_object
from . import clang
from .clang import Recipe


def build_key(dest: str) -> Key:
    """Under which key a run knows the record of what it has compiled. It is in no journal."""
    return f"build:{dest}"


@dataclass(frozen=True)
class Compile(Step):
    """Compile in a temporary folder beside ``dest``, in which the object waits for its place."""

    libraries: t.ClassVar[tuple[str, ...]] = ("elftools",)

    dest: str
    recipe: Recipe
    disassemble: t.Optional[str] = None

    def title(self) -> str:
        return f"compile {self.recipe.source} to {self.dest}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (make(temporary_key(files.temporary(self.dest)), lasting=True),)

    def apply(self, host: Host, learned: Learned) -> Done:
        folder = files.temporary(self.dest)
        files.remove_tree(folder)
        try:
            os.mkdir(folder, 0o700)
            record = self._compile(host, folder)
        except OSError as error:
            files.remove_tree(folder)
            raise files.failed(self.title(), error) from error
        except BaseException:
            files.remove_tree(folder)
            raise
        return Done(undo=(RemoveBuild(self.dest),), learned={build_key(self.dest): record})

    def _compile(self, host: Host, folder: str) -> dict[str, t.Any]:
        if not os.path.isfile(self.recipe.source):
            raise LabError(
                f"src: there is no file {self.recipe.source} on this host.", "Copy the C source there first."
            )
        tools = clang.identity(host.runner, self.recipe.tools())
        source = sha256_of(self.recipe.source)
        built, headers, said = clang.compile_object(host.runner, self.recipe, folder)
        info = read_object(built)
        record = {
            "sha256": sha256_of(built),
            "info": info.as_dict(),
            "diagnostics": said,
            "tools": tools,
            "compiler": clang.version(host.runner, self.recipe.tools()),
            "source": self.recipe.source,
            "source_sha256": source,
            "method": self.recipe.method,
            "flags": list(self.recipe.flags),
            "include_paths": list(self.recipe.include_paths),
            "headers": [[path, sha256_of(path)] for path in sorted(set(headers))],
            "disassembly": {},
        }
        if self.disassemble is not None:
            record["disassembly"] = {self.disassemble: clang.disassemble(host.runner, built, self.disassemble)}
        os.chmod(built, 0o644)
        for name in set(os.listdir(folder)) - {os.path.basename(built)}:
            os.unlink(os.path.join(folder, name))
        return record


@dataclass(frozen=True)
class RemoveBuild(Step):
    """Remove what was compiled and is not wanted any more."""

    dest: str

    def title(self) -> str:
        return f"remove {files.temporary(self.dest)}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (release(temporary_key(files.temporary(self.dest))),)

    def apply(self, host: Host, learned: Learned) -> Done:
        files.remove_tree(files.temporary(self.dest))
        return Done()


@dataclass(frozen=True)
class Place(Step):
    """Give the compiled object its name. ``before`` is somebody's file that it replaces, as the journal keeps it."""

    dest: str
    before: t.Optional[Value] = None

    def title(self) -> str:
        return f"put {self.dest} in place"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        record = learned.get(build_key(self.dest)) or {COMING: True}
        return (*written(self.dest, record, self.before), release(temporary_key(files.temporary(self.dest))))

    def apply(self, host: Host, learned: Learned) -> Done:
        folder = files.temporary(self.dest)
        back = way_back(host, self.dest, self.before)
        try:
            os.replace(os.path.join(folder, clang.OBJECT), self.dest)
        except OSError as error:
            raise files.failed(self.title(), error) from error
        with contextlib.suppress(OSError):  # it is empty now, and nobody else's
            os.rmdir(folder)
        return Done(undo=(back,), learned={file_key(self.dest): learned.get(build_key(self.dest))})
