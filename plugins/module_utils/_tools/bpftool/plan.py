# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be done for a bpftool that works on the running kernel."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, replace

from ..._core.errors import LabError
from ..._core.host import Host
from ..._core.plan import AnyStep, Plan
from ..._kernel import bpftool
from ..builds.build_dir import ROOT
from ..builds.steps import InBuildDir, RemoveTemporary
from ..install.content import Content
from ..install.plan import Item, Offer
from ..install.resource import Installing, Removing
from ..install.state import refusal
from ..packages import apt
from ..sources.source import AnySource
from .state import KERNEL, MIRROR, TOOL, BpftoolState
from .steps import BuildBpftool, TakeBinary

LINKED = "linux-tools"  # the key of a link of ours to a package's binary


@dataclass
class Want:
    """What is asked for. ``come_from`` is package, kernel, libbpf_mirror or binary; "" is absent."""

    come_from: str
    prefix: str = "/usr/local"
    tree: t.Optional[AnySource] = None
    static: str = "required"
    overwrite: bool = False
    link_versioned: bool = True
    jobs: int = 1
    root: str = ROOT
    path: str = ""
    checksum: str = ""

    @property
    def target(self) -> str:
        """Where ours lies."""
        return os.path.join(self.prefix, "sbin", "bpftool")


def plan(want: Want, now: BpftoolState) -> Plan:
    """From what is to what is wanted. Raises Refused, LabError."""
    found = _absent(want, now)
    if want.come_from == "package":
        found = _package(want, now)
    elif want.come_from:
        found = _own(want, now)
    left = tuple(RemoveTemporary(key) for key in now.installed.left)
    return replace(found, steps=(*left, *found.steps))


def _absent(want: Want, now: BpftoolState) -> Plan:
    steps = _removing(want, now) if now.installed.noted else ()
    rest = {"path": now.package.path, "from": "package"} if now.package.works else None
    return Plan(_shown(now), rest if steps else _shown(now), steps)


def _own(want: Want, now: BpftoolState) -> Plan:
    key = want.checksum if want.come_from == "binary" else (now.recipe.key if now.recipe else "")
    if now.installed.is_whole(key, want.target) and now.here.works:
        return Plan(_shown(now), _shown(now))
    _refuse_foreign(want, now)
    first: InBuildDir
    if now.recipe is None or want.tree is None:
        first = TakeBinary(want.root, now.fresh_root, want.path, want.checksum, want.prefix, want.static)
    else:
        wanted = KERNEL if want.come_from == "kernel" else MIRROR
        first = BuildBpftool(want.root, now.fresh_root, want.tree, wanted, now.recipe, want.prefix, want.jobs)
    last = Installing(TOOL, key, want.overwrite, build=first.key).later(want.target)
    return Plan(_shown(now), {"path": want.target, "from": {"key": key}}, (first, last))


def _package(want: Want, now: BpftoolState) -> Plan:
    missing = tuple(name for name in now.packages if name not in now.of_packages)
    before = _shown(now)
    ours = now.installed
    if now.package.works:
        steps = _removing(want, now) if ours.noted else ()
        warnings: tuple[str, ...] = ()
        if not ours.noted and want.target in ours.seen:
            warnings = (f"{want.target} is not ours, and comes before the package's bpftool on the path.",)
        return Plan(before, {"path": now.package.path, "from": "package"} if steps else before, steps, warnings)
    # A link of ours into linux-tools is the package's own binary, made to answer.
    if want.link_versioned and ours.is_whole(LINKED, want.target) and now.here.works:
        return Plan(before, before)
    steps = (apt.InstallPackages(missing),) if missing else ()
    if now.own_kernel:
        if not missing:
            raise LabError(f"The package is installed, and its bpftool does not work: {now.package.why}.")
        steps += _removing(want, now) if ours.noted else ()
        return Plan(before, {"path": now.package.path, "from": "package"}, steps)
    if not want.link_versioned:
        raise LabError(
            "The package's bpftool would not work here: the archive has no linux-tools for the running kernel "
            f"{now.kernel}.",
            "Allow link_versioned, which uses another kernel's binary, or build one with source: kernel.",
        )
    if not missing and not now.versioned:
        raise _no_other(now.package.why)
    _refuse_foreign(want, now)
    link = Installing(TOOL, LINKED, want.overwrite, given=Versioned(want.target)).later(want.target)
    return Plan(before, {"path": want.target, "from": {"key": LINKED}}, (*steps, link))


@dataclass(frozen=True)
class Versioned:
    """A link at ``target`` to the newest binary beside a kernel's tools that works here."""

    target: str

    def __call__(self, host: Host) -> Offer:
        """Which one that is, is seen when the packages are there."""
        found = bpftool.versioned(host.runner)
        if not found:
            raise _no_other(bpftool.packaged(host.runner).why)
        about = {"source": {LINKED: found[0].path}, "static": False}
        return Offer((Item(self.target, Content(link=found[0].path)),), about)


def _no_other(why: str) -> LabError:
    return LabError(f"{why}; no other installed linux-tools has one that works.", "Build one with source: kernel.")


def _refuse_foreign(want: Want, now: BpftoolState) -> None:
    """Before anything is built or installed, and in check mode, too."""
    if now.installed.is_foreign(want.target) and not want.overwrite:
        raise refusal([want.target])


def _removing(want: Want, now: BpftoolState) -> tuple[AnyStep, ...]:
    return (Removing(TOOL).later(", ".join(now.installed.files) or want.target),)


def _shown(now: BpftoolState) -> t.Any:
    best = now.best
    if not best.works:
        return None
    if best.path in now.installed.files:
        return {"path": best.path, "from": {"key": now.installed.key}}
    return {"path": best.path, "from": "package" if best is now.package else "elsewhere"}
