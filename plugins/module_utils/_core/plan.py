# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change as data: steps that can be shown, applied and taken back, and the plan that holds them.

How a plan is run, journaled and undone is the matter of run.py; docs/decisions/core.md says why it is as it is.
"""

from __future__ import annotations

import itertools
import types
import typing as t
from dataclasses import dataclass, field

from .errors import LabError

if t.TYPE_CHECKING:
    from .host import Host
    from .resource import Resource

Key = str  # a place in the journal: "pin:/sys/fs/bpf/ebpf/xdp_pass", never an id that the kernel gives


@dataclass(frozen=True)
class Note:
    """What a step does to one key of the journal; made by the functions below.

    ``lasting`` entries outlive a reboot: they are about files and decisions, not about what the kernel holds.
    """

    action: str
    key: Key
    value: t.Any = None
    wrote: t.Any = None
    lasting: bool = False


def make(key: Key, value: t.Any = None, *, lasting: bool = False) -> Note:
    """The step makes the thing: it is ours from then on. ``value`` is its identity as far as it is known before."""
    return Note("make", key, value, lasting=lasting)


def save(key: Key, before: t.Any, wrote: t.Any, *, lasting: bool = False) -> Note:
    """The step changes somebody's value from ``before`` to ``wrote``. The first ``before`` of a key is kept."""
    return Note("save", key, before, wrote, lasting)


def release(key: Key) -> Note:
    """The step ends the whole entry: nothing of ours is there any more, and nothing is to be put back."""
    return Note("release", key)


def unmade(key: Key) -> Note:
    """The step takes our thing away; what was there before it, if that is noted, is still to be put back."""
    return Note("unmade", key)


def restored(key: Key) -> Note:
    """The step puts back what was there before; whether something of ours is there as well is another matter."""
    return Note("restored", key)


class Learned:
    """What the steps of one run have found out: a key's identity; and the kernel objects that they hold.

    An object is held under a name of its own, its kind and id ("program 17"), until the run is over.
    """

    def __init__(self) -> None:
        self.values: dict[Key, t.Any] = {}
        self._handles: dict[str, t.Any] = {}

    def get(self, key: Key) -> t.Any:
        """The identity that a step of this run has noted, None without one."""
        return self.values.get(key)

    def handle(self, name: str) -> t.Any:
        """What is held under ``name``. Raises LabError when nothing is."""
        if name not in self._handles:
            raise LabError(f"Nobody holds the {name} any more.")
        return self._handles[name]

    def take(self, done: Done) -> None:
        """Remember what a step brought; of two handles of one object the second is closed."""
        self.values.update(done.learned)
        for name, handle in done.handles.items():
            if self._handles.setdefault(name, handle) is not handle:
                handle.close()

    def close(self) -> None:
        """Let go of all that is held."""
        while self._handles:
            self._handles.popitem()[1].close()


@dataclass(frozen=True)
class Done:
    """What an applied step leaves: how it is taken back, what it found out, and what is to be held meanwhile.

    ``undo`` are steps, applied in their order. ``learned`` are identities by key; ``handles`` have a ``close``.
    """

    undo: tuple[Step, ...] = ()
    learned: t.Mapping[Key, t.Any] = field(default_factory=dict)
    handles: t.Mapping[str, t.Any] = field(default_factory=dict)


Outcome = t.Union[Done, LabError]


@dataclass(frozen=True)
class Step:
    """One change of one thing. Subclasses are frozen dataclasses: all that the step needs is in its fields.

    ``libraries`` are the Python libraries that it imports as it is applied: that they work is seen before the first
    step of the plan.
    """

    libraries: t.ClassVar[tuple[str, ...]] = ()

    def title(self) -> str:
        """A few words in the imperative for the user: "add 192.168.100.1/24 to veth1"."""
        raise NotImplementedError

    def apply(self, host: Host, learned: Learned) -> Done:
        """Make the change or raise a LabError; a step that raised has changed nothing."""
        raise NotImplementedError

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        """What the journal has to hold, with what earlier steps of the run have learned by then."""
        return ()

    def group(self) -> t.Optional[t.Hashable]:
        """Neighbouring steps with an equal group that is not None are one batch for ``apply_many``."""
        return None

    @classmethod
    def apply_many(cls, host: Host, steps: t.Sequence[t.Any], learned: Learned) -> list[Outcome]:
        """Apply a batch; for each step, in order, what became of it. What raises instead has changed nothing."""
        found: list[Outcome] = []
        for step in steps:
            try:
                found.append(step.apply(host, learned))
            except LabError as error:
                found.append(error)
        return found


@dataclass(frozen=True)
class BatchStep(Step):
    """A step that says how a batch of it is made; alone it is a batch of one."""

    def apply(self, host: Host, learned: Learned) -> Done:
        (outcome,) = self.apply_many(host, [self], learned)
        if isinstance(outcome, LabError):
            raise outcome
        return outcome

    @classmethod
    def apply_many(cls, host: Host, steps: t.Sequence[t.Any], learned: Learned) -> list[Outcome]:
        raise NotImplementedError


@dataclass(frozen=True)
class Forget(Step):
    """Not a change of the host: the journal's entry is over, because the thing is gone, or somebody else's by now."""

    key: Key

    def title(self) -> str:
        return f"forget the journal's entry {self.key}"

    def apply(self, host: Host, learned: Learned) -> Done:
        return Done()

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        return (release(self.key),)


@dataclass(frozen=True)
class Later:
    """What can be planned only when earlier steps of this very plan have been made: then ``resource`` plans it.

    ``title`` is what is told of it before, ``notes`` what it will do to the journal as far as that is known.
    """

    resource: Resource[t.Any]
    about: str
    coming: tuple[Note, ...] = ()
    libraries: tuple[str, ...] = ()

    def title(self) -> str:
        """As a step's."""
        return self.about

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        """As a step's."""
        return self.coming


AnyStep = t.Union[Step, Later]


@dataclass(frozen=True)
class Coming:
    """What an earlier part of a plan does to a key: "made" anew, "removed" or "changed"; and the value if known."""

    what: str
    value: t.Any = None


Forecast = t.Mapping[Key, Coming]
NOTHING: Forecast = types.MappingProxyType({})
_WORDS = {"make": "made", "save": "changed", "release": "removed", "unmade": "removed", "restored": "changed"}


def forecast(steps: t.Iterable[AnyStep], before: Forecast = NOTHING) -> Forecast:
    """What ``steps`` will have done to each key, after what ``before`` tells of earlier ones."""
    found = dict(before)
    nothing = Learned()
    for step in steps:
        for note in () if isinstance(step, Forget) else step.notes(nothing):
            found[note.key] = Coming(_WORDS[note.action], note.wrote if note.action == "save" else note.value)
    return found


@dataclass(frozen=True)
class Plan:
    """What is, what will be, and the steps between. ``before`` and ``after`` are plain JSON types: they are the diff.

    A plan without steps has nothing to do. ``warnings`` reach the user whether or not it runs. ``missing`` are the
    tools without which it can be shown, and not be run.
    """

    before: t.Any = None
    after: t.Any = None
    steps: tuple[AnyStep, ...] = ()
    warnings: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @classmethod
    def compose(cls, parts: t.Mapping[str, Plan]) -> Plan:
        """The plans of the parts, in their order, as one."""
        return cls(
            before={name: part.before for name, part in parts.items()},
            after={name: part.after for name, part in parts.items()},
            steps=tuple(itertools.chain.from_iterable(part.steps for part in parts.values())),
            warnings=tuple(itertools.chain.from_iterable(part.warnings for part in parts.values())),
            missing=tuple(dict.fromkeys(itertools.chain.from_iterable(part.missing for part in parts.values()))),
        )

    def titles(self) -> list[str]:
        """The steps in words."""
        return [step.title() for step in self.steps]

    def libraries(self) -> list[str]:
        """The Python libraries that its steps need."""
        return sorted({name for step in self.steps for name in step.libraries})
