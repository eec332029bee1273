# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps that put a Go release in place, by one rename, and take one away."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from ..._core import files
from ..._core.backup import rename
from ..._core.errors import LabError, Refused
from ..._core.host import Host
from ..._core.plan import Done, Key, Learned, Note, Step, make, release, unmade
from ..builds.steps import RemoveTemporary, sweep
from ..install.state import TEMPORARY, temporary_key
from ..sources.download import download
from .archive import unpack
from .tree import RECEIPT, Tree, answers, folder, go_key


@dataclass(frozen=True)
class Unpack(Step):
    """Download a release, prove it and put its directory in place by one rename."""

    prefix: str
    version: str
    url: str
    checksum: str

    @property
    def path(self) -> str:
        """Where it comes to lie."""
        return folder(self.prefix, self.version)

    def title(self) -> str:
        return f"unpack Go {self.version} to {self.path}"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        coming = {"checksum": self.checksum, "url": self.url}
        private = temporary_key(self.path)
        return (make(private, lasting=True), make(go_key(self.path), coming, lasting=True), release(private))

    def apply(self, host: Host, learned: Learned) -> Done:
        if os.path.lexists(self.path):
            raise Refused(f"{self.path} is there, and this lab did not put it there.", "Move it away, then run again.")
        private = files.temporary(self.path)
        try:
            sweep(temporary_key(self.path), None)
            os.mkdir(private, 0o700)
            tree = self._fetch(host, private)
            self._name(private)
        except BaseException as error:
            sweep(temporary_key(self.path), None)
            if isinstance(error, OSError):
                raise files.failed(self.title(), error) from error
            raise
        undo = SetTreeAside(self.prefix, self.version, private, self.title(), tree)
        return Done((undo, RemoveTemporary(undo.away)), {go_key(self.path): tree.noted()})

    def _name(self, private: str) -> None:
        """Give what is in ``private`` its name, and remove what it was in. Raises OSError: it has no name then."""
        inside = os.path.join(private, "go")
        os.rename(inside, self.path)
        try:
            os.rmdir(private)
        except OSError:
            os.rename(self.path, inside)
            raise

    def _fetch(self, host: Host, private: str) -> Tree:
        """Unpack it in ``private``. Raises OSError, LabError."""
        archive, tree = os.path.join(private, "archive"), os.path.join(private, "go")
        found = download(self.url, archive, self.checksum)
        unpack(archive, tree, self.url)
        os.unlink(archive)
        os.chmod(private, 0o755)  # the answer is asked for by a user without rights
        said = answers(host.runner, tree)
        if said != self.version:
            answer = f"it says that it is Go {said}" if said else "its go command does not run here"
            raise LabError(f"{self.url} is not Go {self.version} for this host: {answer}.", "Nothing was changed.")
        made = Tree(self.version, f"sha256:{found}", self.url)
        files.write(os.path.join(tree, RECEIPT), json.dumps(made.noted()).encode())
        return made


@dataclass(frozen=True)
class SetTreeAside(Step):
    """Take a release's directory from its place by one rename, so that it is there whole or not at all.

    ``what`` is the step's title, ``tree`` what is noted of the release.
    """

    prefix: str
    version: str
    aside: str
    what: str
    tree: Tree

    @property
    def path(self) -> str:
        """Where it lies."""
        return folder(self.prefix, self.version)

    @property
    def away(self) -> Key:
        """What is left to be removed."""
        return f"{TEMPORARY}{self.aside}"

    def title(self) -> str:
        return self.what

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (make(self.away, lasting=True), unmade(go_key(self.path)))

    def apply(self, host: Host, learned: Learned) -> Done:
        sweep(self.away, None)
        rename(self.path, self.aside, self.title())
        return Done(undo=(PutTreeBack(self),))


@dataclass(frozen=True)
class PutTreeBack(Step):
    """Give a release's directory its place again."""

    taken: SetTreeAside

    def title(self) -> str:
        return f"put {self.taken.path} back"

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        claim = make(go_key(self.taken.path), self.taken.tree.noted(), lasting=True)
        return (claim, release(self.taken.away))

    def apply(self, host: Host, learned: Learned) -> Done:
        rename(self.taken.aside, self.taken.path, self.title())
        return Done(undo=(self.taken,))


def discarding(prefix: str, tree: Tree, what: str, then: str) -> tuple[SetTreeAside, RemoveTemporary]:
    """The steps that take a release away: the rename, titled ``what``, and the deletion of its files, ``then``.

    Between them there is time for what may fail.
    """
    path = folder(prefix, tree.version)
    aside = files.temporary(os.path.join(prefix, f"old-{os.path.basename(path)}"))
    first = SetTreeAside(prefix, tree.version, aside, what, tree)
    return first, RemoveTemporary(first.away, then)
