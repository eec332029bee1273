# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner of iptables_flush by its properties, with a small iptables-restore as the simulated kernel."""

from __future__ import annotations

import re
import types
import typing as t

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import (
    BadInput,
    CommandFailed,
    Completed,
    LabError,
    Refused,
)
from ansible_collections.ebpf.lab.plugins.module_utils._core.journal import Entry
from ansible_collections.ebpf.lab.plugins.module_utils._core.plan import Learned, Plan
from ansible_collections.ebpf.lab.plugins.module_utils._core.resource import UNKNOWN
from ansible_collections.ebpf.lab.plugins.module_utils._core.settle import settled
from ansible_collections.ebpf.lab.plugins.module_utils._net.iptables import kinds, steps
from ansible_collections.ebpf.lab.plugins.module_utils._net.iptables.kinds import GONE, IptablesKind
from ansible_collections.ebpf.lab.plugins.module_utils._net.iptables.observe import parse
from ansible_collections.ebpf.lab.plugins.module_utils._net.iptables.options import from_params
from ansible_collections.ebpf.lab.plugins.module_utils._net.iptables.resource import FlushResource
from ansible_collections.ebpf.lab.plugins.module_utils._net.iptables.restore import merged
from ansible_collections.ebpf.lab.plugins.module_utils._net.iptables.state import (
    BUILT_IN,
    Chain,
    Chains,
    Flush,
    Place,
    Policy,
    Rule,
    Saved,
    State,
    Tables,
    recounted,
    split_key,
)
from ansible_collections.ebpf.lab.plugins.module_utils._net.iptables.steps import (
    DropStep,
    ForgetSaved,
    NotRestored,
    TableStep,
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


def run(now: State, plan: Plan, killed_after: float = 1e9) -> State:
    """The state after the plan, with what is saved; killed after so many steps, a part of one for what it noted."""
    found, saved = dict(now.tables), dict(now.saved)
    for number, step in enumerate(plan.steps):
        if number >= killed_after:
            break
        for note in step.notes(Learned()):
            if note.action == "save":
                old = saved.get(note.key, Saved(note.value))
                saved[note.key] = Saved(old.before, (*old.wrote, note.wrote))
        if number + 0.25 >= killed_after:
            break
        apply(found, step)
        if number + 0.5 >= killed_after:
            break
        for note in step.notes(Learned()):
            if note.action == "release":
                del saved[note.key]
    return State(found, settle(found, saved))


def apply(found: Tables, step: t.Any) -> None:
    """What a step does to the tables."""
    if isinstance(step, DropStep):
        for name in step.chains:
            assert not found[step.place].pop(name).rules
        if step.table:
            assert not found.pop(step.place)
    elif isinstance(step, TableStep):
        before, want = dict(step.now), dict(step.want)
        if step.place in found:
            assert found[step.place] == before
        else:  # a legacy table is there, accepting everything, as soon as it is looked at
            assert all(chain == Chain("ACCEPT") for chain in before.values())
        found[step.place] = restore(step.place, found.get(step.place, before), script(step.place, before, want))
    else:
        assert isinstance(step, ForgetSaved)


def settle(found: Tables, saved: t.Mapping[str, Saved]) -> dict[str, Saved]:
    """What the next run makes of the journal: what is back is over."""
    left = {}
    for key, (before, wrote) in saved.items():
        where = split_key(key)
        assert where is not None
        entry = Entry(has_saved=True, saved=before, wrote=wrote, saving=True)
        if settled(IptablesKind(), entry, kinds._value(where, found.get(where.place))) is not None:
            left[key] = Saved(before, wrote)
    return left


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


@given(tables(), resources(), st.integers(0, 20), st.integers(0, 20))
def test_killed_anywhere_and_killed_again_while_it_is_put_back_the_end_is_the_start(
    found: Tables, resource: FlushResource, there: int, back: int
) -> None:
    state = run(State(found), resource.plan(State(found)), there / 4)
    restored = FlushResource(state="restored")
    state = run(state, restored.plan(state), back / 4)
    end = run(state, restored.plan(state))
    assert end.saved == {} and end.tables == found


@given(tables(), resources(), st.integers(0, 20), st.data())
def test_what_somebody_added_since_stays_and_is_named(
    found: Tables, resource: FlushResource, killed: int, data: st.DataObject
) -> None:
    state = run(State(found), resource.plan(State(found)), killed / 4)
    places = [(place, name) for place, chains in state.tables.items() for name in chains]
    if not places:
        return
    place, name = data.draw(st.sampled_from(places))
    theirs = Rule("-s 10.2.2.2/32 -j ACCEPT")
    chain = state.tables[place][name]
    number = data.draw(st.integers(0, len(chain.rules)))
    rules = (*chain.rules[:number], theirs, *chain.rules[number:])
    changed = {**state.tables, place: {**state.tables[place], name: Chain(chain.policy, rules)}}
    state = State(changed, settle(changed, state.saved))
    plan = FlushResource(state="restored").plan(state)
    end = run(state, plan)
    assert end.saved == {}
    after = end.tables[place][name].rules
    assert after.count(theirs) == 1
    left = [rule for rule in after if rule != theirs]
    assert left == list(found[place][name].rules if place in found and name in found[place] else ())
    moved = after != rules and chain.rules != after[: len(chain.rules)]
    assert not moved or any(theirs.text in line for line in plan.warnings)


@given(tables(), resources())
def test_the_undoing_of_each_step_leads_back(found: Tables, resource: FlushResource) -> None:
    plan = resource.plan(State(found))
    state = dict(run(State(found), plan).tables)
    for step in reversed(plan.steps):
        assert isinstance(step, TableStep)
        for back in step.undo():
            apply(state, back)
    assert full(state) == full(found)


A, B, C = Rule("-s a"), Rule("-s b"), Rule("-s c")


@pytest.mark.parametrize(
    ("saved", "now", "then", "added"),
    [
        ("ab", "", "ab", ""),  # as it was flushed
        ("ab", "c", "abc", "c"),
        ("ab", "ab", "ab", ""),  # nothing had been done
        ("ab", "cab", "cab", ""),
        ("ab", "acb", "acb", ""),
        ("ab", "abc", "abc", ""),
        ("ab", "a", "ab", ""),  # somebody put one back himself
        ("ab", "ca", "abc", "c"),
        ("aa", "a", "aa", ""),
        ("a", "cc", "acc", "cc"),
        ("", "c", "c", ""),
    ],
)
def test_saved_rules_and_those_that_are_there_are_merged(saved: str, now: str, then: str, added: str) -> None:
    def rules(names: str) -> tuple[Rule, ...]:
        return tuple({"a": A, "b": B, "c": C}[name] for name in names)

    assert merged(rules(saved), ({"rules": [], "targets": []},), rules(now)) == (rules(then), rules(added))
    once = rules(then)
    assert merged(rules(saved), (), once) == (once, ())


def test_what_cannot_be_read_is_a_step_that_fails_and_the_rest_is_put_back() -> None:
    filter_, nat = Place("nft", "ipv4", "filter"), Place("nft", "ipv4", "nat")
    found: Tables = {place: {"OUTPUT": Chain("ACCEPT", (A,))} for place in (filter_, nat)}
    resource = FlushResource(flush=(Flush("filter"), Flush("nat")))
    state = run(State(found), resource.plan(State(found)))
    blind = State({nat: state.tables[nat]}, state.saved, unreadable={filter_: "iptables-nft-save is missing."})
    plan = FlushResource(state="restored").plan(blind)
    assert plan.titles() == ["put 1 rules into OUTPUT in nat (nft, ipv4)", "put back filter (nft, ipv4)"]
    last = plan.steps[-1]
    assert isinstance(last, NotRestored)
    with pytest.raises(LabError, match="iptables-nft-save is missing"):
        last.apply(t.cast(t.Any, None), Learned())


LEGACY = Place("legacy", "ipv4", "filter")


@pytest.mark.parametrize(
    "resource", [FlushResource(state="restored"), FlushResource(flush=(Flush("nat", ("INPUT",)),))]
)
def test_counters_that_a_killed_tool_has_lost_are_put_back(resource: FlushResource) -> None:
    place = Place("legacy", "ipv4", "nat")
    saved = {"OUTPUT": [[5, 500, "-s a"], [6, 600, "-s b"]], "GONE": [[1, 1, "-s c"]]}
    rules = (Rule("-s c"), Rule("-s b", 1, 10), Rule("-s a", 9, 900))
    left = {"OUTPUT": Chain("ACCEPT", rules, 7, 70), "INPUT": Chain("ACCEPT")}
    plan = resource.plan(State({place: left}, counters={place: saved}))
    step = plan.steps[0]
    assert plan.titles() == ["put back the counters in nat (legacy, ipv4)"] and isinstance(step, steps.CountersStep)
    now = recounted(saved, left)
    assert [(rule.packets, rule.bytes) for rule in now["OUTPUT"].rules] == [(0, 0), (7, 610), (9, 900)]
    assert recounted(saved, now) == {}
    seen = {"counters": {"OUTPUT": [[r.packets, r.bytes, r.text] for r in left["OUTPUT"].rules]}}
    assert not IptablesKind().is_back(saved, seen) and IptablesKind().is_back({"OUTPUT": saved["OUTPUT"][:1]}, seen)


def test_a_legacy_table_is_changed_with_its_counters_noted_meanwhile() -> None:
    chains = {"OUTPUT": Chain("ACCEPT", (Rule("-s a", 1, 2),)), "INPUT": Chain("ACCEPT", (Rule("-s b", 3, 4),))}
    plan = FlushResource(flush=(Flush("filter", ("OUTPUT",)),)).plan(State({LEGACY: chains}))
    notes = plan.steps[0].notes(Learned())
    assert [(note.action, note.key.rpartition(":")[2]) for note in notes] == [
        ("save", "counters"),
        ("save", "rules"),
        ("release", "counters"),
    ]
    assert notes[0].value == {"INPUT": [[3, 4, "-s b"]]}


RULES = {"rules": [[1, 2, "-s a"]], "targets": []}
POLICY = {"policy": "DROP", "packets": 1, "bytes": 2}


@pytest.mark.parametrize(
    ("saved", "seen", "over"),
    [
        (RULES, {**RULES, "rules": [[3, 4, "-s a"]]}, True),  # counters move
        (RULES, {**RULES, "rules": []}, False),
        (RULES, None, False),
        (RULES, GONE, True),
        (RULES, UNKNOWN, False),
        (POLICY, {**POLICY, "packets": 9}, True),
        (POLICY, {**POLICY, "policy": "ACCEPT"}, False),
        (None, None, True),
        (None, POLICY, False),
        (None, True, False),
        (None, GONE, True),
    ],
)
@pytest.mark.parametrize("saving", [False, True])
def test_an_entry_is_over_when_what_was_saved_is_there_again(
    saved: t.Any, seen: t.Any, over: bool, saving: bool
) -> None:
    entry = Entry(has_saved=True, saved=saved, saving=saving)
    left = settled(IptablesKind(), entry, seen)
    assert (left is None) == over
    assert left is None or left.saving == (saving and seen is UNKNOWN)


@pytest.mark.parametrize(
    ("key", "saved"),
    [
        ("iptables:", None),
        ("iptables::nft:ipv4:nowhere:FORWARD:rules", RULES),
        ("iptables::nft:ipv4:filter:FORWARD:rules", 5),
        ("iptables::nft:ipv4:filter:FORWARD:rules", {"rules": [["1", 2, "-s a"]], "targets": []}),
        ("iptables::nft:ipv4:filter:FORWARD:rules", None),
        ("iptables::nft:ipv4:filter:FORWARD:policy", {"policy": 1}),
    ],
)
def test_an_odd_entry_stays_as_it_is(key: str, saved: t.Any) -> None:
    entry = Entry(has_saved=True, saved=saved)
    assert IptablesKind().look(t.cast(t.Any, None), {key: entry}) == {key: UNKNOWN}


HERE = Place("nft", "ipv4", "filter")


class Tool:
    """An iptables-restore that does as it is told to, and says so or not."""

    def __init__(self, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told = told
        self.found: Tables = {HERE: {"FORWARD": Chain("DROP", (A,)), "OUTPUT": Chain("ACCEPT")}}
        self.calls = 0
        monkeypatch.setattr(steps, "tables_of", lambda host, netns, places: (self.found, ()))

    def which(self, tool: str) -> str:
        """It is there."""
        return tool

    def run(self, argv: list[str], stdin: str, doing: str) -> None:
        """Do it, or not, or half of it at first."""
        self.calls += 1
        if "nothing" not in self.told:
            text = stdin.replace(":FORWARD ACCEPT [0:0]\n", "") if "half" in self.told and self.calls == 1 else stdin
            self.found = {HERE: restore(HERE, self.found[HERE], text)}
        if "fails" in self.told:
            raise CommandFailed(Completed(tuple(argv), 1, "", "something went wrong"), doing)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("done", ""),
        ("done, fails", ""),
        ("nothing", "iptables-nft-restore said that it was done, and it was not"),
        ("nothing, fails", "something went wrong"),
        ("half", "said that it was done, and it was not"),
        ("half, fails", "something went wrong"),
    ],
)
def test_what_a_tool_says_is_not_believed(told: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = Tool(told, monkeypatch)
    host: t.Any = types.SimpleNamespace(runner=tool)
    start = tool.found
    want = {"FORWARD": Chain("ACCEPT"), "OUTPUT": Chain("ACCEPT")}
    step = TableStep("", HERE, tuple(start[HERE].items()), tuple(want.items()))
    if said:
        with pytest.raises(LabError, match=said):
            step.apply(host, Learned())
        assert tool.found == start  # a step that raised has changed nothing
    else:
        step.apply(host, Learned())
        assert tool.found[HERE] == want


def test_what_others_change_meanwhile_in_other_chains_is_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    tool = Tool("done", monkeypatch)
    start = dict(tool.found[HERE])
    tool.found[HERE]["OUTPUT"] = Chain("ACCEPT", (B,))
    want = {**start, "FORWARD": Chain("ACCEPT")}
    TableStep("", HERE, tuple(start.items()), tuple(want.items())).apply(
        t.cast(t.Any, types.SimpleNamespace(runner=tool)), Learned()
    )
    assert tool.found[HERE] == {"FORWARD": Chain("ACCEPT"), "OUTPUT": Chain("ACCEPT", (B,))}


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
        from_params(params)
