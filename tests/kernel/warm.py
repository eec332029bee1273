# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Python that has imported what is not the collection's, and forks a process for each module that a test runs.

Most of a module's time goes to importing Ansible and pyroute2. Nothing of the collection is imported before the fork,
so each call starts from the files as they are. A request is a line of JSON, the answer a line with the exit status;
stdin, stdout and stderr are files, so that what a module leaves running in the background keeps nobody waiting.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import pathlib
import runpy
import selectors
import subprocess
import sys
import tempfile
import threading
import traceback
import typing as t

PRELOADED = ("ansible.module_utils.basic", "pyroute2", "elftools.elf.elffile")
MODULES = "ansible_collections.ebpf.lab.plugins.modules"


def _settings(environment: t.Mapping[str, str]) -> dict[str, str]:
    """An environment without what pytest changes with each test."""
    return {key: value for key, value in environment.items() if key != "PYTEST_CURRENT_TEST"}


class Warm:
    """The tests' end. ``run`` gives None for a call that has to start from nothing: do it yourself then.

    That is the first call of each module, one beside another one, and one with an environment of the test's own: Python
    reads it at its start, and others read a process' environment as it started.
    """

    def __init__(self, python: str, path: str, ansible: str) -> None:
        self.environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        argv = [python, __file__, ansible]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, env=self.environment, bufsize=0)
        self.lock = threading.Lock()
        self.known: set[str] = set()

    def run(
        self, module: str, given: str, environment: t.Mapping[str, str], timeout: float
    ) -> t.Optional[subprocess.CompletedProcess[str]]:
        """What subprocess.run would return."""
        if module not in self.known or _settings(environment) != _settings(self.environment):
            self.known.add(module)
            return None
        if not self.lock.acquire(blocking=False):
            return None
        try:
            with tempfile.TemporaryDirectory() as folder:
                return self._run(module, given, timeout, pathlib.Path(folder))
        finally:
            self.lock.release()

    def _run(self, module: str, given: str, timeout: float, folder: pathlib.Path) -> subprocess.CompletedProcess[str]:
        (folder / "stdin").write_text(given, encoding="utf-8")
        status = pathlib.Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        umask = int(status.partition("Umask:")[2].split()[0], 8)
        request = {"module": module, "cwd": os.getcwd(), "umask": umask, "io": str(folder)}
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout):
                self.process.kill()
                raise subprocess.TimeoutExpired(module, timeout)
        code = int(self.process.stdout.readline())
        said = [(folder / name).read_text(encoding="utf-8", errors="replace") for name in ("stdout", "stderr")]
        return subprocess.CompletedProcess([module], code, *said)

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def _serve() -> None:
    """The other end: a fork for each line of stdin."""
    sys.path[0] = ""  # as for python -c
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    answers = os.dup(1)
    os.set_inheritable(answers, False)
    while True:
        line = sys.stdin.buffer.readline()
        if not line:
            return
        child = os.fork()
        if child == 0:
            os.close(answers)
            _become(json.loads(line))
        _pid, status = os.waitpid(child, 0)
        os.write(answers, f"{os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)}\n".encode())


def _become(request: dict[str, t.Any]) -> t.NoReturn:
    """In the fork: run the module as a process that has just started, and end."""
    os.chdir(request["cwd"])
    os.umask(request["umask"])
    for number, (name, flags) in enumerate((("stdin", os.O_RDONLY), ("stdout", os.O_WRONLY), ("stderr", os.O_WRONLY))):
        handle = os.open(os.path.join(request["io"], name), flags | os.O_CREAT, 0o600)
        os.dup2(handle, number)
        os.close(handle)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    sys.argv = ["-c"]
    code = 0
    try:
        runpy.run_module(f"{MODULES}.{request['module']}", run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.path.append(sys.argv[1])
    _serve()
