# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The BPF object as a resource: compiled when its source, headers, flags or compiler are not those it was made from.

The record of a build (what it was made from, what it holds) is the value of the journal's claim on the object file:
it goes with the object, and a run without a change reads it instead of the object.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import tempfile
import typing as t
from dataclasses import dataclass

from ..._core import files
from ..._core.errors import BadInput, LabError, Refused
from ..._core.files import KeepFile, sha256_of
from ..._core.host import Host
from ..._core.plan import Forget, Note, Plan, Step
from ..._kernel.elf import ObjectInfo, read_object
from ..pin.folders import Sweep, existing, making, ours_and_empty, sweep, unsweep
from . import clang as compiler
from .clang import Recipe

KEPT_BYTES = 4 << 20  # of a foreign file that is replaced: more does not belong in the journal


def info_of(host: Host, path: str, digest: str) -> ObjectInfo:
    """What the object file with this digest holds: from its build record when there is one, else from the file."""
    claim = host.journal.claimed(f"file:{path}")
    if claim is not None and claim.value and claim.value["sha256"] == digest:
        return ObjectInfo.from_dict(claim.value["info"])
    return read_object(path)


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

    ``record`` is the build's record; ``folders`` those above that exist; ``empty`` those of ours that hold nothing.
    ``restorable``: the journal has a foreign file to put back. ``foreign`` is the content, in base64, of a file at
    ``dest`` that is not ours. ``there`` is what is at ``dest``, of whatever kind. ``folder_gone``: what bears the name
    of the lab's own folder is another thing by now.
    """

    digest: t.Optional[str]
    claimed: bool
    made_from: t.Optional[Inputs]
    inputs: t.Optional[Inputs]
    folders: frozenset[str]
    record: t.Optional[dict[str, t.Any]] = None
    empty: tuple[str, ...] = ()
    restorable: bool = False
    foreign: t.Optional[str] = None
    there: str = ""
    folder_gone: bool = False

    @property
    def occupied(self) -> bool:
        """Whether anything is at ``dest``."""
        return bool(self.there) or self.digest is not None

    @property
    def ours(self) -> bool:
        """Whether it is a file that we have made, be it by a run that was killed before it was in place."""
        return self.record is not None and self.digest in (self.record["sha256"], self.record.get("replaces", ""))

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


@dataclass(frozen=True)
class CompileObject(Step):
    """Compile to a temporary file beside the object and rename it over: a reader never sees half an object."""

    libraries: t.ClassVar[tuple[str, ...]] = ("elftools",)

    dest: str
    recipe: Recipe
    replaces: bool
    disassemble: t.Optional[str] = None
    foreign: t.Optional[str] = None

    def title(self) -> str:
        return f"compile {self.recipe.source} to {self.dest}"

    def apply(self, host: Host) -> None:
        claim = host.journal.claimed(f"file:{self.dest}")
        try:
            folder = tempfile.mkdtemp(prefix=files.TEMPORARY, dir=os.path.dirname(self.dest))
        except OSError as error:
            raise files.failed(self.title(), error) from error
        try:
            if not os.path.isfile(self.recipe.source):
                raise LabError(
                    f"src: there is no file {self.recipe.source} on this host.", "Copy the C source there first."
                )
            tools = compiler.identity(host.runner, self.recipe.tools())
            digest = sha256_of(self.recipe.source)
            built, headers, said = compiler.compile_object(host.runner, self.recipe, folder)
            info = read_object(built)
            record = {
                "sha256": sha256_of(built),
                "info": info.as_dict(),
                "diagnostics": said,
                "tools": tools,
                "compiler": compiler.version(host.runner, self.recipe.tools()),
                "source": self.recipe.source,
                "source_sha256": digest,
                "method": self.recipe.method,
                "flags": list(self.recipe.flags),
                "include_paths": list(self.recipe.include_paths),
                "headers": [[path, sha256_of(path)] for path in sorted(set(headers))],
                "disassembly": {},
                "replaces": ((claim.value if claim is not None else None) or {}).get("sha256", ""),
            }
            if self.disassemble is not None:
                record["disassembly"] = {self.disassemble: compiler.disassemble(host.runner, built, self.disassemble)}
            os.chmod(built, 0o644)
            host.kept["replaced", self.dest] = files.read(self.dest)
            # Before the object: what is there without a record is somebody else's.
            host.journal.write([Note("claim", f"file:{self.dest}", record, volatile=False)])
            os.replace(built, self.dest)
        except OSError as error:
            raise files.failed(self.title(), error) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def undo(self, host: Host) -> None:
        put_back(self.dest, host.kept.pop(("replaced", self.dest), None))

    def notes(self) -> tuple[Note, ...]:
        claim = (
            ()
            if self.replaces and self.foreign is None
            else (Note("claim", f"file:{self.dest}", None, volatile=False),)
        )
        if self.foreign is None:
            return claim
        return (Note("save", f"file:{self.dest}", self.foreign, volatile=False), *claim)


@dataclass(frozen=True)
class RemoveObject(Step):
    """Remove an object that we made, and the folders that we made for it; put back the file that it replaced."""

    dest: str

    def title(self) -> str:
        return f"remove {self.dest}"

    def apply(self, host: Host) -> None:
        saved = host.journal.saved(f"file:{self.dest}")
        host.kept["replaced", self.dest] = files.read(self.dest)
        put_back(self.dest, base64.b64decode(saved.saved) if saved is not None else None)
        sweep(host, os.path.dirname(self.dest))

    def undo(self, host: Host) -> None:
        unsweep(host, os.path.dirname(self.dest))
        put_back(self.dest, host.kept.pop(("replaced", self.dest), None))

    def notes(self) -> tuple[Note, ...]:
        return (Note("release", f"file:{self.dest}"),)


def _content(path: str) -> t.Optional[str]:
    """A foreign file in base64, for the journal; None when there is none. Raises Refused when it is too big."""
    content = files.read(path, limit=KEPT_BYTES + 1)
    if content is None:
        return None
    if len(content) > KEPT_BYTES:
        raise Refused(f"dest: {path} is there, and is too big to be kept in the journal.", "Move it away by hand.")
    return base64.b64encode(content).decode("ascii")


def put_back(path: str, content: t.Optional[bytes]) -> None:
    """Make the file hold ``content`` by a rename; None removes it."""
    if content is None:
        files.remove(path)
    else:
        files.write(path, content)


def is_ours(host: Host, path: str) -> bool:
    """Whether the file at ``path`` is as we wrote or made it."""
    claim = host.journal.claimed(f"file:{path}")
    value = (claim.value if claim is not None else None) or {}
    made = {value.get(key) for key in ("written", "sha256", "replaces")} - {None}
    return bool(made) and sha256_of(path, follow=False) in made


@dataclass(frozen=True)
class ObjectResource:
    """An object file at ``dest`` made by ``recipe``; ``present`` False: none of ours there.

    ``disassemble`` names a section whose instructions are returned. ``overwrite``: a file that we did not make may
    be replaced; the journal keeps it. ``own_folder``: the folder is the lab's, where whatever somebody put in the
    object's place is kept beside it.
    """

    dest: str
    recipe: t.Optional[Recipe]
    present: bool = True
    disassemble: t.Optional[str] = None
    overwrite: bool = False
    own_folder: bool = False

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any], own_folder: bool = False) -> ObjectResource:
        """From the parameters of ``bpf_object``. Raises BadInput."""
        present = params.get("state", "present") == "present"
        for option in ("src", "dest"):
            value = params.get(option)
            if value is not None and not value.startswith("/"):
                raise BadInput(option, value, "is not an absolute path", "give one, such as /opt/lab/xdp_pass.c")
        for path in params.get("include_paths") or ():
            if not path.startswith("/"):
                raise BadInput("include_paths", path, "is not an absolute path", "give one, such as /usr/include")
        source, dest = params.get("src") or "", os.path.normpath(params["dest"])
        if present and not source:
            raise BadInput("src", params.get("src"), "names no source", "say which C file to compile")
        if present and os.path.normpath(source) == dest:
            raise BadInput("dest", dest, "is the source itself", "name the object file, such as xdp_pass.o")
        flags = params.get("flags")
        recipe = (
            Recipe(
                os.path.normpath(source),
                params.get("method") or "direct",
                compiler.FLAGS if flags is None else tuple(flags),
                tuple(params.get("include_paths") or ()),
            )
            if present
            else None
        )
        return cls(dest, recipe, present, params.get("disassemble"), bool(params.get("overwrite")), own_folder)

    def observe(self, host: Host) -> ObjectState:
        """Digests of the object, its source and the headers it was made from; the compiler's version."""
        return self._observe(host, True)

    def without_tools(self, host: Host) -> ObjectState:
        """The same where the compiler is still to be installed."""
        return self._observe(host, False)

    def _observe(self, host: Host, tools: bool) -> ObjectState:
        claim = host.journal.claimed(f"file:{self.dest}")
        record = claim.value if claim is not None else None
        folder = os.path.dirname(self.dest)
        folder_gone = self.own_folder and files.kind(folder) not in ("", "folder")
        restorable = host.journal.saved(f"file:{self.dest}") is not None
        unknown = self.overwrite and self.present and not record and not restorable
        made_from = None
        if record:
            made_from = Inputs(
                record["source"],
                record["source_sha256"],
                record["method"],
                tuple(record["flags"]),
                tuple(record["include_paths"]),
                record["compiler"],
                tuple((path, digest) for path, digest in record["headers"]),
            )
        return ObjectState(
            digest=None if folder_gone else sha256_of(self.dest, follow=False),
            claimed=claim is not None,
            made_from=made_from,
            inputs=self._inputs(host, record, tools) if self.recipe is not None else None,
            folders=existing(os.path.dirname(folder) if folder_gone else folder),
            record=record or None,
            empty=ours_and_empty(host, folder),
            restorable=restorable,
            foreign=_content(self.dest) if unknown else None,
            there="" if folder_gone else files.kind(self.dest),
            folder_gone=folder_gone,
        )

    def _inputs(self, host: Host, record: t.Optional[dict[str, t.Any]], tools: bool) -> Inputs:
        recipe = t.cast(Recipe, self.recipe)
        version = "the one that is installed then"
        if tools:
            identity = compiler.identity(host.runner, recipe.tools())
            # Asking clang for its version costs more than all the rest: the record knows it for these very files.
            known = record is not None and record["tools"] == identity
            version = record["compiler"] if record and known else compiler.version(host.runner, recipe.tools())
        return Inputs(
            recipe.source,
            sha256_of(recipe.source),
            recipe.method,
            recipe.flags,
            recipe.include_paths,
            version,
            tuple((path, sha256_of(path)) for path, _old in record["headers"]) if record else None,
        )

    def plan(self, now: ObjectState) -> Plan:
        """Compile when anything that the object is made from differs, or the object is not what was made."""
        if not self.present:
            return self._plan_absent(now)
        recipe, inputs = t.cast(Recipe, self.recipe), t.cast(Inputs, now.inputs)
        if now.intact and now.made_from == inputs:
            return Plan(before=now.describe(), after=now.describe())
        kept: tuple[Step, ...] = ()
        if now.occupied and not now.ours and self.own_folder:
            kept = (KeepFile(self.dest),)
        elif now.there not in ("", "file"):
            raise Refused(f"dest: {self.dest} is there, and is a {now.there}.", "Choose another dest, or move it away.")
        elif now.occupied and now.record is None and not now.restorable and not self.overwrite:
            raise Refused(
                f"dest: {self.dest} is there and was not made by the lab.",
                "Choose another dest, or say overwrite: true; state: absent then puts the old file back.",
            )
        warnings: tuple[str, ...] = ()
        if inputs.source_sha256 is None:
            warnings = (f"src: {recipe.source} is not there yet; the run needs it.",)
        steps = (
            *making(os.path.dirname(self.dest), now.folders, volatile=False),
            *kept,
            CompileObject(self.dest, recipe, now.claimed, self.disassemble, now.foreign),
        )
        after = {"state": "present", "made_from": inputs.summary()}
        return Plan(before=now.describe(), after=after, steps=steps, warnings=warnings)

    def _plan_absent(self, now: ObjectState) -> Plan:
        stays = (f"dest: {self.dest} was not made by the lab and stays.",)
        if now.claimed and now.folder_gone:
            return Plan(before=now.describe(), after=now.describe(), steps=(Forget(f"file:{self.dest}"),))
        if now.claimed and now.occupied and not now.ours and not now.restorable:
            return Plan(now.describe(), now.describe(), (Forget(f"file:{self.dest}"),), stays)
        if now.claimed:
            after = {"state": "as it was before the lab" if now.restorable else "absent"}
            # What somebody made of ours is not lost to what was there before it.
            kept = (KeepFile(self.dest),) if now.occupied and not now.ours and now.record is not None else ()
            return Plan(before=now.describe(), after=after, steps=(*kept, RemoveObject(self.dest)))
        warnings = stays if now.occupied else ()
        steps: tuple[Step, ...] = (Sweep(os.path.dirname(self.dest)),) if now.empty else ()
        return Plan(before=now.describe(), after=now.describe(), steps=steps, warnings=warnings)

    def facts(self, host: Host, now: ObjectState) -> dict[str, t.Any]:
        """What the object holds, as the module returns it."""
        result: dict[str, t.Any] = {"dest": self.dest}
        if now.record is None or not now.intact or not self.present:
            return result
        result.update(now.record["info"], sha256=now.digest, compiler=now.record["compiler"])
        result["diagnostics"] = now.record["diagnostics"]
        result["headers"] = [path for path, _digest in now.record["headers"]]
        if self.disassemble is not None:
            lines = now.record["disassembly"].get(self.disassemble)
            if lines is None:
                lines = compiler.disassemble(host.runner, self.dest, self.disassemble)
            result["disassembly"] = lines
        return result
