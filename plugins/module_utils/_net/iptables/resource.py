# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies and flushes of named chains or whole tables as one resource, and the way back from the journal.

Journal keys: ``iptables:NETNS:BACKEND:FAMILY:TABLE:CHAIN:rules`` and ``…:policy``, one for each thing that was
changed, so that a second call that changes another chain of the table saves that one as well, and nothing that we did
not change is put back. ``…:TABLE::table`` says that the table itself was not there.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

from ..._core.errors import BadInput, LabError, Refused
from ..._core.host import Host
from ..._core.plan import Note, Plan
from ..._kernel import netns as namespaces
from .tables import BACKENDS, BUILT_IN, FAMILIES, Chain, Chains, Place, Rule, Tables, TableStep, observe

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
class State:
    """What was observed: the tables that exist, those that iptables cannot express, and the journal's saved values.

    ``gone`` says that the namespace is not there any more.
    """

    tables: Tables
    saved: t.Mapping[str, t.Any] = field(default_factory=dict)
    foreign: tuple[Place, ...] = ()
    gone: bool = False


@dataclass(frozen=True)
class FlushResource:
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
        """Raises BadInput; see ``desired`` for the same from a module's parameters."""
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

    def observe(self, host: Host) -> State:
        """Read the tables and the journal. Raises LabError for a namespace that does not exist."""
        places = self.places()
        gone = bool(self.netns) and namespaces.kind(self.netns) != "present"
        saved = {
            key: entry.saved
            for place in places
            for key, entry in host.journal.entries.items()
            if entry.has_saved and key.startswith(_prefix(self.netns, place))
        }
        if gone:
            if self.state != "restored":
                raise namespaces.missing(self.netns)
            return State({}, saved, (), True)
        if self.state == "restored":
            places = [place for place in places if any(key.startswith(_prefix(self.netns, place)) for key in saved)]
        # Only a policy other than ACCEPT makes a base chain, and only then it matters which of them are there.
        exact = any(item.policy != "ACCEPT" for item in self.policies) or None in saved.values()
        tables, foreign = observe(host, self.netns, places, exact)
        return State(tables, saved, tuple(foreign))

    def plan(self, now: State) -> Plan:
        """From the observed tables to the wanted ones. Raises BadInput (a chain that is nowhere) and Refused."""
        if now.foreign:
            raise LabError(
                f"The table {now.foreign[0]} holds rules that iptables cannot express, so it cannot be saved and put "
                "back.",
                "Look at it with 'nft list ruleset' and empty it with nft.",
            )
        return self._plan_restored(now) if self.state == "restored" else self._plan_present(now)

    def facts(self, host: Host, now: State) -> dict[str, t.Any]:
        """``tables``: each with its chains, their policies and how many rules they have."""
        return {
            "tables": [
                {
                    **place._asdict(),
                    "chains": [
                        {"name": name, "policy": chain.policy, "rules": len(chain.rules)}
                        for name, chain in chains.items()
                    ],
                }
                for place, chains in now.tables.items()
            ]
        }

    def _plan_present(self, now: State) -> Plan:
        self._check_chains(now.tables)
        parts: dict[str, Plan] = {}
        for place in self.places():
            chains = now.tables.get(place)
            absent = chains is None
            if absent and self._makes(place, now.tables):
                # A legacy table that is not loaded accepts everything; an nft table that is not there has no chains.
                chains = {name: Chain("ACCEPT") for name in BUILT_IN[place.table]} if place.backend == "legacy" else {}
            if chains is None:
                continue
            want = self._wanted(place, chains)
            if not self.force and not self.netns:
                _refuse_cut(place, chains, want)
            notes = _notes(self.netns, place, chains, want, absent)
            step = TableStep(self.netns, place, tuple(chains.items()), tuple(want.items()), tuple(notes))
            parts[str(place)] = Plan(
                before=self._show(place, chains),
                after=self._show(place, want),
                steps=(step,) if chains != want else (),
                warnings=_warnings(place, chains, want),
            )
        return Plan.compose(parts)

    def _makes(self, place: Place, tables: Tables) -> bool:
        """Whether a table that is nowhere has to be made here, for a policy that no table at all would be."""
        dropped = any(item.table == place.table and item.policy != "ACCEPT" for item in self.policies)
        elsewhere = any(other[1:] == place[1:] for other in tables)
        return dropped and not elsewhere and place.backend == self.backends[0]

    def _wanted(self, place: Place, chains: Chains) -> Chains:
        want = dict(chains)
        for item in self.policies:
            if item.table == place.table and (item.chain in want or item.policy != "ACCEPT"):
                want[item.chain] = replace(want.get(item.chain, Chain()), policy=item.policy)
        for flush in self.flush:
            if flush.table != place.table:
                continue
            for name in chains if flush.chains is None else flush.chains:
                if name in want:
                    want[name] = replace(want[name], rules=())
            if flush.chains is None and self.delete_chains:
                want = {name: chain for name, chain in want.items() if chain.policy is not None}
        return want

    def _check_chains(self, tables: Tables) -> None:
        for flush in self.flush:
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

    def _show(self, place: Place, chains: Chains) -> dict[str, t.Any]:
        """The part of a table that the caller named, for the diff."""
        named = {item.chain for item in self.policies if item.table == place.table}
        for flush in self.flush:
            if flush.table == place.table:
                named.update(chains if flush.chains is None else flush.chains)
        return _plain({name: chain for name, chain in chains.items() if name in named})

    def _plan_restored(self, now: State) -> Plan:
        parts: dict[str, Plan] = {}
        for place in self.places():
            prefix = _prefix(self.netns, place)
            saved = {key[len(prefix) :]: value for key, value in now.saved.items() if key.startswith(prefix)}
            if not saved:
                continue
            release = tuple(Note("release", prefix + rest) for rest in saved)
            if now.gone:
                forget = TableStep(self.netns, place, (), (), release, purpose="forget what was saved of the namespace")
                parts[str(place)] = Plan(None, None, (forget,))
                continue
            chains = now.tables.get(place, {})
            want, warnings = _before(place, chains, saved)
            same = chains == want
            step = TableStep(
                self.netns,
                place,
                tuple(chains.items()),
                tuple(want.items()),
                release,
                drop_table=":table" in saved and place in now.tables,
                purpose="forget what was saved" if same else "",
            )
            touched = {name for name in (*chains, *want) if chains.get(name) != want.get(name)}
            before, after = ({n: c for n, c in side.items() if n in touched} for side in (chains, want))
            parts[str(place)] = Plan(_plain(before), _plain(after), (step,), tuple(warnings))
        return Plan.compose(parts)


def _prefix(netns: str, place: Place) -> str:
    return f"iptables:{netns}:{place.backend}:{place.family}:{place.table}:"


def _plain(chains: Chains) -> dict[str, t.Any]:
    return {
        name: {"policy": chain.policy, "rules": [rule.text for rule in chain.rules]} for name, chain in chains.items()
    }


def _notes(netns: str, place: Place, chains: Chains, want: Chains, absent: bool) -> t.Iterator[Note]:
    """What the journal has to hold of everything that differs."""
    prefix = _prefix(netns, place)
    if absent:
        yield Note("save", f"{prefix}:table", None)
    for name in (*chains, *(name for name in want if name not in chains)):
        old, new = chains.get(name), want.get(name)
        if old is None or (old.policy is not None and new is not None and old.policy != new.policy):
            policy = None if old is None else {"policy": old.policy, "packets": old.packets, "bytes": old.bytes}
            yield Note("save", f"{prefix}{name}:policy", policy)
        if old is not None and (new is None or old.rules != new.rules):
            targets = sorted({rule.target() for rule in old.rules} & {n for n, c in chains.items() if c.policy is None})
            rules = [[rule.packets, rule.bytes, rule.text] for rule in old.rules]
            yield Note("save", f"{prefix}{name}:rules", {"rules": rules, "targets": targets})


def _before(place: Place, chains: Chains, saved: t.Mapping[str, t.Any]) -> tuple[Chains, list[str]]:
    """The table as it was: what was saved put over what is there now."""
    want = dict(chains)
    warnings = []
    made = []
    for rest, value in saved.items():
        name, kind = rest.rsplit(":", 1)
        if kind == "policy" and value is None:
            made.append(name)
        elif kind == "policy":
            old = want.get(name, Chain())
            if old.policy != value["policy"]:
                want[name] = Chain(value["policy"], old.rules, int(value["packets"]), int(value["bytes"]))
        elif kind == "rules":
            rules = tuple(Rule(text, int(packets), int(size)) for packets, size, text in value["rules"])
            base = "ACCEPT" if name in BUILT_IN[place.table] else None
            old = want.get(name, Chain(base))
            want[name] = old if old.rules == rules and name in want else replace(old, rules=rules)
    for rest, value in saved.items():
        for target in value["targets"] if rest.endswith(":rules") else ():
            if target not in want:
                want[target] = Chain()
                warnings.append(
                    f"{place}: saved rules lead to the chain {target}, which has been deleted since; it is made anew, "
                    "empty."
                )
    for name in made:
        if not want.get(name, Chain()).rules:  # somebody else's rules keep the chain that we made
            want.pop(name, None)
        else:
            want[name] = replace(want[name], policy="ACCEPT")
    return want, warnings


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


def desired(params: t.Mapping[str, t.Any]) -> FlushResource:
    """The resource that a module's parameters ask for. Raises BadInput."""
    state = params.get("state") or "present"
    asked = any(params.get(name) for name in ("policies", "flush"))
    if state == "restored" and asked:
        raise BadInput("state", state, "puts back all that was changed, with no policies, flush", "leave them out")
    for name in ("families", "backends"):
        if params.get(name) == []:
            raise BadInput(name, [], "leaves nothing to look at", "leave it out for all of them")
    flush = [(item["table"], item.get("chains")) for item in params.get("flush") or ()]
    return FlushResource(
        policies=tuple(Policy(i["table"], i["chain"], i["policy"]) for i in params.get("policies") or ()),
        flush=tuple(Flush(table, None if chains is None else tuple(chains)) for table, chains in flush),
        netns=params.get("netns") or "",
        families=tuple(dict.fromkeys(params.get("families") or FAMILIES)),
        backends=tuple(dict.fromkeys(params.get("backends") or BACKENDS)),
        delete_chains=bool(params.get("delete_chains")),
        force=bool(params.get("force")),
        state=state,
    )
