# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner of iptables_flush by its properties, with a small iptables-restore as the simulated kernel."""

from __future__ import annotations

import re
import typing as t

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import BadInput, LabError, Refused
from ansible_collections.ebpf.lab.plugins.module_utils._core.plan import Plan
from ansible_collections.ebpf.lab.plugins.module_utils._net.iptables.resource import (
    Flush,
    FlushResource,
    Policy,
    State,
    desired,
)
from ansible_collections.ebpf.lab.plugins.module_utils._net.iptables.tables import (
    BUILT_IN,
    Chain,
    Chains,
    Place,
    Rule,
    Tables,
    TableStep,
    leftovers,
    parse,
    script,
)
from hypothesis import given
from hypothesis import strategies as st

USER = ("DOCKER", "MINE")
TEXTS = ["-j ACCEPT", "-j DROP", "-p tcp -j MINE", "-g DOCKER", '-m comment --comment "a \\" b" -j RETURN', ""]
counters = st.integers(0, 99)
rules = st.builds(Rule, st.sampled_from(TEXTS), counters, counters)


@st.composite
def tables(draw: st.DrawFn) -> Tables:
    """Any tables, the built-in chains all there, as iptables-save shows them."""
    found: Tables = {}
    for backend in ("nft", "legacy"):
        for family in ("ipv4", "ipv6"):
            for table in draw(st.sets(st.sampled_from(["filter", "nat"]))):
                chains: Chains = {}
                for name in (*BUILT_IN[table], *USER):
                    policy = None if name in USER else draw(st.sampled_from(["ACCEPT", "DROP"]))
                    lines = tuple(draw(st.lists(rules, max_size=3)))
                    # A user chain has no counters of its own.
                    packets, size = (draw(counters), draw(counters)) if policy else (0, 0)
                    chains[name] = Chain(policy, lines, packets, size)
                found[Place(backend, family, table)] = chains
    return found


@st.composite
def resources(draw: st.DrawFn) -> FlushResource:
    """Any arguments that are right."""
    some = st.lists(st.sampled_from(["INPUT", "OUTPUT"]), min_size=1).map(tuple)
    flush = st.builds(Flush, st.sampled_from(["filter", "nat"]), st.none() | some)
    flushes = draw(st.lists(flush, max_size=3))
    chains = draw(st.dictionaries(st.sampled_from(["INPUT", "FORWARD"]), st.sampled_from(["ACCEPT", "DROP"])))
    if not flushes and not chains:
        flushes = [Flush("nat")]
    return FlushResource(
        policies=tuple(Policy("filter", chain, policy) for chain, policy in chains.items()),
        flush=tuple(flushes),
        delete_chains=draw(st.booleans()),
        force=True,
    )


def restore(place: Place, chains: Chains, text: str) -> Chains:
    """What iptables-restore --noflush --counters makes of ``chains``; the legacy tools forget counters not given."""
    after = dict(chains)
    if text and place.backend == "legacy":
        after = {n: Chain(c.policy, c.rules) if c.policy else c for n, c in after.items()}
    for line in text.splitlines():
        words = line.split()
        if line.startswith(":"):
            packets, size = re.findall(r"\d+", words[-1])
            old = after.get(words[0][1:], Chain())
            assert words[1] != "-" or words[0][1:] not in after, "this would flush a user chain"
            policy = None if words[1] == "-" else words[1]
            after[words[0][1:]] = Chain(policy, old.rules, int(packets), int(size))
        elif line.startswith("-F"):
            after[words[1]] = Chain(after[words[1]].policy, (), after[words[1]].packets, after[words[1]].bytes)
        elif line.startswith("-X"):
            chain = after.pop(words[1])
            assert chain.policy is None and not chain.rules
            assert not any(rule.target() == words[1] for other in after.values() for rule in other.rules)
        elif line.startswith("["):
            match = re.fullmatch(r"\[(\d+):(\d+)\] -A (\S+) ?(.*)", line)
            assert match
            old = after[match[3]]
            rule = Rule(match[4], int(match[1]), int(match[2]))
            after[match[3]] = Chain(old.policy, (*old.rules, rule), old.packets, old.bytes)
    return after


def run(now: State, plan: Plan) -> State:
    """The state after the plan, with the journal's entries."""
    found, saved = dict(now.tables), dict(now.saved)
    for step in plan.steps:
        assert isinstance(step, TableStep)
        before, want = dict(step.now), dict(step.want)
        if step.place in found:
            assert found[step.place] == before
        else:  # a legacy table is there, accepting everything, as soon as it is looked at
            assert all(chain == Chain("ACCEPT") for chain in before.values())
        chains = restore(step.place, found.get(step.place, before), script(step.place, before, want))
        for name in leftovers(before, want):
            del chains[name]
        found[step.place] = chains
        if step.drop_table and not chains:
            del found[step.place]
        for note in step.notes():
            if note.action == "release":
                del saved[note.key]
            else:
                saved.setdefault(note.key, note.value)
    return State(found, saved)


def full(found: Tables) -> dict[Place, dict[str, t.Any]]:
    """Everything with the counters, which take no part in the comparison of chains."""
    return {
        place: {
            name: (chain.policy, chain.packets, chain.bytes, [(r.text, r.packets, r.bytes) for r in chain.rules])
            for name, chain in chains.items()
        }
        for place, chains in found.items()
    }


@given(tables(), resources())
def test_the_plan_reaches_what_is_wanted_and_a_second_one_is_empty(found: Tables, resource: FlushResource) -> None:
    start = State(found)
    plan = resource.plan(start)
    end = run(start, plan)
    again = resource.plan(end)
    assert again.steps == ()
    assert again.before == again.after
    assert (plan.before != plan.after) == bool(plan.steps)
    for place, chains in end.tables.items():
        for item in resource.policies:
            if place.table == "filter" and place in found:
                assert chains[item.chain].policy == item.policy
        for flush in resource.flush:
            if flush.table == place.table:
                assert not any(chains[name].rules for name in flush.chains or chains if name in chains)


@given(tables(), resources())
def test_what_was_not_named_keeps_everything(found: Tables, resource: FlushResource) -> None:
    end = run(State(found), resource.plan(State(found)))
    before, after = full(found), full(end.tables)
    for place, chains in before.items():
        flushed = {n for f in resource.flush if f.table == place.table for n in f.chains or chains}
        policies = {item.chain for item in resource.policies if item.table == place.table}
        for name, (policy, packets, size, lines) in chains.items():
            if resource.delete_chains and name in USER and Flush(place.table) in resource.flush:
                assert name not in after[place]
                continue
            assert after[place][name][1:3] == (packets, size)
            assert name in policies or after[place][name][0] == policy
            assert name in flushed or after[place][name][3] == lines


@given(tables(), resources(), resources())
def test_restored_after_two_calls_is_the_start(found: Tables, first: FlushResource, second: FlushResource) -> None:
    state = run(State(found), first.plan(State(found)))
    state = run(state, second.plan(state))
    restored = FlushResource(state="restored")
    end = run(state, restored.plan(state))
    assert end.saved == {}
    assert full(end.tables) == full(found)
    assert restored.plan(end).steps == ()


@given(tables(), resources())
def test_the_inverse_of_each_step_leads_back(found: Tables, resource: FlushResource) -> None:
    plan = resource.plan(State(found))
    end = run(State(found), plan)
    inverse = Plan(steps=tuple(back for step in reversed(plan.steps) for back in step.inverse()))
    back = run(State(end.tables), inverse)
    assert full(back.tables) == full(found)


def test_parse_reads_what_iptables_save_prints() -> None:
    text = (
        "# Generated\n*filter\n:INPUT DROP [1:2]\n:MINE - [0:0]\n"
        '[3:4] -A INPUT -m comment --comment "it\\\'s \\"[5:6] -A" -j MINE\n[0:0] -A MINE\nCOMMIT\n*nat\nCOMMIT\n'
    )
    found = parse(text)
    chain = found["filter"]["INPUT"]
    assert (chain.policy, chain.packets, chain.bytes) == ("DROP", 1, 2)
    assert (chain.rules[0].target(), chain.rules[0].packets, chain.rules[0].bytes) == ("MINE", 3, 4)
    assert found["filter"]["MINE"] == Chain(None, (Rule(""),))
    assert found["nat"] == {}
    with pytest.raises(LabError, match="no rule"):
        parse("*filter\nwhatever\n")


def test_half_of_what_iptables_save_prints_is_no_answer() -> None:
    with pytest.raises(LabError, match="iptables-save printed half of the table filter: the end is missing"):
        parse("*filter\n:FORWARD DROP [0:0]\n[0:0] -A FORWARD -s 10.0.0.1/32 -j ACC")


HERE = Place("nft", "ipv4", "filter")
GUARDED = {
    "INPUT": Chain("DROP", (Rule("-j MINE"),)),
    "OUTPUT": Chain("ACCEPT"),
    "MINE": Chain(None, (Rule("-j ACCEPT"),)),
}


@pytest.mark.parametrize("chains", [None, ("INPUT",), ("MINE",)])
def test_a_flush_that_leaves_the_host_deaf_is_refused(chains: t.Optional[tuple[str, ...]]) -> None:
    flush = (Flush("filter", chains),)
    with pytest.raises(Refused, match="INPUT"):
        FlushResource(flush=flush).plan(State({HERE: GUARDED}))
    accept = (Policy("filter", "INPUT", "ACCEPT"),)
    for allowed in (
        FlushResource(flush=flush, force=True),
        FlushResource(flush=flush, netns="lab"),
        FlushResource(flush=flush, policies=accept),
    ):
        assert allowed.plan(State({HERE: GUARDED})).steps


def test_a_flush_that_leaves_a_rule_which_drops_is_refused() -> None:
    chains = {**GUARDED, "INPUT": Chain("ACCEPT", (Rule("-j MINE"), Rule("-j REJECT --reject-with tcp-reset")))}
    with pytest.raises(Refused, match="rules that drop"):
        FlushResource(flush=(Flush("filter", ("MINE",)),)).plan(State({HERE: chains}))


INPUT = {"table": "filter", "chain": "INPUT"}


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"flush": [{"table": "fliter"}]}, "fliter"),
        ({"policies": [{"table": "filter", "chain": "MINE", "policy": "DROP"}]}, "no base chain"),
        ({"policies": [{"table": "filter", "chain": "INPUT", "policy": "REJECT"}]}, "no policy"),
        ({"policies": [{**INPUT, "policy": p} for p in ("DROP", "ACCEPT")]}, "two policies"),
        ({"flush": [{"table": "nat", "chains": []}]}, "empty list"),
        ({"flush": [{"table": "nat"}], "backends": []}, "backends"),
        ({}, "nothing"),
    ],
)
def test_bad_input_is_refused_before_anything_is_read(params: dict[str, t.Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        desired(params)
