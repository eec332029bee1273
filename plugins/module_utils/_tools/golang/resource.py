# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The resource golang: releases side by side, the link to the one in use, and the PATH of login shells."""

from __future__ import annotations

import os
import platform
import re
import typing as t
from dataclasses import dataclass

from ..._core import files
from ..._core.errors import BadInput, LabError, Refused
from ..._core.host import Host
from ..._core.plan import NOTHING, AnyStep, Forecast, Plan
from ..._core.resource import Kind, Resource
from ..builds.steps import RemoveTemporary
from ..install.content import Content, digest_of
from ..install.plan import Item, Offer
from ..install.resource import Installing, Removing
from ..install.state import Installed, look, refusal
from ..kinds import all_kinds
from ..sources.download import checked_checksum, checked_url
from . import tree as trees
from .steps import Unpack, discarding

TOOL = "golang"
URL = "https://go.dev/dl/go{version}.linux-{arch}.tar.gz"
PROFILE = "/etc/profile.d/ebpf-lab-golang.sh"
_VERSION = re.compile(r"[0-9]+\.[0-9]+(\.[0-9]+)?((rc|beta)[0-9]+)?")
_ARCH = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64le", "s390x": "s390x", "riscv64": "riscv64"}
_SHELL = """\
# Made by ebpf.lab: Go is on the path of login shells.
case ":$PATH:" in
    *:{bin}:*) ;;
    *) PATH="$PATH:{bin}" ;;
esac
"""


@dataclass(frozen=True)
class GoState:
    """``trees`` by version; ``installed`` is the link with the profile, ``link`` what lies at the link's place."""

    trees: t.Mapping[str, trees.Tree]
    installed: Installed
    link: str = ""

    def shown(self) -> dict[str, t.Any]:
        """For the diff."""
        versions = {version: tree.checksum if tree.works else "does not work" for version, tree in self.trees.items()}
        return {"versions": versions, "link": self.link, "profile": PROFILE in self.installed.files}


@dataclass(frozen=True)
class Golang(Resource[GoState]):
    """The resource. ``version`` "" with ``present`` False is every release that is ours."""

    present: bool
    version: str
    url: str = ""
    checksum: str = ""
    prefix: str = "/usr/local"
    default: bool = True
    profile: bool = True
    overwrite: bool = False

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> Golang:
        """From the module's parameters; raises BadInput."""
        present, version = params["state"] == "present", (params["version"] or "").removeprefix("go")
        if (present or version) and not _VERSION.fullmatch(version):
            raise BadInput("version", params["version"], "is not a release of Go", "give for example '1.26.6'")
        prefix = os.path.normpath(params["prefix"])
        if not os.path.isabs(prefix) or prefix == "/":
            raise BadInput("prefix", params["prefix"], "cannot hold Go", "give for example /usr/local")
        if not present:
            return cls(False, version, prefix=prefix)
        checksum = params["checksum"] or ""
        if checksum and params["unverified"]:
            raise BadInput("unverified", True, "contradicts the checksum", "leave out one of them")
        if not checksum and not params["unverified"]:
            raise BadInput(
                "checksum", "", "is empty", "give the archive's sha256:… as go.dev/dl shows it, or unverified: true"
            )
        if checksum:
            checksum = checked_checksum("checksum", checksum)
        machine = platform.machine()
        if "{arch}" in params["url"] and machine not in _ARCH:
            raise BadInput("url", params["url"], f"has no {{arch}} for {machine}", "give the archive's own URL")
        url = params["url"].replace("{version}", version).replace("{arch}", _ARCH.get(machine, ""))
        return cls(
            True, version, checked_url("url", url), checksum, prefix,
            params["default"], params["profile"], params["overwrite"],
        )  # fmt: skip

    @property
    def link(self) -> str:
        """The link to the release in use."""
        return os.path.join(self.prefix, "go")

    def kinds(self) -> tuple[Kind, ...]:
        """Those of all tools."""
        return all_kinds()

    def takes_away(self) -> bool:
        """With state absent."""
        return not self.present

    def observe(self, host: Host) -> GoState:
        """Look at the releases that are noted, and at the one that is asked for: each is asked for its version."""
        start = trees.go_key(self.link)
        if self.present and not os.path.isdir(self.prefix):
            raise BadInput("prefix", self.prefix, "is not a directory", "make it first, or use /usr/local")
        versions = {key[len(start) :] for key in host.journal.claims(start)} | ({self.version} - {""})
        found = {version: trees.look(host.runner, self.prefix, version) for version in sorted(versions)}
        installed = look(host, TOOL, self.link)
        there = installed.seen.get(self.link, Content())
        return GoState({version: tree for version, tree in found.items() if tree is not None}, installed, there.link)

    def plan(self, now: GoState, coming: Forecast = NOTHING) -> Plan:
        """The release, then the link to it; what is replaced goes last."""
        before = now.shown()
        plan = self._plan_present(now, before) if self.present else self._plan_absent(now, before)
        left = tuple(RemoveTemporary(key) for key in now.installed.left)
        return Plan(plan.before, plan.after, (*left, *plan.steps))

    def _plan_present(self, now: GoState, before: dict[str, t.Any]) -> Plan:
        steps: tuple[AnyStep, ...] = ()
        last: tuple[AnyStep, ...] = ()
        after = {**before, "versions": dict(before["versions"])}
        tree = now.trees.get(self.version)
        if tree is not None and not tree.ours:
            path = trees.folder(self.prefix, self.version)
            raise Refused(f"{path} is there, and this lab did not put it there.", "Move it away, then run again.")
        if tree is None or not tree.works or (self.checksum and tree.checksum != self.checksum):
            if tree is not None:
                why = "is of another archive" if tree.works else "does not work"
                words = f"set Go {self.version} aside, which {why}", f"delete the files of the former Go {self.version}"
                first, then = discarding(self.prefix, tree, *words)
                steps, last = (first,), (then,)
            steps += (Unpack(self.prefix, self.version, self.url, self.checksum),)
            after["versions"][self.version] = self.checksum or "unverified"
        if self.default:
            key = digest_of([self.prefix, self.version, self.profile])
            if not now.installed.is_whole(key, self.link):
                if now.installed.is_foreign(self.link) and not self.overwrite:
                    raise refusal([self.link])
                given = Given(self.link, self.version, self.profile)
                steps += (Installing(TOOL, key, self.overwrite, given=given).later(self.link),)
            after.update(link=f"go{self.version}", profile=self.profile)
        steps += last
        return Plan(before, after if steps else before, steps)

    def _plan_absent(self, now: GoState, before: dict[str, t.Any]) -> Plan:
        gone = [tree for tree in now.trees.values() if tree.ours and self.version in ("", tree.version)]
        names = [tree.version for tree in gone]
        after = {**before, "versions": {name: value for name, value in before["versions"].items() if name not in names}}
        steps: tuple[AnyStep, ...] = ()
        used = str(now.installed.about.get("version", ""))
        if now.installed.noted and (self.version in ("", used) or not now.installed.key):
            steps += (Removing(TOOL).later(self.link),)
            after.update(link="", profile=False)
        for tree in gone:
            what = f"remove Go {tree.version} from {trees.folder(self.prefix, tree.version)}"
            steps += discarding(self.prefix, tree, what, f"delete the files of Go {tree.version}")
        if not gone and self.version in now.trees:
            raise LabError(
                f"{trees.folder(self.prefix, self.version)} is not removed: this lab did not put it there.",
                "Remove it by hand if it is not wanted.",
            )
        return Plan(before, after, steps)

    def result(self, now: GoState) -> dict[str, t.Any]:
        """The releases that are there, and the one in use."""
        tree = now.trees.get(self.version)
        return {
            "goroot": trees.folder(self.prefix, self.version) if tree and tree.works else "",
            "checksum": tree.checksum if tree else "",
            "versions": sorted(version for version, tree in now.trees.items() if tree.ours and tree.works),
            "default": now.link.removeprefix("go"),
        }


@dataclass(frozen=True)
class Given:
    """The link to a release, and the profile."""

    link: str
    version: str
    profile: bool

    def __call__(self, host: Host) -> Offer:
        """Both as they are to be."""
        items = [Item(self.link, Content(link=f"go{self.version}"))]
        if self.profile:
            text = _SHELL.format(bin=os.path.join(self.link, "bin"))
            items.append(Item(PROFILE, Content(sha256=files.digest(text.encode())), text=text))
        return Offer(tuple(items), {"version": self.version})
