# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The resource bpftool: one that works on the running kernel, from the distribution's package or from source."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, field, replace

from .._core.errors import BadInput, LabError
from .._core.host import Host
from .._core.plan import Plan, Step
from . import bpftool_answer
from .bpftool_answer import Answer
from .builds import receipt
from .builds.bpftool_build import BTF, KERNEL, MIRROR, TOOL, BuildBpftool, Recipe, TakeBinary, compiler
from .builds.place import Place, Remove, Staged, is_foreign, offer, refusal
from .builds.workshop import checked_root, drop_workshop, workshop
from .packages import apt
from .sources import source
from .sources.download import checked_checksum

KERNEL_URL = "https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git"
KERNEL_REF = "v6.12"
MIRROR_URL = "https://github.com/libbpf/bpftool.git"
MIRROR_REF = "v7.5.0"


@dataclass(frozen=True)
class LinkVersioned(Step):
    """Make a link to the newest binary beside a kernel's tools that works here, ready for Place."""

    prefix: str
    root: str

    def title(self) -> str:
        """See Step."""
        return "choose a bpftool of an installed linux-tools package"

    def apply(self, host: Host) -> None:
        """See Step."""
        found = bpftool_answer.versioned(host.runner)
        if not found:
            raise LabError(
                f"{bpftool_answer.packaged(host.runner).why}; no other installed linux-tools has one that works.",
                "Build one with source: kernel.",
            )
        shop = workshop(host, TOOL, self.root)
        path = os.path.join(shop.stage, self.prefix.lstrip("/"), "sbin", "bpftool")
        os.makedirs(os.path.dirname(path))
        os.symlink(found[0].path, path)
        offer(host, TOOL, Staged(shop.stage, {"source": {"linux-tools": found[0].path}, "static": False}))

    def undo(self, host: Host) -> None:
        """See Step."""
        drop_workshop(host, TOOL)


@dataclass(frozen=True)
class BpftoolState:
    """``placed`` is the receipt of ours, ``here`` what answers at its path, ``package`` the distribution's.

    ``packages`` is what would have to be installed, and what of it is; ``recipe`` what a build would be made from.
    """

    here: Answer
    package: Answer
    placed: t.Optional[receipt.Receipt] = None
    damaged: tuple[str, ...] = ()
    versioned: tuple[Answer, ...] = ()
    packages: tuple[str, ...] = ()
    installed: t.Mapping[str, str] = field(default_factory=dict)
    own_kernel: bool = False
    recipe: t.Optional[Recipe] = None
    claimed: bool = False
    foreign: bool = False

    def best(self) -> Answer:
        """The one that a shell would start: ours is in front on the path."""
        return self.here if self.here.works or not self.package.works else self.package


@dataclass
class Bpftool:
    """The resource. ``come_from`` is package, kernel, libbpf_mirror or binary; "" is absent."""

    come_from: str
    prefix: str = "/usr/local"
    tree: t.Optional[source.AnySource] = None
    static: str = "required"
    overwrite: bool = False
    link_versioned: bool = True
    jobs: int = 1
    root: str = ""
    path: str = ""
    checksum: str = ""
    _identity: t.Optional[tuple[tuple[str, str], ...]] = None
    _warnings: tuple[str, ...] = ()

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> Bpftool:
        """From the module's parameters; raises BadInput."""
        kind = "" if params["state"] == "absent" else params["source"]
        if not os.path.isabs(params["prefix"]):
            raise BadInput("prefix", params["prefix"], "is not absolute", "give for example /usr/local")
        jobs = params["jobs"] if params["jobs"] is not None else len(os.sched_getaffinity(0))
        if jobs < 1:
            raise BadInput("jobs", jobs, "compiles nothing", "give 1 or more")
        if kind == "package" and params["version"]:
            raise BadInput("version", params["version"], "cannot be had from a package", "use source: kernel for it")
        tree: t.Optional[source.AnySource] = None
        path, checksum = params["path"] or "", ""
        if kind == "kernel":
            tree = source.from_params(params, KERNEL_URL, KERNEL_REF)
        elif kind == "libbpf_mirror":
            if params["origin"] == "package":
                raise BadInput("origin", "package", "holds a kernel tree", "use it with source: kernel")
            tree = source.from_params(params, MIRROR_URL, MIRROR_REF)
        elif kind == "binary":
            if not os.path.isabs(path):
                raise BadInput("path", path, "is not an absolute path", "source: binary needs one on the host")
            checksum = checked_checksum("checksum", params["checksum"] or "")
        return cls(
            kind, os.path.normpath(params["prefix"]), tree, params["static"], params["overwrite"],
            params["link_versioned"], jobs, checked_root("build_dir", params["build_dir"]), path, checksum,
        )  # fmt: skip

    @property
    def target(self) -> str:
        """Where ours lies."""
        return os.path.join(self.prefix, "sbin", "bpftool")

    def observe(self, host: Host) -> BpftoolState:
        """See Resource."""
        runner = host.runner
        placed = receipt.read(TOOL)
        now = BpftoolState(
            here=bpftool_answer.ask(runner, self.target),
            package=bpftool_answer.packaged(runner),
            placed=placed,
            damaged=placed.damaged() if placed else (),
            claimed=host.journal.claimed(f"tool:{TOOL}") is not None,
            foreign=is_foreign(self.target, placed),
        )
        if self.come_from == "package":
            return self._observe_package(host, now)
        if self.tree is not None:
            wanted = KERNEL if self.come_from == "kernel" else MIRROR
            if self._identity is None:  # asked once a call: the server's answer must not change under the plan
                identity, self._warnings = source.identify_or_keep(host, self.tree, wanted, placed)
                self._identity = tuple(sorted(identity.items()))
            skeletons = runner.which("clang") is not None and os.path.exists(BTF)
            recipe = Recipe(self.come_from, self._identity, compiler(runner), self.static, skeletons)
            return replace(now, recipe=recipe)
        return now

    def _observe_package(self, host: Host, now: BpftoolState) -> BpftoolState:
        runner, kernel = host.runner, os.uname().release
        own = f"linux-tools-{kernel}"
        offered = apt.candidates(runner, ["bpftool", own])
        if "bpftool" in offered:  # Debian, and Ubuntu from 25.10 on
            names: tuple[str, ...] = ("bpftool",)
        else:
            names = ("linux-tools-common", own if own in offered else "linux-tools-generic")
        return replace(
            now,
            versioned=bpftool_answer.versioned(runner),
            packages=names,
            installed=apt.installed(runner, names),
            own_kernel="bpftool" in offered or own in offered,
        )

    def plan(self, now: BpftoolState) -> Plan:
        """See Resource."""
        if not self.come_from:
            steps = (Remove(TOOL, self._where(now)),) if now.placed or now.claimed else ()
            rest = {"path": now.package.path, "from": "package"} if now.package.works else None
            return Plan(self._shown(now), rest if steps else self._shown(now), steps)
        if self.come_from == "package":
            return self._plan_package(now)
        key = self.checksum if self.come_from == "binary" else (now.recipe.key if now.recipe else "")
        if self._is_placed(now, key):
            return Plan(self._shown(now), self._shown(now), warnings=self._warnings)
        self._refuse_foreign(now)
        first: Step
        if now.recipe is None or self.tree is None:
            first = TakeBinary(self.path, self.checksum, self.prefix, self.static, self.root)
        else:
            wanted = KERNEL if self.come_from == "kernel" else MIRROR
            first = BuildBpftool(self.tree, wanted, now.recipe, self.prefix, self.jobs, self.root)
        place = Place(TOOL, key, self.target, self.overwrite)
        after = {"path": self.target, "from": {"key": key}}
        return Plan(self._shown(now), after, (first, place), self._warnings)

    def _plan_package(self, now: BpftoolState) -> Plan:
        missing = tuple(name for name in now.packages if name not in now.installed)
        before = self._shown(now)
        # A link of ours into linux-tools is the package's own binary, made to answer.
        linked = now.placed is not None and self.link_versioned and not now.damaged and now.here.works
        linked = linked and now.placed is not None and now.placed.key == "linux-tools"
        if now.package.works:
            steps: tuple[Step, ...] = (Remove(TOOL, self._where(now)),) if now.placed else ()
            warnings: tuple[str, ...] = ()
            if not now.placed and os.path.exists(self.target):
                warnings = (f"{self.target} is not ours, and comes before the package's bpftool on the path.",)
            return Plan(before, {"path": now.package.path, "from": "package"} if steps else before, steps, warnings)
        if linked:
            return Plan(before, before)
        steps = (apt.InstallPackages(missing),) if missing else ()
        if now.own_kernel:
            if not missing:
                raise LabError(f"The package is installed, and its bpftool does not work: {now.package.why}.")
            steps += (Remove(TOOL, self._where(now)),) if now.placed else ()
            return Plan(before, {"path": now.package.path, "from": "package"}, steps)
        why = f"the archive has no linux-tools for the running kernel {os.uname().release}"
        if not self.link_versioned:
            raise LabError(
                f"The package's bpftool would not work here: {why}.",
                "Allow link_versioned, which uses another kernel's binary, or build one with source: kernel.",
            )
        if not missing and not now.versioned:
            raise LabError(
                f"{now.package.why}; no other installed linux-tools has one that works.",
                "Build one with source: kernel.",
            )
        self._refuse_foreign(now)
        steps += (LinkVersioned(self.prefix, self.root), Place(TOOL, "linux-tools", self.target, self.overwrite))
        return Plan(before, {"path": self.target, "from": {"key": "linux-tools"}}, steps)

    def _refuse_foreign(self, now: BpftoolState) -> None:
        """Before anything is built or installed, and in check mode, too."""
        if now.foreign and not self.overwrite:
            raise refusal([self.target])

    def _is_placed(self, now: BpftoolState, key: str) -> bool:
        placed = now.placed
        return bool(
            placed and placed.complete and placed.key == key and not now.damaged
            and self.target in placed.files and now.here.works
        )  # fmt: skip

    def _where(self, now: BpftoolState) -> str:
        return ", ".join(now.placed.files) if now.placed else self.target

    def _shown(self, now: BpftoolState) -> t.Any:
        best = now.best()
        if not best.works:
            return None
        if now.placed and best.path in now.placed.files:
            return {"path": best.path, "from": {"key": now.placed.key}}
        return {"path": best.path, "from": "package" if best is now.package else "elsewhere"}

    def facts(self, host: Host, now: BpftoolState) -> dict[str, t.Any]:
        """See Resource."""
        best = now.best()
        about = dict(now.placed.about) if now.placed and best.path in now.placed.files else {}
        entry = now.placed.files.get(best.path) if now.placed else None
        return {
            "binary": best.path if best.works else "",
            "version": best.version,
            "libbpf_version": best.libbpf,
            "features": dict(best.features),
            "size": os.stat(best.path).st_size if best.works else 0,
            "sha256": entry.sha256 if entry else "",
            "build": about,
            "package_says": now.package.why,
        }
