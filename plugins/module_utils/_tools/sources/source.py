# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a tool's source comes from: a git server, a tarball, a directory, or the distribution's own source package.

Each kind answers two questions. ``identify``: what exactly would be built, as plain values (equal values mean equal
source), found without fetching it and without writing. ``fetch``: put the tree into the build directory, or raise a
LabError.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shutil
import typing as t
from dataclasses import asdict, dataclass

from ..._core import files
from ..._core.errors import BadInput, CommandFailed, LabError
from ..builds.build_dir import BuildDir, as_nobody, build_uid
from ..install.state import Installed
from ..packages import apt
from .download import checked_checksum, checked_url, download

if t.TYPE_CHECKING:
    from ..._core.host import Host

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]*")
# What an earlier build left in a directory would be taken for up to date.
_PRODUCTS = ("*.o", "*.a", "*.d", "*.skel.h", ".git", "FEATURE-DUMP*", "vmlinux.h", "config.mk", "__pycache__")


@dataclass(frozen=True)
class Wanted:
    """``folders`` of the tree that are needed (none: all), ``proof`` is a file that the right tree has."""

    proof: str
    folders: tuple[str, ...] = ()
    what: str = "source"


@dataclass(frozen=True)
class GitSource:
    """``ref`` is a tag, a branch or a commit id; a branch is followed."""

    url: str
    ref: str

    def identify(self, host: Host, wanted: Wanted) -> dict[str, str]:
        """Ask the server what a name stands for now."""
        if _COMMIT.fullmatch(self.ref):
            return {"commit": self.ref}
        argv = ["git", "ls-remote", "--", self.url, self.ref, f"{self.ref}^{{}}"]
        done = host.runner.run(as_nobody(["timeout", "60", *argv], build_uid()), check=False, cwd="/", timeout=90)
        if done.rc != 0:
            doing = f"asking {self.url} for {self.ref}"
            raise CommandFailed(done, doing, "Is the URL right, and the server reachable?")
        found = {name: commit for commit, name in (line.split("\t") for line in done.stdout.splitlines())}
        for name in (f"refs/tags/{self.ref}^{{}}", f"refs/tags/{self.ref}", f"refs/heads/{self.ref}", self.ref):
            if name in found:
                return {"commit": found[name]}
        raise LabError(f"version: {self.url} has no tag or branch {self.ref!r}.", "git ls-remote shows those it has.")

    def fetch(self, host: Host, place: BuildDir, wanted: Wanted) -> None:
        """One commit, and of its files only those wanted, where the server can do that."""
        commit = self.identify(host, wanted)["commit"]
        name = self.ref
        doing = f"fetching {self.url} {name}"
        place.run(["git", "init", "-q", "."], doing=doing)
        place.run(["git", "remote", "add", "origin", self.url], doing=doing)
        # A server that cannot filter says so and sends everything.
        place.run(["git", "fetch", "-q", "--depth=1", "--filter=blob:none", "origin", name], doing=doing)
        if wanted.folders:
            place.run(["git", "sparse-checkout", "set", "--cone", *wanted.folders], doing=doing)
        place.run(["git", "-c", "advice.detachedHead=false", "checkout", "-q", "FETCH_HEAD"], doing=doing)
        head = place.run(["git", "rev-parse", "HEAD"], doing=doing).stdout.strip()
        if head != commit:
            raise LabError(f"{doing}: the server sent {head}, and had said {commit}.", "It moved meanwhile; run again.")
        if os.path.exists(os.path.join(place.src, ".gitmodules")):
            place.run(["git", "submodule", "-q", "update", "--init", "--depth=1", "--recursive"], doing=doing)


@dataclass(frozen=True)
class TarballSource:
    """``checksum`` is ``sha256:…``."""

    url: str
    checksum: str

    def identify(self, host: Host, wanted: Wanted) -> dict[str, str]:
        """The checksum: a tarball has no other identity."""
        return {"tarball": self.checksum}

    def fetch(self, host: Host, place: BuildDir, wanted: Wanted) -> None:
        """Download, prove, unpack."""
        path = os.path.join(place.path, "source.tar")
        download(self.url, path, self.checksum)
        os.chown(path, place.uid, place.uid)
        unpack(place, path, wanted)
        os.unlink(path)


@dataclass(frozen=True)
class DirectorySource:
    """A tree on the host. It is copied, and never written to."""

    path: str

    def identify(self, host: Host, wanted: Wanted) -> dict[str, str]:
        """The digest of all files that would be copied."""
        self._check(wanted)
        digest = hashlib.sha256()
        ignored = shutil.ignore_patterns(*_PRODUCTS)
        for top in wanted.folders or ("",):
            for folder, folders, names in os.walk(os.path.join(self.path, top)):
                skip = ignored(folder, folders + names)
                folders[:] = sorted(set(folders) - skip)
                for name in sorted(set(names) - skip):
                    path = os.path.join(folder, name)
                    digest.update(os.fsencode(os.path.relpath(path, self.path)) + b"\0")
                    if os.path.islink(path):
                        digest.update(os.fsencode(os.readlink(path)))
                    else:
                        digest.update(hashlib.sha256(files.read(path) or b"").digest())
        return {"directory": digest.hexdigest()}

    def fetch(self, host: Host, place: BuildDir, wanted: Wanted) -> None:
        """Copy it."""
        self._check(wanted)
        try:
            for top in wanted.folders or ("",):
                source = os.path.join(self.path, top)
                if os.path.isdir(source):
                    shutil.copytree(
                        source, os.path.join(place.src, top), symlinks=True, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns(*_PRODUCTS),
                    )  # fmt: skip
        except (OSError, shutil.Error) as error:
            # shutil's own is a list of all that failed: from where, to where, and the error as text.
            why = error.args[0][0][2] if isinstance(error, shutil.Error) else error
            raise LabError(re.sub(r"\[Errno \d+\] ", "", f"Copying {self.path} to {place.src}: {why}.")) from error
        place.own(place.src)

    def _check(self, wanted: Wanted) -> None:
        if not os.path.exists(os.path.join(self.path, wanted.proof)):
            raise BadInput("path", self.path, f"has no {wanted.proof}", f"give the top of a tree of {wanted.what}")


@dataclass(frozen=True)
class PackagedSource:
    """The distribution's ``linux-source-VERSION``: downloaded and proven by apt, unpacked, not installed."""

    version: str = ""

    def identify(self, host: Host, wanted: Wanted) -> dict[str, str]:
        """The package and its version, as apt's index has them."""
        name, version = self._package(host)
        return {"package": name, "version": version}

    def fetch(self, host: Host, place: BuildDir, wanted: Wanted) -> None:
        """Download by apt, which proves it, and unpack."""
        name, version = self._package(host)
        doing = f"fetching the package {name}"
        fetched = os.path.join(place.path, "package")
        os.mkdir(fetched)
        os.chown(fetched, place.uid, place.uid)
        place.run(["apt-get", "-q", "download", f"{name}={version}"], doing=doing, cwd=fetched)
        (archive,) = glob.glob(os.path.join(fetched, "*.deb"))
        place.run(["dpkg-deb", "--extract", archive, fetched], doing=doing, cwd=fetched)
        os.unlink(archive)
        tarballs = glob.glob(os.path.join(fetched, "usr/src/**/*.tar.*"), recursive=True)
        if not tarballs:
            raise LabError(f"The package {name} holds no source archive.")
        unpack(place, tarballs[0], wanted)
        shutil.rmtree(fetched)

    def _package(self, host: Host) -> tuple[str, str]:
        search = host.runner.run(["apt-cache", "search", "--names-only", r"^linux-source-[0-9.]+$"])
        names = [line.split(" ")[0] for line in search.stdout.splitlines()]
        offered = apt.candidates(host.runner, names)
        wanted = f"linux-source-{self.version}"
        if not self.version and offered:
            wanted = max(offered, key=lambda name: [int(part) for part in name[13:].strip(".").split(".")])
        if wanted not in offered:
            have = ", ".join(sorted(name[13:] for name in offered)) or "none (was apt's index ever read?)"
            raise LabError(f"version: apt knows no package {wanted}.", f"It has these versions: {have}.")
        return wanted, offered[wanted]


AnySource = t.Union[GitSource, TarballSource, DirectorySource, PackagedSource]


def identify_or_keep(
    host: Host, tree: AnySource, wanted: Wanted, now: Installed
) -> tuple[dict[str, str], tuple[str, ...]]:
    """What would be built, and warnings. While the server is away, what was built from its answer stays good."""
    try:
        return tree.identify(host, wanted), ()
    except CommandFailed as error:
        built = now.about.get("source") or {}
        asked = asdict(tree)
        if {name: built.get(name) for name in asked} != asked:
            raise
        warning = f"Kept what is there, not knowing whether {', '.join(asked.values())} moved: {error}"
        return {name: value for name, value in built.items() if name not in asked}, (warning,)


def unpack(place: BuildDir, archive: str, wanted: Wanted) -> None:
    """Unpack ``archive`` into ``place.src`` without its top folder, as the build's user, who can write nowhere else."""
    folders = [f"*/{folder}/*" for folder in wanted.folders]
    argv = ["tar", "--extract", "--file", archive, "--strip-components=1", "--no-same-owner", "--directory", place.src]
    if folders:
        argv += ["--wildcards", *folders]
    done = place.run(argv, doing=f"unpacking {os.path.basename(archive)}", check=False)
    missing_only = done.rc == 2 and all(
        "Not found in archive" in line or "Exiting with failure" in line for line in done.stderr.splitlines()
    )
    if done.rc != 0 and not (folders and missing_only):  # not every tree has every folder
        raise place.failure(done, f"unpacking {os.path.basename(archive)}")
    if not os.path.exists(os.path.join(place.src, wanted.proof)):
        raise LabError(f"The archive has no {wanted.proof}: it is not a tree of {wanted.what}.")


def from_params(params: t.Mapping[str, t.Any], default_url: str, default_ref: str) -> AnySource:
    """The source that a module's ``origin``, ``url``, ``version``, ``checksum`` and ``path`` name. Raises BadInput."""
    origin, url, version = params["origin"], params["url"] or "", params["version"] or ""
    if origin == "git":
        ref = version or default_ref
        if not _REF.fullmatch(ref) or ".." in ref:
            raise BadInput("version", ref, "is not a git ref", "give a tag, a branch or a commit id")
        return GitSource(checked_url("url", url or default_url, ("https", "http", "git")), ref)
    if origin == "tarball":
        if not url:
            raise BadInput("url", url, "is empty", "origin: tarball needs the URL of the tarball")
        if not params["checksum"]:
            raise BadInput("checksum", "", "is empty", "origin: tarball needs its sha256:… checksum")
        return TarballSource(checked_url("url", url), checked_checksum("checksum", params["checksum"]))
    if origin == "directory":
        if not params["path"] or not os.path.isabs(params["path"]):
            raise BadInput("path", params["path"], "is not an absolute path", "origin: directory needs one on the host")
        return DirectorySource(os.path.normpath(params["path"]))
    if version and not re.fullmatch(r"[0-9]+(\.[0-9]+)*", version):
        raise BadInput("version", version, "is not the version of a linux-source package", "give for example '6.1'")
    return PackagedSource(version)
