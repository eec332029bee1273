# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way back from the journal: what was saved is put over what is there now, and what others added since is kept."""

from __future__ import annotations

import typing as t
from collections import Counter
from dataclasses import replace

from ..._core.plan import Key, Plan, Step, release
from .plan import cannot_express, counted, plain
from .state import BUILT_IN, Chain, Chains, Place, Rule, Saved, State, Want, prefix_of, rules_in
from .steps import DropStep, ForgetSaved, NotRestored, TableStep, leftovers, script


def plan_restored(want: Want, now: State) -> Plan:
    """Each table of which the journal holds something; one that cannot be read is a step that says why it fails."""
    parts: dict[str, Plan] = {}
    blind: dict[str, list[Place]] = {}
    for place in want.places():
        prefix = prefix_of(want.netns, place)
        saved = {key[len(prefix) :]: value for key, value in now.saved.items() if key.startswith(prefix)}
        counters = now.counters.get(place, {})
        if not saved and not counters:
            continue
        why = now.unreadable.get(place) or (" ".join(cannot_express(place)) if place in now.foreign else "")
        if now.gone:
            keys = tuple(prefix + rest for rest in saved)
            parts[str(place)] = Plan(None, None, (ForgetSaved(want.netns, place, keys, "of the namespace in"),))
        elif why:
            blind.setdefault(why, []).append(place)
        else:
            parts[str(place)] = _plan_table(want.netns, place, now.tables.get(place), saved, counters)
    for why, places in blind.items():
        parts[str(places[0])] = Plan(None, None, (NotRestored(want.netns, tuple(places), why),))
    return Plan.compose(parts)


def _plan_table(
    netns: str,
    place: Place,
    there: t.Optional[Chains],
    saved: t.Mapping[str, Saved],
    counters: t.Mapping[str, t.Any],
) -> Plan:
    chains, counting = counted(netns, place, there or {}, counters)
    want, warnings = _before(place, chains, saved)
    prefix = prefix_of(netns, place)
    dropped = leftovers(chains, want) if place.backend == "nft" else []
    table = place.backend == "nft" and ":table" in saved and there is not None and not want
    keys: list[Key] = [prefix + rest for rest in saved]
    last = [f"{prefix}{name}:policy" for name in dropped] + [f"{prefix}:table"] * table
    first = tuple(key for key in keys if key not in last)
    steps: list[Step] = list(counting)
    if script(place, chains, want):
        notes = tuple(release(key) for key in first)
        steps.append(TableStep(netns, place, tuple(chains.items()), tuple(want.items()), notes, back=True))
    elif first:
        steps.append(ForgetSaved(netns, place, first))
    if dropped or table:
        steps.append(DropStep(netns, place, tuple(dropped), table, tuple(release(key) for key in last)))
    touched = {name for name in (*chains, *want) if chains.get(name) != want.get(name)}
    before, after = ({n: c for n, c in side.items() if n in touched} for side in (chains, want))
    return Plan(plain(before), plain(after), tuple(steps), tuple(warnings))


def _before(place: Place, chains: Chains, saved: t.Mapping[str, Saved]) -> tuple[Chains, list[str]]:
    """The table as it was, with what others have added since to the chains that we changed, and the words on that."""
    want = dict(chains)
    warnings = []
    made = []
    for rest, (before, wrote) in saved.items():
        name, _colon, thing = rest.rpartition(":")
        if thing == "policy" and before is None:
            made.append(name)
        elif thing == "policy":
            old = want.get(name, Chain())
            if old.policy != before["policy"]:
                want[name] = Chain(before["policy"], old.rules, before["packets"], before["bytes"])
        elif thing == "rules":
            old = want.get(name, Chain("ACCEPT" if name in BUILT_IN[place.table] else None))
            rules, added = merged(rules_in(before), wrote, old.rules)
            want[name] = old if old.rules == rules else replace(old, rules=rules)
            if added:
                warnings.append(
                    f"{place}: rules that were added to {name} since stay, behind those that are put back: "
                    f"{'; '.join(rule.text for rule in added)}."
                )
    for rest, (before, _wrote) in saved.items():
        for target in before["targets"] if rest.endswith(":rules") else ():
            if target not in want:
                want[target] = Chain()
                warnings.append(
                    f"{place}: saved rules lead to the chain {target}, which has been deleted since; it is made anew, "
                    "empty."
                )
    for name in made:
        rules = want.get(name, Chain()).rules
        if not rules:
            want.pop(name, None)
            continue
        want[name] = replace(want[name], policy="ACCEPT")
        texts = "; ".join(rule.text for rule in rules)
        warnings.append(
            f"{place}: {name}, which was not there before, stays for the rules that were added to it: {texts}."
        )
    return want, warnings


def merged(
    saved: tuple[Rule, ...], wrote: t.Sequence[t.Any], now: tuple[Rule, ...]
) -> tuple[tuple[Rule, ...], tuple[Rule, ...]]:
    """The rules of a chain then, and which of them somebody has added.

    Where all that was saved is there, in its order, nothing of it was taken away, or it is back: all stays as it is.
    Else it comes first, and behind it what is neither ours nor of the saved ones.
    """
    rest = iter(now)
    if all(any(rule == other for other in rest) for rule in saved):
        return now, ()
    ours = Counter(rule.text for value in wrote if isinstance(value, dict) for rule in rules_in(value))
    known = ours | Counter(rule.text for rule in saved)
    added = []
    for rule in now:
        if known[rule.text]:
            known[rule.text] -= 1
        else:
            added.append(rule)
    return (*saved, *added), tuple(added)
