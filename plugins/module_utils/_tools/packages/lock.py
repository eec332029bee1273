# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The locks of apt and dpkg: who holds one, and waiting for it with a word about whom.

After boot a machine's own apt-daily reads the archive's index and may install what it finds; for minutes nobody else
can. apt's own DPkg::Lock::Timeout says nothing while it waits, and does not cover the lock of the index.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
import time
import typing as t
from dataclasses import dataclass

from ..._core.errors import LabError

LOCKS = (
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/lock",
    "/var/lib/apt/lists/lock",
    "/var/cache/apt/archives/lock",
)
TIMEOUT = 300  # seconds
_POLL = 0.2
_REMIND = 15.0
# struct flock: l_type, l_whence, l_start, l_len, l_pid
_FLOCK = struct.Struct("hhqqi0q")
_SAID = re.compile(r"Could not get lock (?P<path>/\S+?)\.?(?: It is held by process (?P<pid>\d+)|\s|$)", re.MULTILINE)


@dataclass(frozen=True)
class Holder:
    """Who holds the lock ``path``. ``pid`` is 0 where the kernel does not tell, as of a process in a container."""

    path: str
    pid: int = 0
    command: str = ""

    def __str__(self) -> str:
        who = f"process {self.pid} ({self.command or 'gone by now'})" if self.pid else "another process"
        return f"{who} holds {self.path}"


def holder(paths: t.Sequence[str] = LOCKS) -> t.Optional[Holder]:
    """Whoever holds one of the locks now. Asks the kernel, takes nothing."""
    for path in paths:
        with contextlib.suppress(OSError), open(path, "rb") as file:
            asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _whence, _start, _length, pid = _FLOCK.unpack(fcntl.fcntl(file, fcntl.F_GETLK, asked))
            if kind != fcntl.F_UNLCK:
                return _named(path, max(pid, 0))
    return None


def said(text: str) -> t.Optional[Holder]:
    """The holder that apt names in its error; None when that is about something else."""
    match = _SAID.search(text)
    return _named(match["path"], int(match["pid"] or 0)) if match else None


def _named(path: str, pid: int) -> Holder:
    command = ""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        command = " ".join(file.read(4096).decode(errors="replace").split("\0")).strip()[:200]
    return Holder(path, pid, command)


class Patience:
    """Waits for apt's locks, ``seconds`` altogether, and tells at once who holds one."""

    def __init__(self, seconds: float, tell: t.Callable[[str], None]) -> None:
        self._left = self._seconds = seconds
        self._tell = tell
        self._told: t.Optional[Holder] = None
        self._reminded = 0.0

    def until_free(self) -> None:
        """Return when nobody holds a lock. Raises LabError, naming the holder, when it takes too long."""
        found = holder()
        while found is not None:
            self.wait_for(found)
            found = holder()

    def wait_for(self, found: Holder, seconds: float = _POLL) -> None:
        """One short wait for somebody who holds a lock. Raises LabError when there is no time left."""
        if self._left <= 0:
            raise LabError(
                f"apt cannot start: {found}, still after {self._seconds:g} seconds.",
                "Wait for it to end and run this again, or give more time by lock_timeout "
                "(prerequisites_lock_timeout of the role).",
                lock={"path": found.path, "pid": found.pid, "command": found.command},
            )
        now = time.monotonic()
        if found != self._told or now - self._reminded >= _REMIND:
            self._tell(f"waiting for apt's lock, up to {self._left:.0f} s more: {found}")
            self._told, self._reminded = found, now
        time.sleep(seconds)
        self._left -= time.monotonic() - now
