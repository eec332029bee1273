# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules run by the hundred a second: each call is a fork of a process that has imported them all.

What the child does is what AnsiballZ does: the arguments as JSON, ``main()``, the result on stdout. Nothing of one call
is left for the next, because it happened in a process of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import json
import os
import pathlib
import select
import signal
import time
import traceback
import typing as t

import yaml
from ansible.module_utils import basic

MODULES = pathlib.Path(__file__).resolve().parents[2] / "plugins" / "modules"
PACKAGE = "ansible_collections.ebpf.lab.plugins.modules"
FRAGMENTS = "ansible_collections.ebpf.lab.plugins.doc_fragments"
Options = dict[str, t.Any]


@functools.cache
def documentation(module: str) -> dict[str, t.Any]:
    """The module's DOCUMENTATION, its options with those of the fragments that it names."""
    found: dict[str, t.Any] = yaml.safe_load(importlib.import_module(f"{PACKAGE}.{module}").DOCUMENTATION)
    options = found.setdefault("options", {})
    for name in found.get("extends_documentation_fragment", ()):
        fragment, _dot, variable = name[len("ebpf.lab.") :].partition(".")
        shared = importlib.import_module(f"{FRAGMENTS}.{fragment}").ModuleDocFragment
        text = getattr(shared, (variable or "documentation").upper())
        for option, about in yaml.safe_load(text).get("options", {}).items():
            options[option] = {**about, **options.get(option, {})}
    return found


@functools.cache
def examples_of(module: str) -> tuple[Options, ...]:
    """The tasks in the module's EXAMPLES."""
    return tuple(yaml.safe_load(importlib.import_module(f"{PACKAGE}.{module}").EXAMPLES) or ())


def examples(module: str) -> tuple[Options, ...]:
    """The arguments of those that are the module's own."""
    named = f"ebpf.lab.{module}"
    return tuple(task[named] for task in examples_of(module) if isinstance(task.get(named), dict))


def on_hosts() -> list[str]:
    """The modules that run on a host; the others are their action plugins' words alone."""
    names = sorted(path.stem for path in MODULES.glob("*.py") if not path.stem.startswith("_"))
    return [name for name in names if hasattr(importlib.import_module(f"{PACKAGE}.{name}"), "main")]


@dataclasses.dataclass(frozen=True)
class Answer:
    """``result`` is what the module printed, None when that is no JSON object; ``output`` all that it printed."""

    result: t.Optional[dict[str, t.Any]]
    output: str
    timed_out: bool = False


def call(module: str, arguments: t.Any, *, check: bool = True, seconds: float = 60.0) -> Answer:
    """Run a module with ``arguments``, for ``seconds`` at the most."""
    main = importlib.import_module(f"{PACKAGE}.{module}").main
    given = {**arguments, "_ansible_check_mode": check, "_ansible_diff": True, "_ansible_remote_tmp": "/tmp"}
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _child(main, json.dumps({"ANSIBLE_MODULE_ARGS": given}).encode(), writing)
    os.close(writing)
    output, timed_out = b"", False
    deadline = time.monotonic() + seconds
    with open(reading, "rb", buffering=0) as pipe:
        while True:
            ready, _, _ = select.select([pipe], [], [], max(deadline - time.monotonic(), 0))
            if not ready:
                timed_out = True
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child, signal.SIGKILL)
                break
            block = pipe.read(1 << 16)
            if not block:
                break
            output += block
    os.waitpid(child, 0)
    text = output.decode(errors="backslashreplace")
    return Answer(_result(text), text, timed_out)


def _result(text: str) -> t.Optional[dict[str, t.Any]]:
    """The last line that is a JSON object: Ansible prints a module's warnings behind its result here."""
    for line in reversed(text.splitlines()):
        with contextlib.suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict):
                return found
    return None


def _child(main: t.Callable[[], None], arguments: bytes, writing: int) -> t.NoReturn:
    """Never returns, and runs nothing of what the parent meant to do at its own end."""
    status = 1
    try:
        os.setpgid(0, 0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number in (1, 2):
            os.dup2(writing, number)
        import sys

        # They live as long as the process does.
        sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = arguments, "legacy"
        try:
            main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)
