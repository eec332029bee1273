# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same kills through the whole of ./lab: what Ansible starts on the host is put under the supervisor, it alone.

Ansible is given an interpreter that is a wrapper; the first module that it runs is the lab's. Called in a private
machine by test_ansible.py.
"""

from __future__ import annotations

import pathlib
import subprocess
import time
import typing as t

from .private import MACHINE, ROOT, TryFailed, furnish, left_over, snapshot, unreadable
from .product import PYTHON, environment
from .supervisor import GO_ON, Answer, Call, CannotSupervise, Run, Supervisor, launched

WRAPPER = """\
#!/bin/sh
if mkdir "{folder}/taken" 2>/dev/null; then exec {launch} "$@"; fi
exec {python} "$@"
"""


def lab(*words: str) -> subprocess.CompletedProcess[str]:
    """./lab with these words, to its end."""
    return subprocess.run(
        [str(ROOT / "lab"), *words],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
        cwd=ROOT,
        timeout=200,
    )


def supervised(decide: t.Callable[[Call], Answer], *words: str) -> tuple[Run, subprocess.CompletedProcess[str]]:
    """./lab with these words, and its first module under supervision."""
    folder = MACHINE / "ansible"
    folder.mkdir(parents=True)
    wrapper = MACHINE / "python"
    launch = " ".join(launched(str(folder), [PYTHON]))
    wrapper.write_text(WRAPPER.format(folder=folder, launch=launch, python=PYTHON), encoding="ascii")
    wrapper.chmod(0o755)
    argv = [str(ROOT / "lab"), *words, "--extra-vars", f"ansible_python_interpreter={wrapper}"]
    out: pathlib.Path = MACHINE / "ansible-out"
    with out.open("wb") as file:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=environment(), cwd=ROOT
        )
    supervisor = Supervisor(decide)
    try:
        supervisor.attach(str(folder), 90)
        supervisor.serve(time.monotonic() + 120)
    except CannotSupervise as error:
        process.kill()
        raise TryFailed(f"{error}\n{out.read_text(encoding='utf-8', errors='replace')}") from error
    supervisor.run.rc = process.wait(120)
    text = out.read_text(encoding="utf-8", errors="replace")
    return supervisor.run, subprocess.CompletedProcess(argv, process.returncode, text, "")


def killed(given: dict[str, t.Any]) -> dict[str, t.Any]:
    """``./lab up`` killed at the ``nth`` call whose name begins with ``call``; then up again, or down at once."""
    furnish()
    before = snapshot()
    seen = 0

    def decide(call: Call) -> Answer:
        nonlocal seen
        seen += call.name.startswith(given["call"])
        aimed = call.name.startswith(given["call"]) and seen == given["nth"]
        return Answer(kill=given["whom"]) if aimed else GO_ON

    run, done = supervised(decide, "up")
    if not run.hit:
        raise TryFailed(f"not hit; it came by {[str(point) for point in run.points]}\n{done.stdout}")
    wrong = [f"the journal cannot be read: {line}" for line in unreadable()]
    wrong += [] if done.returncode else ["the play did not fail"]
    wrong += ["a traceback"] if "Traceback" in done.stdout else []
    if given["way"] == "again":
        again = lab("up")
        wrong += [f"the next up: {again.stdout[-600:]}"] if again.returncode else []
    down = lab("down")
    wrong += [f"down: {down.stdout[-600:]}"] if down.returncode else []
    return {"points": len(run.points), "said": done.stdout[-800:], "wrong": wrong + left_over(before)}
