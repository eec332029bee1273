# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps: one table changed in one transaction, and looked at afterwards, whatever the tool says of itself."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from ..._core.errors import LabError, ToolMissing
from ..._core.host import Host
from ..._core.plan import Done, Key, Learned, Note, Step, release, save
from ..._kernel.netns import in_netns
from .observe import NFT_FAMILIES, base_chains, tables_of
from .state import Chain, Chains, Place, counters_value, prefix_of, recounted

WAIT = "--wait=30"  # seconds for the xtables lock; the nft back end takes the option and needs no lock


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


@dataclass(frozen=True)
class TableStep(Step):
    """Turn one table from ``now`` into ``want``, each a tuple of names and chains: one transaction.

    ``back``: what was there before is put back. Base chains that are to go are only emptied, DropStep removes them.
    """

    netns: str
    place: Place
    now: tuple[tuple[str, Chain], ...]
    want: tuple[tuple[str, Chain], ...]
    noted: tuple[Note, ...] = ()
    back: bool = False

    def title(self) -> str:
        """For example "set the policy of FORWARD to ACCEPT, flush FORWARD in filter (nft, ipv4)"."""
        return f"{', '.join(changes(dict(self.now), dict(self.want)))} in {_where(self.place, self.netns)}"

    def apply(self, host: Host, learned: Learned) -> Done:
        in_netns(self.netns, lambda: self._apply(host))
        return Done(undo=self.undo())

    def undo(self) -> tuple[Step, ...]:
        """The table back as it was; what was made of it goes."""
        back = TableStep(self.netns, self.place, self.want, self.now, back=True)
        made = leftovers(dict(self.want), dict(self.now)) if self.place.backend == "nft" else []
        return (back, DropStep(self.netns, self.place, tuple(made), table=not self.now)) if made else (back,)

    def _apply(self, host: Host) -> None:
        now, want = dict(self.now), dict(self.want)
        tool = self.place.tool("restore")
        if host.runner.which(tool) is None:
            raise ToolMissing(tool, "iptables")
        error = self._hand_over(host, tool, script(self.place, now, want))
        try:
            seen = _current(host, self.place)
        except LabError:
            if error is not None:
                raise error from None
            return
        if _is_there(seen, now, want, want):
            return  # whatever the tool has said of it
        error = error or LabError(f"{self.title()}: {tool} said that it was done, and it was not.")
        if not _is_there(seen, now, want, now) and not self.back:
            self._hand_over(host, tool, script(self.place, seen, _with(seen, now, want)))
            try:
                seen = _current(host, self.place)
            except LabError:
                return
            if not _is_there(seen, now, want, now):
                return  # it has changed: what is missing of it is seen at the end
        raise error

    def _hand_over(self, host: Host, tool: str, text: str) -> t.Optional[LabError]:
        """Let iptables-restore do it; returns what it had to say against it."""
        try:
            host.runner.run([tool, WAIT, "--noflush", "--counters"], stdin=text, doing=self.title())
        except LabError as error:
            return error
        return None

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        counters = counters_value(dict(self.want)) if self.place.backend == "legacy" else {}
        if not counters:
            return self.noted
        key = counters_key(self.netns, self.place)
        return (save(key, counters, None), *self.noted, release(key))


@dataclass(frozen=True)
class CountersStep(Step):
    """Put back the counters of a legacy table that a killed tool has left at zero. ``now`` is the table as it is."""

    netns: str
    place: Place
    now: tuple[tuple[str, Chain], ...]
    saved: t.Mapping[str, t.Any]

    def title(self) -> str:
        return f"put back the counters in {_where(self.place, self.netns)}"

    def apply(self, host: Host, learned: Learned) -> Done:
        now = dict(self.now)
        counted = recounted(self.saved, now)
        empty = {name: replace(chain, rules=()) for name, chain in counted.items()}
        text = script(self.place, {**now, **empty}, {**now, **counted})
        in_netns(self.netns, lambda: self._apply(host, text))
        return Done()

    def _apply(self, host: Host, text: str) -> None:
        tool = self.place.tool("restore")
        if host.runner.which(tool) is None:
            raise ToolMissing(tool, "iptables")
        host.runner.run([tool, WAIT, "--noflush", "--counters"], stdin=text, doing=self.title())
        if recounted(self.saved, _current(host, self.place)):
            raise LabError(f"{self.title()}: {tool} said that it was done, and it was not.")

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (release(counters_key(self.netns, self.place)),)


def counters_key(netns: str, place: Place) -> Key:
    """The journal's key of a table's counters."""
    return f"{prefix_of(netns, place)}:counters"


def _current(host: Host, place: Place) -> Chains:
    """One table as it is in the calling thread's namespace. Raises LabError."""
    return tables_of(host, "", [place])[0].get(place, {})


def _is_there(seen: Chains, now: Chains, want: Chains, side: Chains) -> bool:
    """Whether what differs between ``now`` and ``want`` is as in ``side``; what others do elsewhere is theirs."""
    for name in {*now, *want}:
        if now.get(name) == want.get(name):
            continue
        chains = [one.get(name) for one in (seen, side)]
        if (now.get(name) or want[name]).policy is not None:  # a base chain that nobody made accepts
            chains = [chain or Chain("ACCEPT") for chain in chains]
            if name not in side and chains[0] is not None:
                chains[1] = Chain(chains[0].policy)
        if chains[0] != chains[1]:
            return False
    return True


def _with(seen: Chains, now: Chains, want: Chains) -> Chains:
    """What is seen, with what differs between ``now`` and ``want`` as in ``now``."""
    found = dict(seen)
    for name in {*now, *want}:
        if now.get(name) != want.get(name):
            found.pop(name, None)
            found.update({name: now[name]} if name in now else {})
    return found


@dataclass(frozen=True)
class DropStep(Step):
    """Remove base chains of nft that are empty by now, and (``table``) the table, none of which was there before us.

    iptables-restore cannot do that; the kernel keeps a legacy table that was loaded.
    """

    netns: str
    place: Place
    chains: tuple[str, ...]
    table: bool = False
    noted: tuple[Note, ...] = ()

    def title(self) -> str:
        what = [f"delete the empty chain {name}" for name in self.chains] + ["delete the empty table"] * self.table
        return f"{', '.join(what)} in {_where(self.place, self.netns)}"

    def apply(self, host: Host, learned: Learned) -> Done:
        in_netns(self.netns, lambda: self._apply(host))
        return Done()

    def _apply(self, host: Host) -> None:
        table = f"{NFT_FAMILIES[self.place.family]} {self.place.table}"
        there = {name for name, chain in base_chains(host, self.place.family) if name == self.place.table}
        lines = [f"delete chain {table} {name}" for name in self.chains if there]
        lines += [f"delete table {table}"] if self.table else []
        if not lines:
            return
        error: t.Optional[LabError] = None
        try:
            host.runner.run(["nft", "--file", "-"], stdin="\n".join(lines) + "\n", doing=self.title())
        except LabError as failure:
            error = failure
        left = {chain for name, chain in base_chains(host, self.place.family) if name == self.place.table}
        if left & set(self.chains):
            raise error or LabError(f"{self.title()}: nft said that it was done, and it was not.")
        if error is not None and self.table and self.place in tables_of(host, "", [self.place])[0]:
            raise error

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return self.noted


@dataclass(frozen=True)
class ForgetSaved(Step):
    """Not a change of the host: of these keys nothing is to be put back any more."""

    netns: str
    place: Place
    keys: tuple[Key, ...]
    why: str = ""

    def title(self) -> str:
        return f"forget what was saved {self.why or 'in'} {_where(self.place, self.netns)}"

    def apply(self, host: Host, learned: Learned) -> Done:
        return Done()

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return tuple(release(key) for key in self.keys)


@dataclass(frozen=True)
class NotRestored(Step):
    """What cannot be put back now, with the reason: the run goes on, fails at its end, and the journal keeps it."""

    netns: str
    places: tuple[Place, ...]
    why: str

    def title(self) -> str:
        return f"put back {', '.join(_where(place, self.netns) for place in self.places)}"

    def apply(self, host: Host, learned: Learned) -> Done:
        raise LabError(self.why)


def _where(place: Place, netns: str) -> str:
    return f"{place} in namespace {netns}" if netns else str(place)


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
    for name, chain in now.items():
        if name not in want and chain.policy is None:
            lines.append(f"delete chain {name}")
        elif name not in want and chain.rules:
            lines.append(f"flush {name}")
    return lines
