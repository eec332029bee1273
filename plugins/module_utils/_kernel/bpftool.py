# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bpftool answers on this kernel, the one place that asks. A file is no proof.

Ubuntu's package linux-tools-common puts a script of bpftool's name there that looks for the running kernel's own, and
may have nothing to call.
"""

from __future__ import annotations

import glob
import json
import os
import typing as t
from dataclasses import dataclass, field

from .._core.errors import Completed, LabError

if t.TYPE_CHECKING:
    from .._core.command import Runner

PACKAGED = ("/usr/sbin/bpftool", "/sbin/bpftool")
# linux-tools-VERSION puts its binary there, whatever kernel is running.
VERSIONED = "/usr/lib/linux-tools/*/bpftool"
WRAPPER_SAYS = "not found for kernel"


@dataclass(frozen=True)
class Answer:
    """``version`` "" means that it does not work here; ``why`` says why in a sentence without its full stop."""

    path: str
    version: str = ""
    libbpf: str = ""
    features: t.Mapping[str, bool] = field(default_factory=dict)
    why: str = ""

    @property
    def works(self) -> bool:
        """Whether this bpftool answered on this kernel."""
        return bool(self.version)


def ask(runner: Runner, path: str) -> Answer:
    """Run ``path version`` and read its answer."""
    if not os.path.exists(path):
        return Answer(path, why=f"there is no {path}")
    try:
        done = runner.run([path, "-j", "version"], check=False, timeout=20)
    except LabError as error:
        return Answer(path, why=error.message.rstrip("."))
    return read(path, done)


def read(path: str, done: Completed) -> Answer:
    """The answer in what ``bpftool -j version`` printed."""
    try:
        answer = json.loads(done.stdout)
        version = str(answer["version"])
    except (ValueError, KeyError, TypeError):
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[0]
        if WRAPPER_SAYS in done.stdout + done.stderr:
            kernel = os.uname().release
            why = f"{path} is Ubuntu's wrapper, and no installed package has the binary for the running kernel {kernel}"
        else:
            why = f"{path} version exited with {done.rc} and said: {said}"
        return Answer(path, why=why)
    features = {name: value is True for name, value in dict(answer.get("features", {})).items()}
    return Answer(path, version.lstrip("v"), str(answer.get("libbpf_version", "")).lstrip("v"), features)


def usable(runner: Runner) -> Answer:
    """The one that commands run: that of the path, or where it is a wrapper with nothing to call, the newest other."""
    path = runner.which("bpftool")
    if path is None:
        return Answer("bpftool", why="there is no bpftool")
    answer = ask(runner, path)
    return answer if answer.works else next(iter(versioned(runner)), answer)


def missing(runner: Runner) -> str:
    """Why there is no bpftool for the running kernel, "" when there is one.

    Only a script is started for that: a binary does not depend on the kernel, and asking costs a process each time.
    """
    path = runner.which("bpftool")
    if path is None:
        return "there is no bpftool"
    with open(path, "rb") as file:
        binary = file.read(4) == b"\x7fELF"
    return "" if binary else ask(runner, path).why


def packaged(runner: Runner) -> Answer:
    """The distribution's bpftool."""
    path = next((path for path in PACKAGED if os.path.exists(path)), PACKAGED[0])
    return ask(runner, path)


def versioned(runner: Runner) -> tuple[Answer, ...]:
    """The binaries beside installed kernels' tools that work here, the newest first."""
    answers = (ask(runner, path) for path in glob.glob(VERSIONED))
    return tuple(sorted((answer for answer in answers if answer.works), key=_newness, reverse=True))


def _newness(answer: Answer) -> list[int]:
    digits = "".join(letter if letter.isdigit() else " " for letter in answer.path)
    return [int(part) for part in digits.split()]
