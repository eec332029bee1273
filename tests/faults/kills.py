# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One try: a run that is killed, or one of whose system calls is refused, and what becomes of the machine after it.

These functions are called in a private machine, by ``private.inside``. A try is a dict: ``scenario``, ``point`` and
``number`` (or ``random``, a moment in seconds), and ``whom`` ("alone", "group") with ``way`` ("down": torn down at
once, "again": run again first), or ``errno``. The answer's ``wrong`` is empty when all is as promised.
"""

from __future__ import annotations

import os
import typing as t

from .private import INSTANCES, TryFailed, furnish, left_over, snapshot, unreadable
from .product import failed
from .scenarios import Scenario, scenarios
from .supervisor import GO_ON, Answer, Call

Answers = dict[str, t.Any]
UNHELPFUL = ("Unknown error", "[Errno")


def count(given: Answers) -> Answers:
    """The points of an unkilled run. It has to end well and to leave nothing, or kills would prove nothing."""
    scenario = scenarios()[given["scenario"]]
    before = begin(scenario)
    watch = Watch()
    done = scenario.target.supervised(watch)
    wrong = said_by("the run itself", failed(done.result))
    wrong += end(scenario, before, watch)
    points = [[point.name, point.number] for point in done.run.points]
    return {"points": points, "seconds": done.run.seconds, "wrong": wrong}


def kill(given: Answers) -> Answers:
    """Kill at a point or at a random moment."""
    scenario = scenarios()[given["scenario"]]
    before = begin(scenario)
    watch = Watch(given, Answer(kill=given["whom"]))
    options: dict[str, t.Any] = {}
    if "random" in given:
        options = {"kill_after": (given["random"], given["whom"])}
    done = scenario.target.supervised(watch, **options)
    if not done.run.hit:
        watch.clear()
        return {"hit": False, "wrong": [], "points": [[point.name, point.number] for point in done.run.points]}
    wrong = [f"the journal cannot be read: {line}" for line in unreadable()]
    if given["way"] == "again":
        wrong += converges(scenario)
    wrong += end(scenario, before, watch)
    return {"hit": True, "wrong": wrong}


def refuse(given: Answers) -> Answers:
    """Answer one call with an error: the run goes on without, or is taken back and says so in one sentence.

    An end does all that it can instead, names what it could not, and the next one takes that away.
    """
    scenario = scenarios()[given["scenario"]]
    before = begin(scenario)
    was = snapshot()
    watch = Watch(given, Answer(error=given["errno"]))
    done = scenario.target.supervised(watch)
    if not done.run.hit:
        watch.clear()
        return {"hit": False, "wrong": [], "points": [[point.name, point.number] for point in done.run.points]}
    said = failed(done.result)
    wrong = unhelpful(done.result)
    if done.result.get("not_taken_away"):
        wrong += [f"the next end: {why}" for why in [failed(scenario.target.run())] if why]
    elif said and not done.result.get("not_undone"):
        # What is written in the journal may differ as long as it means the same.
        # So may the kernel's own addresses of new links, which come when it has looked whether others have them.
        lines = [line for line in left_over(was) if "/var/lib/ebpf.lab/" not in line and "fe80::" not in line]
        wrong += [f"not taken back: {line}" for line in lines]
    wrong += converges(scenario)
    wrong += end(scenario, before, watch)
    return {"hit": True, "failed": bool(said), "wrong": wrong}


def unhelpful(answer: Answers) -> list[str]:
    """What in a failure's words helps nobody."""
    said, trace = failed(answer), answer.get("traceback", "")
    if trace or "Traceback" in said:
        return [f"a traceback: {(trace or said).strip().splitlines()[-1]}"]
    return [f"said {word!r}: {said:.300}" for word in UNHELPFUL if word in said]


class Watch:
    """Aims, and notes the trace instances that the run made: the kernel's own, in which no snapshot may look."""

    def __init__(self, given: t.Optional[Answers] = None, answer: Answer = GO_ON) -> None:
        self.aim = (given or {}).get("point"), (given or {}).get("number")
        self.answer = answer
        self.instances: list[str] = []

    def __call__(self, call: Call) -> Answer:
        if call.name.startswith(f"mkdir {INSTANCES}"):
            self.instances.append(call.path)
        return self.answer if (call.name, call.number) == self.aim else GO_ON

    def clear(self) -> list[str]:
        """Those that are there still; removed now, because they would outlive the machine."""
        left = [path for path in self.instances if os.path.exists(path)]
        for path in left:
            os.rmdir(path)
        return left


def begin(scenario: Scenario) -> dict[str, t.Any]:
    """The owner's machine; its snapshot; then what comes before the run."""
    furnish()
    before = snapshot()
    for command in scenario.before:
        why = failed(command.run())
        if why:
            raise TryFailed(f"{scenario.name}: what comes before failed: {why}")
    return before


def converges(scenario: Scenario) -> list[str]:
    """The next run ends well, and after it nothing is left to be done."""
    wrong = said_by("the next run", failed(scenario.target.run()))
    if scenario.check is not None and not wrong:
        answer = scenario.check.run()
        wrong = said_by("check mode after it", failed(answer))
        wrong += [f"the next run did not converge, still to do: {answer['steps']}"] if answer.get("changed") else []
    return wrong


def end(scenario: Scenario, before: dict[str, t.Any], watch: Watch) -> list[str]:
    """Take all away; a line for what that says and for what it leaves."""
    wrong = said_by("down", failed(scenario.down.run()))
    wrong += [f"left: {line}" for line in left_over(before)]
    return wrong + [f"left: the trace instance {path}" for path in watch.clear()]


def said_by(what: str, why: str) -> list[str]:
    return [f"{what} failed: {why:.500}"] if why else []
