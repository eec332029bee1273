# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what on this host now: ``change`` is held by a run that changes it, ``probe`` by one that measures it.

A run that changes things takes both, in this order, so that nobody measures a host that is being changed; a run that
grades takes ``probe`` alone. They are files in a folder that only root writes, gone when nobody holds them.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
import typing as t

from .errors import LabError
from .files import failed

FOLDER = "/run/ebpf.lab"
CHANGE, PROBE = "change", "probe"
WAIT = 120.0  # seconds
TOLD_AFTER = 0.5  # seconds
_PAUSE = 0.05

Tell = t.Callable[[str], None]


@contextlib.contextmanager
def held(
    *names: str, word: str = "", tell: t.Optional[Tell] = None, wait: float = WAIT, folder: str = ""
) -> t.Iterator[bool]:
    """Hold the locks ``names``, for ``word`` (what is done meanwhile). Raises LabError after ``wait`` seconds.

    ``tell`` is told whom is waited for. Gives whether anybody was.
    """
    deadline = time.monotonic() + wait
    with contextlib.ExitStack() as stack:
        waited = [stack.enter_context(_one(folder or FOLDER, name, word, tell, deadline, wait)) for name in names]
        yield any(waited)


def left() -> bool:
    """Whether the folder is there: somebody holds a lock, or was killed with one."""
    return os.path.lexists(FOLDER)


def sweep() -> None:
    """Remove the files that a killed run has left, where nobody holds them; what cannot be removed is for the next."""
    for name in (CHANGE, PROBE):
        path = f"{FOLDER}/{name}"
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _bears(path, handle):
                    os.unlink(path)
            finally:
                os.close(handle)
    with contextlib.suppress(OSError):
        os.rmdir(FOLDER)


@contextlib.contextmanager
def _one(folder: str, name: str, word: str, tell: t.Optional[Tell], deadline: float, wait: float) -> t.Iterator[bool]:
    handle, waited = _acquire(folder, name, tell, deadline, wait)
    try:
        who = json.dumps({"pid": os.getpid(), "word": word, "since": time.strftime("%H:%M:%S")})
        with contextlib.suppress(OSError):  # a full disk: who waits is told less
            os.ftruncate(handle, 0)
            os.pwrite(handle, who.encode(), 0)
        yield waited
    finally:
        # Whoever waits for this very file sees that it has no name any more, and takes the next one.
        with contextlib.suppress(OSError):
            os.unlink(f"{folder}/{name}")
        os.close(handle)
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def _acquire(folder: str, name: str, tell: t.Optional[Tell], deadline: float, wait: float) -> tuple[int, bool]:
    """The descriptor of the file that bears the name, locked by us; and whether somebody had it before."""
    path, begun, told, waited = f"{folder}/{name}", time.monotonic(), False, False
    while True:
        handle = _opened(folder, path)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _bears(path, handle):
                return handle, waited
            waited = True  # for one who has just let it go
        except BlockingIOError:
            now, waited = time.monotonic(), True
            if now > deadline:
                who = _holder(handle)
                os.close(handle)
                raise LabError(
                    f"Another run ({who}) has been working on this host for more than {wait:g} seconds.",
                    "Wait for it to end, then run again.",
                ) from None
            if tell is not None and not told and now > begun + TOLD_AFTER:
                tell(f"waiting for another run: {_holder(handle)}")
                told = True
            time.sleep(_PAUSE)
        os.close(handle)


def _opened(folder: str, path: str) -> int:
    try:
        while True:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # its last holder has just removed the folder
                return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.rmdir(folder)  # not for nothing
        raise failed(f"open {path}", error) from error


def _bears(path: str, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(handle))
    except FileNotFoundError:
        return False


def _holder(handle: int) -> str:
    try:
        who = json.loads(os.pread(handle, 4096, 0))
        return f"{who['word'] or 'a module'}, process {int(who['pid'])}, since {who['since']}"
    except (ValueError, TypeError, KeyError, OSError):
        return "which has not said yet what it does"
