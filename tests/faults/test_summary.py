# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of figures says what the records say, and each scenario has a place in it."""

from __future__ import annotations

import json
import pathlib

import pytest

from . import parts, summary
from .campaign import everything

POINTS = [["mkdir /a", 1], ["mkdir /a", 2], ["unlink /a", 1]]
KILL = {"kind": "kill", "scenario": "lecture2 up", "hit": True, "wrong": []}
RECORDS = [
    {"state": "x"},
    {"kind": "count", "scenario": "lecture2 up", "points": POINTS},
    {"kind": "count", "scenario": "xdp_hello up", "points": POINTS[:1]},
    {**KILL, "point": "mkdir /a", "number": 2},
    {**KILL, "point": "mkdir /a", "number": 2, "wrong": ["left: /a", "left: /b"]},
    {**KILL, "point": "unlink /a", "number": 1, "hit": False},
    {**KILL, "random": 0.5},
    {"kind": "together", "scenario": "at once: two graders", "nth": 1, "hit": True, "wrong": []},
    {"kind": "bad input", "scenario": "lab lecture2", "tries": 100, "wrong": 0},
    {"kind": "bad input", "scenario": "lab redirect", "tries": 50, "wrong": 2},
    {"kind": "bad input", "scenario": "lab", "tries": 7, "wrong": 0},
]
TABLE = """\
162 tries, 1 of them not hit.

| what | of | known | hit | tries | wrong |
| --- | --- | ---: | ---: | ---: | ---: |
| killed | up | 4 | 1 | 4 | 1 |
| together | runs that begin at once | | | 1 | 0 |
| given bad input | lab files | | | 150 | 2 |
| given bad input | modules' arguments | | | 7 | 0 |
"""


def test_the_table(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "long.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS) + '{"kind": "kill", "sc', encoding="utf-8")
    assert summary.markdown(summary.read([path])) == TABLE


def test_it_takes_the_place_of_the_one_that_is_there(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records, page = tmp_path / "long.jsonl", tmp_path / "page.md"
    page.write_text(f"# Page\n\n{summary.BEGIN}\nold\n\n{summary.END}\nMore.\n", encoding="utf-8")
    records.write_text("".join(json.dumps(record) + "\n" for record in RECORDS), encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["summary", "--into", str(page), str(records)])
    for _turn in range(2):
        assert summary.main() == 0
        assert page.read_text(encoding="utf-8") == (f"# Page\n\n{summary.BEGIN}\n{TABLE}\n{summary.END}\nMore.\n")


def test_each_scenario_has_a_place() -> None:
    for name, one in everything().items():
        kind = (
            parts.groups().get(name)
            or {"Scenario": "kill", "Together": "together", "Look": "check"}[type(one).__name__]
        )
        assert summary.group(kind, name), name
