# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What students leave in the lab's own folders, in whatever bytes: kept, said, and in nobody's way."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
import typing as t

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import LabError
from ansible_collections.ebpf.lab.plugins.module_utils._lab.schema import WORK_FOLDER
from ansible_collections.ebpf.lab.tests.kernel.conftest import RunModule, collections, sh

from .conftest import PINS, Lab, bpftool

WORK = pathlib.Path(WORK_FOLDER) / "lecture2"
JOURNAL = pathlib.Path("/var/lib/ebpf.lab/journal.jsonl")
Objects = t.Callable[[str], str]
__all__ = ["collections"]  # a fixture


@pytest.fixture
def clean(lecture: Lab) -> t.Iterator[Lab]:
    """The lecture's lab, not up, with nothing left of it."""
    lecture.down()
    shutil.rmtree(WORK_FOLDER, ignore_errors=True)
    yield lecture
    sh("chattr", "-R", "-i", WORK_FOLDER, check=False)
    shutil.rmtree(WORK_FOLDER, ignore_errors=True)
    lecture.down()
    shutil.rmtree(PINS, ignore_errors=True)


def backups(path: pathlib.Path) -> list[pathlib.Path]:
    """What was kept of a file."""
    return sorted(path.parent.glob(f"{path.name}.*~"))


def content(path: pathlib.Path) -> t.Union[bytes, str]:
    """What is at a path, without following a link."""
    if path.is_symlink():
        return f"link to {os.readlink(path)}"
    if path.is_dir():
        return f"folder with {sorted(os.listdir(path))}"
    return "fifo" if path.is_fifo() else path.read_bytes()


def a_file(path: pathlib.Path) -> None:
    path.write_bytes(b"mine")


def a_folder(path: pathlib.Path) -> None:
    path.mkdir()
    (path / "inner").write_bytes(b"mine")


def a_link(path: pathlib.Path) -> None:
    (path.parent / "elsewhere").write_bytes(b"mine")
    path.symlink_to(path.parent / "elsewhere")


def a_dangling_link(path: pathlib.Path) -> None:
    path.symlink_to("/nowhere/at/all")


def a_fifo(path: pathlib.Path) -> None:
    os.mkfifo(path)


THINGS = [a_file, a_folder, a_link, a_dangling_link, a_fifo]


@pytest.mark.case("R5")
@pytest.mark.parametrize("there", THINGS)
def test_what_bears_the_name_of_a_file_of_the_lab_is_kept_beside(
    clean: Lab, there: t.Callable[[pathlib.Path], None]
) -> None:
    """An object compiled by hand before its stage, and in the source's place whatever else a file system can hold."""
    clean.up("hello", traffic=False)
    paths = [WORK / "xdp_drop.o", WORK / "xdp_drop.c"]
    for path in paths:
        path.unlink(missing_ok=True)
        (WORK / "elsewhere").unlink(missing_ok=True)
        there(path)
    mine = [content(path) for path in paths]
    (WORK / "xdp_drop.ll").write_bytes(b"; mine")
    (found,) = [
        entry
        for entry in clean.run("verified", "drop", traffic=False)["facts"]["objects"]
        if entry["name"] == "xdp_drop"
    ]
    assert found["current"] is None and "not an" in found["error"], found
    predicted = clean.up("drop", check=True, traffic=False)
    assert [content(path) for path in paths] == mine, "check mode changed something"
    done = clean.up("drop", traffic=False)
    assert (done["steps"], done["diff"]) == (predicted["steps"], predicted["diff"])
    assert [[content(one) for one in backups(path)] for path in paths] == [[one] for one in mine]
    assert all(path.is_file() and not path.is_symlink() for path in paths)
    assert not clean.up("drop", traffic=False)["changed"] and not clean.reset("drop", traffic=False)["changed"]
    down = clean.down()
    for path in [WORK / "xdp_drop.ll", *backups(paths[0]), *backups(paths[1])]:
        assert any(str(path) in line and "stays" in line for line in down["warnings"]), down["warnings"]
        assert os.path.lexists(path)
    if there is a_link:
        assert (WORK / "elsewhere").read_bytes() == b"mine"
    assert not any(path.exists() for path in paths)
    assert not JOURNAL.exists() and not clean.down()["changed"]


@pytest.mark.case("R5")
def test_a_students_object_survives_the_lab(clean: Lab, objects: Objects) -> None:
    """Over the lab's own object, at down; and the next up keeps it beside and goes on."""
    clean.up("hello", traffic=False)
    mine = pathlib.Path(objects("xdp_count")).read_bytes()
    (WORK / "xdp_pass.o").write_bytes(mine)
    down = clean.down()
    assert (WORK / "xdp_pass.o").read_bytes() == mine
    assert any(f"{WORK}/xdp_pass.o" in line and "stays" in line for line in down["warnings"]), down["warnings"]
    assert os.listdir(WORK) == ["xdp_pass.o"] and not JOURNAL.exists()
    assert not clean.down()["changed"]
    assert clean.up("hello")["failed"] == []
    assert [path.read_bytes() for path in backups(WORK / "xdp_pass.o")] == [mine]


@pytest.mark.case("R5")
def test_what_is_immutable_is_one_sentence_and_nothing_is_changed(clean: Lab) -> None:
    clean.up("hello", traffic=False)
    (WORK / "xdp_drop.o").write_bytes(b"mine")
    if sh("chattr", "+i", str(WORK / "xdp_drop.o"), check=False).returncode != 0:
        pytest.skip("no file here can be made immutable")
    before = sorted(os.listdir(WORK)), JOURNAL.read_bytes()
    with pytest.raises(LabError, match=rf"{WORK}/xdp_drop.o.*chattr -i") as caught:
        clean.up("drop", traffic=False)
    assert caught.value.details["not_undone"] == []
    assert (sorted(os.listdir(WORK)), JOURNAL.read_bytes()) == before
    sh("chattr", "-i", str(WORK / "xdp_drop.o"))
    sh("chattr", "+i", str(WORK / "xdp_pass.c"))
    with pytest.raises(LabError, match=rf"{WORK}/xdp_pass.c.*chattr -i"):
        clean.down()
    sh("chattr", "-i", str(WORK / "xdp_pass.c"))
    clean.down()
    assert os.listdir(WORK) == ["xdp_drop.o"]


@pytest.mark.case("R5")
@pytest.mark.parametrize("there", [a_file, a_link])
def test_what_stands_where_the_labs_folder_should_be(clean: Lab, there: t.Callable[[pathlib.Path], None]) -> None:
    for up_before in (False, True):
        if up_before:
            clean.up("hello", traffic=False)
            shutil.move(WORK, f"{WORK}.mine")
        os.makedirs(WORK.parent, exist_ok=True)
        there(WORK)
        mine = content(WORK)
        if up_before:
            assert any(f"{WORK}" in line and "stays" in line for line in clean.down()["warnings"])
            assert content(WORK) == mine and not JOURNAL.exists()
        clean.up("hello", traffic=False)
        assert [content(path) for path in backups(WORK)] == [mine]
        assert (WORK / "xdp_pass.o").is_file() and not WORK.is_symlink()
        clean.down()
        assert not os.path.lexists(WORK)
        backups(WORK)[0].unlink()


@pytest.mark.case("R5")
def test_pins_of_a_student_from_before_the_lab_come_back(clean: Lab, objects: Objects) -> None:
    """The lecture done by hand first: its folder and its program's name are those of the lab."""
    bpftool("prog", "loadall", objects("xdp_pass"), PINS, "type", "xdp")
    number = json.loads(bpftool("-j", "prog", "show", "pinned", f"{PINS}/xdp_allow").stdout)["id"]
    clean.up("hello", traffic=False)
    assert not clean.reset("hello", traffic=False)["changed"]
    clean.up("drop", traffic=False)
    clean.down()
    assert json.loads(bpftool("-j", "prog", "show", "pinned", f"{PINS}/xdp_allow").stdout)["id"] == number
    assert not os.path.exists("/sys/fs/bpf/ebpf_lab_kept") and not JOURNAL.exists()


@pytest.mark.case("R5")
def test_a_folder_with_a_pins_name(clean: Lab, objects: Objects) -> None:
    clean.up("hello", traffic=False)
    bpftool("prog", "loadall", objects("xdp_drop"), f"{PINS}/xdp_deny", "type", "xdp")
    with pytest.raises(LabError, match=rf"{PINS}/xdp_deny is a folder"):
        clean.up("drop", traffic=False)
    assert clean.reset("drop", traffic=False)["changed"]
    assert os.listdir(PINS) == ["xdp_deny"] and os.path.isfile(f"{PINS}/xdp_deny")


LATIN = b"\n/* gr\xfcn */\n"


@pytest.fixture
def module(clean: Lab, collections: pathlib.Path) -> t.Iterator[t.Callable[..., dict[str, t.Any]]]:
    """The module lab as a process of its own, as Ansible runs it: what it prints has to be JSON."""
    run = RunModule(collections)

    def call(state: str = "present", stage: str = "", traffic: bool = False) -> dict[str, t.Any]:
        result = run("lab", **clean.params(state=state, stage=stage, traffic=traffic))
        json.dumps(result).encode()
        assert json.loads(json.dumps(result, ensure_ascii=False).encode()) == result
        return result

    yield call


@pytest.mark.case("R6")
def test_bytes_of_a_student_are_kept_replaced_restored_and_named(
    clean: Lab, module: t.Callable[..., dict[str, t.Any]]
) -> None:
    clean.up("hello", traffic=False)
    source, odd = WORK / "xdp_pass.c", os.fsencode(WORK) + b"/\xe9\n.c"
    good = source.read_bytes()
    with open(odd, "wb") as file:
        file.write(LATIN)
    for stage, run in (("hello", clean.run), ("hello", clean.reset), ("drop", module)):
        with source.open("ab") as file:
            file.write(LATIN)
        mine = source.read_bytes()
        done = run(stage=stage, traffic=False)
        assert f"keep the edited {source} as a backup" in done["steps"], done["steps"]
        assert mine in [path.read_bytes() for path in backups(source)]
        assert source.read_bytes() == good
    assert r"gr\xfcn" in json.dumps(done["diff"]).replace("\\\\", "\\")
    with source.open("ab") as file:
        file.write(LATIN)
    down = module("absent")
    assert any(r"\xe9\n.c" in line and "stays" in line for line in down["warnings"]), down["warnings"]
    assert any(f"{source} was edited and stays" in line for line in down["warnings"])
    assert source.read_bytes() == good + LATIN and os.path.exists(odd)
    assert not clean.down()["changed"]


@pytest.mark.case("R6")
def test_odd_bytes_where_the_compiler_and_the_kernel_meet_them(
    collections: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    run = RunModule(collections)
    folder = os.fsencode(tmp_path) + b"/gr\xfcn"
    os.mkdir(folder)
    with open(folder + b"/x.h", "wb") as file:
        file.write(LATIN)
    with open(tmp_path / "x.c", "wb") as file:
        file.write(b'#include "gr\xfcn/x.h"\n/* \xfc */ __attribute__((section("xdp"))) int f(void *c) { return 2; }\n')
    arguments = {"src": str(tmp_path / "x.c"), "dest": str(tmp_path / "x.o")}
    try:
        done = run("bpf_object", **arguments)
        assert rf"{tmp_path}/gr\xfcn/x.h" in done["headers"]
        assert not run("bpf_object", **arguments)["changed"]
        with open(folder + b"/x.h", "ab") as file:
            file.write(b"#define GR 1\n")
        assert run("bpf_object", check=True, **arguments)["changed"], "the header is not looked at"
        with open(tmp_path / "x.c", "ab") as file:
            file.write(b"gr\xfcn;\n")
        failed = run("bpf_object", fails=True, **arguments)
        assert "x.c:3:3" in failed["msg"] and r"<FC>" in failed["compiler_output"]
    finally:
        run("bpf_object", dest=arguments["dest"], state="absent")


TALKS = """
import ctypes, os, struct, sys
ctypes.CDLL(None).prctl(15, b"gr\\xfcn-7 [0]", 0, 0, 0)
sys.path.append(sys.argv.pop(1))
import runpy
runpy.run_module("ansible_collections.ebpf.lab.plugins.modules.bpf_test_run", run_name="__main__")
"""


@pytest.mark.case("R6")
def test_a_task_of_any_name_in_the_trace(collections: pathlib.Path, objects: Objects) -> None:
    """The name of whoever was running when a program printed is whatever that process chose."""
    import ansible

    run = RunModule(collections)
    pin = "/sys/fs/bpf/talks/deny"
    os.makedirs(os.path.dirname(pin), exist_ok=True)
    bpftool("prog", "load", objects("xdp_drop"), pin, "type", "xdp")
    try:
        marker = run("bpf_trace_info")["marker"]
        packet = {"hex": "00" * 64}
        arguments = {"program": pin, "packets": [packet], "maps": [], "repeat": 1}
        done = subprocess.run(
            [sys.executable, "-c", TALKS, str(pathlib.Path(ansible.__file__).parents[1])],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
            env={**os.environ, "PYTHONPATH": str(collections)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "XDP_DROP" in done.stdout, done.stdout + done.stderr
        lines = run("bpf_trace_info", since=marker, matches="Shall Not Pass", timeout=2)["lines"]
        assert [line["text"] for line in lines] == ["You Shall Not Pass!!"]
        assert lines[0]["task"].startswith(r"gr\xfcn"), lines
    finally:
        os.unlink(pin)
        os.rmdir(os.path.dirname(pin))


OWN_LAB = """
name: mine
objects: {mine: {source: mine.c}}
stages: [{name: one, programs: [{object: mine}]}]
"""
SOURCE = b'/* gr\xfcn \r */\r\n__attribute__((section("xdp"))) int f(void *c) { return 2; }\n'


@pytest.mark.case("R7")
def test_a_teachers_source_is_sent_as_it_is(tmp_path: pathlib.Path) -> None:
    """Its encoding, and its ends of lines, are between the teacher and the compiler."""
    (tmp_path / "mine.yml").write_text(OWN_LAB, encoding="utf-8")
    (tmp_path / "mine.c").write_bytes(SOURCE)
    lab = Lab(str(tmp_path / "mine.yml"))
    try:
        assert lab.up("one", check=True)["diff"] == lab.up("one")["diff"]
        assert (pathlib.Path(WORK_FOLDER) / "mine/mine.c").read_bytes() == SOURCE
        assert not lab.up("one")["changed"]
    finally:
        lab.down()
    assert not os.path.exists(WORK_FOLDER)


@pytest.mark.case("R7")
@pytest.mark.parametrize(
    ("bad", "place"),
    [(b"name: mine\ntitle: gr\xfcn\n", "line 2, column 10: the byte 0xfc"), (b"\xff\xfen\0", "line 1, column 1: ")],
)
def test_a_lab_file_that_is_no_utf8_is_named(tmp_path: pathlib.Path, bad: bytes, place: str) -> None:
    from ansible_collections.ebpf.lab.plugins.action.lab import read_lab

    (tmp_path / "mine.yml").write_bytes(bad)
    with pytest.raises(LabError) as caught:
        read_lab(str(tmp_path / "mine.yml"))
    assert f"{tmp_path}/mine.yml: {place}" in str(caught.value) and "UTF-8" in str(caught.value)
