# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The failures that a user gets to read. Everything else that is raised is a defect of ours."""

from __future__ import annotations

import errno as errno_names
import os
import re
import signal
import sys
import typing as t
from dataclasses import dataclass

from .._python import OLDEST


class LabError(Exception):
    """A failure whose text is written for the reader.

    ``message`` is one sentence, ``fix`` (may be empty) one that says what to do. ``details`` are further values for
    the module's result, for example ``verifier_log``: plain JSON types only.
    """

    def __init__(self, message: str, fix: str = "", **details: t.Any) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.details = details

    def __str__(self) -> str:
        return f"{self.message} {self.fix}".rstrip()


def brief(text: str) -> str:
    """``text`` as one line, its endless words (over 120 characters) cut in their middles: who wrote them knows them."""
    return re.sub(r"\S{121,}", lambda word: f"{word[0][:60]}…{word[0][-20:]}", " ".join(text.split()))


class BadInput(LabError):
    """An argument that cannot be right. Raised before anything is read or changed."""

    def __init__(self, option: str, value: object, why: str, right: str) -> None:
        super().__init__(brief(f"{option}: {value!r} {why}; {right}."), option=option)


class Refused(LabError):
    """A change that is possible and is not made, because it would cut a session or destroy something foreign."""


class ToolMissing(LabError):
    """A program that we call is not installed."""

    def __init__(self, tool: str, package: str = "") -> None:
        hint = f"install the package {package}" if package else f"install {tool}"
        fix = f"The role ebpf.lab.prerequisites can {hint}."
        super().__init__(f"{tool} was not found on this host.", fix, tool=tool)


class Missing(LabError):
    """Programs or libraries, ``names``, are not there; a later task may install them.

    ``python``: the libraries are another Python's, which could run us.
    """

    def __init__(self, message: str, fix: str, names: t.Sequence[str], python: str = "") -> None:
        super().__init__(message, fix, missing=list(names))
        self.names = tuple(names)
        self.python = python


class LibraryBroken(LabError):
    """A Python library that is there and cannot be imported."""


@dataclass(frozen=True)
class Completed:
    """What a command left behind. ``stdout`` and ``stderr`` are text by os.fsdecode, which loses no byte."""

    argv: tuple[str, ...]
    rc: int
    stdout: str
    stderr: str


def outcome(done: Completed) -> str:
    """How a command that did not succeed ended, with its last words, cut where they are endless."""
    said = brief((done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1])
    said = said if len(said) <= 400 else f"{said[:300]}…{said[-40:]}"
    how = f"failed with exit code {done.rc}" if done.rc >= 0 else f"was ended by {signal.Signals(-done.rc).name}"
    return f"{os.path.basename(done.argv[0])} {how}: {said.rstrip('. ')}."


class CommandFailed(LabError):
    """A command that exited with an error; carries what it said."""

    def __init__(self, done: Completed, doing: str = "", fix: str = "", **details: t.Any) -> None:
        super().__init__(
            f"{doing}: {outcome(done)}" if doing else outcome(done),
            fix,
            argv=list(done.argv),
            rc=done.rc,
            stdout=done.stdout[-20000:],
            stderr=done.stderr[-20000:],
            **details,
        )
        self.done = done


class KernelRefused(LabError):
    """A system call or netlink request that the kernel refused.

    ``errno`` is the positive error number; ``said`` the kernel's own words (netlink's extended ack), when it gave any.
    """

    def __init__(self, doing: str, errno: int, said: str = "", fix: str = "", **details: t.Any) -> None:
        name = errno_names.errorcode.get(errno, str(errno))
        words = said or os.strerror(errno)
        super().__init__(f"{doing}: the kernel refused ({name}): {words}.", fix, errno=name, **details)
        self.errno = errno
        self.said = said


class NotConverged(LabError):
    """After the run something is still not as asked: another program is working against us, or we have a defect."""


class NotTakenAway(LabError):
    """A teardown that did all that it could: ``left`` is what it could not, a sentence each."""

    def __init__(self, left: t.Sequence[str], taken: t.Sequence[str]) -> None:
        super().__init__(
            f"Not all could be taken away: {' '.join(left)}",
            "The rest is gone. What is left stays noted in the journal: mend the cause, and run the same again.",
            not_taken_away=list(left),
            taken_away=list(taken),
        )


class OldPython(LabError):
    """The Python that runs a module is older than what the modules are written for."""

    def __init__(self, version: tuple[int, int]) -> None:
        found, oldest = (".".join(map(str, number)) for number in (version, OLDEST))
        super().__init__(
            f"This machine's Python is {found}, and ebpf.lab needs {oldest} or later there.",
            "Set ansible_python_interpreter to one that is.",
        )


def library_cure(interpreter: str) -> str:
    """What to do about a library that does not import."""
    return (
        f"A library is missing or broken for {interpreter}: the role ebpf.lab.prerequisites installs them for "
        "/usr/bin/python3, and ansible_python_interpreter says which Python is used."
    )


class Unforeseen(LabError):
    """An exception that no code of ours expected: the system's are the host's matter, all others a defect of ours."""

    def __init__(self, error: Exception) -> None:
        sentence = f"{type(error).__name__}: {error}".rstrip(". ") + "."
        if isinstance(error, ImportError):
            super().__init__(sentence, library_cure(sys.executable))
            return
        if not isinstance(error, OSError) or error.errno is None:
            super().__init__(sentence, "This is a defect of ebpf.lab: please report it, with what -vvv shows.")
            return
        cures = {
            errno_names.EROFS: "Its file system is mounted read-only; make it writable.",
            errno_names.ENOSPC: "Its file system is full; make room on it.",
        }
        if os.geteuid() != 0:
            cures.update(dict.fromkeys((errno_names.EACCES, errno_names.EPERM), "It needs root: set become: true."))
        super().__init__(sentence, cures.get(error.errno, ""), errno=errno_names.errorcode.get(error.errno, ""))


def as_failure(error: Exception) -> LabError:
    """Any exception as a failure that can be read."""
    return error if isinstance(error, LabError) else Unforeseen(error)
