# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract of whatever this collection brings to a host, and of the kinds of things that its journal is about."""

from __future__ import annotations

import typing as t

from .plan import NOTHING, Forecast, Key, Plan

if t.TYPE_CHECKING:
    from .host import Host
    from .journal import Entry

State = t.TypeVar("State")


class Unknown:
    """What cannot be told of a thing: the tool that shows it is missing, or what it says cannot be understood."""


UNKNOWN = Unknown()  # as what is seen it changes nothing: the entry stays as it is until somebody can look


def as_json(value: t.Any) -> t.Any:
    """A value as JSON brings it back: lists where tuples were."""
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    return {key: as_json(item) for key, item in value.items()} if isinstance(value, dict) else value


class Probe:
    """What is found out by doing: traffic, a test run, a load that has to be refused. Never done in check mode."""

    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of what it notes while it runs."""
        return ()

    def title(self) -> str:
        """A few words in the imperative: what check mode says that it would do."""
        raise NotImplementedError

    def run(self, host: Host) -> dict[str, t.Any]:
        """Do it and return what was found; the host is left as it was."""
        raise NotImplementedError


class Kind:
    """Things of one kind, known in the journal by the beginning of their keys; see docs/decisions/core.md.

    ``way`` says how a run that was killed is settled: "marked", "named", or "value" for what has no identity; and
    "temporary" for what only a run needs, which the next one removes.
    """

    prefix: str = ""
    way: str = "value"

    def look(self, host: Host, entries: t.Mapping[Key, Entry]) -> t.Mapping[Key, t.Any]:
        """What is there now under each key: an identity, or a value as ``save`` notes it; None for nothing.

        UNKNOWN where it cannot be told. Never raises: a teardown goes on with what can be looked at.
        """
        raise NotImplementedError

    def is_same(self, noted: t.Any, seen: t.Any) -> bool:
        """Whether what is seen is the thing, or the value, that was noted."""
        return bool(as_json(noted) == as_json(seen))

    def identity(self, coming: t.Any, seen: t.Any) -> t.Any:
        """What is noted of a thing that a killed run has made, from what was about to be and what is seen."""
        return coming

    def is_back(self, saved: t.Any, seen: t.Any) -> bool:
        """Whether what is seen is the value from before, so that nothing is left to put back."""
        return bool(as_json(saved) == as_json(seen))

    def sweep(self, host: Host, key: Key, entry: Entry) -> None:
        """Remove a temporary thing; of another kind, what a run that was killed left beside the thing it was about to
        make, which is nothing for most. Raises LabError."""


class Resource(t.Generic[State]):
    """Something that can be observed, planned and described. Its arguments were checked when it was made."""

    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of its places in the journal: what is noted of others is left to those who know them."""
        return ()

    def takes_away(self) -> bool:
        """Whether it is an end: what can be taken away or put back is, what cannot is named and stays noted."""
        return False

    def observe(self, host: Host) -> State:
        """Read the host. Never writes."""
        raise NotImplementedError

    def plan(self, now: State, coming: Forecast = NOTHING) -> Plan:
        """From what is to what is wanted, after what ``coming`` tells of earlier parts of the same plan.

        Pure: no I/O, the same answer for the same state.
        """
        raise NotImplementedError

    def result(self, now: State) -> dict[str, t.Any]:
        """The module's return values for a playbook, plain JSON types. Pure."""
        raise NotImplementedError

    def probes(self, now: State) -> tuple[Probe, ...]:
        """What is to be found out by doing when the host is as wanted; its answers are added to the result."""
        return ()
