# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ``main`` of each module: arguments in, one result out, and every failure a sentence."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
import typing as t

from ansible.module_utils import basic
from ansible.module_utils.basic import AnsibleModule

from . import interpreter, options
from .command import SEARCH
from .converge import converge, probing
from .errors import BadInput, LabError, Missing, Unforeseen, as_failure
from .host import Host
from .resource import Probe, Resource
from .text import shown, shown_values

Progress = t.Optional[t.Callable[[str], None]]


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
            lab = owner(module.params)
            with progress(module.params) as tell, Host(progress=tell, owner=lab) as host:
                result = converge(host, resource, module.check_mode, module._name)
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


def run_probe_module(
    argument_spec: t.Mapping[str, t.Any],
    probe: t.Callable[[dict[str, t.Any]], Probe],
    **spec: t.Any,
) -> None:
    """The ``main`` of a module that finds something out by doing: ``probe`` is made of its parameters, or raises.

    In check mode it is skipped, and says what it would do. Two of a host's probes wait for each other. A key ``failed``
    in what the probe returns makes the module fail.
    """
    module = _module(argument_spec, spec)
    with _exits(module):
        options.refuse_impossible("", module.params)
        try:
            made = probe(module.params)
            if module.check_mode:
                module.exit_json(changed=False, skipped=True, msg=f"Skipped in check mode: would {made.title()}.")
            with Host() as host:
                result = probing(host, made)
        except Missing as error:
            interpreter.go_on_elsewhere(error)
            raise
        module.exit_json(changed=False, **shown_values(result))


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
    os.environ["PATH"] = SEARCH  # what a library runs by itself is the system's, whoever's root's PATH is
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
