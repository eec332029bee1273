# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One unpacked Go release: a directory that is there whole, with our receipt in it, or not at all."""

from __future__ import annotations

import json
import os
import typing as t
from dataclasses import dataclass

from ..._core import files
from ..._core.errors import LabError
from ..._core.plan import Key
from ..builds.build_dir import as_nobody, build_uid

if t.TYPE_CHECKING:
    from ..._core.command import Runner

GO = "go:"
RECEIPT = ".ebpf.lab.json"


@dataclass(frozen=True)
class Tree:
    """A release's directory. ``checksum`` is that of the archive; ``ours`` and ``works`` say what was found there."""

    version: str
    checksum: str = ""
    url: str = ""
    ours: bool = False
    works: bool = False

    def noted(self) -> dict[str, str]:
        """What the journal and the receipt have of it."""
        return {"checksum": self.checksum, "url": self.url}


def folder(prefix: str, version: str) -> str:
    """Where a release lies."""
    return os.path.join(prefix, f"go{version}")


def go_key(path: str) -> Key:
    """The journal's key of a release's directory."""
    return f"{GO}{path}"


def receipt(path: str) -> t.Optional[dict[str, str]]:
    """What our receipt in a directory says; empty for one that is not ours, None when nothing is there."""
    if not os.path.lexists(path):
        return None
    try:
        content = json.loads(files.read(os.path.join(path, RECEIPT)) or b"")
        return {name: str(content[name]) for name in ("checksum", "url")}
    except (LabError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def look(runner: Runner, prefix: str, version: str) -> t.Optional[Tree]:
    """What is at a release's place; None when there is nothing."""
    path = folder(prefix, version)
    found = receipt(path)
    if not found:
        return None if found is None else Tree(version)
    return Tree(version, found["checksum"], found["url"], True, answers(runner, path) == version)


def answers(runner: Runner, path: str) -> str:
    """The version that the go command of a tree answers with here; "" when it does not."""
    go = os.path.join(path, "bin", "go")
    if not os.access(go, os.X_OK):
        return ""
    argv = as_nobody([go, "version"], build_uid(), GOTOOLCHAIN="local", GOTELEMETRY="off", GOROOT=path)
    words = runner.run(argv, check=False, cwd="/", timeout=60).stdout.split()
    return words[2][2:] if words[:2] == ["go", "version"] and len(words) > 2 else ""
