# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the tables that are to those that are wanted, and back to what the journal holds of them."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ..._core.errors import BadInput, LabError, Refused
from ..._core.plan import Key, Note, Plan, Step, save
from .state import (
    BUILT_IN,
    Chain,
    Chains,
    Place,
    State,
    Tables,
    Want,
    policy_value,
    prefix_of,
    recounted,
    rules_value,
)
from .steps import CountersStep, TableStep

# Whose chains these are, by the beginning of their names, and what makes them anew.
KEEPERS = {
    "DOCKER": ("Docker", "systemctl restart docker"),
    "LIBVIRT_": ("libvirt", "systemctl restart libvirtd"),
    "KUBE-": ("Kubernetes", "restart kube-proxy and the kubelet"),
    "CNI-": ("the container network (CNI)", "restart its containers"),
    "NETAVARK": ("Podman", "podman network reload --all"),
    "cali-": ("Calico", "restart calico-node"),
    "ufw": ("ufw", "ufw reload"),
    "f2b-": ("fail2ban", "systemctl restart fail2ban"),
}


def cannot_express(place: Place) -> tuple[str, str]:
    """Why a table is left alone, and what to do about it."""
    return (
        f"The table {place} holds rules that iptables cannot express, so it cannot be saved and put back.",
        "Look at it with 'nft list ruleset' and empty it with nft.",
    )


def plan_present(want: Want, now: State) -> Plan:
    """Policies and flushes as asked for. Raises BadInput (a chain that is nowhere), Refused and LabError."""
    if now.foreign:
        raise LabError(*cannot_express(now.foreign[0]))
    _check_chains(want, now.tables)
    parts: dict[str, Plan] = {}
    for place in want.places():
        chains = now.tables.get(place)
        absent = chains is None
        if absent and _makes(want, place, now.tables):
            # A legacy table that is not loaded accepts everything; an nft table that is not there has no chains.
            chains = {name: Chain("ACCEPT") for name in BUILT_IN[place.table]} if place.backend == "legacy" else {}
        if chains is None:
            continue
        chains, counting = counted(want.netns, place, chains, now.counters.get(place, {}))
        after = _wanted(want, place, chains)
        if not want.force and not want.netns:
            _refuse_cut(place, chains, after)
        notes = tuple(_notes(prefix_of(want.netns, place), chains, after, absent))
        step = TableStep(want.netns, place, tuple(chains.items()), tuple(after.items()), notes)
        parts[str(place)] = Plan(
            before=_show(want, place, chains),
            after=_show(want, place, after),
            steps=(*counting, step) if chains != after else counting,
            warnings=_warnings(place, chains, after),
        )
    return Plan.compose(parts)


def counted(netns: str, place: Place, chains: Chains, saved: t.Mapping[str, t.Any]) -> tuple[Chains, tuple[Step, ...]]:
    """A table with the counters that a killed run has lost, and the step that puts them back; mostly nothing."""
    new = recounted(saved, chains)
    return ({**chains, **new}, (CountersStep(netns, place, tuple(chains.items()), saved),)) if new else (chains, ())


def _makes(want: Want, place: Place, tables: Tables) -> bool:
    """Whether a table that is nowhere has to be made here, for a policy that no table at all would be."""
    dropped = any(item.table == place.table and item.policy != "ACCEPT" for item in want.policies)
    elsewhere = any(other[1:] == place[1:] for other in tables)
    return dropped and not elsewhere and place.backend == want.backends[0]


def _wanted(want: Want, place: Place, chains: Chains) -> Chains:
    after = dict(chains)
    for item in want.policies:
        if item.table == place.table and (item.chain in after or item.policy != "ACCEPT"):
            after[item.chain] = replace(after.get(item.chain, Chain()), policy=item.policy)
    for flush in want.flush:
        if flush.table != place.table:
            continue
        for name in chains if flush.chains is None else flush.chains:
            if name in after:
                after[name] = replace(after[name], rules=())
        if flush.chains is None and want.delete_chains:
            after = {name: chain for name, chain in after.items() if chain.policy is not None}
    return after


def _check_chains(want: Want, tables: Tables) -> None:
    for flush in want.flush:
        known = set(BUILT_IN[flush.table])
        known.update(name for place, chains in tables.items() if place.table == flush.table for name in chains)
        for name in flush.chains or ():
            if name not in known:
                raise BadInput(
                    "flush",
                    name,
                    f"is no chain of the table {flush.table} in the back ends and families asked for",
                    f"there are {', '.join(sorted(known))}",
                )


def _show(want: Want, place: Place, chains: Chains) -> dict[str, t.Any]:
    """The part of a table that the caller named, for the diff."""
    named = {item.chain for item in want.policies if item.table == place.table}
    for flush in want.flush:
        if flush.table == place.table:
            named.update(chains if flush.chains is None else flush.chains)
    return plain({name: chain for name, chain in chains.items() if name in named})


def plain(chains: Chains) -> dict[str, t.Any]:
    """Chains for a diff."""
    return {
        name: {"policy": chain.policy, "rules": [rule.text for rule in chain.rules]} for name, chain in chains.items()
    }


def _notes(prefix: Key, chains: Chains, after: Chains, absent: bool) -> t.Iterator[Note]:
    """What the journal has to hold of everything that differs."""
    if absent:
        yield save(f"{prefix}:table", None, True)
    for name in (*chains, *(name for name in after if name not in chains)):
        old, new = chains.get(name), after.get(name)
        if old is None or (old.policy is not None and new is not None and old.policy != new.policy):
            yield save(f"{prefix}{name}:policy", policy_value(old), policy_value(new))
        if old is not None and (new is None or old.rules != new.rules):
            yield save(f"{prefix}{name}:rules", rules_value(old, chains), rules_value(new, after))


def _reached(chains: Chains, base: str) -> set[str]:
    """The chains that a packet that enters at ``base`` may come through."""
    found, new = set(), [base]
    while new:
        name = new.pop()
        if name in chains and name not in found:
            found.add(name)
            new += [rule.target() for rule in chains[name].rules]
    return found


def _refuse_cut(place: Place, chains: Chains, want: Chains) -> None:
    """Raise Refused when rules go that may be what lets a session through, and what stays drops packets."""
    for base in ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"):
        old, new = chains.get(base), want.get(base)
        if new is None:
            continue
        before, after = _reached(chains, base), _reached(want, base)
        loses = [name for name in sorted(before) if chains[name].rules and (name not in want or not want[name].rules)]
        closes = new.policy != "ACCEPT" and (old is None or old.policy == "ACCEPT") and not new.rules
        drops = new.policy != "ACCEPT" or any(
            rule.target() in ("DROP", "REJECT") for name in after for rule in want[name].rules
        )
        if closes or (loses and drops):
            what = f"Flushing {loses[0]} of {place}" if loses else f"The policy DROP for the empty chain of {place}"
            how = f"policy {new.policy}" if new.policy != "ACCEPT" else "rules that drop packets"
            raise Refused(
                f"{what} would leave {base} with {how}, which can cut this host off, with the SSH session that it is "
                "managed by.",
                f"Ask for the policy ACCEPT of {base} and flush it whole, or set force: true.",
            )


def _warnings(place: Place, chains: Chains, want: Chains) -> tuple[str, ...]:
    """Whose rules are lost, and how they come back."""
    lost: dict[str, str] = {}
    for name, chain in chains.items():
        rules = [] if name in want and want[name].rules == chain.rules else list(chain.rules)
        for beginning, (owner, cure) in KEEPERS.items():
            in_chain = name.startswith(beginning) and (rules or name not in want)
            if in_chain or any(rule.target().startswith(beginning) for rule in rules):
                lost[owner] = cure
    return tuple(
        f"{place}: rules of {owner} are flushed; 'state: restored' puts them back, and so does: {cure}."
        for owner, cure in lost.items()
    )
