# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one gate: check mode, diff, ``changed``, failure and exit are decided here and nowhere else."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import traceback
import typing as t

from ansible.module_utils import basic
from ansible.module_utils.basic import AnsibleModule

from . import interpreter, mounts, options
from .errors import BadInput, LabError, Missing, NotConverged, Refused, Unforeseen, as_failure
from .host import Host
from .journal import locked
from .plan import Applied, Plan, apply_steps, undo_steps
from .text import shown, shown_values

State = t.TypeVar("State")
Progress = t.Optional[t.Callable[[str], None]]


class Resource(t.Protocol[State]):
    """Something that can be observed, planned and described. Its arguments were checked when it was made."""

    def observe(self, host: Host) -> State:
        """Read the host. Never writes."""

    def plan(self, now: State) -> Plan:
        """From what is to what is wanted. Pure: no I/O, the same answer for the same state."""

    def facts(self, host: Host, now: State) -> dict[str, t.Any]:
        """The module's return values for a playbook, plain JSON types."""


def converge(host: Host, resource: Resource[t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Bring the host to what ``resource`` wants; returns the module's result without Ansible's own keys.

    Without check mode the result is proven: after the run the host is observed and planned again, and what is left
    over is raised as NotConverged. When a step fails, what this call did is undone before the error is raised.
    """
    now = resource.observe(host)
    plan = resource.plan(now)
    interpreter.require(plan.libraries())
    _refuse_hidden(host, plan)
    if plan.steps and not check_mode:
        # What was observed before the lock may be another run's half-done work.
        with locked():
            host.journal.reload()
            now = resource.observe(host)
            plan = resource.plan(now)
            _refuse_hidden(host, plan)
            with _stoppable():
                _run(host, plan)
            now = resource.observe(host)
            left = resource.plan(now)
        if left.steps:
            titles = "; ".join(step.title() for step in left.steps[:5])
            raise NotConverged(
                f"Not as asked after the run, still to do: {titles}.",
                "Another program on this host may be changing the same things; run again with --check to see.",
                left=[step.title() for step in left.steps],
            )
    return {
        "changed": bool(plan.steps),
        "steps": [step.title() for step in plan.steps],
        "diff": {"before": plan.before, "after": plan.after},
        "warnings": list(plan.warnings),
        **resource.facts(host, now),
    }


def _refuse_hidden(host: Host, plan: Plan) -> None:
    """Refuse to change what lies in a place of ours that another mount hides: it would be taken for gone, and stay."""
    named = [value for step in plan.steps for value in vars(step).values() if isinstance(value, str)]
    for key, claim in {**host.journal.claims("mount:"), **host.journal.claims("dir:")}.items():
        place = key.partition(":")[2]
        device = (claim.value or {}).get("device")
        if device is None or not any(value in (key, place) or value.startswith(f"{place}/") for value in named):
            continue
        hider = mounts.hiding(place, device)
        if hider is not None:
            raise Refused(
                f"Somebody mounted a {hider.filesystem} at {hider.path}, which hides the lab's {place}: what is in "
                "there can be neither seen nor removed.",
                f"Run umount {hider.path}, then run again.",
            )


@contextlib.contextmanager
def _stoppable() -> t.Iterator[None]:
    """A signal that would end the process in the middle of a plan is a failure like any other: the plan is undone."""

    def stop(number: int, _frame: object) -> None:
        for other in before:
            signal.signal(other, signal.SIG_IGN)  # a second one must not stop the undoing
        raise LabError(f"The run was stopped by the signal {signal.Signals(number).name}.")

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(host: Host, plan: Plan) -> None:
    """Apply the plan with the journal around it: saves and claims before, releases after, all of it back on failure."""
    entries_before = dict(host.journal.entries)
    notes = plan.notes()
    applied = Applied()
    try:
        host.journal.write(note for note in notes if note.action != "release")
        apply_steps(host, plan.steps, applied)
    except BaseException as error:
        undone = [step.title() for step in applied.done]
        left = undo_steps(host, applied)
        if not left:
            host.journal.replace_all(entries_before)
        if not isinstance(error, Exception):
            raise
        failure = as_failure(error)
        failure.details.update(undone=undone, not_undone=left)
        if left:
            failure.fix = f"{failure.fix} Not taken back: {'; '.join(left)}.".lstrip()
        elif undone:
            failure.fix = f"{failure.fix} What this run had changed before was taken back.".lstrip()
        if failure is error:
            raise
        raise failure from error
    # A key that is released and claimed again (a link made anew) stays claimed: its last note counts.
    last = {note.key: note for note in notes}
    host.journal.write(note for note in last.values() if note.action == "release")


def run_module(
    argument_spec: t.Mapping[str, t.Any],
    desired: t.Callable[[dict[str, t.Any]], Resource[t.Any]],
    owner: t.Callable[[dict[str, t.Any]], str] = lambda params: "",
    progress: t.Callable[[dict[str, t.Any]], t.ContextManager[Progress]] = lambda params: contextlib.nullcontext(),
    **spec: t.Any,
) -> None:
    """The ``main`` of a module that changes things: ``desired`` turns its parameters into a resource or raises.

    ``owner`` names the lab in the journal, ``progress`` gives the function that is told each step as it begins. With
    the option ``report_missing`` a module returns what is missing; else it is an error.
    """
    module = _module(argument_spec, spec)
    with _exits(module):
        options.refuse_impossible("", module.params)
        resource = desired(module.params)
        try:
            lab, check = owner(module.params), module.check_mode
            with progress(module.params) as tell, Host(progress=tell, owner=lab, only_reads=check) as host:
                result = converge(host, resource, check)
        except Missing as error:
            if not error.details.get("not_undone"):
                interpreter.go_on_elsewhere(error)
            if not module.params.get("report_missing"):
                raise
            module.exit_json(changed=False, missing=list(error.names))
        if not module._diff:
            result.pop("diff")
        for line in result.pop("warnings"):
            module.warn(shown(line))
        module.exit_json(**shown_values(result))


def run_info_module(
    argument_spec: t.Mapping[str, t.Any],
    gather: t.Callable[[Host, dict[str, t.Any]], dict[str, t.Any]],
    **spec: t.Any,
) -> None:
    """The ``main`` of a module that only reads: ``gather`` returns its result; a key ``failed`` makes it fail."""
    module = _module(argument_spec, spec)
    with _exits(module):
        try:
            options.refuse_impossible("", module.params)
            with Host(only_reads=module.check_mode) as host:
                result = gather(host, module.params)
        except Missing as error:
            interpreter.go_on_elsewhere(error)
            raise
        module.exit_json(changed=False, **shown_values(result))


def _module(argument_spec: t.Mapping[str, t.Any], spec: t.Mapping[str, t.Any]) -> AnsibleModule:
    """The module of this process. Whatever root's umask is, what is made from here on, by the tools that are called
    too, can be read by all and written by its owner; what nobody else may read says so by a mode of its own."""
    os.umask(0o022)
    interpreter.take_over()
    try:
        return AnsibleModule(argument_spec=dict(argument_spec), supports_check_mode=True, **spec)
    except Exception as error:
        # A bare Exception is what ansible-core raises for arguments that it cannot decode.
        if not isinstance(error, options.STUMBLES) and error.__class__ is not Exception:
            raise
        # There is no module yet that could say it, so this is what its fail_json would print.
        failure = _misread(argument_spec, error)
        sys.stdout.write(json.dumps({"failed": True, "changed": False, "msg": shown(str(failure))}) + "\n")
        raise SystemExit(1) from error


def _misread(argument_spec: t.Mapping[str, t.Any], error: Exception) -> LabError:
    """What to tell of arguments that Ansible itself could not read, with the option where one of them is to blame."""
    given = json.loads(basic._ANSIBLE_ARGS or b"{}").get("ANSIBLE_MODULE_ARGS", {})
    try:
        options.refuse_impossible("", given)
    except BadInput as impossible:
        return impossible
    option = options.culprit(argument_spec, given)
    if option:
        return BadInput(option, given[option], f"cannot be read: {error}", "give a value of its type")
    return LabError(f"The module's arguments cannot be read: {error}.")


@contextlib.contextmanager
def _exits(module: AnsibleModule) -> t.Iterator[None]:
    """Turn a failure into the module's: one sentence, the details as values, the trace of what was unforeseen."""
    try:
        yield
    except Exception as error:
        failure = as_failure(error)
        result = shown_values({"msg": str(failure), **failure.details})
        if isinstance(failure, Unforeseen):
            # fail_json drops a trace unless Ansible shows them all.
            module.exit_json(failed=True, exception=shown(traceback.format_exc()), **result)
        module.fail_json(**result)
