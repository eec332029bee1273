#!/usr/bin/env python3
# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the toolchain is as it was when all of its tests passed: a digest of what they prove, committed beside them.

tests/toolchain/proven.py          # exit status 0 when it is
tests/toolchain/proven.py write    # all of them have just passed: the stage does this under --all
"""

from __future__ import annotations

import hashlib
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODULES = ("bpftool", "golang", "iproute2", "packages", "toolchain_info")
ROLES = ("bpftool", "golang", "iproute2", "prerequisites")
PLACES = (
    "plugins/module_utils/_tools",
    *(f"plugins/modules/{name}.py" for name in MODULES),
    *(f"roles/{name}" for name in ROLES),
    "tests/toolchain",
    "tests/hosts",
)


def digest(root: pathlib.Path) -> str:
    """Names and content of all files in PLACES but documentation and the record itself."""
    found = hashlib.sha256()
    for place in PLACES:
        top = root / place
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and path.suffix not in (".md", ".pyc") and path.name != "proven":
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                found.update(f"{path.relative_to(root)} {content}\n".encode())
    return found.hexdigest()


def main(root: pathlib.Path, write: bool) -> int:
    """Compare or write the record."""
    record = root / "tests/toolchain/proven"
    if write:
        record.write_text(f"{digest(root)}\n", encoding="ascii")
    elif not record.exists() or record.read_text(encoding="ascii").strip() != digest(root):
        print("The toolchain, or what proves it, has changed since the last full proof: all of its tests run.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(ROOT, sys.argv[1:] == ["write"]))
