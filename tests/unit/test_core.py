# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The core: journal, lock, runner, and what converge does around steps that succeed, fail and cannot be undone."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import threading
import time
import typing as t
from dataclasses import dataclass, field

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._core import converge as gate
from ansible_collections.ebpf.lab.plugins.module_utils._core import files, locks
from ansible_collections.ebpf.lab.plugins.module_utils._core import module as module_main
from ansible_collections.ebpf.lab.plugins.module_utils._core.command import Runner
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import (
    CommandFailed,
    LabError,
    NotConverged,
    NotTakenAway,
    ToolMissing,
    Unforeseen,
)
from ansible_collections.ebpf.lab.plugins.module_utils._core.host import Host
from ansible_collections.ebpf.lab.plugins.module_utils._core.journal import Entry, Journal
from ansible_collections.ebpf.lab.plugins.module_utils._core.plan import (
    NOTHING,
    Coming,
    Done,
    Forecast,
    Later,
    Learned,
    Note,
    Outcome,
    Plan,
    Step,
    forecast,
    make,
    release,
    save,
)
from ansible_collections.ebpf.lab.plugins.module_utils._core.resource import UNKNOWN, Kind, Probe, Resource
from ansible_collections.ebpf.lab.plugins.module_utils._core.run import Run
from ansible_collections.ebpf.lab.plugins.module_utils._core.settle import settled
from ansible_collections.ebpf.lab.plugins.module_utils._core.text import shown_values

Cells = dict[str, int]
CELLS: Cells = {}
DIES_AT: list[int] = []  # the number of changes after which the process is gone


class Died(BaseException):
    """What a kill is here: nothing more is done, not even the undoing."""


def change(name: str, value: t.Optional[int]) -> None:
    """The one way in which cells change."""
    if DIES_AT:
        DIES_AT[0] -= 1
        if DIES_AT[0] < 0:
            raise Died
    if value is None:
        CELLS.pop(name, None)
    else:
        CELLS[name] = value


@dataclass(frozen=True)
class Put(Step):
    """Put a number into a cell; 13 is refused, 7 cannot be taken back, 15 ends the process, from 100 on in batches."""

    name: str
    value: t.Optional[int]
    old: t.Optional[int] = None
    back: bool = False

    def title(self) -> str:
        return f"put {self.value} into {self.name}"

    def apply(self, host: Host, learned: Learned) -> Done:
        if self.value == 13:
            raise LabError("13 is refused.")
        if self.back and self.old == 7:
            raise LabError("7 stays.")
        if self.value == 15:
            os.kill(os.getpid(), signal.SIGTERM)
        change(self.name, self.value)
        return Done(undo=(Put(self.name, self.old, self.value, back=True),), learned={f"cell:{self.name}": self.value})

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        key = f"cell:{self.name}"
        if self.value is None:
            return (release(key),)
        return (make(key, self.value),) if self.old is None else (save(key, self.old, self.value),)

    def group(self) -> t.Optional[t.Hashable]:
        return "hundreds" if self.value and self.value >= 100 else None

    @classmethod
    def apply_many(cls, host: Host, steps: t.Sequence[t.Any], learned: Learned) -> list[Outcome]:
        return [LabError("113 is refused.") if step.value == 113 else step.apply(host, learned) for step in steps]


class Numbers(Kind):
    prefix = "cell:"

    def look(self, host: Host, entries: t.Mapping[str, Entry]) -> dict[str, t.Any]:
        return {key: CELLS.get(key[len("cell:") :]) for key in entries}


@dataclass
class Wanted(Resource[Cells]):
    """Cells as wanted; ``ignored`` are those that somebody else sets back at once; an ``end`` takes our cells away."""

    cells: Cells
    ignored: tuple[str, ...] = ()
    end: bool = False
    later: t.Optional[Wanted] = None
    entries: t.Mapping[str, Entry] = field(default_factory=dict)

    def kinds(self) -> tuple[Kind, ...]:
        return (Numbers(),)

    def takes_away(self) -> bool:
        return self.end

    def observe(self, host: Host) -> Cells:
        for name in self.ignored:
            CELLS.pop(name, None)
        self.entries = dict(host.journal.entries)
        return dict(CELLS)

    def plan(self, now: Cells, coming: Forecast = NOTHING) -> Plan:
        if self.end:
            names = [key[len("cell:") :] for key in self.entries]
            ours = [(name, self.entries[f"cell:{name}"]) for name in names]
            steps: tuple[t.Any, ...] = tuple(
                PutBack(name, entry.saved if entry.has_saved else None, now[name]) for name, entry in ours
            )
            return Plan(now, {}, steps)
        steps = tuple(Put(n, v, now.get(n)) for n, v in self.cells.items() if now.get(n) != v)
        if self.later is not None and self.later.plan({**now, **self.cells}).steps:
            steps += (Later(self.later, "do the rest"),)
        return Plan(now, {**now, **self.cells}, steps, ("careful",) if steps else ())

    def result(self, now: Cells) -> dict[str, t.Any]:
        return {"cells": now}


@dataclass(frozen=True)
class PutBack(Put):
    """Put a cell back to what it was before."""

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (release(f"cell:{self.name}"),)


@pytest.fixture
def host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Host]:
    """A host whose journal and locks are in a folder of the test's own."""
    CELLS.clear()
    DIES_AT.clear()
    monkeypatch.setattr(locks, "FOLDER", str(tmp_path / "locks"))
    monkeypatch.setattr(locks, "WAIT", 0.3)
    with new_host(tmp_path) as made:
        yield made


def new_host(path: pathlib.Path, boot: str = "boot1") -> Host:
    """As the next process has it."""
    return Host(journal=Journal(str(path / "lab" / "journal.jsonl"), boot=boot))


def killed_after(number: int, host: Host, want: Wanted) -> None:
    """Run it, and let the process be gone before the change that comes after so many."""

    def nobody(self: Run) -> list[str]:
        raise Died

    DIES_AT[:] = [number]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Run, "undo", nobody)
        try:
            gate.converge(host, want, False)
        finally:
            DIES_AT.clear()


def test_check_mode_predicts_and_the_second_run_changes_nothing(host: Host) -> None:
    CELLS["a"] = 1
    want = Wanted({"a": 2, "b": 100, "c": 101})
    predicted = gate.converge(host, want, True)
    assert CELLS == {"a": 1} and predicted["changed"] and not os.path.exists(host.journal.path)
    applied = gate.converge(host, want, False)
    assert (applied["steps"], applied["diff"]) == (predicted["steps"], predicted["diff"])
    assert CELLS == applied["cells"] == {"a": 2, "b": 100, "c": 101}
    entries = Journal(host.journal.path, boot="boot1").entries
    assert entries["cell:a"].saved == 1 and entries["cell:a"].wrote == (2,) and entries["cell:b"].claimed
    assert not any(entry.open for entry in entries.values())
    assert not gate.converge(host, want, False)["changed"]
    assert not os.path.exists(locks.FOLDER)


@pytest.mark.parametrize("last", [{"z": 13}, {"y": 110, "z": 113}])
def test_a_failure_in_the_middle_is_taken_back_and_says_so(host: Host, last: Cells) -> None:
    CELLS["a"] = 1
    with pytest.raises(LabError, match=r"13 is refused. What this run had changed before was taken back") as caught:
        gate.converge(host, Wanted({"a": 2, "b": 3, **last}), False)
    assert CELLS == {"a": 1} and not os.path.exists(host.journal.path)
    assert caught.value.details["undone"][:2] == ["put 2 into a", "put 3 into b"]
    assert caught.value.details["not_undone"] == []


def test_a_batch_tells_of_each_of_its_steps_what_became_of_it(host: Host) -> None:
    with pytest.raises(LabError, match="113 is refused") as caught:
        gate.converge(host, Wanted({"x": 110, "y": 113, "z": 120}), False)
    assert caught.value.details["undone"] == ["put 110 into x", "put 120 into z"] and CELLS == {}


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
    assert Journal(host.journal.path, boot="boot1").claimed("cell:a")


def test_what_is_called_taken_back_comes_from_a_fresh_look(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(self: Put, host: Host, learned: Learned) -> Done:
        if self.value == 13:
            raise LabError("13 is refused.")
        change(self.name, self.value)
        return Done()  # as if there were nothing to undo

    monkeypatch.setattr(Put, "apply", nothing)
    with pytest.raises(LabError, match="Not taken back: put 2 into a"):
        gate.converge(host, Wanted({"a": 2, "b": 13}), False)


def test_what_does_not_stay_is_not_called_a_success(host: Host) -> None:
    with pytest.raises(NotConverged, match="put 1 into a"):
        gate.converge(host, Wanted({"a": 1}, ignored=("a",)), False)


def test_a_step_that_breaks_is_undone_too(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Put, "notes", lambda self, learned: () if (self.value or 0) < 9 else 1 / 0)
    with pytest.raises(Unforeseen, match=r"^ZeroDivisionError: .* This is a defect .* was taken back") as raised:
        gate.converge(host, Wanted({"a": 1, "b": 9}), False)
    assert raised.value.details["undone"] == ["put 1 into a"]
    assert CELLS == {} and not os.path.exists(host.journal.path)


def test_what_can_be_planned_late_is_planned_then_and_undone_with_the_rest(host: Host) -> None:
    want = Wanted({"a": 1}, later=Wanted({"b": 2, "c": 3}))
    assert gate.converge(host, want, True)["steps"] == ["put 1 into a", "do the rest"]
    assert gate.converge(host, want, False)["steps"] == ["put 1 into a", "do the rest"]
    assert CELLS == {"a": 1, "b": 2, "c": 3} and not gate.converge(host, want, False)["changed"]
    with pytest.raises(LabError, match="was taken back"):
        gate.converge(host, Wanted({"a": 5}, later=Wanted({"d": 4, "e": 13})), False)
    assert CELLS == {"a": 1, "b": 2, "c": 3}


def test_an_end_does_all_that_it_can_and_keeps_the_rest_noted(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    CELLS["b"] = 1
    gate.converge(host, Wanted({"a": 2, "b": 3, "c": 4}), False)
    with monkeypatch.context() as patched:
        apply = Put.apply

        def refuse(self: Put, host: Host, learned: Learned) -> Done:
            if self.name == "a":
                raise LabError("a is busy.")
            return apply(self, host, learned)

        patched.setattr(Put, "apply", refuse)
        with pytest.raises(NotTakenAway, match=r"put None into a: a is busy\.") as caught:
            gate.converge(host, Wanted({}, end=True), False)
    assert caught.value.details["taken_away"] == ["put 1 into b", "put None into c"]
    assert CELLS == {"a": 2, "b": 1} and list(Journal(host.journal.path, boot="boot1").entries) == ["cell:a"]
    gate.converge(host, Wanted({}, end=True), False)
    assert CELLS == {"b": 1} and not os.path.exists(host.journal.path)


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("number", range(8))
def test_killed_anywhere_it_converges_and_an_end_leaves_what_was(
    host: Host, tmp_path: pathlib.Path, number: int, again: bool
) -> None:
    CELLS["a"] = 1
    want = Wanted({"a": 2, "b": 3, "x": 100, "y": 101, "c": 4}, later=Wanted({"d": 5}))
    try:
        killed_after(number, host, want)
    except Died:
        assert number < 6
    if again:
        assert gate.converge(new_host(tmp_path), want, False)["cells"]["d"] == 5
    CELLS["mine"] = 9
    gate.converge(new_host(tmp_path), Wanted({}, end=True), False)
    assert CELLS == {"a": 1, "mine": 9} and not os.path.exists(host.journal.path)


def test_what_somebody_made_in_the_place_of_what_a_killed_run_did_not_get_to_is_his(
    host: Host, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(Died):
        killed_after(0, host, Wanted({"a": 2}))
    assert Journal(host.journal.path, boot="boot1").entries["cell:a"].about
    CELLS["a"] = 8
    gate.converge(new_host(tmp_path), Wanted({}, end=True), False)
    assert CELLS == {"a": 8} and not os.path.exists(host.journal.path)


def test_the_folders_that_a_killed_run_has_left_empty_go_with_the_next_end(host: Host) -> None:
    os.makedirs(os.path.dirname(host.journal.path))
    os.makedirs(locks.FOLDER)
    pathlib.Path(files.temporary(host.journal.path)).write_bytes(b"half of it")
    gate.converge(host, Wanted({}, end=True), True)
    assert os.path.exists(locks.FOLDER)  # check mode only reads
    assert not gate.converge(host, Wanted({}, end=True), False)["changed"]
    assert not os.path.exists(locks.FOLDER) and not os.path.exists(os.path.dirname(host.journal.path))


def test_what_a_killed_run_left_beside_its_thing_is_swept_by_the_next_that_changes_something(
    host: Host, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[str] = []
    monkeypatch.setattr(Numbers, "sweep", lambda self, host, key, entry: swept.append(key), raising=False)
    with pytest.raises(Died):
        killed_after(1, host, Wanted({"a": 2, "b": 3}))
    gate.converge(new_host(tmp_path), Wanted({}, end=True), False)
    assert swept == ["cell:b"]  # a was made, and that was noted


def test_an_entry_whose_thing_is_gone_is_dropped_by_the_next_end(host: Host) -> None:
    gate.converge(host, Wanted({"a": 2}), False)
    del CELLS["a"]
    assert not gate.converge(host, Wanted({}, end=True), False)["changed"]
    assert not os.path.exists(host.journal.path)


@pytest.mark.parametrize(
    ("entry", "seen", "then"),
    [
        (Entry(about=True, coming=5), 5, Entry(claimed=True, value=5)),
        (Entry(about=True, coming=5), 6, None),
        (Entry(about=True, coming=5), None, None),
        (Entry(about=True, coming=5, claimed=True, value=4), 4, Entry(claimed=True, value=4)),
        (Entry(claimed=True, value=5), 6, None),
        (Entry(saving=True, has_saved=True, saved=1, wrote=(2,)), 1, None),
        (Entry(saving=True, has_saved=True, saved=1, wrote=(2,)), 2, Entry(has_saved=True, saved=1, wrote=(2,))),
        (Entry(has_saved=True, saved=1, wrote=(2,)), 3, Entry(has_saved=True, saved=1, wrote=(2,))),
        (Entry(about=True, coming=5, has_saved=True, saved=1, wrote=(5,)), 1, None),
        (Entry(about=True, coming=5), UNKNOWN, Entry(about=True, coming=5)),
        (Entry(saving=True, has_saved=True), UNKNOWN, Entry(saving=True, has_saved=True)),
    ],
)
def test_each_entry_is_settled_by_what_is_there(entry: Entry, seen: t.Any, then: t.Optional[Entry]) -> None:
    assert settled(Numbers(), entry, seen) == then


def test_a_forecast_is_what_the_notes_of_earlier_steps_say() -> None:
    steps = (Put("a", 1), Put("b", 2, 1), Put("c", None, 3))
    told = {"cell:a": Coming("made", 1), "cell:b": Coming("changed", 2), "cell:c": Coming("removed")}
    assert forecast(steps) == told
    assert forecast((Put("a", None),), told)["cell:a"].what == "removed"


def test_the_first_saved_value_wins_and_release_forgets(host: Host) -> None:
    journal = host.journal
    notes = (save("k", None, 1), make("c", {"x": 1}, lasting=True))
    journal.begin(notes)
    assert journal.claimed("c") is None and journal.entries["c"].about and journal.entries["k"].saving
    journal.finish(notes, {"c": {"x": 2}})
    journal.begin([save("k", 1, 2)])
    assert journal.entries["k"].wrote == (1, 2)  # either may be there, should the run be killed now
    journal.finish([save("k", 1, 2)], {})
    saved = journal.saved("k")
    assert saved is not None and saved.saved is None and saved.wrote == (2,)
    assert list(journal.claims("c")) == ["c"] and journal.claims(owner="other") == {}
    assert journal.entries["c"].value == {"x": 2}
    assert Journal(journal.path, boot="boot1").entries == {k: e for k, e in journal.entries.items()}
    journal.finish([release("k"), release("c")], {})
    journal.compact()
    assert not os.path.exists(os.path.dirname(journal.path))


def test_volatile_entries_of_another_boot_are_gone_and_lasting_ones_stay(host: Host) -> None:
    notes = [save("volatile", 1, 2), save("lasting", 1, 2, lasting=True)]
    host.journal.begin(notes)
    host.journal.finish(notes, {})
    other = Journal(host.journal.path, boot="boot2")
    assert list(other.entries) == ["lasting"]
    other.compact()
    assert "volatile" not in pathlib.Path(other.path).read_text(encoding="utf-8")


def test_half_a_line_that_a_killed_write_has_left_is_nothing(host: Host) -> None:
    host.journal.begin([save("a", 1, 2)])
    path = pathlib.Path(host.journal.path)
    whole = path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        journal = Journal(str(path), boot="boot1")
        assert list(journal.entries) == (["a"] if length == len(whole) else [])
        journal.begin([save("b", 1, 2)])
        assert list(Journal(str(path), boot="boot1").entries)[-1:] == ["b"]


def test_a_full_disk_leaves_the_journal_as_it_was(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.journal.begin([save("a", 1, 2)])
    content = pathlib.Path(host.journal.path).read_bytes()
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, line: write(handle, line[:5]))
    with pytest.raises(LabError, match="No space left on device"):
        host.journal.begin([save("b", 1, 2)])
    assert list(host.journal.entries) == ["a"] and pathlib.Path(host.journal.path).read_bytes() == content


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "{\n",
        "[]\n",
        '{"ebpf.lab journal":3}\n',
        '{"ebpf.lab journal":2}\n{"a":{"no":1}}\n',
        '{"ebpf.lab journal":2}\n{"a":{"claimed":1}}\n',
        '{"ebpf.lab journal":2}\n{"a":' + "[" * 9000 + "\n",
        '{"ebpf.lab journal":2}\nx\n{}\n',
    ],
)
def test_a_journal_that_cannot_be_read_is_not_taken_for_an_empty_one(tmp_path: pathlib.Path, text: str) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LabError, match="cannot be read"):
        Journal(str(path), boot="boot1")
    assert path.read_text(encoding="utf-8") == text
    path.unlink()
    path.mkdir()
    with pytest.raises(LabError, match="it is a folder"):
        Journal(str(path), boot="boot1")
    path.rmdir()
    path.touch()
    with pytest.raises(LabError, match="is a file"):
        Journal(str(path / "journal.jsonl"), boot="boot1")


def test_one_run_at_a_time_and_who_waits_is_told_for_whom(tmp_path: pathlib.Path) -> None:
    folder, told = str(tmp_path / "locks"), []
    refused = pytest.raises(LabError, match=rf"Another run \(up, process {os.getpid()}, since .*has been working")
    waiting = locks.held(locks.PROBE, folder=folder, wait=0.8, tell=told.append)
    with locks.held(locks.CHANGE, locks.PROBE, word="up", folder=folder), refused, waiting:
        pass
    assert [line.partition(",")[0] for line in told] == ["waiting for another run: up"]
    with locks.held(locks.CHANGE, folder=folder):
        pass
    assert not os.path.exists(folder)


def test_locks_that_a_killed_run_has_left_go_with_the_next_run(host: Host) -> None:
    os.makedirs(locks.FOLDER)
    for name in (locks.CHANGE, locks.PROBE):
        pathlib.Path(locks.FOLDER, name).touch()
    with locks.held(locks.PROBE):
        pathlib.Path(locks.FOLDER, locks.CHANGE).touch()
        gate.converge(host, Wanted({}), False)
        assert os.listdir(locks.FOLDER) == [locks.PROBE]
    pathlib.Path(locks.FOLDER).mkdir()
    pathlib.Path(locks.FOLDER, locks.PROBE).touch()
    gate.converge(host, Wanted({}), False)
    assert not os.path.exists(locks.FOLDER)


@dataclass
class Asked(Wanted):
    """Cells that are only looked at, and asked by doing."""

    def probes(self, now: Cells) -> tuple[Probe, ...]:
        return (Ask(dict(now)),)


@dataclass
class Ask(Probe):
    seen: Cells

    def title(self) -> str:
        return "ask the cells"

    def run(self, host: Host) -> dict[str, t.Any]:
        return {"asked": self.seen}


def test_a_probe_is_made_of_what_is_there_after_the_wait(host: Host, tmp_path: pathlib.Path) -> None:
    want = Asked({})
    assert gate.converge(host, want, True)["would_probe"] == ["ask the cells"]
    assert gate.converge(host, want, False)["asked"] == {}
    observe = want.observe

    def meanwhile(on: Host) -> Cells:
        seen = observe(on)
        want.observe = observe  # type: ignore[method-assign]
        gate.converge(new_host(tmp_path), Wanted({"a": 1}), False)
        return seen

    want.observe = meanwhile  # type: ignore[method-assign]
    assert gate.converge(host, want, False)["asked"] == {"a": 1}


def test_whoever_waits_for_a_lock_gets_it_alone(tmp_path: pathlib.Path) -> None:
    folder, inside, most = str(tmp_path / "locks"), [], [0]

    def work() -> None:
        for _round in range(20):
            with locks.held(locks.CHANGE, folder=folder, wait=20):
                inside.append(1)
                most[0] = max(most[0], len(inside))
                time.sleep(0.001)
                inside.pop()

    threads = [threading.Thread(target=work) for _number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] and not os.path.exists(folder)


def test_a_file_is_written_whole_over_what_a_killed_run_left(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    pathlib.Path(files.temporary(str(path))).mkdir()
    files.write(str(path), b"1", durable=True, mode=0o600)
    assert path.read_bytes() == b"1" and path.stat().st_mode & 0o777 == 0o600 and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(LabError, match="No such file or directory"):
        files.write(str(tmp_path / "none" / "file"), b"")


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
    with pytest.raises(SystemExit), module_main._exits(t.cast(t.Any, module)):
        raise error
    assert module.result["msg"].startswith(said), module.result
    assert module.result.get("errno") == errno
    known = type(error) is LabError
    assert ("exception" not in module.result) if known else ("in test_every" in module.result["exception"])


def test_what_leaves_a_module_is_valid_text() -> None:
    told = shown_values({"caf\udce9": ["gr\u00fcn", ("\ud800", 1, None)], "raw": b"\xe9"})
    assert told == {r"caf\xe9": ["gr\u00fcn", [r"\ud800", 1, None]], "raw": r"\xe9"}
