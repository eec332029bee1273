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

from .._core.errors import BadInput, LabError
from .._core.host import Host
from .._core.plan import Plan, Step
from . import go_tree
from .builds import receipt
from .builds.place import Place, Remove, Staged, is_foreign, offer, refusal
from .builds.workshop import drop_workshop, workshop
from .sources.download import checked_checksum, checked_url

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
class StageLink(Step):
    """Make the link to a release, and the profile, ready for Place."""

    prefix: str
    version: str
    profile: bool

    def title(self) -> str:
        """See Step."""
        return f"choose Go {self.version}"

    def apply(self, host: Host) -> None:
        """See Step."""
        shop = workshop(host, TOOL)
        link = os.path.join(shop.stage, self.prefix.lstrip("/"), "go")
        os.makedirs(os.path.dirname(link))
        os.symlink(f"go{self.version}", link)
        if self.profile:
            path = shop.stage + PROFILE
            os.makedirs(os.path.dirname(path))
            with open(path, "w", encoding="utf-8") as file:
                file.write(_SHELL.format(bin=os.path.join(self.prefix, "go", "bin")))
            os.chmod(path, 0o644)
        offer(host, TOOL, Staged(shop.stage, {"version": self.version}))

    def undo(self, host: Host) -> None:
        """See Step."""
        drop_workshop(host, TOOL)


@dataclass(frozen=True)
class GoState:
    """``trees`` by version, the receipt of link and profile, and which of those files are not as placed."""

    trees: t.Mapping[str, go_tree.Tree]
    placed: t.Optional[receipt.Receipt] = None
    damaged: tuple[str, ...] = ()
    link: str = ""
    claimed: bool = False
    foreign: bool = False

    def shown(self) -> dict[str, t.Any]:
        """For the diff."""
        versions = {version: tree.checksum if tree.works else "does not work" for version, tree in self.trees.items()}
        return {"versions": versions, "link": self.link, "profile": bool(self.placed and PROFILE in self.placed.files)}


@dataclass(frozen=True)
class Golang:
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

    def observe(self, host: Host) -> GoState:
        """See Resource."""
        start = f"golang:{os.path.join(self.prefix, 'go')}"
        if self.present and not os.path.isdir(self.prefix):
            raise BadInput("prefix", self.prefix, "is not a directory", "make it first, or use /usr/local")
        claimed = {key[len(start) :] for key in host.journal.claims(start)}
        found: dict[str, t.Optional[go_tree.Tree]] = {}
        for version in sorted(claimed | ({self.version} if self.version else set())):
            lost = go_tree.Tree(version, ours=True) if version in claimed else None
            found[version] = go_tree.look(host.runner, self.prefix, version) or lost
        placed = receipt.read(TOOL)
        link = os.path.join(self.prefix, "go")
        return GoState(
            {version: tree for version, tree in found.items() if tree is not None},
            placed,
            placed.damaged() if placed else (),
            os.readlink(link) if os.path.islink(link) else "",
            host.journal.claimed(f"tool:{TOOL}") is not None,
            is_foreign(link, placed),
        )

    def plan(self, now: GoState) -> Plan:
        """See Resource."""
        before = now.shown()
        return self._plan_present(now, before) if self.present else self._plan_absent(now, before)

    def _plan_present(self, now: GoState, before: dict[str, t.Any]) -> Plan:
        steps: tuple[Step, ...] = ()
        after = {**before, "versions": dict(before["versions"])}
        tree = now.trees.get(self.version)
        if tree is None or not tree.works or (self.checksum and tree.checksum != self.checksum):
            steps += (go_tree.Unpack(self.prefix, self.version, self.url, self.checksum),)
            after["versions"][self.version] = self.checksum or "unverified"
        if self.default:
            key = receipt.digest_of([self.prefix, self.version, self.profile])
            placed = now.placed
            if placed is None or not placed.complete or placed.key != key or now.damaged:
                if now.foreign and not self.overwrite:
                    raise refusal([os.path.join(self.prefix, "go")])
                place = Place(TOOL, key, os.path.join(self.prefix, "go"), self.overwrite)
                steps += (StageLink(self.prefix, self.version, self.profile), place)
            after.update(link=f"go{self.version}", profile=self.profile)
        return Plan(before, after if steps else before, steps)

    def _plan_absent(self, now: GoState, before: dict[str, t.Any]) -> Plan:
        gone = [version for version, tree in now.trees.items() if tree.ours and self.version in ("", version)]
        after = {**before, "versions": {name: value for name, value in before["versions"].items() if name not in gone}}
        steps: tuple[Step, ...] = ()
        used = str(now.placed.about.get("version", "")) if now.placed else ""
        if (now.placed or now.claimed) and self.version in ("", used):
            steps += (Remove(TOOL, os.path.join(self.prefix, "go")),)
            after.update(link="", profile=False)
        steps += tuple(go_tree.Discard(self.prefix, version) for version in gone)
        if not gone and self.version in now.trees:
            raise LabError(
                f"{go_tree.folder(self.prefix, self.version)} is not removed: this lab did not put it there.",
                "Remove it by hand if it is not wanted.",
            )
        return Plan(before, after, steps)

    def facts(self, host: Host, now: GoState) -> dict[str, t.Any]:
        """See Resource."""
        tree = now.trees.get(self.version)
        return {
            "goroot": go_tree.folder(self.prefix, self.version) if tree and tree.works else "",
            "checksum": tree.checksum if tree else "",
            "versions": sorted(version for version, tree in now.trees.items() if tree.ours and tree.works),
            "default": now.link.removeprefix("go"),
        }
