# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results of verify on disk: what is kept, what a machine cannot smuggle in, what drifted."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import typing as t

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._lab.grading.plain import visible
from ansible_collections.ebpf.lab.plugins.plugin_utils import results
from hypothesis import given
from hypothesis import strategies as st

LAB = {
    "name": "lecture2",
    "title": "The lecture",
    "stages": [{"name": "hello", "title": "Hi", "max_points": 2}, {"name": "drop", "max_points": 3}],
}
MOST = {"hello": 2, "drop": 3}


def check(name: str = "it", passed: bool = True, found: t.Any = "1", **more: t.Any) -> dict[str, t.Any]:
    return {"name": name, "passed": passed, "points": int(passed), "max_points": 1, "found": found, **more}


def made(*checks: t.Any, host: str = "s01", stage: str = "hello", **more: t.Any) -> results.Result:
    return results.make_result(host, LAB, stage, {"facts": {}, "checks": list(checks), **more})


def test_what_is_kept_comes_back(tmp_path: pathlib.Path) -> None:
    result = made(check(), check("other", False, hint="a\nb", expected="2", error="why"))
    path = results.save(str(tmp_path), result)
    assert path == str(tmp_path / "lecture2/s01/hello.json")
    machines, wrong = results.load_all(str(tmp_path), "lecture2")
    assert wrong == []
    assert [machine.host for machine in machines] == ["s01"]
    assert machines[0].stages == {"hello": result}
    assert machines[0].attempt["status"] == "graded"
    assert (result["points"], result["max_points"]) == (1, 2)
    assert results.labs(str(tmp_path)) == ["lecture2"]
    assert results.load_all(str(tmp_path), "nothing") == ([], [])


@pytest.mark.case("R13")
def test_nobody_else_writes_where_grades_are(tmp_path: pathlib.Path) -> None:
    before = os.umask(0)
    try:
        results.save(str(tmp_path / "kept/results"), made(check()))
    finally:
        os.umask(before)
    assert [path for path in tmp_path.rglob("*") if path.stat().st_mode & 0o022] == []


def test_the_run_before_is_kept_for_drift(tmp_path: pathlib.Path) -> None:
    for found in ("1", "2", "3"):
        results.save(str(tmp_path), made(check(passed=found != "3", found=found)))
    machine = results.load_all(str(tmp_path), "lecture2")[0][0]
    assert machine.previous["hello"]["checks"][0]["found"] == "2"
    assert results.drift(machine.previous["hello"], machine.stages["hello"]) == [
        {"check": "it", "kind": "broke", "before": "2", "now": "3"}
    ]


def at(minute: int) -> datetime.datetime:
    return datetime.datetime(2026, 11, 22, 10, minute, tzinfo=datetime.timezone.utc)


def grade(folder: pathlib.Path, minute: int, *passed: bool, stage: str = "hello", **more: t.Any) -> None:
    checks = [check(str(number), good) for number, good in enumerate(passed)]
    outcome = {"facts": {}, "checks": checks, **more}
    results.save(str(folder), results.make_result("s01", LAB, stage, outcome, at(minute)))


def standing(folder: pathlib.Path, most: t.Mapping[str, t.Any] = MOST) -> results.Standing:
    (machine,) = results.load_all(str(folder), "lecture2")[0]
    return results.Standing.of(machine, most)


@pytest.mark.case("K13")
def test_a_later_run_lowers_nothing(tmp_path: pathlib.Path) -> None:
    for minute, passed in enumerate([(True, False), (True, True), (False, True), (True, True), (False, False)]):
        grade(tmp_path, minute, *passed)
    grade(tmp_path, 9, False, False, started=False)
    (machine,) = results.load_all(str(tmp_path), "lecture2")[0]
    assert machine.best("hello") == (2, 2, "2026-11-22T10:01:00Z")
    assert (machine.stages["hello"]["status"], machine.stages["hello"]["points"]) == ("not started", 0)
    assert machine.best("drop") is None
    has = standing(tmp_path)
    assert (has.points, has.max_points, has.passed("hello"), has.whole) == (2, 5, True, False)
    grade(tmp_path, 10, True, True, True, stage="drop")
    assert standing(tmp_path).whole
    assert (standing(tmp_path, {"hello": 1, "drop": 4}).points, standing(tmp_path, {"hello": 1}).whole) == (4, True)
    assert not standing(tmp_path, {**MOST, "more": None}).whole  # nobody knows what it is worth
    assert standing(tmp_path, {**MOST, "look": 0}).whole


@pytest.mark.case("K13")
def test_what_was_kept_before_there_was_a_record_counts(tmp_path: pathlib.Path) -> None:
    old = made(check(), check("other"))
    old = {**old, "format": 1, "stages": [{"name": "hello", "title": "Hi"}, {"name": "drop", "title": ""}]}
    folder = tmp_path / "lecture2" / "s01"
    folder.mkdir(parents=True)
    (folder / "_machine.json").write_text(json.dumps({**old, "checks": []}))
    (folder / "hello.json").write_text(json.dumps({**old, "time": "2026-11-20T10:00:00Z", "checks": [check()]}))
    (folder / "hello.previous.json").write_text(json.dumps({**old, "time": "2026-11-19T10:00:00Z"}))
    machines, wrong = results.load_all(str(tmp_path), "lecture2")
    assert wrong == [] and machines[0].best("hello") == (2, 2, "2026-11-19T10:00:00Z")
    assert [stage["max_points"] for stage in machines[0].attempt["stages"]] == [None, None]
    for minute in range(3):  # by now the file of the best is gone
        grade(tmp_path, minute, False, False)
    assert standing(tmp_path).best["hello"] == (2, 2, "2026-11-19T10:00:00Z")


@pytest.mark.case("K13")
def test_a_record_that_was_cut_or_forged_spoils_no_other_line(tmp_path: pathlib.Path) -> None:
    grade(tmp_path, 0, True, True)
    record = tmp_path / "lecture2" / "s01" / "_record.jsonl"
    before = record.read_text()
    with record.open("a") as file:
        file.write('[1]\n{"stage": "drop", "status": "graded", "points": 9, "max_points": 3, "time": "\\u001b"}\n{"st')
    grade(tmp_path, 1, True, False)
    assert record.read_text().startswith(before)
    machines, wrong = results.load_all(str(tmp_path), "lecture2")
    assert machines[0].best("hello") == (2, 2, "2026-11-22T10:00:00Z")
    assert machines[0].best("drop") == (3, 3, "\\x1b")
    assert [sentence.partition("line ")[2] for sentence in wrong] == [
        "2, is left out: it is no grade.",
        "4, is left out: it is no grade.",
    ]


@pytest.mark.case("K2")
@pytest.mark.case("K14")
def test_a_machine_of_which_nothing_is_there_has_not_started(tmp_path: pathlib.Path) -> None:
    machine = {"stage": "drop", "rebooted": True}
    result = results.make_result("s01", LAB, "drop", {"facts": {"machine": machine}, "checks": [check()]})
    assert (result["status"], result["message"]) == ("graded", "rebooted since it was brought to its stage")
    result = results.make_result("s01", LAB, "", {"facts": {}, "stage": "drop", "started": False, "checks": [check()]})
    assert (result["status"], result["points"], result["max_points"]) == ("not started", 0, 1)
    assert results.clean(result) == result
    for said in (1, "yes", {}, None):
        facts = {"machine": {"stage": "drop", "rebooted": said}}
        assert results.make_result("s01", LAB, "drop", {"facts": facts, "checks": []})["message"] == ""


def test_unreachable_keeps_the_grades(tmp_path: pathlib.Path) -> None:
    results.save(str(tmp_path), made(check()))
    gone = results.make_result("s01", LAB, "", {"unreachable": True, "msg": "no route to host"})
    results.save(str(tmp_path), gone)
    results.save(str(tmp_path), results.make_result("s02", LAB, "", {"unreachable": True, "msg": "\x1b[31mno"}))
    first, second = results.load_all(str(tmp_path), "lecture2")[0]
    assert (first.attempt["status"], first.attempt["message"]) == ("unreachable", "no route to host")
    assert first.stages["hello"]["points"] == 1
    assert (second.attempt["message"], second.stages) == ("\\x1b[31mno", {})


def test_drift() -> None:
    before = made(check("a"), check("b", False, "x"), check("c", False, "x"), check("d", False, "x"), check("gone"))
    now = made(check("a", False, "y"), check("b"), check("c", False, "y"), check("d", False, "x"), check("new", False))
    assert [(item["check"], item["kind"]) for item in results.drift(before, now)] == [
        ("a", "broke"),
        ("b", "fixed"),
        ("c", "changed"),
    ]
    assert results.drift(None, now) == []
    assert results.drift(now, now) == []


def test_a_machine_cannot_choose_the_file_or_its_points(tmp_path: pathlib.Path) -> None:
    hostile = {
        "stage": "../../../etc/passwd",
        "facts": {},
        "lab": "../x",
        "host": "../y",
        "checks": [check(points=1e300, max_points="9"), check(points=50, max_points=float("inf")), "x", None],
        "points": 1_000_000,
    }
    result = results.make_result("s01", LAB, "", hostile)
    assert (result["status"], result["lab"], result["host"], result["stage"]) == ("failed", "lecture2", "s01", "")
    result = results.make_result("s01", LAB, "hello", hostile)
    assert (result["points"], result["max_points"]) == (0, 0)
    results.save(str(tmp_path), result)
    assert sorted(os.listdir(tmp_path)) == ["lecture2"]


@pytest.mark.parametrize(
    "host", ["../../x", ".", "..", "", "a/b", "/etc", "_machine", "é" * 300, "x\0y", "\ud800", "::1"]
)
def test_any_host_name_is_one_folder(tmp_path: pathlib.Path, host: str) -> None:
    results.save(str(tmp_path), made(check(), host=host))
    assert len(list((tmp_path / "lecture2").iterdir())) == 1
    assert len(list(tmp_path.rglob("*"))) == 5
    assert results.load_all(str(tmp_path), "lecture2")[0][0].host == visible(host, results.LINE)


def test_unreadable_files_are_told_and_left_out(tmp_path: pathlib.Path) -> None:
    results.save(str(tmp_path), made(check()))
    folder = tmp_path / "lecture2" / "s01"
    (folder / "drop.json").write_text("{")
    (folder / "count.json").write_text('{"format": 3, "status": "graded"}')
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "bytes.json").write_bytes(b"\xff\xfe")
    machines, wrong = results.load_all(str(tmp_path), "lecture2")
    assert list(machines[0].stages) == ["hello"]
    assert len(wrong) == 4
    assert all(" is left out: " in sentence for sentence in wrong)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=10,
)
outcomes = anything | st.fixed_dictionaries(
    {},
    optional={
        "unreachable": anything,
        "msg": anything,
        "facts": st.just({}) | anything,
        "started": anything,
        "stage": st.sampled_from(["hello", "drop", "..", "", 5]),
        "checks": st.lists(
            anything
            | st.fixed_dictionaries(
                {},
                optional={
                    key: anything
                    for key in ("name", "passed", "points", "max_points", "expected", "found", "hint", "error")
                },
            ),
            max_size=4,
        ),
    },
)


@given(outcomes, st.sampled_from(["", "hello"]))
def test_every_outcome_becomes_a_result(outcome: t.Any, stage: str) -> None:
    result = results.make_result("s01", LAB, stage, outcome)
    text = json.dumps(result, allow_nan=False)
    assert results.clean(json.loads(text)) == result
    assert result["status"] in results.STATUSES
    assert (result["status"] in results.WITH_CHECKS) == bool(
        result["stage"]
        and isinstance(outcome, dict)
        and isinstance(outcome.get("checks"), list)
        and isinstance(outcome.get("facts"), dict)
        and outcome.get("unreachable") is not True
    )
    assert 0 <= result["points"] <= result["max_points"]
    assert result["message"].isprintable()


@given(st.text(st.characters()), st.integers(60, 100))
def test_visible_stays_as_it_is(text: str, limit: int) -> None:
    once = visible(text, limit)
    assert once.isprintable() and len(once) <= limit
    assert visible(once, limit) == once
