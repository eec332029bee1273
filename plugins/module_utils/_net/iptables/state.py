# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""iptables rule sets as values, what is wanted of them, and their places in the journal.

A host may hold rules of two back ends at once (nft and legacy), each with two families (iptables and ip6tables): all
of them count for a packet. Journal keys: ``iptables:NETNS:BACKEND:FAMILY:TABLE:CHAIN:rules`` and ``…:policy``, one for
each thing that was changed, so that a second call that changes another chain of the table saves that one as well, and
nothing that we did not change is put back. ``…:TABLE::table`` says that the table itself was not there.

While a legacy table is changed ``…:TABLE::counters`` holds the counters of its rules: the kernel gets them after the
rules, by a call of its own, and has zeros when the tool was killed in between.
"""

from __future__ import annotations

import re
import shlex
import typing as t
from dataclasses import dataclass, field, replace

from ..._core.errors import BadInput
from ..._core.plan import Key

BACKENDS = ("nft", "legacy")
FAMILIES = ("ipv4", "ipv6")
TOOLS = {"ipv4": "iptables", "ipv6": "ip6tables"}
BUILT_IN = {
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "raw": ("PREROUTING", "OUTPUT"),
    "security": ("INPUT", "FORWARD", "OUTPUT"),
}


class Place(t.NamedTuple):
    """One table of one family in one back end."""

    backend: str
    family: str
    table: str

    def __str__(self) -> str:
        return f"{self.table} ({self.backend}, {self.family})"

    def tool(self, verb: str = "") -> str:
        """The name of the program: iptables-nft-save, ip6tables-legacy-restore…"""
        return "-".join(filter(None, (TOOLS[self.family], self.backend, verb)))


@dataclass(frozen=True)
class Rule:
    """``text`` is the rule as iptables-save prints it, without ``-A CHAIN``. Two rules are equal when it is."""

    text: str
    packets: int = field(default=0, compare=False)
    bytes: int = field(default=0, compare=False)

    def target(self) -> str:
        """What ``-j`` or ``-g`` names, "" without one."""
        try:
            words = shlex.split(self.text)
        except ValueError:  # a comment with quotes of its own
            words = self.text.split()
        for index, word in enumerate(words[:-1]):
            if word in ("-j", "-g"):
                return words[index + 1]
        return ""


@dataclass(frozen=True)
class Chain:
    """``policy`` is None for a user chain. Counters take no part in comparisons: they move while one looks."""

    policy: t.Optional[str] = None
    rules: tuple[Rule, ...] = ()
    packets: int = field(default=0, compare=False)
    bytes: int = field(default=0, compare=False)


Chains = dict[str, Chain]
Tables = dict[Place, Chains]


@dataclass(frozen=True)
class Flush:
    """``chains`` is None for all chains of the table."""

    table: str
    chains: t.Optional[tuple[str, ...]] = None


@dataclass(frozen=True)
class Policy:
    """``policy`` of the base chain ``chain``: ACCEPT or DROP."""

    table: str
    chain: str
    policy: str


@dataclass(frozen=True)
class Want:
    """What a lab wants of iptables; ``state`` "restored" wants what the journal holds for this namespace instead."""

    policies: tuple[Policy, ...] = ()
    flush: tuple[Flush, ...] = ()
    netns: str = ""
    families: tuple[str, ...] = FAMILIES
    backends: tuple[str, ...] = BACKENDS
    delete_chains: bool = False
    force: bool = False
    state: str = "present"

    def __post_init__(self) -> None:
        """Raises BadInput; see options.py for the same of a module's parameters."""
        for table in self._named():
            if table not in BUILT_IN:
                raise BadInput("table", table, "is no table of iptables", f"use one of {', '.join(BUILT_IN)}")
        seen: dict[tuple[str, str], str] = {}
        for item in self.policies:
            where = f"is no base chain of the table {item.table}, and only those have a policy"
            if item.chain not in BUILT_IN[item.table]:
                raise BadInput("policies", item.chain, where, f"use one of {', '.join(BUILT_IN[item.table])}")
            if item.policy not in ("ACCEPT", "DROP"):
                raise BadInput("policies", item.policy, "is no policy", "use ACCEPT or DROP")
            if item.table == "nat" and item.policy == "DROP":
                raise BadInput("policies", "DROP", "is no policy for nat, which is not for filtering", "use filter")
            if seen.setdefault((item.table, item.chain), item.policy) != item.policy:
                raise BadInput("policies", item.chain, f"of {item.table} is given two policies", "give it one")
        for flush in self.flush:
            if flush.chains is not None and not flush.chains:
                raise BadInput("flush", flush.table, "comes with an empty list of chains", "leave it out for all")
        if self.state == "present" and not (self.policies or self.flush):
            raise BadInput("flush", [], "asks for nothing, and so does policies", "name a table to flush or a policy")

    def _named(self) -> list[str]:
        """The tables that the policies and flushes are about."""
        return list(dict.fromkeys([item.table for item in self.policies] + [item.table for item in self.flush]))

    def places(self) -> list[Place]:
        """The tables this is about: those that were named, all of them when restoring."""
        tables = list(BUILT_IN) if self.state == "restored" else self._named()
        return [Place(b, f, table) for b in self.backends for f in self.families for table in tables]


PREFIX = "iptables:"
_KEY = re.compile(
    rf"iptables:(.*?):({'|'.join(BACKENDS)}):({'|'.join(FAMILIES)}):({'|'.join(BUILT_IN)}):(.*):(rules|policy|table|counters)",
    re.DOTALL,
)


def prefix_of(netns: str, place: Place) -> str:
    """What the keys of one table begin with."""
    return f"{PREFIX}{netns}:{place.backend}:{place.family}:{place.table}:"


class Where(t.NamedTuple):
    """What a key is about: ``thing`` is "rules" or "policy" of a chain, the "table" itself, or all its "counters"."""

    netns: str
    place: Place
    chain: str
    thing: str


def split_key(key: Key) -> t.Optional[Where]:
    """What a key is about; None for one that this module does not write."""
    match = _KEY.fullmatch(key)
    return Where(match[1], Place(*match.group(2, 3, 4)), match[5], match[6]) if match else None


def policy_value(chain: t.Optional[Chain]) -> t.Any:
    """A policy as the journal keeps it; None when there is no such chain."""
    return None if chain is None else {"policy": chain.policy, "packets": chain.packets, "bytes": chain.bytes}


def rules_value(chain: t.Optional[Chain], chains: Chains) -> t.Any:
    """The rules of a chain as the journal keeps them, and the user chains of the table that they lead to."""
    if chain is None:
        return None
    targets = sorted({rule.target() for rule in chain.rules} & {n for n, c in chains.items() if c.policy is None})
    return {"rules": [[rule.packets, rule.bytes, rule.text] for rule in chain.rules], "targets": targets}


def rules_in(value: t.Any) -> tuple[Rule, ...]:
    """The inverse of ``rules_value``, for a chain that was there."""
    return tuple(Rule(text, packets, size) for packets, size, text in (value or {"rules": ()})["rules"])


def counters_value(chains: Chains) -> dict[str, t.Any]:
    """The counters of a table's rules as the journal keeps them, for the chains that have counted something."""
    counted = {name: chain for name, chain in chains.items() if any(rule.packets for rule in chain.rules)}
    return {name: [[r.packets, r.bytes, r.text] for r in chain.rules] for name, chain in counted.items()}


def recounted(saved: t.Mapping[str, t.Any], chains: Chains) -> Chains:
    """The chains whose rules have counted less than was saved, so from zero since then, as if they had gone on."""
    found = {}
    for name in (name for name in saved if name in chains):
        left: dict[str, list[t.Any]] = {}
        for packets, size, text in saved[name]:
            left.setdefault(text, []).append((packets, size))
        rules = []
        for rule in chains[name].rules:
            packets, size = left[rule.text].pop(0) if left.get(rule.text) else (0, 0)
            less = rule.packets < packets
            rules.append(Rule(rule.text, rule.packets + packets, rule.bytes + size) if less else rule)
        if any(new is not old for new, old in zip(rules, chains[name].rules)):
            found[name] = replace(chains[name], rules=tuple(rules))
    return found


def is_value(thing: str, value: t.Any) -> bool:
    """Whether a value in a journal is one that was written for such a thing."""
    if value is None or thing == "table":
        return value is None and thing in ("policy", "table")
    if not isinstance(value, dict):
        return False
    if thing == "policy":
        numbers = (value.get("packets"), value.get("bytes"))
        return isinstance(value.get("policy"), str) and all(isinstance(number, int) for number in numbers)
    if thing == "counters":
        return all(_are_rules(rules) for rules in value.values())
    targets = value.get("targets")
    return (
        _are_rules(value.get("rules"))
        and isinstance(targets, list)
        and all(isinstance(target, str) for target in targets)
    )


def _are_rules(value: t.Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(rule, list) and [type(one) for one in rule] == [int, int, str] for rule in value
    )


class Saved(t.NamedTuple):
    """What the journal holds of a key: the value from before us, and what we may have made of it."""

    before: t.Any
    wrote: tuple[t.Any, ...] = ()


@dataclass(frozen=True)
class State:
    """What was observed: the tables that exist, those that iptables cannot express, and the journal's saved values.

    ``unreadable`` are the saved tables that cannot be looked at, and why; ``counters`` what was saved of a table's.
    ``gone`` says that the namespace is not there any more.
    """

    tables: Tables
    saved: t.Mapping[Key, Saved] = field(default_factory=dict)
    foreign: tuple[Place, ...] = ()
    unreadable: t.Mapping[Place, str] = field(default_factory=dict)
    counters: t.Mapping[Place, t.Mapping[str, t.Any]] = field(default_factory=dict)
    gone: bool = False
