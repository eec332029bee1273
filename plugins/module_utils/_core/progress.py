# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines that a long run writes while it works, for whoever watches it from the control node."""

from __future__ import annotations

import contextlib
import os
import re
import typing as t

from .errors import BadInput
from .module import Progress
from .text import one_line

# The options of a module whose action plugin shows its progress.
TELLING: dict[str, t.Any] = {
    "quiet": {"type": "bool", "default": False},
    "progress": {"type": "str", "default": ""},
}


@contextlib.contextmanager
def progress_file(params: t.Mapping[str, t.Any]) -> t.Iterator[Progress]:
    """A function that appends a line to the file that ``progress`` names in /run; None for "". Gone afterwards."""
    token = params["progress"]
    if not token:
        yield None
        return
    if not re.fullmatch(r"[0-9a-f]{16}", token):
        raise BadInput("progress", token, "is no token", "leave it to the action plugin")
    path = f"/run/ebpf.lab-{token}.progress"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:

        def tell(line: str) -> None:
            os.write(handle, f"{one_line(line)}\n".encode())

        yield tell
    finally:
        os.close(handle)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
