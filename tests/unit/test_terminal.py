# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What verify shows in the terminal: a student's own machine in full, a class as a table."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.ebpf.lab.plugins.plugin_utils.results import Earned, Result, Standing, make_result
from ansible_collections.ebpf.lab.plugins.plugin_utils.terminal import WIDTH, every_stage, verdict, view
from hypothesis import given
from hypothesis import strategies as st

LAB = {"name": "lecture2", "stages": [{"name": "hello", "title": "It lives"}]}


def result(host: str, *checks: dict[str, t.Any], **outcome: t.Any) -> Result:
    return make_result(host, LAB, "hello", {"facts": {}, "checks": list(checks), **outcome} if checks else outcome)


def check(name: str, passed: bool, **more: t.Any) -> dict[str, t.Any]:
    return {
        "name": name,
        "passed": passed,
        "points": 2 * passed,
        "max_points": 2,
        "expected": "3",
        "found": "0",
        **more,
    }


GOOD = result("s1", check("it pings", True))
BAD = result("s10", check("it pings", False, hint="Look at\nip link."), check("it counts", False, error="no such fact"))
GONE = result("s2", unreachable=True, msg="Task failed: no route to host")
BROKEN = result("s3", msg="no Python")
BARE = result("s4", check("it pings", False), started=False)
AGAIN = result("s5", check("it pings", True), facts={"machine": {"rebooted": True}})
HAS = Standing({"hello": Earned(2, 2, "2026-11-22T10:00:00Z"), "drop": None}, {"hello": 2, "drop": 5})
NOTHING = Standing({"hello": None, "drop": None}, {"hello": 2, "drop": 5})


def test_one_machine_in_full() -> None:
    assert [line for line, _colour in view([BAD])] == [
        "lecture2, stage hello: It lives. 0 of 4 points",
        "  FAIL    0/2  it pings",
        "               expected  3",
        "               found     0",
        "               hint      Look at",
        "                         ip link.",
        "  FAIL    0/2  it counts",
        "               error     no such fact",
    ]
    assert view([GOOD])[1:] == [("  pass    2/2  it pings", "good")]
    assert view([GONE])[1:] == [("  unreachable: no route to host", "odd")]


def test_a_class_as_a_table() -> None:
    assert view([BAD, GOOD, GONE, BROKEN]) == [
        ("  machine  stage  points  failed checks", ""),
        ("  s1       hello     2/2  -", "good"),
        ("  s2       hello       -  unreachable: no route to host", "odd"),
        ("  s3       hello       -  failed: no Python", "odd"),
        ("  s10      hello     0/4  it pings; it counts", "bad"),
    ]


@pytest.mark.case("K14")
@pytest.mark.case("K2")
def test_not_started_and_rebooted_are_said() -> None:
    assert view([BARE], {"s4": NOTHING}) == [
        ("lecture2, stage hello: It lives", ""),
        ("  not started: nothing of the lab is on the machine", "odd"),
        ("  the whole lab: 0 of 7 points, 0 of 2 stages passed", ""),
    ]
    assert view([AGAIN], {"s5": HAS})[1:] == [
        ("  rebooted since it was brought to its stage", "odd"),
        ("  pass    2/2  it pings", "good"),
        ("  the whole lab: 2 of 7 points, 1 of 2 stages passed", ""),
    ]
    assert view([GOOD, BARE, AGAIN], {"s1": HAS, "s4": NOTHING, "s5": HAS}) == [
        ("  machine  stage  points  whole lab  failed checks", ""),
        ("  s1       hello     2/2        2/7  -", "good"),
        ("  s4       hello       -        0/7  not started: nothing of the lab is on the machine", "odd"),
        ("  s5       hello     2/2        2/7  rebooted since it was brought to its stage", "good"),
    ]
    assert verdict([BARE]) == "The machine has not started."
    assert verdict([BARE, {**BARE, "host": "s9"}, GOOD]) == "2 machines have not started."


@pytest.mark.case("K13")
def test_all_stages_side_by_side() -> None:
    both = [GOOD, {**BAD, "host": "s1", "stage": "drop"}]
    assert [line for line, _colour in every_stage(both, {"s1": HAS})] == [
        "lecture2: what holds now and the best that was earned; nothing is kept",
        "  stage  now  best  earned",
        "  hello  2/2   2/2  2026-11-22T10:00:00Z",
        "  drop   0/4     -  -",
        "  all          2/7",
    ]
    bare = [BARE, {**BARE, "stage": "drop"}]
    assert every_stage(bare, {"s4": NOTHING})[1] == ("  not started: nothing of the lab is on the machine", "odd")
    gone = [GONE, {**GONE, "stage": "drop"}]
    standings = {"s1": HAS, "s2": HAS, "s4": NOTHING}
    assert [line for line, _colour in every_stage([*both, *gone, *bare], standings)][1:] == [
        "  machine  hello   drop  best of all",
        "  s1       2 (2)  0 (-)  2/7",
        "  s2       - (2)  - (-)  2/7  unreachable: no route to host",
        "  s4       0 (-)  0 (-)  0/7  not started: nothing of the lab is on the machine",
    ]
    assert verdict([*both, *bare], grades=False) == ""
    assert verdict([*both, *gone], grades=False) == "1 machine was unreachable."


def test_the_verdict_is_one_sentence() -> None:
    assert verdict([GOOD]) == ""
    assert verdict([BAD]) == "2 of 2 checks failed."
    assert verdict([GONE]) == "The machine was unreachable."
    assert verdict([GOOD, BAD]) == "2 of 3 checks failed on 1 of 2 machines."
    words = "2 of 3 checks failed on 1 of 5 machines, 2 machines were unreachable, 1 machine was not graded."
    assert verdict([GOOD, BAD, GONE, {**GONE, "host": "s4"}, BROKEN]) == words


@given(st.lists(st.tuples(st.text(st.characters()), st.text(st.characters()), st.booleans()), min_size=1, max_size=3))
def test_whatever_was_found_a_line_is_a_line(entries: list[tuple[str, str, bool]]) -> None:
    found = [result(name, check(text, passed, found=text, hint=text)) for name, text, passed in entries]
    for line, _colour in view(found):
        assert line.isprintable() and len(line) <= WIDTH + 60


def test_a_machine_that_is_graded_for_each_stage_is_one_machine() -> None:
    assert verdict([GOOD, {**GOOD, "stage": "drop"}]) == ""
    assert verdict([BAD, {**BAD, "stage": "drop"}]) == "4 of 4 checks failed."
