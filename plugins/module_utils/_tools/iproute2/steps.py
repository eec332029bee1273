# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build iproute2 from source, with its header bpf_api.h."""

from __future__ import annotations

import os
import re
import shutil
import time
import typing as t
from dataclasses import asdict, dataclass

from ..._core.errors import CommandFailed, LabError
from ..builds.build_dir import BuildDir
from ..builds.steps import InBuildDir
from ..install.content import digest_of
from ..install.state import PLACED, noted_of
from ..sources.source import AnySource, Wanted

if t.TYPE_CHECKING:
    from ..._core.command import Runner
    from ..._core.host import Host

TOOL = "iproute2"
TREE = Wanted("ip/ip.c", (), "iproute2")
HEADER, ITS_HEADER = "bpf_api.h", "bpf_elf.h"


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
        return digest_of(asdict(self))

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
class BuildIproute2(InBuildDir):
    """Fetch, configure, build and stage it."""

    tool = TOOL
    tree: AnySource
    recipe: Recipe
    jobs: int

    def title(self) -> str:
        return "build iproute2 from " + ", ".join(f"{name} {value}" for name, value in self.recipe.identity)

    def build(self, host: Host, place: BuildDir) -> dict[str, t.Any]:
        """Prove that the new ip runs here."""
        self.tree.fetch(host, place, TREE)
        start = time.monotonic()
        with open(os.path.join(place.src, "configure"), encoding="utf-8", errors="replace") as file:
            knows_prefix = "--prefix" in file.read()  # from 5.15 on
        place.run(
            ["./configure", *([f"--prefix={self.recipe.prefix}"] if knows_prefix else [])], doing="configuring iproute2"
        )
        variables = self.recipe.variables()
        place.run(["make", f"-j{self.jobs}", *variables], doing="building iproute2")
        place.run(["make", "install", f"DESTDIR={place.stage}", *variables], doing="installing iproute2 to its stage")
        self._stage_header(host, place)
        said = version(host.runner, os.path.join(place.stage, self.recipe.prefix.lstrip("/"), "sbin/ip"))
        if not said:
            raise LabError("Building iproute2: the new ip does not run here.")
        return {
            "source": {**asdict(self.tree), **dict(self.recipe.identity)},
            "compiler": self.recipe.compiler,
            "version": said,
            "build_seconds": round(time.monotonic() - start, 1),
        }

    def _stage_header(self, host: Host, place: BuildDir) -> None:
        """bpf_api.h is in no package and not in make install; the header that it includes is in most packages."""
        folder = os.path.join(place.stage, self.recipe.include_dir.lstrip("/"))
        ours = noted_of(host.journal, PLACED, TOOL)
        os.makedirs(folder, exist_ok=True)
        for name in (HEADER, ITS_HEADER):
            path = os.path.join(self.recipe.include_dir, name)
            if name == HEADER or path in ours or not os.path.exists(path):
                shutil.copyfile(os.path.join(place.src, "include", name), os.path.join(folder, name))


def version(runner: Runner, path: str) -> str:
    """The version that an ip answers with, such as 6.12.0; "" when it does not."""
    if not path or not os.access(path, os.X_OK):
        return ""
    try:
        found = re.search(r"iproute2-(?:ss)?([0-9.]+)", runner.run([path, "-V"], timeout=20).stdout)
    except CommandFailed:
        return ""
    return found.group(1) if found else ""
