# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the tables without a write.

What exists is found first, because looking at a legacy table that is not loaded loads it (for good, until its namespace
ends).
"""

from __future__ import annotations

import json
import re
import typing as t

from ..._core.errors import LabError, ToolMissing
from ..._core.host import Host
from ..._core.plan import Key
from ..._kernel import netns as namespaces
from ..._kernel.netns import in_netns
from .state import Chain, Chains, Place, Rule, Saved, State, Tables, Want, is_value, prefix_of, split_key

# The thread's own view: /proc/net is that of the process, whose first thread may be in another namespace.
LOADED = {"ipv4": "/proc/thread-self/net/ip_tables_names", "ipv6": "/proc/thread-self/net/ip6_tables_names"}
NFT_FAMILIES = {"ipv4": "ip", "ipv6": "ip6"}

_CHAIN = re.compile(r":(\S+) (\S+) \[(\d+):(\d+)\]")
_RULE = re.compile(r"\[(\d+):(\d+)\] -A (\S+) ?(.*)")
_FOREIGN = re.compile(r"# Table `(\S+)' is incompatible")


def parse(text: str, source: str = "iptables-save") -> dict[str, Chains]:
    """The tables in the output of ``iptables-save --counters``.

    Raises LabError on a line that is none of its own, and when it ends in the middle: what is not shown would be taken
    for not there.
    """
    tables: dict[str, Chains] = {}
    chains: Chains = {}
    rules: dict[str, list[Rule]] = {}
    open_table = ""
    for line in text.split("\n"):  # a comment may hold what else Unicode takes for the end of a line
        if line.startswith("*"):
            open_table = line[1:]
            chains, rules = tables.setdefault(open_table, {}), {}
        elif match := _CHAIN.fullmatch(line):
            name, policy, packets, size = match.groups()
            chains[name] = Chain(None if policy == "-" else policy, (), int(packets), int(size))
            rules[name] = []
        elif match := _RULE.fullmatch(line):
            packets, size, name, rest = match.groups()
            if name not in rules:
                raise LabError(f"{source} printed a rule of a chain that it had not named: {line!r:.300}.")
            rules[name].append(Rule(rest, int(packets), int(size)))
        elif line == "COMMIT":
            open_table = ""
            for name, found in rules.items():
                chains[name] = Chain(chains[name].policy, tuple(found), chains[name].packets, chains[name].bytes)
        elif line and not line.startswith("#"):
            raise LabError(f"{source} printed a line that is no rule: {line!r:.300}.")
    if open_table:
        raise LabError(f"{source} printed half of the table {open_table}: the end is missing.")
    return tables


class Seen(t.NamedTuple):
    """The tables that exist, those that only ``nft`` can show, and those that could not be read, with the reason."""

    tables: Tables
    foreign: list[Place]
    failed: dict[Place, LabError]


def look_at(host: Host, netns: str, places: t.Iterable[Place], exact: bool = False) -> Seen:
    """The tables of ``places`` in a namespace. Writes nothing. Raises LabError when it cannot be entered.

    iptables-nft-save shows every base chain of a table, made or not; ``exact`` leaves out those that are not there,
    which takes the program ``nft``.
    """
    wanted = list(places)

    def look() -> Seen:
        seen = Seen({}, [], {})
        for backend, family in dict.fromkeys((place.backend, place.family) for place in wanted):
            asked = [place for place in wanted if (place.backend, place.family) == (backend, family)]
            only_nft: set[str] = set()
            try:
                if backend == "legacy":
                    found = _legacy(host, asked)
                else:
                    found, only_nft = _nft(host, family, asked)
                    if exact and found:
                        there = base_chains(host, family)
                        found = {name: _existing(name, chains, there) for name, chains in found.items()}
            except LabError as error:
                seen.failed.update(dict.fromkeys(asked, error))
                continue
            seen.foreign.extend(place for place in asked if place.table in only_nft)
            seen.tables.update({place: found[place.table] for place in asked if place.table in found})
        return seen

    return in_netns(netns, look)


def tables_of(
    host: Host, netns: str, places: t.Iterable[Place], exact: bool = False
) -> tuple[Tables, tuple[Place, ...]]:
    """The same; raises what was in the way of reading one of them: ToolMissing, CommandFailed, LabError."""
    seen = look_at(host, netns, places, exact)
    for error in seen.failed.values():
        raise error
    return seen.tables, tuple(seen.foreign)


def observe(host: Host, want: Want) -> State:
    """The tables that ``want`` is about, and the journal. Raises LabError for a namespace that does not exist.

    What is to be restored and cannot be read is no error: it is named in the state.
    """
    gone = bool(want.netns) and namespaces.kind(want.netns) != "present"
    if want.state != "restored":
        if gone:
            raise namespaces.missing(want.netns)
        # Only a policy other than ACCEPT makes a base chain, and only then it matters which of them are there.
        exact = any(item.policy != "ACCEPT" for item in want.policies)
        tables, foreign = tables_of(host, want.netns, want.places(), exact)
        return State(tables, foreign=foreign, counters=_saved(host, want)[2])
    saved, unreadable, counters = _saved(host, want)
    if gone:
        return State({}, saved, gone=True)
    keys = {prefix_of(want.netns, place): place for place in want.places()}
    places = [place for prefix, place in keys.items() if place in counters or any(k.startswith(prefix) for k in saved)]
    seen = look_at(host, want.netns, places, any(one.before is None for one in saved.values()))
    unreadable.update({place: str(error) for place, error in seen.failed.items()})
    return State(seen.tables, saved, tuple(seen.foreign), unreadable, counters)


def _saved(host: Host, want: Want) -> tuple[dict[Key, Saved], dict[Place, str], dict[Place, t.Any]]:
    """What the journal holds of the tables, what of it cannot be understood, and the counters."""
    places = set(want.places())
    found: dict[Key, Saved] = {}
    odd: dict[Place, str] = {}
    counters: dict[Place, t.Any] = {}
    for key, entry in host.journal.entries.items():
        where = split_key(key)
        if where is None or not entry.has_saved or where.netns != want.netns or where.place not in places:
            continue
        if where.thing == "counters":
            counters.update({where.place: entry.saved} if is_value(where.thing, entry.saved) else {})
            continue
        found[key] = Saved(entry.saved, entry.wrote)
        if not is_value(where.thing, entry.saved):
            odd[where.place] = f"The journal's entry {key} holds what this module does not write: {entry.saved!r:.60}."
    return found, odd, counters


def _legacy(host: Host, asked: t.Sequence[Place]) -> dict[str, Chains]:
    try:
        with open(LOADED[asked[0].family], encoding="ascii") as file:
            loaded = set(file.read().split())
    except FileNotFoundError:  # the kernel has no legacy tables at all
        return {}
    found: dict[str, Chains] = {}
    for place in asked:
        if place.table in loaded:
            shown = _save(host, place, "--table", place.table)[0]
            if place.table not in shown:
                raise LabError(f"{place.tool('save')} did not show the table {place.table}, which the kernel has.")
            found.update(shown)
    return found


def _nft(host: Host, family: str, asked: t.Sequence[Place]) -> tuple[dict[str, Chains], set[str]]:
    # Without --table it shows the tables that exist; with it, it shows an empty one for a table that does not.
    found, text = _save(host, asked[0])
    return found, set(_FOREIGN.findall(text))


def _save(host: Host, place: Place, *options: str) -> tuple[dict[str, Chains], str]:
    tool = place.tool("save")
    if host.runner.which(tool) is None:
        raise ToolMissing(tool, "iptables")
    done = host.runner.run([tool, "--counters", *options], doing=f"read the rules of {place.backend}, {place.family}")
    return parse(done.stdout, tool), done.stdout


def base_chains(host: Host, family: str) -> set[tuple[str, str]]:
    """The chains that are there in a family, as table and name. Raises ToolMissing, CommandFailed, LabError."""
    if host.runner.which("nft") is None:
        raise ToolMissing("nft", "nftables")
    done = host.runner.run(["nft", "--json", "list", "chains", NFT_FAMILIES[family]], doing="list the nft chains")
    try:
        chains = [item["chain"] for item in json.loads(done.stdout)["nftables"] if "chain" in item]
        return {(chain["table"], chain["name"]) for chain in chains}
    except (ValueError, TypeError, KeyError, RecursionError):
        raise LabError(f"nft printed what is no list of chains: {done.stdout.strip()!r:.300}.") from None


def _existing(table: str, chains: Chains, there: set[tuple[str, str]]) -> Chains:
    return {name: chain for name, chain in chains.items() if chain.policy is None or (table, name) in there}
