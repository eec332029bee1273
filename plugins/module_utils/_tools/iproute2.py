# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The resource iproute2: the distribution's, or one built from source beside it with its header bpf_api.h."""

from __future__ import annotations

import os
import re
import shutil
import time
import typing as t
from dataclasses import asdict, dataclass, field

from .._core.errors import BadInput, CommandFailed, LabError
from .._core.host import Host
from .._core.plan import Plan, Step
from .builds import receipt
from .builds.bpftool_build import compiler
from .builds.place import Place, Remove, Staged, is_foreign, offer, refusal
from .builds.workshop import checked_root, drop_workshop, workshop
from .packages import apt
from .sources import source
from .sources.source import AnySource, Wanted

if t.TYPE_CHECKING:
    from .._core.command import Runner

TOOL = "iproute2"
URL = "https://git.kernel.org/pub/scm/network/iproute2/iproute2.git"
REF = "v6.12.0"
TREE = Wanted("ip/ip.c", (), "iproute2")
# What configure looks for: another set of them makes another ip and tc.
_LIBRARIES = ("libbpf-dev", "libcap-dev", "libdb-dev", "libelf-dev", "libmnl-dev", "libselinux1-dev", "libtirpc-dev")
_HEADER, _ITS_HEADER = "bpf_api.h", "bpf_elf.h"


@dataclass(frozen=True)
class Recipe:
    """All that a build is made from and where it goes: the paths are compiled in."""

    identity: tuple[tuple[str, str], ...]
    compiler: str
    libraries: tuple[tuple[str, str], ...]
    prefix: str
    include_dir: str

    @property
    def key(self) -> str:
        """The recipe's digest."""
        return receipt.digest_of(asdict(self))

    def variables(self) -> list[str]:
        """Where make puts things. Both names of the configuration's folder are given: releases differ."""
        etc = "/etc/iproute2" if self.prefix == "/usr" else os.path.join(self.prefix, "etc/iproute2")
        places = {
            "PREFIX": self.prefix,
            "SBINDIR": os.path.join(self.prefix, "sbin"),
            "CONFDIR": etc,
            "CONF_ETC_DIR": etc,
            "CONF_USR_DIR": os.path.join(self.prefix, "share/iproute2"),
            "HDRDIR": os.path.join(self.prefix, "include/iproute2"),
        }
        return [f"{name}={value}" for name, value in places.items()]


@dataclass(frozen=True)
class BuildIproute2(Step):
    """Fetch, configure, build and stage it."""

    tree: AnySource
    recipe: Recipe
    jobs: int
    root: str

    def title(self) -> str:
        """See Step."""
        return "build iproute2 from " + ", ".join(f"{name} {value}" for name, value in self.recipe.identity)

    def apply(self, host: Host) -> None:
        """See Step."""
        shop = workshop(host, TOOL, self.root)
        self.tree.fetch(host, shop, TREE)
        start = time.monotonic()
        with open(os.path.join(shop.src, "configure"), encoding="utf-8", errors="replace") as file:
            knows_prefix = "--prefix" in file.read()  # from 5.15 on
        shop.run(
            ["./configure", *([f"--prefix={self.recipe.prefix}"] if knows_prefix else [])], doing="configuring iproute2"
        )
        variables = self.recipe.variables()
        shop.run(["make", f"-j{self.jobs}", *variables], doing="building iproute2")
        shop.run(["make", "install", f"DESTDIR={shop.stage}", *variables], doing="installing iproute2 to its stage")
        self._stage_header(shop.src, shop.stage)
        said = version(host.runner, os.path.join(shop.stage, self.recipe.prefix.lstrip("/"), "sbin/ip"))
        if not said:
            raise LabError("Building iproute2: the new ip does not run here.")
        about = {
            "source": {**asdict(self.tree), **dict(self.recipe.identity)},
            "compiler": self.recipe.compiler,
            "version": said,
            "build_seconds": round(time.monotonic() - start, 1),
        }
        offer(host, TOOL, Staged(shop.stage, about))

    def undo(self, host: Host) -> None:
        """See Step."""
        drop_workshop(host, TOOL)

    def _stage_header(self, src: str, stage: str) -> None:
        """bpf_api.h is in no package and not in make install; the header that it includes is in most packages."""
        folder = os.path.join(stage, self.recipe.include_dir.lstrip("/"))
        old = receipt.read(TOOL)
        os.makedirs(folder, exist_ok=True)
        for name in (_HEADER, _ITS_HEADER):
            path = os.path.join(self.recipe.include_dir, name)
            ours = old is not None and path in old.files
            if name == _HEADER or ours or not os.path.exists(path):
                shutil.copyfile(os.path.join(src, "include", name), os.path.join(folder, name))


@dataclass(frozen=True)
class Iproute2State:
    """``here`` is the version that our ip answers with, ``package`` that of the distribution's."""

    here: str
    package: str
    installed: t.Mapping[str, str] = field(default_factory=dict)
    placed: t.Optional[receipt.Receipt] = None
    damaged: tuple[str, ...] = ()
    claimed: bool = False
    foreign: bool = False
    recipe: t.Optional[Recipe] = None


@dataclass
class Iproute2:
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

    def observe(self, host: Host) -> Iproute2State:
        """See Resource."""
        placed = receipt.read(TOOL)
        recipe = None
        if self.tree is not None:
            if self._identity is None:  # asked once a call: the server's answer must not change under the plan
                identity, self._warnings = source.identify_or_keep(host, self.tree, TREE, placed)
                self._identity = tuple(sorted(identity.items()))
            libraries = tuple(sorted(apt.installed(host.runner, _LIBRARIES).items()))
            recipe = Recipe(self._identity, compiler(host.runner), libraries, self.prefix, self.include_dir)
        return Iproute2State(
            version(host.runner, self.ip),
            version(host.runner, next((path for path in ("/usr/sbin/ip", "/sbin/ip") if os.path.exists(path)), "")),
            apt.installed(host.runner, [TOOL]),
            placed,
            placed.damaged() if placed else (),
            host.journal.claimed(f"tool:{TOOL}") is not None,
            is_foreign(self.ip, placed),
            recipe,
        )

    def plan(self, now: Iproute2State) -> Plan:
        """See Resource."""
        before = self._shown(now)
        if now.recipe is None or self.tree is None:
            steps: tuple[Step, ...] = ()
            if self.present and TOOL not in now.installed:
                steps += (apt.InstallPackages((TOOL,)),)
            if now.placed or now.claimed:
                steps += (Remove(TOOL, f"{self.prefix} and {self.include_dir}"),)
            return Plan(before, {"from": "package"} if steps else before, steps)
        key = now.recipe.key
        if now.placed and now.placed.complete and now.placed.key == key and not now.damaged and now.here:
            return Plan(before, before, warnings=self._warnings)
        if now.foreign and not self.overwrite:  # found before the build, and in check mode, too
            raise refusal([self.ip])
        place = Place(TOOL, key, f"{self.prefix} and {self.include_dir}", self.overwrite)
        build = BuildIproute2(self.tree, now.recipe, self.jobs, self.root)
        return Plan(before, {"from": {"key": key}}, (build, place), self._warnings)

    def _shown(self, now: Iproute2State) -> t.Any:
        if now.placed:
            return {"from": {"key": now.placed.key}, "damaged": list(now.damaged)}
        return {"from": "package"} if now.package else None

    def facts(self, host: Host, now: Iproute2State) -> dict[str, t.Any]:
        """See Resource."""
        header = os.path.join(self.include_dir, _HEADER)
        return {
            "ip": self.ip if now.placed else "",
            "version": now.here if now.placed else now.package,
            "package_version": now.installed.get(TOOL, ""),
            "bpf_api": header if os.path.exists(header) else "",
            "files": sorted(now.placed.files) if now.placed else [],
            "build": dict(now.placed.about) if now.placed else {},
        }


def version(runner: Runner, path: str) -> str:
    """The version that an ip answers with, such as 6.12.0; "" when it does not."""
    if not path or not os.access(path, os.X_OK):
        return ""
    try:
        found = re.search(r"iproute2-(?:ss)?([0-9.]+)", runner.run([path, "-V"], timeout=20).stdout)
    except CommandFailed:
        return ""
    return found.group(1) if found else ""
