# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Apply a plan with the journal around each batch of it, and take back what was applied.

A batch is journaled before it is made ("about to") and after ("made"); what it said of itself is what counts, for each
of its steps. What is undone is steps as well, journaled like all others, so that a run which is killed while it takes
back is settled like any other.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import typing as t
from dataclasses import dataclass, field, replace

from .errors import LabError, as_failure
from .host import Host
from .journal import Entry
from .plan import NOTHING, AnyStep, Done, Key, Later, Learned, Note, Outcome, Step


@dataclass
class Stop:
    """Whether somebody has told the process to end; ``signal`` is its name, "" for nobody."""

    signal: str = ""

    def check(self) -> None:
        """Raise LabError when somebody has."""
        if self.signal:
            raise LabError(f"The run was stopped by the signal {self.signal}.")


@contextlib.contextmanager
def stoppable() -> t.Iterator[Stop]:
    """Between two batches a signal to end is a failure like any other: it must not hit a step half way."""
    stop = Stop()

    def told(number: int, _frame: object) -> None:
        stop.signal = signal.Signals(number).name

    before = {number: signal.signal(number, told) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class Failed:
    """A step that could not be made, and why."""

    step: AnyStep
    error: LabError

    def __str__(self) -> str:
        return f"{self.step.title()}: {self.error}"


@dataclass
class Run:
    """What one run has applied so far, last one last. ``close`` lets go of what its steps hold."""

    host: Host
    stop: Stop = field(default_factory=Stop)
    applied: list[tuple[Step, Done]] = field(default_factory=list)
    learned: Learned = field(default_factory=Learned)

    def __post_init__(self) -> None:
        self.entries_before: dict[Key, Entry] = dict(self.host.journal.entries)

    def apply(self, steps: t.Iterable[AnyStep]) -> None:
        """Apply all; raises what the first step that could not be made said, a LabError for what was foreseen."""
        for batch in _batches(steps):
            self.stop.check()
            failed = self._batch(batch)
            if failed:
                raise failed[0].error
        self.stop.check()

    def apply_as_far_as_can_be(self, steps: t.Iterable[AnyStep]) -> list[Failed]:
        """Apply what can be applied; returns what could not."""
        failed: list[Failed] = []
        for batch in _batches(steps):
            self.stop.check()
            try:
                failed += self._batch(batch)
            except Exception as error:  # whatever it is, what else can be taken away is
                failed.append(Failed(batch[0], as_failure(error)))
        return failed

    def undo(self) -> list[str]:
        """Take back what was applied, last first; returns what could not be taken back, a sentence each."""
        applied, self.applied = self.applied, []
        left: list[str] = []
        for step, done in reversed(applied):
            self.host.progress(f"undo: {step.title()}")
            for one in done.undo:
                try:
                    problems = self._batch([one], undoing=True)
                except Exception as error:  # whatever it is, the steps before it are still taken back
                    problems = [Failed(one, as_failure(error))]
                left += [f"{step.title()}: {problem.error}" for problem in problems]
        if not left:
            self._entries_as_before()
        return left

    def _entries_as_before(self) -> None:
        """The journal of before, with the identities of what had to be made anew."""
        wanted = dict(self.entries_before)
        for key, value in self.learned.values.items():
            if key in wanted and wanted[key].claimed:
                wanted[key] = replace(wanted[key], value=value)
        gone = dict.fromkeys(key for key in self.host.journal.entries if key not in wanted)
        with contextlib.suppress(LabError):  # what cannot be written is settled by the next run
            self.host.journal.patch({**gone, **wanted})

    def _batch(self, batch: t.Sequence[AnyStep], undoing: bool = False) -> list[Failed]:
        """Make one batch; returns what of it could not be made."""
        first = batch[0]
        if isinstance(first, Later):
            state = first.resource.observe(self.host)
            self.apply(first.resource.plan(state, NOTHING).steps)
            return []
        steps = t.cast("list[Step]", list(batch))
        if not undoing:
            self.host.progress(first.title() + (f" (and {len(steps) - 1} more)" if len(steps) > 1 else ""))
        notes = [step.notes(self.learned) for step in steps]
        journal = self.host.journal
        try:
            before = journal.begin(itertools.chain.from_iterable(notes))
        except LabError:
            if not undoing:
                raise
            before = {}  # what a full disk does not take must not stop the taking back
        try:
            outcomes: t.Sequence[Outcome] = type(first).apply_many(self.host, steps, self.learned)
        except Exception:
            self._drop(notes, before)
            raise
        failed = [Failed(step, outcome) for step, outcome in zip(steps, outcomes) if isinstance(outcome, LabError)]
        # What a neighbour has done to the same key stays noted.
        made_keys = {n.key for some, out in zip(notes, outcomes) if isinstance(out, Done) for n in some}
        refused = [some for some, outcome in zip(notes, outcomes) if isinstance(outcome, LabError)]
        self._drop(refused, {key: entry for key, entry in before.items() if key not in made_keys})
        made: list[Note] = []
        for step, noted, outcome in zip(steps, notes, outcomes):
            if isinstance(outcome, Done):
                self.learned.take(outcome)
                made += noted
                if not undoing:
                    self.applied.append((step, outcome))
        try:
            journal.finish(made, self.learned.values)
        except LabError:
            if not undoing:
                raise
        return failed

    def _drop(self, notes: t.Iterable[tuple[Note, ...]], before: t.Mapping[Key, t.Optional[Entry]]) -> None:
        """What was about to happen did not."""
        keys = {note.key for some in notes for note in some}
        with contextlib.suppress(LabError):
            self.host.journal.patch({key: before[key] for key in keys if key in before})

    def close(self) -> None:
        """Let go of what the steps hold."""
        self.learned.close()


def _batches(steps: t.Iterable[AnyStep]) -> t.Iterator[list[AnyStep]]:
    """Neighbours of one group together, all others alone."""

    def key(numbered: tuple[int, AnyStep]) -> t.Hashable:
        number, step = numbered
        group = None if isinstance(step, Later) else step.group()
        return number if group is None else ("group", type(step), group)

    for _key, run in itertools.groupby(enumerate(steps), key=key):
        yield [step for _number, step in run]
