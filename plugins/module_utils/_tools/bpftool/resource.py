# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The resource bpftool: one that works on the running kernel, from the distribution's package or from source."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, replace

from ..._core.errors import BadInput
from ..._core.host import Host
from ..._core.plan import NOTHING, Forecast, Plan
from ..._core.resource import Kind, Resource
from ..._kernel import bpftool
from ..builds.build_dir import checked_root, compiler
from ..install.state import look
from ..kinds import all_kinds
from ..packages import apt
from ..sources import source
from ..sources.download import checked_checksum
from .plan import Want, plan
from .state import BTF, KERNEL, MIRROR, TOOL, BpftoolState, Recipe

KERNEL_URL = "https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git"
KERNEL_REF = "v6.12"
MIRROR_URL = "https://github.com/libbpf/bpftool.git"
MIRROR_REF = "v7.5.0"


@dataclass
class Bpftool(Want, Resource[BpftoolState]):
    """The resource. What a name stands for is asked once: the server's answer must not change under the plan."""

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

    def kinds(self) -> tuple[Kind, ...]:
        """Those of all tools."""
        return all_kinds()

    def takes_away(self) -> bool:
        """With state absent."""
        return not self.come_from

    def observe(self, host: Host) -> BpftoolState:
        """Ask those that there are, and what a build would be made from."""
        runner = host.runner
        now = BpftoolState(
            here=bpftool.ask(runner, self.target),
            package=bpftool.packaged(runner),
            installed=look(host, TOOL, self.target),
            kernel=os.uname().release,
            fresh_root=not os.path.isdir(self.root),
        )
        if now.best.works and os.path.exists(now.best.path):
            now = replace(now, size=os.stat(now.best.path).st_size)
        if self.come_from == "package":
            return self._observe_package(host, now)
        if self.tree is not None:
            wanted = KERNEL if self.come_from == "kernel" else MIRROR
            if self._identity is None:
                identity, self._warnings = source.identify_or_keep(host, self.tree, wanted, now.installed)
                self._identity = tuple(sorted(identity.items()))
            skeletons = runner.which("clang") is not None and os.path.exists(BTF)
            recipe = Recipe(self.come_from, self._identity, compiler(runner), self.static, skeletons)
            return replace(now, recipe=recipe)
        return now

    def _observe_package(self, host: Host, now: BpftoolState) -> BpftoolState:
        runner = host.runner
        own = f"linux-tools-{now.kernel}"
        offered = apt.candidates(runner, ["bpftool", own])
        if "bpftool" in offered:  # Debian, and Ubuntu from 25.10 on
            names: tuple[str, ...] = ("bpftool",)
        else:
            names = ("linux-tools-common", own if own in offered else "linux-tools-generic")
        return replace(
            now,
            versioned=bpftool.versioned(runner),
            packages=names,
            of_packages=apt.installed(runner, names),
            own_kernel="bpftool" in offered or own in offered,
        )

    def plan(self, now: BpftoolState, coming: Forecast = NOTHING) -> Plan:
        """See plan.py; while a server is away, what was built from its answer stays good."""
        found = plan(self, now)
        return replace(found, warnings=(*found.warnings, *self._warnings))

    def result(self, now: BpftoolState) -> dict[str, t.Any]:
        """The one that a shell would start."""
        best = now.best
        ours = now.installed.files.get(best.path)
        return {
            "binary": best.path if best.works else "",
            "version": best.version,
            "libbpf_version": best.libbpf,
            "features": dict(best.features),
            "size": now.size,
            "sha256": ours.sha256 if ours else "",
            "build": dict(now.installed.about) if ours else {},
            "package_says": now.package.why,
        }
