# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One unpacked Go release: a directory that is there whole, with our receipt in it, or not at all."""

from __future__ import annotations

import glob
import json
import os
import posixpath
import shutil
import stat
import tarfile
import typing as t
import zlib
from dataclasses import asdict, dataclass

from .._core.errors import LabError, Refused
from .._core.plan import Note, Step
from .builds.workshop import as_nobody, build_uid
from .sources.download import download

if t.TYPE_CHECKING:
    from .._core.command import Runner
    from .._core.host import Host

RECEIPT = ".ebpf.lab.json"
_HIDDEN = ".ebpf.lab-go-"


@dataclass(frozen=True)
class Tree:
    """A release's directory. ``checksum`` is that of the archive; ``ours`` and ``works`` say what was found there."""

    version: str
    checksum: str = ""
    url: str = ""
    ours: bool = False
    works: bool = False


def folder(prefix: str, version: str) -> str:
    """Where a release lies."""
    return os.path.join(prefix, f"go{version}")


def look(runner: Runner, prefix: str, version: str) -> t.Optional[Tree]:
    """What is at a release's place; None when there is nothing."""
    path = folder(prefix, version)
    if not os.path.lexists(path):
        return None
    try:
        with open(os.path.join(path, RECEIPT), encoding="utf-8") as file:
            content = json.load(file)
        return Tree(version, content["checksum"], content["url"], True, answers(runner, path) == version)
    except (OSError, ValueError, KeyError, TypeError):
        return Tree(version)


def answers(runner: Runner, path: str) -> str:
    """The version that the go command of a tree answers with here; "" when it does not."""
    go = os.path.join(path, "bin", "go")
    if not os.access(go, os.X_OK):
        return ""
    argv = as_nobody([go, "version"], build_uid(), GOTOOLCHAIN="local", GOTELEMETRY="off", GOROOT=path)
    words = runner.run(argv, check=False, cwd="/", timeout=60).stdout.split()
    return words[2][2:] if words[:2] == ["go", "version"] and len(words) > 2 else ""


@dataclass(frozen=True)
class Unpack(Step):
    """Download a release, prove it and put its directory in place by one rename."""

    prefix: str
    version: str
    url: str
    checksum: str

    def title(self) -> str:
        """See Step."""
        return f"unpack Go {self.version} to {folder(self.prefix, self.version)}"

    def notes(self) -> tuple[Note, ...]:
        """See Step."""
        return (Note("claim", f"golang:{folder(self.prefix, self.version)}", volatile=False),)

    def apply(self, host: Host) -> None:
        """See Step."""
        path = folder(self.prefix, self.version)
        now = look(host.runner, self.prefix, self.version)
        if now is not None and not now.ours:
            raise Refused(f"{path} is there, and this lab did not put it there.", "Move it away, then run again.")
        private = os.path.join(self.prefix, f"{_HIDDEN}{self.version}")
        for leftover in glob.glob(os.path.join(self.prefix, f"{_HIDDEN}*")):  # of runs that were killed
            shutil.rmtree(leftover)
        try:
            os.mkdir(private, 0o700)
            archive = os.path.join(private, "archive")
            found = download(self.url, archive, self.checksum)
            tree = os.path.join(private, "go")
            unpack(archive, tree, self.url)
            os.unlink(archive)
            os.chmod(private, 0o755)  # the answer is asked for by a user without rights
            said = answers(host.runner, tree)
            if said != self.version:
                answer = f"it says that it is Go {said}" if said else "its go command does not run here"
                raise LabError(f"{self.url} is not Go {self.version} for this host: {answer}.", "Nothing was changed.")
            receipt = Tree(self.version, f"sha256:{found}", self.url)
            with open(os.path.join(tree, RECEIPT), "w", encoding="utf-8") as file:
                json.dump(asdict(receipt), file)
            if now is not None:
                os.rename(path, os.path.join(private, "old"))
            os.rename(tree, path)
            host.kept[("go", path)] = _Old(private)
        except OSError as error:
            shutil.rmtree(private, ignore_errors=True)
            raise LabError(f"{self.title()}: {error.strerror}.", "Nothing was changed.") from error
        except BaseException:
            shutil.rmtree(private, ignore_errors=True)
            raise

    def undo(self, host: Host) -> None:
        """See Step."""
        path = folder(self.prefix, self.version)
        old: _Old = host.kept[("go", path)]
        shutil.rmtree(path)
        if os.path.isdir(old.before):
            os.rename(old.before, path)
        old.close()


@dataclass(frozen=True)
class Discard(Step):
    """Remove a release's directory."""

    prefix: str
    version: str

    def title(self) -> str:
        """See Step."""
        return f"remove Go {self.version} from {folder(self.prefix, self.version)}"

    def notes(self) -> tuple[Note, ...]:
        """See Step."""
        return (Note("release", f"golang:{folder(self.prefix, self.version)}", volatile=False),)

    def apply(self, host: Host) -> None:
        """See Step: one rename, so that it is there whole or not at all; the files go when the call has succeeded."""
        path = folder(self.prefix, self.version)
        private = os.path.join(self.prefix, f"{_HIDDEN}{self.version}")
        shutil.rmtree(private, ignore_errors=True)
        try:
            os.mkdir(private, 0o700)
            if os.path.isdir(path):  # a run that was killed may have claimed it and got no further
                os.rename(path, os.path.join(private, "old"))
        except OSError as error:
            raise LabError(f"{self.title()}: {error.strerror}.") from error
        host.kept[("go", path)] = _Old(private)

    def undo(self, host: Host) -> None:
        """See Step."""
        path = folder(self.prefix, self.version)
        old: _Old = host.kept[("go", path)]
        if os.path.isdir(old.before):
            os.rename(old.before, path)
        old.close()


@dataclass(frozen=True)
class _Old:
    """What a step moved aside, until the whole call has succeeded."""

    private: str

    @property
    def before(self) -> str:
        """The directory that was there."""
        return os.path.join(self.private, "old")

    def close(self) -> None:
        """Forget it."""
        shutil.rmtree(self.private, ignore_errors=True)


def unpack(archive: str, target: str, name: str) -> None:
    """Unpack a release's archive, whose one top folder is ``go``, as ``target``.

    Raises LabError for an archive that is broken, that has another top folder, a path or link that leaves it, or
    anything that is neither file, folder nor link.
    """
    target = os.path.realpath(target)
    try:
        with tarfile.open(archive, "r|*") as tar:
            for member in tar:
                _write(tar, member, target, name)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise LabError(f"{name} is not a whole archive: {error}.", "Nothing was changed.") from error
    if not os.path.isdir(target):
        raise LabError(f"{name} is not a Go release: it has no folder go.", "Nothing was changed.")


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: str, name: str) -> None:
    parts = member.name.rstrip("/").split("/")
    if parts[0] != "go" or ".." in parts or "" in parts:
        raise LabError(f"{name} holds {member.name!r}, which would be written outside of its folder.", "Refused.")
    path = os.path.join(target, *parts[1:])
    above = os.path.dirname(path)
    if os.path.realpath(above) != above and len(parts) > 1:
        raise LabError(f"{name} holds {member.name!r}, which would be written through a link.", "Refused.")
    if member.isdir():
        os.makedirs(path, exist_ok=True)
    elif member.issym():
        end = posixpath.normpath(posixpath.join(*parts[:-1], member.linkname))
        if member.linkname.startswith("/") or end.split("/")[0] != "go":
            raise LabError(f"{name} holds {member.name!r}, a link that leaves its folder.", "Refused.")
        os.makedirs(above, exist_ok=True)
        os.symlink(member.linkname, path)
    elif member.isreg():
        os.makedirs(above, exist_ok=True)
        source = tar.extractfile(member)
        if source is None:
            raise LabError(f"{name} holds {member.name!r}, which has no content.", "Refused.")
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as file:
            shutil.copyfileobj(source, file)
        os.chmod(path, stat.S_IMODE(member.mode) & 0o755 | 0o444)
        os.utime(path, (member.mtime, member.mtime))  # Go's build cache looks at it
    else:
        raise LabError(f"{name} holds {member.name!r}, which is neither file, folder nor link.", "Refused.")
