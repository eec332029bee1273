# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things of a tool are noted in the journal, and what it knows of one: its record, its files, what they replaced.

A tool's files lie among those of others, so each has an entry of its own with its content: what a killed run had put
in place is told from what it had not, and what somebody has changed since is seen.
"""

from __future__ import annotations

import hashlib
import os
import typing as t
from dataclasses import dataclass, field

from ..._bpf.pin import folders
from ..._core import files
from ..._core.errors import Refused
from ..._core.plan import Key
from .content import Content

if t.TYPE_CHECKING:
    from ..._core.host import Host
    from ..._core.journal import Journal

TOOL, PLACED, ASIDE = "tool:", "placed:", "aside:"
TEMPORARY, BUILD = "making:", "build:"
ASIDES = "/var/lib/ebpf.lab"  # beside the journal: what foreign files were, until they are put back


def aside_of(path: str) -> str:
    """Where a foreign file is kept while ours is in its place."""
    return f"{ASIDES}/aside-{os.path.basename(path)[:80]}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"


def temporary_key(path: str) -> Key:
    """The key of what is made before it gets the name ``path``."""
    return f"{TEMPORARY}{files.temporary(path)}"


@dataclass(frozen=True)
class Record:
    """``key`` is the digest of all that the tool was made from, "" while it is being placed; ``about`` says it in
    words and values. ``folders`` are those of its files."""

    key: str = ""
    about: t.Mapping[str, t.Any] = field(default_factory=dict)
    folders: tuple[str, ...] = ()

    def noted(self) -> dict[str, t.Any]:
        """Plain JSON types, for the journal."""
        return {"key": self.key, "about": dict(self.about), "folders": list(self.folders)}

    @classmethod
    def from_noted(cls, value: t.Any) -> Record:
        """The inverse; what was written by somebody else is an empty one."""
        try:
            return cls(str(value["key"]), dict(value["about"]), tuple(map(str, value["folders"])))
        except (TypeError, KeyError, ValueError):
            return cls()


@dataclass(frozen=True)
class Installed:
    """What the journal and the file system have of a tool.

    ``files`` are ours by path, ``asides`` what foreign files were that ours replaced, ``seen`` what lies at all those
    paths and at those that were asked for. ``folders`` are those of the files; ``left`` is what killed runs left.
    """

    tool: str
    record: t.Optional[Record] = None
    files: t.Mapping[str, Content] = field(default_factory=dict)
    asides: t.Mapping[str, Content] = field(default_factory=dict)
    seen: t.Mapping[str, Content] = field(default_factory=dict)
    folders: folders.Folders = field(default_factory=folders.Folders)
    left: tuple[Key, ...] = ()

    @property
    def about(self) -> t.Mapping[str, t.Any]:
        """From what it was made; empty for one that is not there."""
        return self.record.about if self.record is not None else {}

    @property
    def key(self) -> str:
        """The digest of what it was made from; "" when it is not there, or not whole."""
        return self.record.key if self.record is not None else ""

    @property
    def noted(self) -> bool:
        """Whether anything of it is in the journal."""
        return self.record is not None or bool(self.files or self.asides)

    @property
    def damaged(self) -> tuple[str, ...]:
        """Those of ``files`` that are not as they were placed."""
        return tuple(path for path, content in self.files.items() if self.seen.get(path) != content)

    def is_whole(self, key: str, path: str) -> bool:
        """Whether it is what ``key`` stands for, with all its files as they were placed, ``path`` among them."""
        return bool(key) and self.key == key and path in self.files and not self.damaged

    def is_foreign(self, path: str) -> bool:
        """Whether something lies at ``path`` that is not of this tool. Asked for paths that were looked at."""
        return path in self.seen and path not in self.files


def record_of(journal: Journal, tool: str) -> t.Optional[Record]:
    """What is noted of a whole tool."""
    entry = journal.claimed(f"{TOOL}{tool}")
    return Record.from_noted(entry.value) if entry is not None else None


def noted_of(journal: Journal, prefix: str, tool: str) -> dict[str, Content]:
    """The paths below ``prefix`` in the journal that are of this tool, with what was put there."""
    found: dict[str, Content] = {}
    for key, entry in journal.claims(prefix).items():
        content = Content.from_noted(entry.value)
        if content is not None and entry.value.get("tool") == tool:
            found[key[len(prefix) :]] = content
    return found


def look(host: Host, tool: str, *paths: str) -> Installed:
    """What there is of ``tool``, and what lies at ``paths``. Raises LabError for what cannot be read."""
    journal = host.journal
    record, ours = record_of(journal, tool), noted_of(journal, PLACED, tool)
    asides = noted_of(journal, ASIDE, tool)
    every = dict.fromkeys((*ours, *asides, *paths))
    seen = {path: content for path in every if (content := Content.of(path)) is not None}
    above = dict.fromkeys((*map(os.path.dirname, every), *(record.folders if record is not None else ())))
    left = tuple(key for key in journal.entries if key.startswith((BUILD, TEMPORARY)))
    return Installed(tool, record, ours, asides, seen, folders.look(host, *above), left)


def refusal(foreign: t.Iterable[str]) -> Refused:
    """The error for files that are in the way and not ours."""
    found = sorted(foreign)
    names = ", ".join(found[:3]) + (", …" if len(found) > 3 else "")
    return Refused(
        f"{names} would be overwritten, and this lab did not put it there.",
        "Give another prefix, or overwrite: true (what was there is then kept, and put back by state: absent).",
    )
