# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wanted of a BPF object, and what is seen of one."""

from __future__ import annotations

import hashlib
import typing as t
from dataclasses import dataclass, replace

from ..._core.own_files import coming_digest
from ..._core.plan import Forecast
from ..pin.folders import Folders
from .clang import Recipe


@dataclass(frozen=True)
class Want:
    """An object file at ``dest`` made by ``recipe``; ``present`` False: none of ours there.

    ``disassemble`` names a section whose instructions are returned. ``overwrite``: a file that we did not make may
    be replaced; the journal keeps it. ``own_folder``: the folder is the lab's, where whatever somebody put in the
    object's place is kept beside it. ``tools_follow``: the compiler is only installed later.
    """

    dest: str
    recipe: t.Optional[Recipe]
    present: bool = True
    disassemble: t.Optional[str] = None
    overwrite: bool = False
    own_folder: bool = False
    tools_follow: bool = False


@dataclass(frozen=True)
class Inputs:
    """All that decides what an object holds. Digests are SHA-256; ``headers`` is None before the first build."""

    source: str
    source_sha256: t.Optional[str]
    method: str
    flags: tuple[str, ...]
    include_paths: tuple[str, ...]
    compiler: str
    headers: t.Optional[tuple[tuple[str, t.Optional[str]], ...]]

    @classmethod
    def of(cls, record: t.Mapping[str, t.Any]) -> Inputs:
        """Those that a build's record tells of."""
        return cls(
            record["source"],
            record["source_sha256"],
            record["method"],
            tuple(record["flags"]),
            tuple(record["include_paths"]),
            record["compiler"],
            tuple((path, digest) for path, digest in record["headers"]),
        )

    def after(self, coming: Forecast) -> Inputs:
        """With the files that earlier parts of the same plan write."""
        headers = self.headers
        if headers is not None:
            headers = tuple((path, coming_digest(path, digest, coming)) for path, digest in headers)
        source = coming_digest(self.source, self.source_sha256, coming)
        return replace(self, source_sha256=source, headers=headers)

    def summary(self) -> dict[str, t.Any]:
        """For the diff: the headers as one digest."""
        headers = None if self.headers is None else hashlib.sha256(repr(self.headers).encode()).hexdigest()
        return {
            "source": self.source,
            "source_sha256": self.source_sha256,
            "method": self.method,
            "flags": list(self.flags),
            "include_paths": list(self.include_paths),
            "compiler": self.compiler,
            **({} if headers is None else {"headers_sha256": headers}),
        }


@dataclass(frozen=True)
class ObjectState:
    """What is at ``dest``: its digest (None: nothing), the inputs it was made from, and the inputs as they are now.

    ``record`` is the build's record; ``saved`` the foreign file that the journal has to put back. ``foreign`` is a file
    at ``dest`` that is not ours, as the journal would keep it. ``there`` is what is at ``dest``, of whatever kind.
    ``folder_gone``: what bears the name of the lab's own folder is another thing by now. ``disassembly`` are the
    instructions that are asked for.
    """

    digest: t.Optional[str]
    claimed: bool
    made_from: t.Optional[Inputs]
    inputs: t.Optional[Inputs]
    folders: Folders
    record: t.Optional[dict[str, t.Any]] = None
    saved: t.Optional[dict[str, t.Any]] = None
    foreign: t.Optional[dict[str, t.Any]] = None
    there: str = ""
    folder_gone: bool = False
    disassembly: tuple[str, ...] = ()

    @property
    def occupied(self) -> bool:
        """Whether anything is at ``dest``."""
        return bool(self.there) or self.digest is not None

    @property
    def intact(self) -> bool:
        """Whether the file is the one that the record is about."""
        return self.record is not None and self.digest == self.record["sha256"]

    def describe(self) -> dict[str, t.Any]:
        """For the diff."""
        if not self.occupied:
            return {"state": "absent"}
        if not self.intact or self.made_from is None:
            return {"state": "present", "made_from": "another file" if self.claimed else "not known"}
        return {"state": "present", "made_from": self.made_from.summary()}
