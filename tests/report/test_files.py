# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON, CSV and JUnit XML beside the page, read back by readers that are not ours."""

from __future__ import annotations

import csv
import io
import json
import pathlib
import typing as t
import xml.etree.ElementTree as ElementTree

import classroom
import pytest
from ansible_collections.ebpf.lab.plugins.plugin_utils import report, results
from ansible_collections.ebpf.lab.plugins.plugin_utils.summary import natural, summarise
from hypothesis import given, settings
from hypothesis import strategies as st


def summary_of(kind: str, tmp_path: pathlib.Path) -> dict[str, t.Any]:
    getattr(classroom, kind)(str(tmp_path))
    return summarise("lecture2", results.load_all(str(tmp_path), "lecture2")[0], [], "2026-11-22T10:45:00Z")


def test_csv(tmp_path: pathlib.Path) -> None:
    lines = list(csv.DictReader(io.StringIO(report.to_csv(summary_of("small", tmp_path)))))
    assert [line["machine"] for line in lines] == ["s1", "s2", "s3", "s10"]
    assert [line["status"] for line in lines] == ["in progress", "in progress", "unreachable", "in progress"]
    assert [line["hello"] for line in lines] == ["5", "5", "", "4"]  # the best: s2 has one point now
    assert [(line["points"], line["max_points"]) for line in lines] == [
        ("5", "40"),
        ("5", "40"),
        ("0", "40"),
        ("9", "40"),
    ]
    assert lines[1]["changed_checks"] == "3"


def test_no_cell_is_a_formula(tmp_path: pathlib.Path) -> None:
    cells = [cell for line in csv.reader(io.StringIO(report.to_csv(summary_of("hostile", tmp_path)))) for cell in line]
    assert "'=cmd|'/C calc'!A0" in cells and "'@SUM(A1)" in cells and "'-forged" in cells
    assert not [cell for cell in cells if cell.startswith(report.FORMULA)]


@given(st.text())
def test_disarmed(text: str) -> None:
    cell = report.disarmed(text)
    assert cell.removeprefix("'") == text.removeprefix("'")
    assert not cell.lstrip(" ").startswith(report.FORMULA)


@pytest.mark.case("K14")
@pytest.mark.case("K22")
def test_a_state_for_each(tmp_path: pathlib.Path) -> None:
    """Passed is who has all points of the whole lab, whatever fails now; where nobody has begun, nothing has failed."""
    summary = summary_of("states", tmp_path)
    rows = {row["host"]: row for row in summary["machines"]}
    told = {host: (row["status"], row["points"], row["max_points"]) for host, row in rows.items()}
    assert told == {
        "again": ("in progress", 5, 40),
        "all": ("passed", 40, 40),
        "bare": ("not started", 0, 40),
        "lost": ("passed", 40, 40),
    }
    assert "rebooted since" in rows["again"]["message"]
    assert rows["bare"]["failed"] == 0 and rows["lost"]["failed"] == 3
    hello = rows["lost"]["cells"][1]
    assert (hello["state"], hello["points"], hello["now"]) == ("passed", 5, 1)
    assert (hello["best_time"], hello["time"]) == ("2026-11-22T09:01:00Z", "2026-11-22T09:30:00Z")
    assert [rows["bare"]["cells"][place]["state"] for place in (0, 1)] == ["", "not started"]
    totals = {"passed": 2, "in progress": 1, "not started": 1, "failed": 0, "points": 85, "max_points": 160}
    assert {key: summary["totals"][key] for key in totals} == totals

    lines = list(csv.DictReader(io.StringIO(report.to_csv(summary))))
    assert [(line["status"], line["hello"]) for line in lines if line["machine"] == "bare"] == [("not started", "0")]
    (suite,) = [suite for suite in ElementTree.fromstring(report.to_junit(summary)) if suite.get("name") == "bare"]
    assert [suite.get(key) for key in ("tests", "failures", "errors", "skipped")] == ["4", "0", "0", "4"]
    assert {entry.get("message") for entry in suite.iter("skipped")} == {"not started"}


@pytest.mark.case("K22")
def test_results_of_before_the_lab_had_a_total(tmp_path: pathlib.Path) -> None:
    """Format 1 says what a stage was worth where it was graded, and nothing of the others."""
    classroom.small(str(tmp_path))
    for path in tmp_path.rglob("_record.jsonl"):
        path.unlink()
    for path in tmp_path.rglob("*.json"):
        old = json.loads(path.read_text())
        old["stages"] = [{"name": stage["name"], "title": stage["title"]} for stage in old["stages"]]
        path.write_text(json.dumps({**old, "format": 1}))
    machines, wrong = results.load_all(str(tmp_path), "lecture2")
    assert wrong == []
    summary = summarise("lecture2", machines)
    assert {row["status"] for row in summary["machines"]} == {"in progress", "unreachable"}
    assert [row["points"] for row in summary["machines"]] == [5, 5, 0, 9]  # the run before is the best of s2
    summary = summarise("lecture2", machines, worth={stage: 5 for stage in classroom.CHECKS})
    assert {row["max_points"] for row in summary["machines"]} == {40}


@pytest.mark.parametrize("kind", ["small", "hostile", "hundred", "states"])
def test_junit_and_json(tmp_path: pathlib.Path, kind: str) -> None:
    summary = summary_of(kind, tmp_path)
    root = ElementTree.fromstring(report.to_junit(summary).encode())
    assert [suite.get("name") for suite in root] == [row["host"] for row in summary["machines"]]
    assert (
        len(root.findall(".//failure"))
        == int(root.get("failures", ""))
        == sum(r["failed"] for r in summary["machines"])
    )
    assert len(root.findall(".//error")) == int(root.get("errors", "")) == summary["totals"]["unreachable"]
    assert len(root.findall(".//testcase")) == int(root.get("tests", ""))
    assert json.loads(report.to_json(summary)) == summary


def test_a_host_that_was_never_verified_is_a_row(tmp_path: pathlib.Path) -> None:
    classroom.small(str(tmp_path))
    summary = summarise("lecture2", results.load_all(str(tmp_path), "lecture2")[0], ["s1", "s4"], "")
    assert [(row["host"], row["status"]) for row in summary["machines"]][3] == ("s4", "unseen")
    assert summary["totals"]["machines"] == 5


def test_missed_most_often(tmp_path: pathlib.Path) -> None:
    missed = summary_of("small", tmp_path)["missed"]
    assert (missed[0]["check"], missed[0]["failed"], missed[0]["graded"]) == ("pings reach the namespace", 2, 3)


@given(st.lists(st.text()))
def test_natural_order_is_an_order(names: list[str]) -> None:
    assert sorted(sorted(names), key=natural) == sorted(sorted(names, reverse=True), key=natural) or len(
        {tuple(natural(name)) for name in names}
    ) < len(set(names))
    assert sorted(["s10", "s2", "s1"], key=natural) == ["s1", "s2", "s10"]


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(), max_size=40), st.text(st.characters(), max_size=40))
def test_any_text_ends_up_as_text(host: str, found: str) -> None:
    outcome = {"facts": {}, "checks": [{"name": found, "found": found, "hint": found, "expected": found}]}
    result = results.make_result(host, classroom.LAB, "hello", outcome, classroom.START)
    machine = results.Machine(result["host"], result, {"hello": result}, {"hello": result})
    summary = summarise("lecture2", [machine], [host], "2026-11-22T10:45:00Z")
    page = report.to_html(summary)
    page.encode()
    assert page.count("<script>") == 1 and page.count("</script>") == 1
    assert summary["totals"]["machines"] == 1
    ElementTree.fromstring(report.to_junit(summary).encode())
    report.to_csv(summary).encode()
