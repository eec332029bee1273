# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E501
"""Checks over facts: what passes, what the sentences say, and that no machine's answer can do harm."""

from __future__ import annotations

import datetime
import json
import time
import typing as t

import pytest
from ansible.module_utils._internal._messages import ErrorSummary, Event, EventChain, WarningSummary
from ansible_collections.ebpf.lab.plugins.module_utils._lab.grading.messages import trace, words
from ansible_collections.ebpf.lab.plugins.module_utils._lab.grading.outcomes import (
    MalformedQuery,
    QueryFailed,
    evaluate,
    search,
    validate_checks,
)
from ansible_collections.ebpf.lab.plugins.module_utils._lab.grading.plain import bounded, plain, shown, visible
from hypothesis import given, settings
from hypothesis import strategies as st

FACTS = {
    "attachments": [{"interface": "veth1", "program": "xdp_allow", "id": 7}],
    "traffic": {"out": {"received": 3, "loss": 0.0, "reachable": True}},
    "trace": [{"text": "You Shall Not Pass!!"}],
    "maps": [],
}


def grade(query: t.Any, expect: t.Any, facts: t.Any = FACTS, **more: t.Any) -> dict[str, t.Any]:
    return evaluate([{"name": "it", "query": query, "expect": expect, **more}], facts)[0]


@pytest.mark.parametrize(
    ("query", "expect", "passes"),
    [
        ("attachments[?interface=='veth1'] | [0].program", "xdp_allow", True),
        ("attachments[?interface=='veth1'] | [0].program", "xdp_drop", False),
        ("traffic.out.received", 3, True),
        ("traffic.out.received", 3.0, True),
        ("traffic.out.received", "3", False),
        ("traffic.out.reachable", True, True),
        ("traffic.out.reachable", 1, False),
        ("traffic.out.loss", False, False),
        ("traffic.out.received", {"at_least": 3}, True),
        ("traffic.out.received", {"at_least": 4}, False),
        ("traffic.out.received", {"at_least": 1, "at_most": 3}, True),
        ("traffic.out.received", {"at_least": 1, "at_most": 2}, False),
        ("traffic.out.reachable", {"at_least": 0}, False),
        ("traffic.out.nothing", {"at_least": 0}, False),
        ("traffic.out.nothing", {"at_most": 9}, False),
        ("trace[0].text", {"matches": "^You .* Pass!!$"}, True),
        ("trace[0].text", {"matches": "^pass"}, False),
        ("traffic.out.received", {"matches": "^3$"}, True),
        ("trace[1].text", {"matches": ""}, False),
        ("trace[].text", {"contains": "You Shall Not Pass!!"}, True),
        ("trace[].text", {"contains": "You"}, False),
        ("trace[0].text", {"contains": "Shall"}, True),
        ("trace[0]", {"contains": "text"}, True),
        ("traffic.out.received", {"contains": 3}, False),
        ("maps", {"absent": True}, True),
        ("maps[0].name", {"absent": True}, True),
        ("attachments", {"absent": True}, False),
        ("attachments", {"absent": False}, True),
        ("traffic.out.loss", {"absent": True}, False),
        ("attachments[0].program", {"not": "xdp_drop"}, True),
        ("attachments[0].program", {"not": {"matches": "allow"}}, False),
        ("maps[0].name", None, True),
        ("attachments[0]", {"interface": "veth1", "program": "xdp_allow", "id": 7}, True),
        ("attachments[].id", [7], True),
        ("attachments[].id", [True], False),
    ],
)
def test_comparisons(query: str, expect: t.Any, passes: bool) -> None:
    result = grade(query, expect, points=2, hint="look at ip link")
    assert result["passed"] is passes
    assert result["points"] == (2 if passes else 0)
    assert (result["max_points"], result["hint"], result["error"]) == (2, "look at ip link", None)


@pytest.mark.parametrize(
    ("expect", "text"),
    [
        ("xdp_allow", '"xdp_allow"'),
        (None, "nothing"),
        ({"at_least": 1, "at_most": 5}, "at least 1 and at most 5"),
        ({"absent": True}, "nothing"),
        ({"not": {"contains": "x"}}, 'not something that contains "x"'),
        ({"matches": "^a"}, "text that matches ^a"),
    ],
)
def test_what_was_expected_in_words(expect: t.Any, text: str) -> None:
    assert grade("maps", expect)["expected"] == text


def test_what_was_found_in_words() -> None:
    assert grade("attachments[0].program", 1)["found"] == '"xdp_allow"'
    assert grade("maps[0]", 1)["found"] == "nothing"
    assert grade("traffic.out.reachable", 1)["found"] == "true"


MACHINE = {"stage": "count", "rebooted": False}
UP = {  # a lab at work: one map with an entry and an empty one, a program that is no lab's, a ping, no trace
    "machine": MACHINE,
    "interfaces": [{"name": "veth1", "up": True, "master": None}],
    "attachments": [],
    "programs": [{"name": "xdp_count", "run_cnt": 6}],
    "maps": [
        {"name": "pkt_cnt", "before": [], "entries": [{"key": 1, "value": 6, "change": 6}]},
        {"name": "empty", "before": [], "entries": []},
    ],
    "objects": [{"name": "xdp_count", "current": None, "sections": ["xdp"], "disassembly": []}],
    "traffic": {"out": {"sent": 3, "received": 0, "loss": 100.0, "rtt_avg": None, "reachable": False}},
    "trace": None,
    "refusals": {},
    "host_network": {"iptables": None, "ip_forward": {"ipv4": True}},
}
ABSENT = [  # of a thing that is not there, or has no such part
    "maps[?name=='x'] | [0].entries",
    "maps[?name=='x'][].entries[]",
    "maps[?name=='x'] | [].entries[]",
    "maps[?name=='x'][].entries[].change",
    "sum(maps[?name=='x'][].entries[].change)",
    "length(maps[?name=='x'][].entries[])",
    "length(sort_by(maps, &name)[?name=='x'].entries[])",
    "length(maps[?name=='x'].entries[*].change)",
    "sum(maps[].entries[].nothing)",
    "maps[5:][].entries[]",
    "objects[?name=='x'][].disassembly[]",
    "attachments[].program",
    "traffic.in.received",
    "traffic.*.echoed",
    "sum(traffic.*.echoed)",
    "traffic.in.received != `3`",
    "!(traffic.in.reachable)",
    "to_string(traffic.in.received)",
    "traffic.in.[sent, received]",
]
UNKNOWN = [  # of a fact that was not gathered
    "trace",
    "trace[0]",
    "length(trace[?contains(text, 'x')])",
    "trace[].text",
    "refusals.x.refused",
    "refusals",
    "reason || refusals.x.reason || 'none'",
    "not_null(kernel.release, 'none')",
    "kernel",
    "sum(host_network.iptables[?table=='nat'].chains[].rules)",
    "host_network.iptables[?table=='filter'].chains[] | [?name=='FORWARD']",
    "length(host_network.iptables || `[]`)",
    "[traffic.out.sent, trace]",
]
# What meets nothing must not pass as different, small, empty or false; 0, [] and true are what the queries answer.
EXPECTATIONS: list[t.Any] = [
    0, [], True, False, {"not": 7}, {"not": {"contains": "x"}}, {"not": {"at_least": 1}}, {"not": {"absent": False}},
    {"at_most": 9}, {"at_most": 9, "not": 1}, {"absent": False}, {"not": None}, "none", {"matches": "."},
]  # fmt: skip


@pytest.mark.case("K14")
@pytest.mark.parametrize("query", [*ABSENT, *UNKNOWN])
def test_what_is_not_there_passes_no_comparison(query: str) -> None:
    passed = [expect for expect in EXPECTATIONS if grade(query, expect, UP)["passed"]]
    assert passed == []


@pytest.mark.case("K14")
def test_nothing_is_expected_of_what_was_gathered_alone() -> None:
    for query in ABSENT:
        if not query.startswith(("to_string", "!")):
            result = grade(query, {"absent": True}, UP)
            assert result["passed"] or "does not fit" in (result["error"] or ""), query
    for query in UNKNOWN:
        result = grade(query, {"absent": True}, UP)
        assert not result["passed"] and "not gathered: " in result["found"], query
        assert not grade(query, None, UP)["passed"]


@pytest.mark.case("K14")
@pytest.mark.parametrize(
    ("query", "expect"),
    [
        ("attachments", []),
        ("attachments[?interface=='veth1']", {"absent": True}),
        ("length(attachments[?interface=='veth1'])", 0),
        ("length(maps[?name=='x'])", 0),
        ("length(maps[?name=='pkt_cnt' && length(before) <= `1`])", 1),
        ("sum(maps[?name=='empty'][].entries[].change)", 0),
        ("sum(maps[?name=='empty'][].before[].change)", {"at_most": 0}),
        ("maps[?name=='empty'] | [0].entries", []),
        ("maps[?name=='pkt_cnt'] | [0].entries[?key!=`1`]", []),
        ("sum(maps[?name=='pkt_cnt'][].entries[] | [?key==`17`].change)", 0),
        ("length(maps[?name=='pkt_cnt'][].entries[?key==`17`][])", {"not": 1}),
        ("sum(maps[?name=='pkt_cnt'][].entries[].change)", 6),
        ("sum(traffic.*.received)", 0),
        ("traffic.out.[sent, received]", {"not": [3, 3]}),
        ("traffic.out.[received, rtt_avg]", [0, None]),
        ("traffic.out.rtt_avg == `null`", True),
        ("traffic.in.received || `7`", 7),
        ("not_null(traffic.in.received, traffic.out.received)", 0),
        ("!(traffic.out.reachable)", True),
        ("type(traffic.in)", "null"),
        ("length(objects[?name=='xdp_count' && current != `false`])", 1),
        ("objects[].disassembly[]", []),
        ("interfaces[?master]", []),
        ("sort(programs[].join(' ', [name, to_string(run_cnt)]))", ["xdp_count 6"]),
        ("host_network.ip_forward.ipv4", {"not": False}),
    ],
)
def test_an_answer_of_nothing_is_an_answer(query: str, expect: t.Any) -> None:
    result = grade(query, expect, UP)
    assert result["passed"], result


@pytest.mark.case("K14")
def test_where_nobody_has_begun_no_check_passes() -> None:
    bare = {
        **UP,
        "machine": {"stage": "", "rebooted": False},
        **{kind: [] for kind in ("interfaces", "programs", "maps", "objects", "namespaces")},
    }
    query = "host_network.ip_forward.ipv4"
    assert not grade(query, True, bare)["passed"] and grade(query, True, bare)["found"] == "true"
    # Anything of the lab, or the machine's own record: then what is true is true.
    assert grade(query, True, {**bare, "namespaces": ["vns1"]})["passed"]
    assert grade(query, True, {**bare, "machine": MACHINE})["passed"]


@pytest.mark.case("K14")
@pytest.mark.parametrize("facts", [None, [], "facts", 7])
def test_without_facts_nothing_is_known_to_be_absent(facts: t.Any) -> None:
    result = grade("attachments[?interface=='veth1']", {"absent": True}, facts)
    assert not result["passed"] and result["found"] == "nothing (not gathered: attachments)"


def test_a_query_that_does_not_fit_what_was_reported() -> None:
    result = grade("length(maps[0].entries)", {"at_least": 1})
    assert not result["passed"]
    assert result["error"] == (
        "check 'it': the query does not fit what the machine reported: "
        "length() needs string or array or object and was given null."
    )


@pytest.mark.parametrize(
    ("check", "sentence"),
    [
        (
            {"query": "attachments[?interface==veth1"},
            "checks[0].query: 'attachments[?interface==veth1' is no JMESPath at its end; text stands in single quotes, "
            "numbers in backquotes, and each bracket closes.",
        ),
        ({"query": "maps[0]]"}, "checks[0].query: 'maps[0]]' is no JMESPath at ']' (character 8); text stands in"),
        ({"query": ""}, 'checks[0].query: "" is no query; write JMESPath such as interfaces[0].name.'),
        ({"query": 5}, "checks[0].query: 5 is no query; write JMESPath such as interfaces[0].name."),
        (
            {"query": "lenght(maps)"},
            "checks[0].query: 'lenght(maps)' calls lenght(), which JMESPath does not have; did you mean length()?",
        ),
        ({"query": "length(maps, programs)"}, "gives length() 2 arguments; it takes 1."),
        (
            {"query": "attachmets[0]"},
            "checks[0].query: 'attachmets[0]' starts from 'attachmets', which is no fact; did you mean attachments?",
        ),
        ({"query": "maps[?contains(xyz, 'a')] | [0].b"}, None),
        ({"query": "{a: maps, b: nowhere}"}, "starts from 'nowhere', which is no fact; there are stage, lab,"),
        ({"expect": {"matches": "a("}}, "checks[0].expect: matches: 'a(' is no regular expression: "),
        (
            {"expect": {"at_least": "3"}},
            'checks[0].expect: at_least: "3" is no number; write one, as in {at_least: 3}.',
        ),
        ({"expect": {"at_leas": 3}}, "checks[0].expect: at_leas: is no comparison; did you mean at_least?"),
        (
            {"expect": {"at_least": 3, "name": 3}},
            "checks[0].expect: name: is no comparison; there are at_least, at_most, matches",
        ),
        (
            {"expect": {"absent": "yes"}},
            'checks[0].expect: absent: "yes" is neither true nor false; write {absent: true}.',
        ),
        ({"points": -1}, "checks[0].points: -1 is no number of points; write 0 or more."),
        ({"points": True}, "checks[0].points: true is no number of points; write 0 or more."),
        ({"name": ""}, 'checks[0].name: "" is no name; write what is checked, in words the student reads.'),
        ({"hint": ["a"]}, 'checks[0].hint: ["a"] is no text; write what the student should look at.'),
        ({"exepct": 3}, "checks[0].exepct: is no key of a check; did you mean expect?"),
    ],
)
def test_validate(check: dict[str, t.Any], sentence: t.Optional[str]) -> None:
    sentences = validate_checks([{"name": "it", "query": "maps", "expect": 1, **check}])
    if sentence is None:
        assert sentences == []
    else:
        assert len(sentences) == 1
        assert sentence in sentences[0]
        assert not sentences[0].endswith("?.")
        # The same check, when somebody grades with it all the same, says so and does not pass.
        result = evaluate([{"name": "it", "query": "maps", "expect": 1, **check}], FACTS)[0]
        assert not result["passed"]
        assert result["error"] or "is no fact" in sentences[0]


def test_validate_looks_at_the_whole_list() -> None:
    assert validate_checks("x") == [
        'checks: "x" is no list; write one check after another, each with name, query and expect.'
    ]
    assert validate_checks(["x"]) == ['checks[0]: "x" is no check; write a mapping with name, query and expect.']
    twice = {"name": "it", "query": "maps", "expect": 1}
    assert validate_checks([twice, twice], where="stages[1].checks") == [
        "stages[1].checks[1].name: 'it' is also the name of stages[1].checks[0]; give each check its own."
    ]
    missing = validate_checks([{"name": "it"}])
    assert len(missing) == 2
    assert "write JMESPath" in missing[0] and "expect: is missing" in missing[1]


class Tagged(str):
    """As ansible-core tags text: jmespath knows no subclass of str."""


def test_tagged_values_are_made_plain() -> None:
    found = search("length(name)", {Tagged("name"): Tagged("four")})
    assert found == 4
    assert type(search("name", {Tagged("name"): Tagged("four")})) is str
    assert grade(Tagged("name"), Tagged("four"), {Tagged("name"): Tagged("four")})["passed"]


def test_search_says_what_is_wrong() -> None:
    with pytest.raises(MalformedQuery, match="is no JMESPath"):
        search("a[", {})
    with pytest.raises(QueryFailed, match=r"length\(\) needs string or array or object and was given number"):
        search("length(a)", {"a": 1})


def test_plain_types() -> None:
    assert plain({1: (1, 2), None: {3}, False: b"\xff", "d": datetime.date(2026, 1, 2)}) == {
        "1": [1, 2],
        "null": [3],
        "false": "\\xff",
        "d": "2026-01-02",
    }
    assert plain([float("nan"), float("inf"), 1 << 300, object()]) == [
        "nan",
        "inf",
        "(an integer of 301 bits)",
        "(a value of type object)",
    ]
    assert plain((1 << 64) - 1) == (1 << 64) - 1


def test_nothing_invisible_is_shown() -> None:
    hostile = "a\x1b[2J\x00\u202eb\ud800\u200bc\x9b\n\U000e0001"
    assert visible(hostile) == "a\\x1b[2J\\x00\\u202eb\\ud800\\u200bc\\x9b\\n\\U000e0001"
    assert visible("a\nb", keep="\n") == "a\nb"
    assert grade("x", "y", {"x": hostile})["found"].isprintable()


def test_ten_megabytes_are_cut_and_cost_little() -> None:
    facts = {"text": "x" * 10_000_000, "list": list(range(1_000_000)), "deep": {"a" * 5_000_000: 1}}
    start = time.process_time()
    for query in ("text", "list", "deep", "@"):
        found = grade(query, {"matches": "^y"}, facts)["found"]
        assert len(found) < 2100
        assert "cut" in found
    # Ten times what it takes; a text shown whole would take minutes.
    assert time.process_time() - start < 30


def test_deep_nesting_does_not_matter() -> None:
    deep: t.Any = 1
    for _level in range(100_000):
        deep = [deep]
    assert not grade("@", [1], deep)["passed"]
    assert "(nested too deeply)" in shown(plain(deep))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6) | st.integers(), inner, max_size=4),
    max_leaves=12,
)
QUERIES = st.sampled_from(
    [
        "@", "a", "a.b", "a[0]", "a[*].b", "*.a", "length(@)", "length(a)", "sum(a)", "max(a)", "min_by(a, &b)",
        "sort(a)", "sort_by(@, &a)", "to_number(a)", "ceil(a)", "join(',', a)", "a[?b=='c']", "a[?b > `1`].c", "keys(@)",
        "starts_with(a, 'b')", "avg(a)", "map(&b, a)", "merge(a, @)", "[a, b]", "{x: a, y: b}", "a[::-1]", "[]", "values(a)",
        "reverse(a)", "to_string(@)", "contains(a, b)", "a || b", "!a", "abs(a)", "floor(a)", "type(a)", "not_null(a, b)",
    ]
)  # fmt: skip
EXPECTS = st.sampled_from(
    [1, "x", None, [], {}, {"at_least": 0}, {"at_most": 5}, {"matches": "."}, {"contains": "a"}, {"absent": True}]
) | st.builds(lambda value: {"not": value}, st.sampled_from([None, {"contains": 1}, {"absent": False}]))


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "b", "x"]), json_values) | json_values, QUERIES, EXPECTS)
def test_nothing_that_a_machine_reports_raises(facts: t.Any, query: str, expect: t.Any) -> None:
    result = grade(query, expect, facts)
    assert set(result) == {"name", "passed", "points", "max_points", "expected", "found", "hint", "error"}
    json.dumps(result, allow_nan=False).encode()
    for key in ("name", "expected", "found"):
        assert result[key].isprintable() and len(result[key]) < 2100
    assert result["error"] is None or (result["error"].isprintable() and not result["passed"])


@settings(max_examples=200, deadline=None)
@given(st.lists(json_values, max_size=3), json_values)
def test_nor_does_a_broken_lab_file(checks: t.Any, facts: t.Any) -> None:
    assert [result["passed"] for result in evaluate(checks, facts)] == [False] * len(checks)
    assert all(result["error"] for result in evaluate(checks, facts))
    assert len(validate_checks(checks)) >= len(checks)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=30), st.text(max_size=20))
def test_any_text_as_query_or_regex_is_answered(query: str, pattern: str) -> None:
    result = grade(query, {"matches": pattern})
    assert isinstance(result["passed"], bool)


@given(json_values)
def test_plain_is_json_and_stays_as_it_is(value: t.Any) -> None:
    once = plain(value)
    json.dumps(once, allow_nan=False)
    assert plain(once) == once


def test_a_value_is_bounded_as_a_whole() -> None:
    assert bounded({"a": [1, 2, 3], "b": {"c": "d"}}, 99) == {"a": [1, 2, 3], "b": {"c": "d"}}
    assert bounded({"a": [1, 2, 3], "b": 4}, 3) == {"a": [1, 2, "(cut: 1 more)"], "(cut)": "(cut: 1 more)"}
    assert bounded(["x" * 500, "y"], 4) == ["x" * 500, "(cut: 1 more)"]
    assert bounded([[0] * 1000] * 1000, 1500)[1][498] == "(cut: 502 more)"


def test_the_words_of_what_ansible_core_wraps() -> None:
    cause = Event(msg="the cause", formatted_traceback="Traceback 1\n")
    chain = EventChain(msg_reason="", traceback_reason="", event=cause)
    error = ErrorSummary(
        event=Event(msg="it failed", formatted_traceback="Traceback 2\n", help_text="Do this.", chain=chain)
    )
    assert plain({"exception": error}) == {"exception": "it failed: the cause. Do this."}
    assert trace(error) == "Traceback 1\n\nTraceback 2"
    same = EventChain(msg_reason="", traceback_reason="", event=Event(msg="known: cause"), follow=False)
    assert words(WarningSummary(event=Event(msg="it is known: cause", chain=same))) == "it is known: cause"
