# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The resource iproute2: the distribution's, or one built from source beside it with its header bpf_api.h."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, field

from ..._core.errors import BadInput
from ..._core.host import Host
from ..._core.plan import NOTHING, AnyStep, Forecast, Plan
from ..._core.resource import Kind, Resource
from ..builds.build_dir import checked_root, compiler
from ..builds.steps import RemoveTemporary
from ..install.resource import Installing, Removing
from ..install.state import Installed, look, refusal
from ..kinds import all_kinds
from ..packages import apt
from ..sources import source
from ..sources.source import AnySource
from .steps import HEADER, TOOL, TREE, BuildIproute2, Recipe, version

URL = "https://git.kernel.org/pub/scm/network/iproute2/iproute2.git"
REF = "v6.12.0"
# What configure looks for: another set of them makes another ip and tc.
_LIBRARIES = ("libbpf-dev", "libcap-dev", "libdb-dev", "libelf-dev", "libmnl-dev", "libselinux1-dev", "libtirpc-dev")


@dataclass(frozen=True)
class Iproute2State:
    """``here`` is the version that our ip answers with, ``package`` that of the distribution's.

    ``header`` is the path of bpf_api.h where there is one; ``fresh_root``: there is no directory to build in yet.
    """

    here: str
    package: str
    installed: Installed
    of_packages: t.Mapping[str, str] = field(default_factory=dict)
    recipe: t.Optional[Recipe] = None
    header: str = ""
    fresh_root: bool = False


@dataclass
class Iproute2(Resource[Iproute2State]):
    """The resource. Without ``tree`` it is the distribution's, with ``present`` False ours is to go."""

    present: bool
    tree: t.Optional[AnySource]
    prefix: str
    include_dir: str
    overwrite: bool
    jobs: int
    root: str
    _identity: t.Optional[tuple[tuple[str, str], ...]] = None
    _warnings: tuple[str, ...] = ()

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> Iproute2:
        """From the module's parameters; raises BadInput."""
        present = params["state"] == "present"
        for option in ("prefix", "include_dir"):
            if not os.path.isabs(params[option]) or os.path.normpath(params[option]) == "/":
                raise BadInput(option, params[option], "cannot be installed to", "give for example /usr/local")
        jobs = params["jobs"] if params["jobs"] is not None else len(os.sched_getaffinity(0))
        if jobs < 1:
            raise BadInput("jobs", jobs, "compiles nothing", "give 1 or more")
        tree: t.Optional[AnySource] = None
        if present and params["source"] != "package":
            tree = source.from_params({**params, "origin": params["source"]}, URL, REF)
        elif present and params["version"]:
            raise BadInput("version", params["version"], "cannot be had from a package", "use source: git for it")
        return cls(
            present, tree, os.path.normpath(params["prefix"]), os.path.normpath(params["include_dir"]),
            params["overwrite"], jobs, checked_root("build_dir", params["build_dir"]),
        )  # fmt: skip

    @property
    def ip(self) -> str:
        """Where our ip lies."""
        return os.path.join(self.prefix, "sbin", "ip")

    def kinds(self) -> tuple[Kind, ...]:
        """Those of all tools."""
        return all_kinds()

    def takes_away(self) -> bool:
        """With state absent."""
        return not self.present

    def observe(self, host: Host) -> Iproute2State:
        """Ask both for their version, and what a build would be made from."""
        installed = look(host, TOOL, self.ip)
        recipe = None
        if self.tree is not None:
            if self._identity is None:  # asked once a call: the server's answer must not change under the plan
                identity, self._warnings = source.identify_or_keep(host, self.tree, TREE, installed)
                self._identity = tuple(sorted(identity.items()))
            libraries = tuple(sorted(apt.installed(host.runner, _LIBRARIES).items()))
            recipe = Recipe(self._identity, compiler(host.runner), libraries, self.prefix, self.include_dir)
        header = os.path.join(self.include_dir, HEADER)
        return Iproute2State(
            version(host.runner, self.ip),
            version(host.runner, next((path for path in ("/usr/sbin/ip", "/sbin/ip") if os.path.exists(path)), "")),
            installed,
            apt.installed(host.runner, [TOOL]),
            recipe,
            header if os.path.exists(header) else "",
            not os.path.isdir(self.root),
        )

    def plan(self, now: Iproute2State, coming: Forecast = NOTHING) -> Plan:
        """Build and install it, or take ours away."""
        before = self._shown(now)
        where = f"{self.prefix} and {self.include_dir}"
        steps: tuple[AnyStep, ...] = tuple(RemoveTemporary(key) for key in now.installed.left)
        if now.recipe is None or self.tree is None:
            if self.present and TOOL not in now.of_packages:
                steps += (apt.InstallPackages((TOOL,)),)
            if now.installed.noted:
                steps += (Removing(TOOL).later(where),)
            return Plan(before, {"from": "package"} if steps else before, steps)
        key = now.recipe.key
        if now.installed.is_whole(key, self.ip) and now.here:
            return Plan(before, before, steps, self._warnings)
        if now.installed.is_foreign(self.ip) and not self.overwrite:  # found before the build, and in check mode, too
            raise refusal([self.ip])
        build = BuildIproute2(self.root, now.fresh_root, self.tree, now.recipe, self.jobs)
        install = Installing(TOOL, key, self.overwrite, build=build.key).later(where)
        return Plan(before, {"from": {"key": key}}, (*steps, build, install), self._warnings)

    def _shown(self, now: Iproute2State) -> t.Any:
        if now.installed.noted:
            return {"from": {"key": now.installed.key}, "damaged": list(now.installed.damaged)}
        return {"from": "package"} if now.package else None

    def result(self, now: Iproute2State) -> dict[str, t.Any]:
        """Which one there is."""
        ours = now.installed.noted
        return {
            "ip": self.ip if ours else "",
            "version": now.here if ours else now.package,
            "package_version": now.of_packages.get(TOOL, ""),
            "bpf_api": now.header,
            "files": sorted(now.installed.files),
            "build": dict(now.installed.about),
        }
