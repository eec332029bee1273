# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the product is called: the only file of this folder that knows. Each call is a plain process, 0.5 s long.

A module gets its input on stdin, as from Ansible. The lab's module gets what its action plugin sends along: the lab
file's content and the sources that it names.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import pathlib
import subprocess
import typing as t
from dataclasses import dataclass, field

import ansible
import yaml

from .private import COLLECTIONS, MACHINE, ROOT
from .supervisor import GO_ON, Decide, Run, supervise

PYTHON = "/usr/bin/python3"  # the hosts' own, with the distribution's netlink library
DRIVER = """
import runpy, sys
sys.path.append(sys.argv.pop(2))
runpy.run_module('ansible_collections.ebpf.lab.plugins.modules.' + sys.argv.pop(1), run_name='__main__')
"""
ANSIBLE = str(pathlib.Path(ansible.__file__).parents[1])


@dataclass(frozen=True)
class Command:
    """A program of the product with its input, or (``stdin`` "") a plain command."""

    argv: tuple[str, ...]
    stdin: str = ""
    then: tuple[Command, ...] = ()

    def run(self) -> dict[str, t.Any]:
        """Run it to its end, and ``then`` after it also when it failed; see ``result``."""
        answers = [self._run(), *(command._run() for command in self.then)]
        return next((answer for answer in answers if failed(answer)), answers[0])

    def _run(self) -> dict[str, t.Any]:
        done = subprocess.run(
            self.argv, input=self.stdin, capture_output=True, text=True, check=False, env=environment(), timeout=200
        )
        return result(done.returncode, done.stdout, done.stderr)

    def start(self) -> subprocess.Popen[str]:
        """Begin it; ``ended`` gives what came of it."""
        MACHINE.mkdir(parents=True, exist_ok=True)
        given = MACHINE / f"in-{os.urandom(4).hex()}"
        given.write_text(self.stdin, encoding="utf-8")
        with given.open("rb") as file:
            return subprocess.Popen(
                self.argv, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
            )

    def supervised(self, decide: Decide = lambda call: GO_ON, **options: t.Any) -> Supervised:
        """Run it under a supervisor."""
        folder = str(MACHINE / f"run-{os.urandom(4).hex()}")
        run = supervise(self.argv, decide, folder=folder, stdin=self.stdin, env=environment(), **options)
        return Supervised(run, result(run.rc, run.stdout, run.stderr))


@dataclass
class Supervised:
    """The supervisor's record and the module's result."""

    run: Run
    result: dict[str, t.Any] = field(default_factory=dict)


def ended(process: subprocess.Popen[str], timeout: float = 200) -> dict[str, t.Any]:
    """The result of what ``start`` began."""
    out, err = process.communicate(timeout=timeout)
    return result(process.returncode, out, err)


def environment() -> dict[str, str]:
    """What the product's processes get."""
    return {**os.environ, "PYTHONPATH": str(COLLECTIONS), "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"}


def result(rc: int, out: str, err: str) -> dict[str, t.Any]:
    """A module's answer. One that gave none is a failure: with its traceback, or "killed" when a signal ended it."""
    try:
        answer = json.loads(out.strip().splitlines()[-1])
        assert isinstance(answer, dict)
    except (ValueError, IndexError, AssertionError):
        answer = {"failed": rc != 0, "msg": err.strip() or out.strip() or f"no answer, rc {rc}"}
    answer["rc"] = rc
    if "Traceback" in err or "Traceback" in str(answer.get("exception", "")):
        answer["traceback"] = err + str(answer.get("exception", ""))
    return answer


def failed(answer: t.Mapping[str, t.Any]) -> str:
    """Why a run failed, in what it said; "" when it did not."""
    return str(answer.get("msg") or answer) if answer.get("failed") or answer["rc"] else ""


def module(name: str, /, *, check: bool = False, **params: t.Any) -> Command:
    """One module with its parameters."""
    arguments = {**params, "_ansible_check_mode": check, "_ansible_diff": True}
    return Command((PYTHON, "-c", DRIVER, name, ANSIBLE), json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))


@functools.cache
def lab_file(name: str) -> tuple[dict[str, t.Any], dict[str, str]]:
    """A shipped lab's content, and the sources that it names."""
    with open(ROOT / "playbooks" / "labs" / f"{name}.yml", encoding="utf-8") as file:
        content = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    names = {entry["source"] for entry in content["objects"].values()} | set(content.get("headers", ()))
    sources = {name: (ROOT / "files" / "bpf" / name).read_bytes() for name in sorted(names)}
    return content, {name: base64.b64encode(source).decode("ascii") for name, source in sources.items()}


def lab(name: str = "lecture2", *, check: bool = False, **params: t.Any) -> Command:
    """The lab's module: what ``./lab up`` runs on a host."""
    content, sources = lab_file(name)
    return module("lab", check=check, lab=name, content=content, file=f"{name}.yml", sources=sources, **params)


def up(stage: str = "", name: str = "lecture2", **params: t.Any) -> Command:
    """./lab up, ./lab stage."""
    return lab(name, stage=stage, **params)


def verify(stage: str = "", name: str = "lecture2", **params: t.Any) -> Command:
    """./lab verify."""
    return lab(name, stage=stage, state="verified", **params)


def reset(stage: str = "", name: str = "lecture2", **params: t.Any) -> Command:
    """./lab reset."""
    return lab(name, stage=stage, exclusive=True, **params)


def down(name: str = "lecture2", **params: t.Any) -> Command:
    """./lab down."""
    return lab(name, state="absent", **params)


def shell(script: str) -> Command:
    """What a student or an owner types."""
    return Command(("sh", "-euc", script))


def all_of(first: Command, *others: Command) -> Command:
    """One after another, for ``run`` alone."""
    return Command(first.argv, first.stdin, others)
