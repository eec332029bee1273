# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""iptables rule sets as values: read them without a write, change one table in one transaction.

A host may hold rules of two back ends at once (nft and legacy), each with two families (iptables and ip6tables): all
of them count for a packet, so all of them are read. What exists is found first, because looking at a legacy table
that is not loaded loads it (for good, until its namespace ends).
"""

from __future__ import annotations

import json
import re
import shlex
import typing as t
from dataclasses import dataclass, field

from ..._core.errors import LabError, ToolMissing
from ..._core.host import Host
from ..._core.plan import Note, Step
from ..._kernel.netns import in_netns

BACKENDS = ("nft", "legacy")
FAMILIES = ("ipv4", "ipv6")
TOOLS = {"ipv4": "iptables", "ipv6": "ip6tables"}
# The thread's own view: /proc/net is that of the process, whose first thread may be in another namespace.
LOADED = {"ipv4": "/proc/thread-self/net/ip_tables_names", "ipv6": "/proc/thread-self/net/ip6_tables_names"}
NFT_FAMILIES = {"ipv4": "ip", "ipv6": "ip6"}
BUILT_IN = {
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "raw": ("PREROUTING", "OUTPUT"),
    "security": ("INPUT", "FORWARD", "OUTPUT"),
}
WAIT = "--wait=30"  # seconds for the xtables lock; the nft back end takes the option and needs no lock


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


def script(place: Place, now: Chains, want: Chains) -> str:
    """The input of ``iptables-restore --noflush --counters`` that turns ``now`` into ``want``; "" for no change.

    Policies come before flushes, so that no moment has an empty chain with policy DROP. Base chains that are not to
    be there afterwards are left for ``leftovers``: iptables-restore cannot remove them.
    """
    make, policies, flush, append, delete = [], [], [], [], []
    for name, chain in want.items():
        old = now.get(name)
        if chain.policy is None and old is None:
            make.append(f":{name} - [0:0]")
        if chain.policy is not None and (old is None or old.policy != chain.policy):
            policies.append(f":{name} {chain.policy} [{chain.packets}:{chain.bytes}]")
        if chain.rules != (old.rules if old else ()):
            flush += [f"-F {name}"] if old else []
            append += [f"[{rule.packets}:{rule.bytes}] -A {name} {rule.text}".rstrip() for rule in chain.rules]
    for name, chain in now.items():
        if name not in want:
            flush += [f"-F {name}"] if chain.rules else []
            delete += [f"-X {name}"] if chain.policy is None else []
    if not (make or policies or flush or append or delete):
        return ""
    if place.backend == "legacy":
        # Every commit of the legacy tools sets the policy counters of all chains to zero, unless they are given.
        policies = [
            f":{name} {chain.policy} [{chain.packets}:{chain.bytes}]" for name, chain in want.items() if chain.policy
        ]
    return "\n".join([f"*{place.table}", *make, *policies, *flush, *append, *delete, "COMMIT", ""])


def leftovers(now: Chains, want: Chains) -> list[str]:
    """The base chains of ``now`` that are not wanted."""
    return [name for name, chain in now.items() if chain.policy is not None and name not in want]


def observe(host: Host, netns: str, places: t.Iterable[Place], exact: bool = False) -> tuple[Tables, list[Place]]:
    """The tables of ``places`` that exist in a namespace, and those that only ``nft`` can show. Writes nothing.

    iptables-nft-save shows every base chain of a table, made or not; ``exact`` leaves out those that are not there,
    which takes the program ``nft``. Raises ToolMissing, CommandFailed.
    """
    wanted = list(places)

    def look() -> tuple[Tables, list[Place]]:
        tables: Tables = {}
        foreign: list[Place] = []
        for backend, family in dict.fromkeys((place.backend, place.family) for place in wanted):
            asked = [place for place in wanted if (place.backend, place.family) == (backend, family)]
            if backend == "legacy":
                found = _legacy(host, asked)
            else:
                found, only_nft = _nft(host, family, asked)
                foreign += [place for place in asked if place.table in only_nft]
                if exact and found:
                    there = _base_chains(host, family)
                    found = {name: _existing(name, chains, there) for name, chains in found.items()}
            tables.update({place: found[place.table] for place in asked if place.table in found})
        return tables, foreign

    return in_netns(netns, look)


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


def _base_chains(host: Host, family: str) -> set[tuple[str, str]]:
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


@dataclass(frozen=True)
class TableStep(Step):
    """Turn one table from ``now`` into ``want``, each a tuple of names and chains: one transaction.

    ``drop_table``: the table itself was not there before us and goes when it is empty (nft; the kernel keeps a legacy
    table that was loaded).
    """

    netns: str
    place: Place
    now: tuple[tuple[str, Chain], ...]
    want: tuple[tuple[str, Chain], ...]
    kept_notes: tuple[Note, ...] = ()
    drop_table: bool = False
    purpose: str = ""

    def title(self) -> str:
        """For example "set the policy of FORWARD to ACCEPT, flush FORWARD in filter (nft, ipv4)"."""
        where = f"in {self.place}" + (f" in namespace {self.netns}" if self.netns else "")
        return f"{self.purpose or ', '.join(changes(dict(self.now), dict(self.want)))} {where}"

    def apply(self, host: Host) -> None:
        """Hand the change to iptables-restore; nothing has changed when it refuses."""
        now, want = dict(self.now), dict(self.want)
        if now == want and not self.drop_table:
            return
        in_netns(self.netns, lambda: self._apply(host, now, want))

    def _apply(self, host: Host, now: Chains, want: Chains) -> None:
        text = script(self.place, now, want)
        if text:
            tool = self.place.tool("restore")
            if host.runner.which(tool) is None:
                raise ToolMissing(tool, "iptables")
            host.runner.run([tool, WAIT, "--noflush", "--counters"], stdin=text, doing=self.title())
        if self.place.backend != "nft":
            return
        table = f"{NFT_FAMILIES[self.place.family]} {self.place.table}"
        lines = [f"delete chain {table} {name}" for name in leftovers(now, want)]
        lines += [f"delete table {table}"] if self.drop_table and not want else []
        if lines:
            host.runner.run(["nft", "--file", "-"], stdin="\n".join(lines) + "\n", doing=self.title())

    def inverse(self) -> tuple[Step, ...]:
        """The same table the other way round."""
        made = not self.now  # a table without any chain was not there: Place is only in the tables when it exists
        return (TableStep(self.netns, self.place, self.want, self.now, drop_table=made),)

    def notes(self) -> tuple[Note, ...]:
        """What the planner wants kept or forgotten."""
        return self.kept_notes


def changes(now: Chains, want: Chains) -> list[str]:
    """What a change does, a few words each, for titles."""
    lines = []
    for name, chain in want.items():
        old = now.get(name, Chain("ACCEPT" if chain.policy else None))
        if name not in now:
            lines.append(f"make chain {name}")
        if chain.policy != old.policy:
            lines.append(f"set the policy of {name} to {chain.policy}")
        if chain.rules != old.rules:
            lines.append(f"put {len(chain.rules)} rules into {name}" if chain.rules else f"flush {name}")
    return lines + [f"delete chain {name}" for name in now if name not in want]
