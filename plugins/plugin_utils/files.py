# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How files are written on the control node: whole, for their owner alone, or for who called sudo."""

from __future__ import annotations

import contextlib
import os
import tempfile


def make_folder(path: str, mode: int = 0o755) -> None:
    """Make a folder and what is missing above it; nobody but its owner writes there, whatever the umask is."""
    if not os.path.isdir(path):
        make_folder(os.path.dirname(path), mode)
        with contextlib.suppress(FileExistsError):  # another run was quicker
            os.mkdir(path, mode)
            give(path)


def write_file(path: str, text: str) -> None:
    """Whole or not at all, for its owner's eyes alone."""
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".new-")
    try:
        with open(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        give(temporary)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def give(path: str) -> None:
    """Let a file or folder that root has just made belong to who called sudo."""
    user, group = (os.environ.get(f"SUDO_{name}", "") for name in ("UID", "GID"))
    if os.geteuid() == 0 and user.isdecimal() and group.isdecimal():
        os.chown(path, int(user), int(group), follow_symlinks=False)
