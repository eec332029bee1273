# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one gate: check mode, diff, ``changed``, locks, proof and undo are decided here and nowhere else."""

from __future__ import annotations

import contextlib
import typing as t

from . import interpreter, locks
from .errors import LabError, NotConverged, NotTakenAway, as_failure
from .host import Host
from .plan import Plan
from .resource import Kind, Probe, Resource
from .run import Run, stoppable
from .settle import settle, sweep


def converge(host: Host, resource: Resource[t.Any], check_mode: bool, word: str = "") -> dict[str, t.Any]:
    """Bring the host to what ``resource`` wants; returns the module's result without Ansible's own keys.

    Without check mode the result is proven: after the run the host is observed and planned again, and what is left
    over is raised as NotConverged. When a step fails, what this call did is undone before the error is raised; what
    takes away does all that it can and raises NotTakenAway. ``word`` is what others who wait are told of the run.
    """
    host.only_reads = check_mode
    ending = resource.takes_away()
    _settle(host, resource, stale=ending)
    now, plan = _look(host, resource)
    if plan.steps and check_mode and not ending:
        # So will a run that has something to do: entries whose thing is gone are over before it plans.
        _settle(host, resource, stale=True)
        now, plan = _look(host, resource)
    if not plan.missing:
        interpreter.require(plan.libraries())
    if check_mode or plan.missing:
        return _result(host, resource, plan, now, check_mode=True)
    if not plan.steps and not (ending and (host.journal.written or locks.left())):
        locks.sweep()
        if not resource.probes(now):
            return _result(host, resource, plan, now)
        with _holding(host, word, locks.PROBE) as moved:
            left = _sweep(host, resource.kinds())
            if moved:
                host.look_anew()
                now, plan = _look(host, resource)
            if not plan.steps:
                return _result(host, resource, plan, now, left)
    with _holding(host, word, locks.CHANGE, locks.PROBE, ends=ending):
        # What was observed before the lock may be another run's half-done work.
        host.look_anew()
        left = _sweep(host, resource.kinds())
        now, plan = _look(host, resource)
        if plan.steps:
            now = _change(host, resource, plan)
        if left and ending:
            raise NotTakenAway(left, plan.titles())
        return _result(host, resource, plan, now, left)


def probing(host: Host, probe: Probe) -> dict[str, t.Any]:
    """What one probe finds out, while nobody else probes or changes this host."""
    with _holding(host, probe.title(), locks.PROBE):
        _sweep(host, probe.kinds())
        return probe.run(host)


@contextlib.contextmanager
def _holding(host: Host, word: str, *names: str, ends: bool = False) -> t.Iterator[bool]:
    """Hold locks, with the journal as it is by then; it is put in order at the end.

    Gives whether another run was at work since the journal was read. That the journal could not be made shorter is no
    failure of what was done, but one of what takes all away.
    """
    with locks.held(*names, word=word, tell=host.progress) as waited:
        before = host.journal.read_at
        host.journal.reload()
        try:
            yield waited or host.journal.read_at != before
        except BaseException:
            with contextlib.suppress(LabError):
                host.journal.compact()
            raise
        try:
            host.journal.compact()
        except LabError as error:
            if ends:
                raise NotTakenAway([str(error)], []) from error


def _look(host: Host, resource: Resource[t.Any]) -> tuple[t.Any, Plan]:
    """The state, and the plan from there."""
    now = resource.observe(host)
    return now, resource.plan(now)


def _settle(host: Host, resource: Resource[t.Any], stale: bool) -> None:
    """What killed runs have left open is decided by looking, for this call alone."""
    if stale or any(entry.open for entry in host.journal.entries.values()):
        host.journal.suppose(settle(host, resource.kinds(), stale))


def _sweep(host: Host, kinds: t.Sequence[Kind]) -> list[str]:
    """The same, written; and what killed runs left of temporary things is removed. What could not be stays noted.

    Returns that, a sentence each.
    """
    if not host.journal.entries:
        return []
    left = sweep(host, kinds)
    host.journal.patch(settle(host, kinds, stale=True))
    return [f"What a killed run left cannot be removed: {one}" for one in left]


def _change(host: Host, resource: Resource[t.Any], plan: Plan) -> t.Any:
    """Run the plan and prove it; returns the host's state then."""
    with stoppable() as stop, contextlib.closing(Run(host, stop)) as run:
        if resource.takes_away():
            failed = run.apply_as_far_as_can_be(plan.steps)
            if failed:
                raise NotTakenAway([str(one) for one in failed], [step.title() for step, _done in run.applied])
        else:
            _all_or_nothing(run, plan, resource)
        now, left = _proof(host, resource, plan)
    if left:
        raise NotConverged(
            f"Not as asked after the run, still to do: {'; '.join(left[:5])}.",
            "Another program on this host may be changing the same things; run again with --check to see.",
            left=left,
        )
    return now


def _proof(host: Host, resource: Resource[t.Any], plan: Plan) -> tuple[t.Any, list[str]]:
    """The state after the run, and what is still to be done. Raises LabError where it cannot be looked at."""
    try:
        now, again = _look(host, resource)
        return now, again.titles()
    except LabError as error:
        error.message = f"All that was asked for has been done, and cannot be proved: {error.message}"
        error.details["done"] = plan.titles()
        raise


def _all_or_nothing(run: Run, plan: Plan, resource: Resource[t.Any]) -> None:
    """Apply the plan, all of it back on failure; what is told of that comes from a fresh look."""
    try:
        run.apply(plan.steps)
    except BaseException as error:
        undone = [step.title() for step, _done in run.applied]
        left = run.undo()
        if not isinstance(error, Exception):
            raise
        failure = as_failure(error)
        if undone and not left:
            left = _still_there(run.host, resource, plan)
        failure.details.update(undone=undone, not_undone=left)
        if left:
            failure.fix = f"{failure.fix} Not taken back: {'; '.join(left)}.".lstrip()
        elif undone:
            failure.fix = f"{failure.fix} What this run had changed before was taken back.".lstrip()
        if failure is error:
            raise
        raise failure from error


def _still_there(host: Host, resource: Resource[t.Any], plan: Plan) -> list[str]:
    """What of a plan that was taken back would not be done again: it is there, whatever the steps said."""
    try:
        host.look_anew(reload=False)
        again = _look(host, resource)[1].titles()
    except LabError as error:
        return [f"not known, for the host cannot be looked at: {error.message}"]
    return [title for title in plan.titles() if title not in again]


def _result(
    host: Host,
    resource: Resource[t.Any],
    plan: Plan,
    now: t.Any,
    left: t.Sequence[str] = (),
    *,
    check_mode: bool = False,
) -> dict[str, t.Any]:
    """The module's result; in check mode the probes are named and not made. ``left`` are warnings beside the plan's."""
    found = dict(resource.result(now))
    for probe in resource.probes(now):
        if check_mode:
            found.setdefault("would_probe", []).append(probe.title())
        else:
            host.progress(probe.title())
            found.update(probe.run(host))
    return {
        "changed": bool(plan.steps),
        "steps": plan.titles(),
        "diff": {"before": plan.before, "after": plan.after},
        "warnings": [*plan.warnings, *left],
        **found,
    }
