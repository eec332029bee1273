# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The core: journal, lock, runner, and what converge does around steps that succeed, fail and cannot be undone."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import time
import typing as t
from dataclasses import dataclass, field

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._core import converge as gate
from ansible_collections.ebpf.lab.plugins.module_utils._core import journal as journals
from ansible_collections.ebpf.lab.plugins.module_utils._core.command import Runner
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import (
    CommandFailed,
    LabError,
    NotConverged,
    ToolMissing,
    Unforeseen,
)
from ansible_collections.ebpf.lab.plugins.module_utils._core.host import Host
from ansible_collections.ebpf.lab.plugins.module_utils._core.journal import Journal
from ansible_collections.ebpf.lab.plugins.module_utils._core.plan import GroupFailed, Note, Plan, Step
from ansible_collections.ebpf.lab.plugins.module_utils._core.text import shown_values

Cells = dict[str, int]
CELLS: Cells = {}


@dataclass(frozen=True)
class Put(Step):
    """Put a number into a cell; 13 is refused, 7 cannot be taken back, 15 ends the process, from 100 on in groups."""

    name: str
    value: int
    old: t.Optional[int] = None

    def title(self) -> str:
        return f"put {self.value} into {self.name}"

    def apply(self, host: Host) -> None:
        if self.value == 13:
            raise LabError("13 is refused.")
        if self.value == 15:
            os.kill(os.getpid(), signal.SIGTERM)
        CELLS[self.name] = self.value

    def undo(self, host: Host) -> None:
        if self.value == 7:
            raise LabError("7 stays.")
        if self.old is None:
            del CELLS[self.name]
        else:
            CELLS[self.name] = self.old

    def notes(self) -> tuple[Note, ...]:
        return (Note("claim", self.name),) if self.old is None else (Note("save", self.name, self.old),)

    def group(self) -> t.Optional[t.Hashable]:
        return "hundreds" if self.value >= 100 else None

    @classmethod
    def apply_group(cls, host: Host, steps: t.Sequence[t.Any]) -> None:
        done = []
        for step in steps:
            if step.value == 113:
                raise GroupFailed(done, step, LabError("113 is refused."))
            CELLS[step.name] = step.value
            done.append(step)


@dataclass
class Wanted:
    """Cells as wanted; ``ignored`` are those that somebody else sets back at once."""

    cells: Cells
    ignored: tuple[str, ...] = ()
    seen: list[Cells] = field(default_factory=list)

    def observe(self, host: Host) -> Cells:
        for name in self.ignored:
            CELLS.pop(name, None)
        return dict(CELLS)

    def plan(self, now: Cells) -> Plan:
        steps = tuple(Put(n, v, now.get(n)) for n, v in self.cells.items() if now.get(n) != v)
        return Plan(now, {**now, **self.cells}, steps, ("careful",) if steps else ())

    def facts(self, host: Host, now: Cells) -> dict[str, t.Any]:
        return {"cells": now}


@pytest.fixture
def host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Host]:
    """A host whose journal and lock are in a folder of the test's own."""
    CELLS.clear()
    lock = str(tmp_path / "lock")
    monkeypatch.setattr(gate, "locked", lambda: journals.locked(lock, 0.3))
    with Host(journal=Journal(str(tmp_path / "lab" / "journal.json"), boot="boot1")) as made:
        yield made


def test_check_mode_predicts_and_the_second_run_changes_nothing(host: Host) -> None:
    CELLS["a"] = 1
    want = Wanted({"a": 2, "b": 100, "c": 101})
    predicted = gate.converge(host, want, True)
    assert CELLS == {"a": 1} and predicted["changed"] and not os.path.exists(host.journal.path)
    applied = gate.converge(host, want, False)
    assert (applied["steps"], applied["diff"]) == (predicted["steps"], predicted["diff"])
    assert CELLS == applied["cells"] == {"a": 2, "b": 100, "c": 101}
    entries = Journal(host.journal.path, boot="boot1").entries
    assert entries["a"].saved == 1 and entries["b"].claimed
    assert not gate.converge(host, want, False)["changed"]


@pytest.mark.parametrize("last", [{"z": 13}, {"y": 110, "z": 113}])
def test_a_failure_in_the_middle_is_taken_back_and_says_so(host: Host, last: Cells) -> None:
    CELLS["a"] = 1
    with pytest.raises(LabError, match=r"13 is refused. What this run had changed before was taken back") as caught:
        gate.converge(host, Wanted({"a": 2, "b": 3, **last}), False)
    assert CELLS == {"a": 1} and not os.path.exists(host.journal.path)
    assert caught.value.details["undone"][:2] == ["put 2 into a", "put 3 into b"]
    assert caught.value.details["not_undone"] == []


def test_a_run_that_is_told_to_end_is_taken_back_first(host: Host) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(LabError, match=r"stopped by the signal SIGTERM. What this run had changed"):
        gate.converge(host, Wanted({"a": 2, "b": 15}), False)
    assert CELLS == {} and not os.path.exists(host.journal.path)
    assert signal.getsignal(signal.SIGTERM) is handler


def test_what_cannot_be_taken_back_is_named_and_stays_in_the_journal(host: Host) -> None:
    with pytest.raises(LabError, match="Not taken back: put 7 into a: 7 stays") as caught:
        gate.converge(host, Wanted({"a": 7, "b": 13}), False)
    assert caught.value.details["not_undone"]
    assert Journal(host.journal.path, boot="boot1").claimed("a")


def test_what_does_not_stay_is_not_called_a_success(host: Host) -> None:
    with pytest.raises(NotConverged, match="put 1 into a"):
        gate.converge(host, Wanted({"a": 1}, ignored=("a",)), False)


def test_a_step_that_breaks_is_undone_too(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Put, "title", lambda self: "x" if self.value < 9 else 1 / 0)
    with pytest.raises(Unforeseen, match=r"^ZeroDivisionError: .* This is a defect .* was taken back") as raised:
        gate._run(host, Wanted({"a": 1, "b": 9}).plan({}))
    assert raised.value.details["undone"] == ["x"]
    assert CELLS == {} and not os.path.exists(host.journal.path)


def test_the_first_saved_value_wins_and_release_forgets(host: Host) -> None:
    host.journal.write([Note("save", "k", None), Note("save", "k", 2), Note("claim", "c", {"x": 1}, volatile=False)])
    saved = host.journal.saved("k")
    assert saved is not None and saved.saved is None and saved.has_saved
    assert list(host.journal.claims("c")) == ["c"] and host.journal.claims(owner="other") == {}
    host.journal.write([Note("release", "k")])
    assert host.journal.saved("k") is None
    host.journal.write([Note("release", "c")])
    assert not os.path.exists(os.path.dirname(host.journal.path))


def test_volatile_entries_of_another_boot_are_gone_and_lasting_ones_stay(host: Host) -> None:
    host.journal.write([Note("save", "volatile", 1), Note("save", "lasting", 1, volatile=False)])
    assert list(Journal(host.journal.path, boot="boot2").entries) == ["lasting"]


def test_a_write_that_was_killed_leaves_the_old_journal(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.journal.write([Note("save", "a", 1)])

    def killed(*_args: t.Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(journals.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        host.journal.write([Note("save", "b", 2)])
    assert list(host.journal.entries) == ["a"] == list(Journal(host.journal.path, boot="boot1").entries)
    assert os.listdir(os.path.dirname(host.journal.path)) == ["journal.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2}', '{"format": 1, "entries": {"a": {"no": 1}}}'])
def test_a_journal_that_cannot_be_read_is_not_taken_for_an_empty_one(tmp_path: pathlib.Path, text: str) -> None:
    path = tmp_path / "journal.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LabError, match="cannot be read"):
        Journal(str(path), boot="boot1")
    assert path.read_text(encoding="utf-8") == text


def test_one_run_at_a_time(tmp_path: pathlib.Path) -> None:
    lock = str(tmp_path / "lock")
    other = pytest.raises(LabError, match=r"Another run has been changing this host")
    with journals.locked(lock, 0.1), other, journals.locked(lock, 0.1):
        pass
    with journals.locked(lock, 0.1):
        pass


def test_the_runner_tells_what_went_wrong() -> None:
    runner = Runner()
    with pytest.raises(ToolMissing, match="no-such-tool was not found"):
        runner.run(["no-such-tool"])
    with pytest.raises(ToolMissing, match="install the package bpftool"):
        raise ToolMissing("bpftool", "bpftool")
    with pytest.raises(CommandFailed, match="list it: ls failed with exit code 2: ") as caught:
        runner.run(["ls", "/no/such/folder"], doing="list it")
    assert caught.value.details["rc"] == 2 and json.dumps(caught.value.details)
    assert runner.run(["ls", "/no/such/folder"], check=False).rc == 2
    with pytest.raises(LabError, match=r"sleep was not done after 0.1 seconds"):
        runner.run(["sleep", "5"], timeout=0.1)
    # What it has started ends with it, and is not waited for.
    begun = time.monotonic()
    with pytest.raises(LabError, match=r"sh was not done after 0.2 seconds"):
        runner.run(["sh", "-c", "sleep 30 & echo $! >&2; wait"], timeout=0.2)
    assert time.monotonic() - begun < 10
    with pytest.raises(CommandFailed, match=r"^sh was ended by SIGSEGV: it said nothing\.$"):
        runner.run(["sh", "-c", "kill -SEGV $$"])
    with pytest.raises(CommandFailed) as caught:
        runner.run(["sh", "-c", "head -c 100000 /dev/zero | tr '\\0' 'x ' >&2; exit 1"])
    assert len(str(caught.value)) < 500
    assert runner.run(["cat"], stdin="ä; $(id)").stdout == "ä; $(id)"
    assert runner.run(["cat"], stdin=runner.run(["printf", "\\377"]).stdout).stdout == "\udcff"


class Module:
    """Keeps what it is told to answer."""

    def exit_json(self, **result: t.Any) -> None:
        self.result = result
        raise SystemExit

    fail_json = exit_json


@pytest.mark.case("R10")
@pytest.mark.parametrize(
    ("error", "said", "errno"),
    [
        (LabError("Known.", "Do this.", tool="x"), "Known. Do this.", None),
        (KeyError("a"), "KeyError: 'a'. This is a defect of ebpf.lab: please report it, with what -vvv shows.", None),
        (
            OSError(30, "Read-only file system", "/a"),
            "OSError: [Errno 30] Read-only file system: '/a'. Its file",
            "EROFS",
        ),
        (ModuleNotFoundError("No module named 'x'"), "ModuleNotFoundError: No module named 'x'. A library", None),
    ],
)
def test_every_exception_of_a_module_is_a_sentence(error: Exception, said: str, errno: t.Optional[str]) -> None:
    module = Module()
    with pytest.raises(SystemExit), gate._exits(t.cast(t.Any, module)):
        raise error
    assert module.result["msg"].startswith(said), module.result
    assert module.result.get("errno") == errno
    known = type(error) is LabError
    assert ("exception" not in module.result) if known else ("in test_every" in module.result["exception"])


def test_what_leaves_a_module_is_valid_text() -> None:
    told = shown_values({"caf\udce9": ["gr\u00fcn", ("\ud800", 1, None)], "raw": b"\xe9"})
    assert told == {r"caf\xe9": ["gr\u00fcn", [r"\ud800", 1, None]], "raw": r"\xe9"}
