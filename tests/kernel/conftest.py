# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests on the real kernel: each module is run as a process of its own, with the input that Ansible gives it.

Run them with ``tests/isolate pytest tests/kernel``. ``EBPF_LAB_MODULE_PYTHON`` names another interpreter for the
modules, for example that of an environment with an older pyroute2.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import typing as t

import ansible
import pytest

if t.TYPE_CHECKING:
    from .warm import Warm

ROOT = pathlib.Path(__file__).resolve().parents[2]
ANSIBLE = str(pathlib.Path(ansible.__file__).parents[1])
JOURNAL = pathlib.Path("/var/lib/ebpf.lab")
# Like AnsiballZ: runs the module as __main__, with its input on stdin. Ansible itself comes
# last on the path, so that an interpreter's own pyroute2 wins over the one beside our ansible-core.
DRIVER = """
import runpy, sys
sys.path.append(sys.argv.pop(2))
runpy.run_module('ansible_collections.ebpf.lab.plugins.modules.' + sys.argv.pop(1), run_name='__main__')
"""


def isolated() -> bool:
    """Whether tests/isolate made the world we run in: it lays its own upper layer over /etc."""
    mounts = pathlib.Path("/proc/self/mounts").read_text(encoding="utf-8")
    return any(line.split()[1] == "/etc" and "upperdir=/dev/shm/up/etc" in line for line in mounts.splitlines())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse to run on the machine itself: these tests change links, rules and pins."""
    here = pathlib.Path(__file__).parent
    if any(here in item.path.parents for item in items) and not isolated():
        pytest.exit("tests/kernel changes the network and BPF pins: run it with tests/isolate pytest tests/kernel.", 3)


def sh(*argv: str, check: bool = True, **options: t.Any) -> subprocess.CompletedProcess[str]:
    """Run a command of the test's own and return it; its output is in the assertion when it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0 or not check, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def path_of(collections: pathlib.Path) -> str:
    """A module's PYTHONPATH: the collection, and the hook that watches its plans."""
    return f"{ROOT}/tests/audit:{collections}"


class ModuleFailed(AssertionError):
    """A module failed that the test expected to succeed."""


def only_reads(
    module: str, argv: list[str], given: str, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """What subprocess.run would return; the run is supervised, and fails the test when it does more than reading."""
    from ansible_collections.ebpf.lab.tests.faults import checkmode, supervisor

    with tempfile.TemporaryDirectory(prefix="supervised-") as folder:
        watch = checkmode.OnlyReading((f"{folder}/", "/tmp/tmp"))
        run = supervisor.supervise(argv, watch, folder=folder, stdin=given, env=environment, timeout=300)
    # C1: what only probes does so in check mode too.
    assert module in checkmode.PROBES or not watch.wrong, (
        f"{module} does more in check mode than reading: {watch.wrong}"
    )
    return subprocess.CompletedProcess(argv, run.rc, run.stdout, run.stderr)


class RunModule:
    """``run_module("veth", name="veth1", check=True)``: the module's result as Ansible would read it."""

    def __init__(self, collections: pathlib.Path, warm: t.Optional[Warm] = None) -> None:
        self.collections = collections
        self.warm = warm
        self.python = os.environ.get("EBPF_LAB_MODULE_PYTHON", sys.executable)

    def __call__(
        self, module: str, /, *, check: bool = False, diff: bool = True, fails: bool = False, **params: t.Any
    ) -> dict[str, t.Any]:
        """Run it. ``fails`` says which end the test expects; the other one is an assertion error with all output."""
        arguments = {**params, "_ansible_check_mode": check, "_ansible_diff": diff}
        given = json.dumps({"ANSIBLE_MODULE_ARGS": arguments})
        environment = {**os.environ, "PYTHONPATH": path_of(self.collections), "PYTHONDONTWRITEBYTECODE": "1"}
        argv = [self.python, "-c", DRIVER, module, ANSIBLE]
        done = self.warm.run(module, given, environment, timeout=300) if self.warm is not None else None
        if check and os.environ.get("EBPF_LAB_TEST_ALL"):
            done = only_reads(module, argv, given, environment)
        done = done or subprocess.run(
            argv,
            input=given,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        try:
            result: dict[str, t.Any] = json.loads(done.stdout.strip().splitlines()[-1])
        except (ValueError, IndexError):
            raise ModuleFailed(f"{module} gave no result: rc {done.returncode}\n{done.stdout}\n{done.stderr}") from None
        json.dumps(result, ensure_ascii=False).encode()  # no lone surrogates: Ansible would fail without a word
        # ansible-core 2.19 hands a warning over as an event; a user reads its text.
        result["warnings"] = [
            line if isinstance(line, str) else line["event"]["msg"] for line in result.get("warnings", [])
        ]
        if bool(result.get("failed")) != fails:
            raise ModuleFailed(
                f"{module} was expected to {'fail' if fails else 'succeed'}: {json.dumps(result, indent=1)}"
            )
        if fails:
            assert "Traceback" not in json.dumps(result), f"{module} shows a traceback: {result}"
        return result

    def four_runs(self, module: str, /, **params: t.Any) -> dict[str, t.Any]:
        """Check → apply → again → again in check mode; returns what the second one (apply) returned."""
        predicted = self(module, check=True, **params)
        assert predicted["changed"], f"{module} in check mode predicts no change"
        applied = self(module, **params)
        assert applied["changed"], f"{module} says that it changed nothing"
        assert applied["diff"] == predicted["diff"], f"{module} in check mode predicts another diff than the run shows"
        assert applied["steps"] == predicted["steps"], f"{module} in check mode predicts other steps than the run took"
        for check in (False, True):
            again = self(module, check=check, **params)
            assert not again["changed"], f"{module} again (check={check}): {again['steps']}"
            assert again["diff"]["before"] == again["diff"]["after"], f"{module} shows a difference and says unchanged"
        return applied


@pytest.fixture(scope="session")
def collections(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A path with this checkout in place as ansible_collections/ebpf/lab."""
    path = tmp_path_factory.mktemp("collections")
    (path / "ansible_collections/ebpf").mkdir(parents=True)
    (path / "ansible_collections/ebpf/lab").symlink_to(ROOT)
    return path


@pytest.fixture(scope="session")
def warm(collections: pathlib.Path) -> t.Iterator[t.Optional[Warm]]:
    """Starts modules faster; each one's first call starts from nothing all the same, and under --all every call."""
    if os.environ.get("EBPF_LAB_TEST_ALL"):
        yield None
        return
    from .warm import Warm

    warm = Warm(os.environ.get("EBPF_LAB_MODULE_PYTHON", sys.executable), path_of(collections), ANSIBLE)
    yield warm
    warm.close()


@pytest.fixture
def run_module(collections: pathlib.Path, warm: t.Optional[Warm]) -> t.Iterator[RunModule]:
    """Runs modules; afterwards the journal is gone, so that a test never sees what another one left."""
    yield RunModule(collections, warm)
    shutil.rmtree(JOURNAL, ignore_errors=True)


@pytest.fixture
def four_runs(run_module: RunModule) -> t.Callable[..., dict[str, t.Any]]:
    """``four_runs("veth", name="veth1", …)``, see RunModule.four_runs."""
    return run_module.four_runs


@pytest.fixture
def journal() -> t.Callable[[], dict[str, t.Any]]:
    """The journal's entries now; empty when there is no journal."""

    def entries() -> dict[str, t.Any]:
        found: dict[str, t.Any] = {}
        with contextlib.suppress(FileNotFoundError):
            for line in (JOURNAL / "journal.jsonl").read_text(encoding="utf-8").splitlines()[1:]:
                for key, entry in json.loads(line).items():
                    found.pop(key, None) if entry is None else found.update({key: {"boot": "", "value": None, **entry}})
        return found

    return entries


@pytest.fixture
def sandbox_ns() -> t.Iterator[t.Callable[[], str]]:
    """Makes throwaway network namespaces with loopback up; returns their names, and deletes them afterwards."""
    numbers = itertools.count(1)
    made: list[str] = []

    def make() -> str:
        name = f"t{os.getpid()}n{next(numbers)}"
        sh("ip", "netns", "add", name)
        made.append(name)
        sh("ip", "-n", name, "link", "set", "lo", "up")
        return name

    yield make
    for name in made:
        sh("ip", "netns", "del", name, check=False)
