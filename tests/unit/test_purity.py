# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit hook under which every plan of every test runs: it sees what it is there to see, and nothing else."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import typing as t

import pytest

AUDIT = pathlib.Path(__file__).resolve().parents[1] / "audit"
IMPURE = {
    "open": "open('/proc/self/status').close()",
    "listdir": "import os; os.listdir('/')",
    "socket": "import socket; socket.socket().close()",
    "exec": "import subprocess; subprocess.run(['true'])",
    "ctypes": "import ctypes; ctypes.CDLL(None)",
    "mkdir": "import os; os.mkdir('/nonexistent/x')",
}


def outcome(body: str, name: str = "plan", folder: str = "ansible_collections/ebpf/lab/plugins/module_utils") -> str:
    """What a module process says that runs ``body`` in a function ``name`` of a file in ``folder``."""
    lines = "\n".join(f"    {line}" for line in body.split("; "))
    source = f"def {name}():\n    try:\n    {lines.replace(chr(10), chr(10) + '    ')}\n    except Exception: pass\n"
    driver = f"exec(compile({source!r}, '/x/{folder}/_net/made_up.py', 'exec')); {name}()"
    done = subprocess.run(
        [sys.executable, "-c", driver],
        env={**os.environ, "PYTHONPATH": str(AUDIT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr.strip().splitlines()[-1] if done.returncode else "passed"


@pytest.mark.parametrize("what", IMPURE)
def test_a_plan_that_looks_at_the_host_or_touches_it_is_stopped(what: str) -> None:
    assert "is no pure function" in outcome(IMPURE[what])
    assert "is no pure function" in outcome(IMPURE[what], "_plan_absent")


@pytest.mark.parametrize("what", IMPURE)
def test_elsewhere_the_same_is_nobody_s_business(what: str) -> None:
    assert outcome(IMPURE[what], "observe") == "passed"
    assert outcome(IMPURE[what], folder="somebody/else") == "passed"


def test_a_plan_may_compute_and_import() -> None:
    assert outcome("import wave; sorted([3, 1])") == "passed"


def test_the_tests_own_process_is_watched_too() -> None:
    space: dict[str, t.Any] = {}
    place = "/x/ansible_collections/ebpf/lab/plugins/module_utils/_net/made_up.py"
    exec(compile("def plan():\n    open('/proc/self/status').close()\n", place, "exec"), space)
    with pytest.raises(BaseException, match="is no pure function: it does open"):
        space["plan"]()


def test_a_script_starts_under_it(tmp_path: pathlib.Path) -> None:
    (tmp_path / "script.py").write_text("print('here')", encoding="utf-8")
    argv = [sys.executable, str(tmp_path / "script.py")]
    environment = {**os.environ, "PYTHONPATH": str(AUDIT)}
    assert subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout == "here\n"
