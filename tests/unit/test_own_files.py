# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of ours: written, restored, taken back, and told from somebody's after a kill at any point."""

from __future__ import annotations

import contextlib
import os
import pathlib
import typing as t
from dataclasses import dataclass

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.pin.kinds import FolderKind
from ansible_collections.ebpf.lab.plugins.module_utils._core import files, locks
from ansible_collections.ebpf.lab.plugins.module_utils._core import own_files as own
from ansible_collections.ebpf.lab.plugins.module_utils._core.converge import converge
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import LabError, Refused
from ansible_collections.ebpf.lab.plugins.module_utils._core.host import Host
from ansible_collections.ebpf.lab.plugins.module_utils._core.journal import Entry, Journal
from ansible_collections.ebpf.lab.plugins.module_utils._core.plan import Done, Learned, Plan, Step, make
from ansible_collections.ebpf.lab.plugins.module_utils._core.resource import Resource
from ansible_collections.ebpf.lab.plugins.module_utils._core.settle import settle, sweep
from ansible_collections.ebpf.lab.plugins.module_utils._lab.sources import SourcesResource


@pytest.fixture
def host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Host]:
    """A host whose journal and locks are in a folder of the test's own."""
    monkeypatch.setattr(locks, "FOLDER", str(tmp_path / "locks"))
    with new_host(tmp_path) as made:
        yield made


def new_host(folder: pathlib.Path) -> Host:
    """As the next process has it."""
    return Host(journal=Journal(str(folder / "journal" / "journal.jsonl"), boot="boot1"))


@dataclass(frozen=True)
class Refuses(Step):
    """Fails, so that all is taken back."""

    def title(self) -> str:
        return "refuse"

    def apply(self, host: Host, learned: Learned) -> Done:
        raise LabError("No.")


@dataclass(frozen=True)
class Steps(Resource[None]):
    """Just these steps, once."""

    steps: tuple[Step, ...]

    def observe(self, host: Host) -> None:
        return None

    def plan(self, now: None, coming: t.Any = None) -> Plan:
        return Plan(steps=self.steps)

    def result(self, now: None) -> dict[str, t.Any]:
        return {}


def all_back(host: Host, *steps: Step) -> None:
    """Run them and fail behind them."""
    with pytest.raises(LabError, match="No"):
        converge(host, Steps((*steps, Refuses())), False)


def test_what_is_taken_back_is_as_before_in_the_journal_too(host: Host, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x"
    write = own.WriteFile(str(path), b"new", {"written": files.digest(b"new")})
    all_back(host, write)
    assert not path.exists() and not os.path.exists(host.journal.path)
    path.write_bytes(b"somebody's")
    path.chmod(0o600)
    before = own.saved_file(str(path))
    assert before is not None
    replaces = own.WriteFile(str(path), b"new", write.value, before)
    all_back(host, replaces)
    assert path.read_bytes() == b"somebody's" and path.stat().st_mode & 0o777 == 0o600
    assert not os.path.exists(host.journal.path)
    notes = replaces.notes(Learned())
    host.journal.begin(notes)
    done = replaces.apply(host, Learned())
    host.journal.finish(notes, done.learned)
    entries = dict(host.journal.entries)
    assert entries[f"file:{path}"].value == write.value and entries[f"file:{path}"].saved == before
    all_back(new_host(tmp_path), own.RestoreFile(str(path), before))
    assert path.read_bytes() == b"new" and new_host(tmp_path).journal.entries == entries
    all_back(new_host(tmp_path), own.RemoveFile(str(path)))
    assert path.read_bytes() == b"new" and new_host(tmp_path).journal.entries == entries


OURS, NEXT = {"sha256": files.digest(b"ours")}, {"sha256": files.digest(b"next")}
MINE: dict[str, t.Any] = {"sha256": files.digest(b"mine"), "mode": 0o644, "content": "bWluZQ=="}
BEGUN = {**NEXT, "coming": True}


@pytest.mark.parametrize(
    ("entry", "there", "then"),
    [
        # It had begun to make it: it is there, it is not, or somebody was faster.
        (Entry(about=True, coming=BEGUN), b"next", Entry(claimed=True, value=NEXT)),
        (Entry(about=True, coming=BEGUN), None, None),
        (Entry(about=True, coming=BEGUN), b"mine", None),
        # In the place of ours.
        (Entry(claimed=True, value=OURS, about=True, coming=BEGUN), b"ours", Entry(claimed=True, value=OURS)),
        (Entry(claimed=True, value=OURS, about=True, coming=BEGUN), b"next", Entry(claimed=True, value=NEXT)),
        # What somebody edits stays ours to decide about; what is gone is over.
        (Entry(claimed=True, value=OURS), b"mine", Entry(claimed=True, value=OURS)),
        (Entry(claimed=True, value=OURS), None, None),
        # Somebody's file in whose place ours is to be, or was.
        (Entry(about=True, coming=BEGUN, saving=True, has_saved=True, saved=MINE), b"mine", None),
        (
            Entry(about=True, coming=BEGUN, saving=True, has_saved=True, saved=MINE),
            b"next",
            Entry(claimed=True, value=NEXT, has_saved=True, saved=MINE),
        ),
        (Entry(has_saved=True, saved=MINE), None, Entry(has_saved=True, saved=MINE)),
        # Notes of others are left to them.
        (Entry(claimed=True), None, Entry(claimed=True)),
        (Entry(about=True, coming="text"), b"text", Entry(about=True, coming="text")),
        (Entry(has_saved=True, saved="text"), None, Entry(has_saved=True, saved="text")),
    ],
)  # fmt: skip
def test_a_file_is_settled_by_what_is_there(
    host: Host, tmp_path: pathlib.Path, entry: Entry, there: t.Optional[bytes], then: t.Optional[Entry]
) -> None:
    path = tmp_path / "x"
    if there is not None:
        path.write_bytes(there)
    host.journal.patch({f"file:{path}": entry})
    patch = settle(host, [own.FileKind()], stale=True)
    assert {**host.journal.entries, **patch}[f"file:{path}"] == then


@pytest.mark.case("C11")
@pytest.mark.parametrize("odd", ["x/../../mine", "x/./mine", "x//mine", "mine\0"])
def test_a_path_that_no_run_wrote_is_not_followed(host: Host, tmp_path: pathlib.Path, odd: str) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(b"ours")
    path = f"{tmp_path}/folder/{odd}"
    host.journal.patch({f"file:{path}": Entry(claimed=True, value={"written": OURS["sha256"]})})
    for step in (own.RemoveFile(path), own.RestoreFile(path, MINE)):
        with pytest.raises(Refused, match="no run of the lab has written"):
            step.apply(host, Learned())
    converge(host, SourcesResource(f"{tmp_path}/folder", {}, present=False), False)
    assert mine.read_bytes() == b"ours" and not os.path.exists(host.journal.path)


@pytest.mark.parametrize(
    ("name", "goes"),
    [(".ebpf-lab-x.o", True), ("ebpf_lab_staging", True), ("mine", False), ("x/../.ebpf-lab-x.o", False)],
)
def test_only_what_bears_a_temporary_name_is_swept(host: Host, tmp_path: pathlib.Path, name: str, goes: bool) -> None:
    left = tmp_path / name if "/" not in name else tmp_path / ".ebpf-lab-x.o"
    left.mkdir()
    (left / "object.o").write_bytes(b"half")
    host.journal.patch({own.temporary_key(f"{tmp_path}/{name}"): Entry(about=True)})
    assert sweep(host, [own.TemporaryKind()]) == []
    assert left.exists() == (not goes)
    assert host.journal.entries == {}


class Died(BaseException):
    """What a kill is here."""


@pytest.mark.case("C24")
@pytest.mark.parametrize("down", [False, True])
def test_sources_killed_at_any_change_leave_nothing(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, down: bool
) -> None:
    """Each call that changes a file is the last one of a run; what is left goes with the next run or the next end."""
    monkeypatch.setattr(locks, "FOLDER", str(tmp_path / "locks"))
    folder = tmp_path / "work" / "lab"
    want = SourcesResource(str(folder), {"a.c": b"1\n", "b.c": b"2\n"})
    absent = SourcesResource(str(folder), {}, present=False)
    calls = ("mkdir", "replace", "open", "unlink", "rmdir")
    hit = True
    number = 0
    while hit:
        hit = False
        left = [number]
        if down:
            converge(new_host(tmp_path), want, False)

        def dies(real: t.Callable[..., t.Any], left: list[int]) -> t.Callable[..., t.Any]:
            def call(path: t.Any, *args: t.Any, **given: t.Any) -> t.Any:
                nonlocal hit
                if str(path).startswith(str(tmp_path / "work")) and (real is not os.open or args[0] & os.O_CREAT):
                    left[0] -= 1
                    if left[0] < 0:
                        hit = True
                        raise Died
                return real(path, *args, **given)

            return call

        with monkeypatch.context() as patched:
            patched.setattr("ansible_collections.ebpf.lab.plugins.module_utils._core.run.Run.undo", lambda run: [])
            for name in calls:
                patched.setattr(os, name, dies(getattr(os, name), left))
            with contextlib.suppress(Died):
                converge(new_host(tmp_path), absent if down else want, False)
        if not down and number % 2:
            converge(new_host(tmp_path), want, False)
            assert (folder / "a.c").read_bytes() == b"1\n"
        converge(new_host(tmp_path), absent, False)
        assert os.listdir(tmp_path) == [], f"killed at the change {number}"
        number += 1
    assert number > 4


@pytest.mark.case("C4")
def test_a_folder_that_a_killed_run_did_not_get_to_is_not_the_labs(host: Host, tmp_path: pathlib.Path) -> None:
    path, made = tmp_path / "folder", tmp_path / "made"
    for folder in (path, made):
        host.journal.begin([make(f"dir:{folder}", {"marked": True, "lasting": True}, lasting=True)])
    path.mkdir()
    made.mkdir(mode=0o1755)
    patch = settle(host, [FolderKind()], stale=False)
    assert patch == {f"dir:{path}": None, f"dir:{made}": Entry(claimed=True, value={})}
