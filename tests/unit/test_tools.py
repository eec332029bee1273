# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tools that are installed and removed in a folder of the test's own: foreign files, full disks, and kills anywhere."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import shutil
import typing as t
from dataclasses import dataclass

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._core import files, locks
from ansible_collections.ebpf.lab.plugins.module_utils._core.command import Runner
from ansible_collections.ebpf.lab.plugins.module_utils._core.converge import converge
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import Completed, LabError, Refused
from ansible_collections.ebpf.lab.plugins.module_utils._core.host import Host
from ansible_collections.ebpf.lab.plugins.module_utils._core.journal import Entry, Journal
from ansible_collections.ebpf.lab.plugins.module_utils._core.plan import NOTHING, Done, Forecast, Learned, Plan
from ansible_collections.ebpf.lab.plugins.module_utils._core.resource import Kind, Resource
from ansible_collections.ebpf.lab.plugins.module_utils._core.run import Run
from ansible_collections.ebpf.lab.plugins.module_utils._core.settle import settled
from ansible_collections.ebpf.lab.plugins.module_utils._tools import kinds
from ansible_collections.ebpf.lab.plugins.module_utils._tools.builds import build_dir
from ansible_collections.ebpf.lab.plugins.module_utils._tools.builds.build_dir import BuildDir
from ansible_collections.ebpf.lab.plugins.module_utils._tools.builds.steps import InBuildDir, RemoveTemporary
from ansible_collections.ebpf.lab.plugins.module_utils._tools.golang import steps as golang
from ansible_collections.ebpf.lab.plugins.module_utils._tools.golang import tree as trees
from ansible_collections.ebpf.lab.plugins.module_utils._tools.golang.steps import discarding
from ansible_collections.ebpf.lab.plugins.module_utils._tools.install import content, state
from ansible_collections.ebpf.lab.plugins.module_utils._tools.install.content import Content
from ansible_collections.ebpf.lab.plugins.module_utils._tools.install.resource import Installing, Removing
from ansible_collections.ebpf.lab.plugins.module_utils._tools.install.state import Installed, look
from ansible_collections.ebpf.lab.plugins.module_utils._tools.packages import apt, lock
from ansible_collections.ebpf.lab.plugins.module_utils._tools.sources import source

STRIDE = int(os.environ.get("EBPF_LAB_KILLS", "7"))  # a kill at each so many changes; 1 takes minutes
CHANGES = ("mkdir", "rmdir", "unlink", "remove", "rename", "replace", "symlink", "open")
Tree = dict[str, t.Any]


class Died(BaseException):
    """What a kill is here: nothing more is done."""


@dataclass(frozen=True)
class Build(InBuildDir):
    """Stages files with their texts; a text that begins with -> is a link's target."""

    tool = "made"
    below: str
    texts: tuple[tuple[str, str], ...]

    def title(self) -> str:
        return "build made"

    def build(self, host: Host, place: BuildDir) -> dict[str, t.Any]:
        for name, text in self.texts:
            path = pathlib.Path(place.stage + self.below) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if text.startswith("->"):
                path.symlink_to(text[2:])
            else:
                path.write_text(text, encoding="utf-8")
        return {"source": {"texts": len(self.texts)}}


@dataclass(frozen=True)
class Made(Resource[Installed]):
    """A tool of such files below ``place``; without any it is to be absent."""

    place: str
    root: str
    texts: tuple[tuple[str, str], ...] = ()
    overwrite: bool = False

    @property
    def main(self) -> str:
        return f"{self.place}/{self.texts[0][0]}"

    def kinds(self) -> tuple[Kind, ...]:
        return kinds.all_kinds()

    def takes_away(self) -> bool:
        return not self.texts

    def observe(self, host: Host) -> Installed:
        return look(host, "made", *([self.main] if self.texts else []))

    def plan(self, now: Installed, coming: Forecast = NOTHING) -> Plan:
        left = tuple(RemoveTemporary(key) for key in now.left)
        if not self.texts:
            return Plan(steps=(*left, *((Removing("made").later(self.place),) if now.noted else ())))
        key = content.digest_of(self.texts)
        if now.is_whole(key, self.main):
            return Plan(steps=left)
        build = Build(self.root, not os.path.isdir(self.root), self.place, self.texts)
        return Plan(steps=(*left, build, Installing("made", key, self.overwrite, build.key).later(self.place)))

    def result(self, now: Installed) -> dict[str, t.Any]:
        return {"files": sorted(now.files), "about": dict(now.about)}


OLD = (("sbin/tool", "old"), ("share/doc/page", "page"), ("sbin/link", "->tool"), ("sbin/gone", "old only"))
NEW = (("sbin/tool", "new"), ("share/doc/page", "page"), ("sbin/link", "->other"), ("lib/deep/er/data", "data"))


@dataclass
class Machine:
    """A folder that stands for a host: ``usr`` is where tools go."""

    path: pathlib.Path

    @property
    def usr(self) -> pathlib.Path:
        return self.path / "usr"

    def want(self, *texts: tuple[str, str], overwrite: bool = False) -> Made:
        return Made(str(self.usr), str(self.path / "cache" / "root"), texts, overwrite)

    def run(self, want: Made, check: bool = False) -> dict[str, t.Any]:
        """As the next process does it."""
        with Host(journal=Journal(str(self.path / "lab" / "journal.jsonl"), boot="boot")) as host:
            return converge(host, want, check)

    def journal(self) -> t.Optional[bytes]:
        return files.read(str(self.path / "lab" / "journal.jsonl"))

    def tree(self) -> Tree:
        """All that is there, with content and modes; but for a journal that a killed run had begun with no line."""
        found: Tree = {}
        lab = self.path / "lab"
        begun = set() if self.journal() else {lab, lab / "journal.jsonl", lab / ".ebpf-lab-journal.jsonl"}
        for path in sorted(set(self.path.rglob("*")) - begun):
            status = path.lstat()
            what = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
            found[str(path.relative_to(self.path))] = (what, oct(status.st_mode))
        return found

    def killed(self, number: int, want: Made) -> bool:
        """Run it, and be gone before the change that comes after so many; whether that came."""
        left = [number]

        def dying(real: t.Callable[..., t.Any], writes: bool) -> t.Callable[..., t.Any]:
            def call(*args: t.Any, **named: t.Any) -> t.Any:
                if not writes or args[1] & os.O_CREAT:
                    left[0] -= 1
                    if left[0] < 0:
                        raise Died
                return real(*args, **named)

            return call

        def nobody(self: Run) -> list[str]:
            raise Died

        with pytest.MonkeyPatch.context() as patched:
            for name in CHANGES:
                patched.setattr(os, name, dying(getattr(os, name), name == "open"))
            patched.setattr(Run, "undo", nobody)
            try:
                self.run(want)
            except Died:
                return True
            return False


@pytest.fixture
def machine(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(locks, "held", lambda *names, **named: contextlib.nullcontext())  # a kill lets go of them
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(state, "ASIDES", str(tmp_path / "lab"))
    monkeypatch.setattr(os, "chown", lambda *args, **named: None)
    (tmp_path / "usr" / "sbin").mkdir(parents=True)
    (tmp_path / "cache").mkdir()
    (tmp_path / "usr" / "sbin" / "foreign").write_text("somebody's", encoding="utf-8")
    return Machine(tmp_path)


def test_there_again_and_back(machine: Machine) -> None:
    before = machine.tree()
    titles = ["build made", f"install made to {machine.usr}"]
    assert machine.run(machine.want(*OLD), check=True)["steps"] == titles
    assert machine.tree() == before
    done = machine.run(machine.want(*OLD))
    assert done["steps"] == titles and done["about"] == {"source": {"texts": 4}}
    assert (machine.usr / "sbin/tool").read_text() == "old" and os.readlink(machine.usr / "sbin/link") == "tool"
    assert not list((machine.path / "cache").iterdir())
    assert machine.run(machine.want(*OLD))["changed"] is False
    done = machine.run(machine.want(*NEW))
    assert done["files"] == sorted(f"{machine.usr}/{name}" for name, _text in NEW)
    assert (machine.usr / "sbin/tool").read_text() == "new" and not (machine.usr / "sbin/gone").exists()
    assert machine.run(machine.want())["steps"] == [f"remove made from {machine.usr}"]
    assert machine.tree() == before and machine.run(machine.want())["changed"] is False


def test_foreign_files_are_refused_or_kept_and_put_back(machine: Machine) -> None:
    ours = (("sbin/foreign", "ours"), ("sbin/tool", "ours"))
    (machine.usr / "sbin/tool").symlink_to("foreign")
    before = machine.tree()
    with pytest.raises(Refused, match=r"sbin/foreign, .*sbin/tool would be overwritten, and this lab"):
        machine.run(machine.want(*ours))
    assert machine.tree() == before
    machine.run(machine.want(*ours, overwrite=True))
    assert (machine.usr / "sbin/foreign").read_text() == "ours" and not (machine.usr / "sbin/tool").is_symlink()
    machine.run(machine.want(*ours[:1], overwrite=True))
    assert os.readlink(machine.usr / "sbin/tool") == "foreign"
    machine.run(machine.want())
    assert machine.tree() == before


def test_what_somebody_changed_is_repaired_and_at_an_end_left(machine: Machine) -> None:
    machine.run(machine.want(*OLD))
    (machine.usr / "sbin/tool").write_text("changed", encoding="utf-8")
    (machine.usr / "sbin/gone").unlink()
    assert machine.run(machine.want(*OLD))["changed"] and (machine.usr / "sbin/tool").read_text() == "old"
    machine.run(machine.want(("sbin/foreign", "ours"), ("sbin/tool", "new"), overwrite=True))
    (machine.usr / "sbin/foreign").write_text("a third one", encoding="utf-8")
    (machine.usr / "sbin/tool").write_text("changed", encoding="utf-8")
    machine.run(machine.want())
    assert sorted(path.read_text() for path in (machine.usr / "sbin").iterdir()) == [
        *("a third one", "changed", "somebody's"),
    ]
    assert not (machine.path / "lab").exists()


def test_a_folder_in_the_way_is_named(machine: Machine) -> None:
    (machine.usr / "sbin/tool").mkdir()
    with pytest.raises(LabError, match="sbin/tool is in the way: it is a folder"):
        machine.run(machine.want(*OLD, overwrite=True))
    assert sorted(path.name for path in (machine.usr / "sbin").iterdir()) == ["foreign", "tool"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("number", range(4))
def test_a_file_that_cannot_be_placed_takes_the_others_back(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    machine.run(machine.want(*OLD))
    before = {name: what for name, what in machine.tree().items() if "journal" not in name}
    names = [files.temporary(f"{machine.usr}/{name}") for name, _text in NEW if name != "share/doc/page"]
    replace = os.replace

    def full(source: str, target: str) -> None:
        if source in names[number:]:
            raise OSError(code, os.strerror(code))
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        if number == len(names):
            machine.run(machine.want(*NEW))
            return
        with pytest.raises(LabError, match=rf"^place .*: {os.strerror(code)}\. .*taken back") as caught:
            machine.run(machine.want(*NEW))
    assert caught.value.details["not_undone"] == []
    assert {name: what for name, what in machine.tree().items() if "journal" not in name} == before
    assert machine.run(machine.want(*OLD))["changed"] is False


FIRST = (("sbin/tool", "new"), ("sbin/foreign", "ours"), ("lib/deep/data", "->x"))


@pytest.mark.parametrize("way", ["end", "again", "other"])
def test_killed_anywhere_while_it_installs(machine: Machine, way: str) -> None:
    _kill_anywhere(machine, machine.want(*FIRST, overwrite=True), way)


@pytest.mark.parametrize("way", ["end", "again", "other"])
def test_killed_anywhere_while_it_is_replaced(machine: Machine, way: str) -> None:
    _kill_anywhere(machine, machine.want(*NEW), way, machine.want(*FIRST, overwrite=True))


@pytest.mark.parametrize("way", ["end", "again"])
def test_killed_anywhere_while_it_is_removed(machine: Machine, way: str) -> None:
    _kill_anywhere(machine, machine.want(), way, machine.want(*FIRST, overwrite=True))


def _kill_anywhere(machine: Machine, want: Made, way: str, first: t.Optional[Made] = None) -> None:
    """Each kill, then the same again or something else, then an end: all is as it was, a user's new file too."""
    before = machine.tree()
    other = machine.want(("sbin/tool", "third"), ("share/x", "x"), overwrite=True)
    number = len(way) % STRIDE  # each way at points of its own
    while True:
        if first is not None:
            machine.run(first)
        was_killed = machine.killed(number, want)
        if way != "end":
            assert machine.run(want if way == "again" else other) is not None
            assert machine.run(want if way == "again" else other, check=True)["steps"] == [], number
        machine.run(machine.want())
        assert machine.tree() == before, (number, way)
        if not was_killed:
            break
        number += STRIDE
    assert number > STRIDE


def test_what_a_user_made_where_a_killed_run_did_not_get_to_is_his(machine: Machine) -> None:
    number = 0
    while machine.killed(number, machine.want(*OLD)):
        path = machine.usr / "sbin/tool"
        if not path.exists():
            path.write_text("mine", encoding="utf-8")
            machine.run(machine.want())
            assert path.read_text() == "mine"
            path.unlink()
        machine.run(machine.want())
        number += STRIDE
    assert number > STRIDE


@pytest.mark.parametrize(
    ("kind", "entry", "seen", "then"),
    [
        (kinds.PlacedKind(), Entry(about=True, coming={"sha256": "1"}), {"sha256": "1"}, True),
        (kinds.PlacedKind(), Entry(about=True, coming={"sha256": "1"}), {"sha256": "2"}, False),
        (kinds.PlacedKind(), Entry(about=True, coming={"link": "x"}), {"other": "folder"}, False),
        (kinds.AsideKind(), Entry(claimed=True, value={"link": "x"}), None, False),
        (kinds.ToolKind(), Entry(about=True, coming={"key": ""}), {"key": ""}, True),
        (kinds.GoKind(), Entry(about=True, coming={"checksum": "", "url": "u"}), {"checksum": "c", "url": "u"}, True),
        (kinds.GoKind(), Entry(about=True, coming={"checksum": "d", "url": "u"}), {"checksum": "c", "url": "u"}, False),
        (kinds.GoKind(), Entry(about=True, coming={"checksum": "", "url": "u"}), {}, False),
        (kinds.BuildDirKind(), Entry(about=True), None, False),
    ],
)
def test_each_kind_is_settled_by_what_is_there(kind: Kind, entry: Entry, seen: t.Any, then: bool) -> None:
    assert (settled(kind, entry, seen) is not None) == then


@pytest.mark.parametrize(
    "key",
    [
        *("build:/", "build:/etc", "build:/x/../build-y", "build:/build-x", "build:", "build:build-x"),
        *("making:/etc/passwd", "making:/x/../etc/.ebpf-lab-x/..", "making:.ebpf-lab-x"),
        *("placed:\0", "placed:", "aside:\0", "tool:", "go:\0", "go:/etc"),
    ],
)
@pytest.mark.parametrize("value", [None, 1, "x", [], {}, {"tool": 1, "sha256": []}])
def test_what_an_odd_journal_says_removes_nothing(machine: Machine, key: str, value: t.Any) -> None:
    before = machine.tree()
    for entry in (Entry(claimed=True, value=value), Entry(about=True, coming=value)):
        Journal(str(machine.path / "lab" / "journal.jsonl"), boot="boot").patch({key: entry})
        machine.run(machine.want())
        assert {name: what for name, what in machine.tree().items() if not name.startswith("lab")} == before


def test_a_release_goes_by_one_rename(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    path = machine.usr / "go1.2"
    path.mkdir()
    assert trees.receipt(str(path)) == {} and trees.receipt(str(machine.usr / "none")) is None
    (path / trees.RECEIPT).write_text('{"checksum": "c", "url": "u"}', encoding="utf-8")
    assert trees.receipt(str(path)) == {"checksum": "c", "url": "u"}
    steps = discarding(str(machine.usr), trees.Tree("1.2", "c", "u", True), "remove it", "delete its files")
    with Host(journal=Journal(str(machine.path / "lab" / "journal.jsonl"), boot="boot")) as host:
        run = Run(host)
        run.apply(steps[:1])
        assert not path.exists() and list(host.journal.entries) == [steps[0].away]
        assert run.undo() == [] and path.exists()
        run.apply(steps)
        assert not path.exists() and not host.journal.entries
    assert [file.name for file in machine.usr.iterdir()] == ["sbin"]


def test_a_build_directory_is_known_by_its_name() -> None:
    assert build_dir.is_one(build_dir.path_of("x", "/var/cache/y")) and not build_dir.is_one("/var/cache/y")
    assert Content.from_noted({"sha256": "1", "tool": "x"}) == Content("1") and Content.from_noted([1]) is None


class Apt(Runner):
    """Answers as apt-get and dpkg do; what was interrupted goes on when it is configured."""

    def __init__(self, says: str) -> None:
        self.says = says
        self.calls: list[str] = []

    def run(self, argv: t.Sequence[str], **named: t.Any) -> Completed:
        self.calls.append(" ".join([os.path.basename(argv[0]), *(word for word in argv[1:] if "::" not in word)]))
        if argv[0] == "dpkg":
            self.says = ""
        return Completed(tuple(argv), 100 if self.says else 0, "", self.says)


@pytest.mark.parametrize("says", ["E: dpkg was interrupted, you must manually run 'dpkg --configure -a'", "E: no"])
def test_what_dpkg_left_half_done_is_brought_to_its_end(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    monkeypatch.setattr(lock, "holder", lambda paths=(): None)
    monkeypatch.setattr(apt, "index_age", lambda: 0.0)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    runner = Apt(says)
    with Host(runner, Journal(str(machine.path / "lab" / "journal.jsonl"), boot="boot")) as host:
        if says == "E: no":
            with pytest.raises(LabError, match="apt-get failed with exit code 100"):
                apt.InstallPackages(("a",)).apply(host, Learned())
            assert not any(call.startswith("dpkg") for call in runner.calls)
            return
        assert apt.InstallPackages(("a",)).apply(host, Learned()) == Done()
    first, then, last = runner.calls
    assert then == "dpkg --force-confold --configure -a"
    assert last == first.replace(" -- a", " --fix-broken --no-remove -- a")


def test_a_release_that_cannot_be_named_is_not_there(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    made = golang.Unpack(str(machine.usr), "1.2", "https://localhost/go", "")
    rmdir = os.rmdir

    def refused(path: t.Any, **named: t.Any) -> None:
        if path == files.temporary(made.path):
            monkeypatch.setattr(os, "rmdir", rmdir)
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        rmdir(path, **named)

    def fetched(self: golang.Unpack, host: Host, private: str) -> trees.Tree:
        os.mkdir(os.path.join(private, "go"))
        return trees.Tree("1.2", "c", made.url)

    monkeypatch.setattr(golang.Unpack, "_fetch", fetched)
    monkeypatch.setattr(os, "rmdir", refused)
    with Host(journal=Journal(str(machine.path / "lab" / "journal.jsonl"), boot="boot")) as host:
        with pytest.raises(LabError, match=r"^unpack Go 1.2 to .*go1.2: Cannot allocate memory"):
            Run(host).apply([made])
        assert [file.name for file in machine.usr.iterdir()] == ["sbin"] and not host.journal.entries
        Run(host).apply([made])
        assert host.journal.claimed(f"go:{made.path}") and list(host.journal.entries) == [f"go:{made.path}"]


def test_a_tree_that_cannot_be_copied_is_a_sentence(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine.path / "source").mkdir()
    (machine.path / "source" / "proof").write_text("", encoding="utf-8")

    def refused(*args: t.Any, **named: t.Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), args[1])

    monkeypatch.setattr(shutil, "copystat", refused)
    with Host(Runner(), Journal(str(machine.path / "lab" / "journal.jsonl"), boot="boot")) as host:
        place = BuildDir(host.runner, "made", str(machine.path / "cache" / "root"))
        place.make()
        with pytest.raises(LabError, match=r"^Copying \S+ to \S+: Read-only file system: '\S+'\.$"):
            source.DirectorySource(str(machine.path / "source")).fetch(host, place, source.Wanted("proof"))
