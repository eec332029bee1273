# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole labs on the real kernel, converged in this process: what the action plugin sends, without Ansible around it.

Run them with ``tests/isolate pytest tests/lab``.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import typing as t

import pytest
from ansible_collections.ebpf.lab.plugins.action.lab import find_lab, read_lab, read_sources, sent
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.object import clang as compiler
from ansible_collections.ebpf.lab.plugins.module_utils._core.converge import converge
from ansible_collections.ebpf.lab.plugins.module_utils._core.host import Host
from ansible_collections.ebpf.lab.plugins.module_utils._lab.grading.outcomes import evaluate
from ansible_collections.ebpf.lab.plugins.module_utils._lab.resource import desired
from ansible_collections.ebpf.lab.plugins.module_utils._lab.schema import WORK_FOLDER
from ansible_collections.ebpf.lab.tests.kernel.conftest import isolated, sh

ROOT = pathlib.Path(__file__).resolve().parents[2]
PINS = "/sys/fs/bpf/ebpf"
Result = dict[str, t.Any]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse to run on the machine itself: these tests change links, rules and pins."""
    here = pathlib.Path(__file__).parent
    if any(here in item.path.parents for item in items) and not isolated():
        pytest.exit("tests/lab changes the network and BPF pins: run it with tests/isolate pytest tests/lab.", 3)


class Lab:
    """One lab file. Its methods are what the playbooks do; each returns the module's result, graded."""

    def __init__(self, name: str) -> None:
        self.content, self.lab = read_lab(find_lab(name, []))
        self.sources = {name: os.fsdecode(content) for name, content in read_sources(self.lab).items()}
        self.stages = [stage.name for stage in self.lab.stages]

    def run(
        self,
        state: str = "present",
        stage: str = "",
        check: bool = False,
        traffic: bool = True,
        exclusive: bool = False,
    ) -> Result:
        """The module's result with ``checks`` and ``failed``, the names of the checks that did not pass."""
        resource = desired(self.params(state, stage, traffic, exclusive))
        with Host(owner=self.lab.name) as host:
            result = converge(host, resource, check)
        if "facts" in result:
            result["checks"] = evaluate(self.lab.stage(result["stage"]).checks, result["facts"])
            result["failed"] = [entry["name"] for entry in result["checks"] if not entry["passed"]]
        return result

    def params(self, state: str, stage: str, traffic: bool = True, exclusive: bool = False) -> Result:
        """What the action plugin sends to the module."""
        return {
            "lab": self.lab.name,
            "content": self.content,
            "file": self.lab.file,
            "sources": sent({name: os.fsencode(text) for name, text in self.sources.items()}),
            "state": state,
            "stage": stage,
            "traffic": traffic,
            "exclusive": exclusive,
        }

    def up(self, stage: str, **options: t.Any) -> Result:
        """What provision does."""
        return self.run(stage=stage, **options)

    def verify(self, stage: str = "") -> Result:
        """What verify does: it may change nothing."""
        result = self.run("verified", stage)
        assert not result["changed"]
        return result

    def reset(self, stage: str = "", **options: t.Any) -> Result:
        """What reset does."""
        return self.run(stage=stage, exclusive=True, **options)

    def down(self) -> Result:
        """What teardown does."""
        return self.run("absent")


@pytest.fixture(scope="module")
def lecture() -> t.Iterator[Lab]:
    """The lecture's lab; down again after the module, and what it kept of a student's files is gone too."""
    lab = Lab("lecture2")
    yield lab
    lab.down()
    shutil.rmtree(WORK_FOLDER, ignore_errors=True)


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> t.Callable[[str], str]:
    """Compiles a program as a student does, by hand; returns the object's path."""
    folder = tmp_path_factory.mktemp("objects")

    def build(name: str) -> str:
        path = folder / f"{name}.o"
        if not path.exists():
            flags = ["-target", "bpf", *compiler.FLAGS, *compiler.system_flags()]
            sh("clang", *flags, "-c", str(ROOT / "files/bpf" / f"{name}.c"), "-o", str(path))
        return str(path)

    return build


def hint_of(result: Result, name: str) -> str:
    """The hint of a check that failed."""
    (found,) = [entry for entry in result["checks"] if entry["name"] == name]
    assert not found["passed"]
    return str(found["hint"])


def bpftool(*argv: str) -> subprocess.CompletedProcess[str]:
    """bpftool, as a student runs it."""
    return sh("bpftool", *argv, env={**os.environ, "LC_ALL": "C"})
