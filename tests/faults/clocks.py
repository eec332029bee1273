# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clock is set back, runs ahead or jumps; files come from the future. All goes as it does by the right clock.

Called in a private machine. The machine's own clock is never set, for all machines share it: the hosts' Python gets a
clock of its own (``SHIFT``), what counts since the boot an offset in a time namespace, and files get other times.
"""

from __future__ import annotations

import functools
import os
import pathlib
import time
import typing as t

from . import product
from .kills import Answers, said_by, unhelpful
from .private import JOURNAL, MACHINE, TryFailed, furnish, left_over, sh, snapshot
from .product import PYTHON, Command, failed

YEARS = 365.25 * 86400
SHIFT = """\
import datetime, time
words = open("{file}", encoding="ascii").read().split()
real, calls = time.time_ns, 0
def time_ns():
    global calls
    calls += 1
    return real() + int(words[min(calls // 4, len(words) - 1)]) * 10**9
def now():
    return time_ns() / 10**9
class Moment(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(now(), tz)
    @classmethod
    def utcnow(cls):
        return cls.fromtimestamp(now(), datetime.timezone.utc).replace(tzinfo=None)
    today = now
def defaulting(function, at):
    return lambda *args: function(*args, *([now()] if len(args) == at else []))
datetime.datetime = Moment
for name, at in (("gmtime", 0), ("localtime", 0), ("ctime", 0)):
    setattr(time, name, defaulting(getattr(time, name), at))
time.time, time.time_ns = now, time_ns
"""
FILES = (str(JOURNAL), "/usr/local/src", "/etc/sysctl.d")
Step = tuple[t.Any, Command]  # what the clock is, and what runs then


def _steps(*clocks: t.Any) -> list[Step]:
    """A lecture, with a clock for each of its steps; the last one stays.

    Without traffic where the boot's clock is another: trace instances, which all machines share, bear its time.
    """
    quiet = {"traffic": False} if isinstance(clocks[0], str) else {}
    proof = product.up("hello", check=True, **quiet) if quiet else product.verify()
    again = product.up("drop", check=True, **quiet) if quiet else product.verify()
    runs = (
        *(product.up("hello", **quiet), proof, product.up("hello", check=True, **quiet), product.up("drop", **quiet)),
        *(again, product.reset(**quiet), product.up("drop", check=True, **quiet), product.down()),
    )
    return [(clocks[min(at, len(clocks) - 1)], run) for at, run in enumerate(runs)]


def cases() -> dict[str, list[Step]]:
    """All of them by their names. A clock is seconds off, several numbers (it jumps within a run), or words."""
    uptime = time.clock_gettime(time.CLOCK_BOOTTIME)
    year = int(YEARS)
    return {
        "clock set back by ten years": _steps(0, -10 * year),
        "clock set back by an hour": _steps(0, 0, 0, -3600),
        "clock at 1970": _steps(10 - int(time.time())),
        "clock at 1970, then right": _steps(10 - int(time.time()), 0),
        "clock in 2040": _steps(14 * year),
        "clock in 2190, then right": _steps(164 * year, 0),
        "clock to and fro": _steps(10 * year, -10 * year, 0, 5 * year, -5 * year, 0),
        "clock jumps back within each run": _steps((3600, 0, -10 * year)),
        "clock jumps on within each run": _steps((0, 10 * year)),
        "files from the future": _steps(0, "@3786912000"),
        "files from 1970": _steps(0, "@0"),
        "just booted": _steps(f"since boot {60 - int(uptime)}"),
        "up for years": _steps(f"since boot {30 * year}"),
        "boots differ": _steps("since boot 1000000", f"since boot {60 - int(uptime)}", "since boot 0"),
    }


@functools.cache
def names() -> tuple[str, ...]:
    """Of all cases."""
    return tuple(cases())


def otherwise(given: Answers) -> Answers:
    """The steps of a case, each with its clock."""
    furnish()
    before = snapshot()
    wrong: list[str] = []
    for number, (clock, command) in enumerate(cases()[given["scenario"]], 1):
        command = _set(clock, command)
        answer = command.run()
        what = f"step {number}, clock {clock}"
        wrong += [f"{what}: {line}" for line in unhelpful(answer)] or said_by(what, failed(answer))
        if '"_ansible_check_mode": true' in command.stdin and answer.get("changed"):
            wrong.append(f"{what}: still to do: {answer['steps']}")
        wrong += [f"{what}: {path} is {value}" for path, value in _times(answer) if value < 0]
    _set(0, product.down())
    return {"hit": True, "wrong": [*wrong, *(f"left: {line}" for line in left_over(before))]}


def _set(clock: t.Any, command: Command) -> Command:
    """Give the hosts' Python, the boot or the files their time."""
    site = pathlib.Path(sh(PYTHON, "-c", "import site; print(site.getsitepackages()[0])").stdout.strip())
    site.mkdir(parents=True, exist_ok=True)
    file = MACHINE / "clock"
    numbers = clock if isinstance(clock, tuple) else (0 if isinstance(clock, str) else clock,)
    file.write_text(" ".join(map(str, numbers)), encoding="ascii")
    (site / "faults_clock.py").write_text(SHIFT.replace("{file}", str(file)), encoding="ascii")
    (site / "faults_clock.pth").write_text("import faults_clock\n", encoding="ascii")
    theirs = int(sh(PYTHON, "-c", "import time; print(int(time.time()))").stdout)
    if abs(theirs - time.time() - numbers[0]) > 60:
        raise TryFailed("the hosts' Python has no clock of its own")
    if isinstance(clock, str) and clock.startswith("@"):
        for root in FILES:
            if os.path.isdir(root):
                sh("find", root, "-exec", "touch", "--no-create", "--no-dereference", "-d", clock, "{}", "+")
    if isinstance(clock, str) and clock.startswith("since boot"):
        off = clock.rpartition(" ")[2]
        prefix = ("unshare", "--time", "--fork", f"--monotonic={off}", f"--boottime={off}")
        return Command((*prefix, *command.argv), command.stdin)
    return command


def _times(value: t.Any, path: str = "") -> t.Iterator[tuple[str, float]]:
    """What looks like a duration in an answer."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _times(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from _times(inner, path)
    elif isinstance(value, (int, float)) and any(word in path for word in ("seconds", "_ns", "_ms", "age", "uptime")):
        yield path, value
