# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change as data: steps that can be shown, applied and taken back, and the plan that holds them."""

from __future__ import annotations

import itertools
import typing as t
from dataclasses import dataclass, field

from .errors import LabError, as_failure

if t.TYPE_CHECKING:
    from .host import Host


@dataclass(frozen=True)
class Note:
    """One line for the journal.

    ``save`` keeps a foreign value that is about to be changed (the first one wins), ``claim`` says that we made the
    object, ``release`` forgets both. ``volatile`` entries describe what a reboot takes away: they count for the boot
    that wrote them.
    """

    action: str
    key: str
    value: t.Any = None
    volatile: bool = True

    def __post_init__(self) -> None:
        if self.action not in ("save", "claim", "release"):
            raise ValueError(f"not a journal action: {self.action}")


@dataclass(frozen=True)
class Step:
    """One change of one thing. Subclasses are frozen dataclasses: all that the step needs is in its fields.

    A subclass gives ``title`` and ``apply`` and either ``inverse`` (the steps that take it back, as data) or its own
    ``undo`` (when taking it back needs what only ``apply`` could know; it keeps that in ``host.kept``). ``libraries``
    are the Python libraries that it imports as it is applied: that they work is seen before the first step.
    """

    libraries: t.ClassVar[tuple[str, ...]] = ()

    def title(self) -> str:
        """A few words in the imperative for the user: "add 192.168.100.1/24 to veth1"."""
        raise NotImplementedError

    def apply(self, host: Host) -> None:
        """Make the change or raise a LabError; a step that raised has changed nothing."""
        raise NotImplementedError

    def inverse(self) -> tuple[Step, ...]:
        """The steps that take this one back."""
        return ()

    def undo(self, host: Host) -> None:
        """Take the applied change back."""
        for step in self.inverse():
            step.apply(host)

    def notes(self) -> tuple[Note, ...]:
        """What the journal has to hold: saves and claims are written before the plan runs, releases after it."""
        return ()

    def group(self) -> t.Optional[t.Hashable]:
        """Neighbouring steps with an equal group that is not None are handed to ``apply_group`` together."""
        return None

    @classmethod
    def apply_group(cls, host: Host, steps: t.Sequence[t.Any]) -> None:
        """Apply neighbours in one go; raises GroupFailed naming those that took effect."""
        raise NotImplementedError


class GroupFailed(Exception):
    """Inside ``apply_group``: ``done`` took effect, ``failed`` did not, ``error`` says why."""

    def __init__(self, done: t.Sequence[Step], failed: Step, error: LabError) -> None:
        super().__init__(str(error))
        self.done = done
        self.failed = failed
        self.error = error


@dataclass(frozen=True)
class Forget(Step):
    """Not a change of the kernel: the journal's entry is over, because the thing is gone or restored."""

    key: str

    def title(self) -> str:
        return f"forget the journal's entry {self.key}"

    def apply(self, host: Host) -> None:
        pass

    def notes(self) -> tuple[Note, ...]:
        return (Note("release", self.key),)


@dataclass(frozen=True)
class Plan:
    """What is, what will be, and the steps between. ``before`` and ``after`` are plain JSON types: they are the diff.

    A plan without steps has nothing to do. ``warnings`` reach the user whether or not it runs.
    """

    before: t.Any = None
    after: t.Any = None
    steps: tuple[Step, ...] = ()
    warnings: tuple[str, ...] = ()

    @classmethod
    def compose(cls, parts: t.Mapping[str, Plan]) -> Plan:
        """The plans of the parts, in their order, as one."""
        return cls(
            before={name: part.before for name, part in parts.items()},
            after={name: part.after for name, part in parts.items()},
            steps=tuple(itertools.chain.from_iterable(part.steps for part in parts.values())),
            warnings=tuple(itertools.chain.from_iterable(part.warnings for part in parts.values())),
        )

    def libraries(self) -> list[str]:
        """The Python libraries that its steps need."""
        return sorted({name for step in self.steps for name in step.libraries})

    def notes(self) -> list[Note]:
        """The journal notes of all steps, in order."""
        return [note for step in self.steps for note in step.notes()]


@dataclass
class Applied:
    """How far a plan got: ``done`` in the order they took effect."""

    done: list[Step] = field(default_factory=list)


def apply_steps(host: Host, steps: t.Sequence[Step], applied: Applied) -> None:
    """Apply ``steps`` in order, neighbours of one group together; ``applied`` tells how far it got when it raises."""
    for key, run in itertools.groupby(steps, key=lambda step: step.group()):
        members = list(run)
        if key is None:
            for step in members:
                host.progress(step.title())
                step.apply(host)
                applied.done.append(step)
            continue
        host.progress(members[0].title() + (f" (and {len(members) - 1} more)" if len(members) > 1 else ""))
        try:
            type(members[0]).apply_group(host, members)
        except GroupFailed as failure:
            applied.done.extend(failure.done)
            raise failure.error from failure
        applied.done.extend(members)


def undo_steps(host: Host, applied: Applied) -> list[str]:
    """Take back what was applied, last first; returns what could not be taken back, a sentence each."""
    left = []
    for step in reversed(applied.done):
        try:
            host.progress(f"undo: {step.title()}")
            step.undo(host)
        except Exception as error:  # whatever it is, the steps before it are still taken back
            left.append(f"{step.title()}: {as_failure(error)}")
    return left
