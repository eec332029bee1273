# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a module on a host whose owner may answer what he likes, and take of the answer what does no harm.

Every module of the collection that runs on a host comes by here: those without an action plugin of their own by
``plugins/action/on_host.py``, to which ``meta/runtime.yml`` leads them.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import re
import textwrap
import traceback
import typing as t

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import OldPython, library_cure
from ansible_collections.ebpf.lab.plugins.module_utils._python import OLDEST

from ..module_utils._lab.grading.messages import is_message, trace, words
from ..module_utils._lab.grading.plain import bounded, plain, shown, tidy, visible

try:
    from ansible._internal._display_utils import DeferredWarningContext
except ImportError:  # no ansible-core's promise; without it a module's warnings are as Ansible prints them
    DeferredWarningContext = None

MODULES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "modules")
LINE = 1000  # characters of a warning
ITEMS = 10_000  # of a failure's values, all in all
MANY = 20  # warnings of a module
TRACE = 50_000  # characters of a trace, its end
UNKNOWN = "Unknown error."  # Ansible's own word for a failure without one
TAIL = 2000  # characters of what a machine said instead of an answer

# What Ansible knows of a result and our modules may say; facts, hosts and all that steers Ansible is not among it.
COMMON = {"changed", "failed", "msg", "diff", "rc", "stdout", "stdout_lines", "stderr", "stderr_lines"}
COMMON |= {"module_stdout", "module_stderr"}
# The values that a failure carries beside its sentence.
DETAILS = {
    "archives",
    "argv",
    "compiler_output",
    "diagnostics",
    "errno",
    "file",
    "header",
    "instruction",
    "left",
    "link_id",
}
DETAILS |= {"loader_output", "lock", "log", "missing", "not_undone", "option", "program", "program_id", "reason"}
DETAILS |= {"done", "not_taken_away", "taken_away"}
DETAILS |= {"section", "source_line", "source_location", "tool", "undone", "verifier_log", "where"}
# Of a job in the background.
JOB = {"ansible_job_id", "finished", "results_file", "started"}

display = Display()


@contextlib.contextmanager
def _uncollected() -> t.Iterator[None]:
    """Without the garbage collector, which takes a third of the time in which Ansible builds the module.

    Ansible parses each file that the module imports, and the collector walks those trees again and again, in vain. The
    process lives for one task and has no use for the memory.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # what is left over is not walked afterwards either
        if enabled:
            gc.enable()


@functools.cache
def returned(name: str) -> frozenset[str]:
    """The keys that a module of this collection documents as returned."""
    with open(os.path.join(MODULES, f"{name}.py"), encoding="utf-8") as file:
        documented = re.search(r'^RETURN = r"""$(.*?)^"""$', file.read(), re.MULTILINE | re.DOTALL)
    return frozenset(re.findall(r"^(\w+):", documented[1] if documented else "", re.MULTILINE))


def execute(
    action: ActionBase,
    module: str,
    arguments: dict[str, t.Any],
    task_vars: dict[str, t.Any],
    raw: t.Sequence[str] = (),
    background: bool = False,
) -> dict[str, t.Any]:
    """The result of a module of this collection in plain types, every text of it safe to print.

    The keys ``raw`` are not made safe to print: facts to compare. ``background``: the module is only started, and the
    result tells its job.

    Of the answer only those keys are taken that the module documents and that Ansible's own results have: a host does
    not set the variables of the play, adds no host, and does not say that it was skipped. Warnings are shown, escaped:
    Ansible itself prints them as they come. A failure says what is wrong, also when the module did not get to that; its
    trace is shown with -vvv. Raises AnsibleConnectionFailure.
    """
    done = _ask(action, module, arguments, task_vars, background)
    allowed = COMMON | DETAILS | returned(module.rpartition(".")[2]) | (JOB if background else set())
    return _taken(action, done, allowed, raw)


def job_status(action: ActionBase, module: str, job: str, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
    """What has become of a module that ``execute`` started; its result is taken as that of ``execute`` is."""
    folder = action._remote_expand_user(action.get_shell_option("async_dir", default="~/.ansible_async"))
    arguments = {"jid": job, "_async_dir": folder}
    done = _ask(action, "ansible.legacy.async_status", {**arguments, "mode": "status"}, task_vars, False)
    if done.get("finished"):
        _ask(action, "ansible.legacy.async_status", {**arguments, "mode": "cleanup"}, task_vars, False)
    return _taken(action, done, COMMON | DETAILS | returned(module.rpartition(".")[2]) | JOB, ())


def _ask(
    action: ActionBase, module: str, arguments: dict[str, t.Any], task_vars: dict[str, t.Any], background: bool
) -> dict[str, t.Any]:
    """The answer as Ansible understands it; its own warnings about it are shown. Raises AnsibleConnectionFailure."""
    context = DeferredWarningContext(variables=task_vars) if DeferredWarningContext else None
    try:
        with context or contextlib.nullcontext(), _uncollected():
            try:
                done = action._execute_module(
                    module_name=module, module_args=arguments, task_vars=task_vars, wrap_async=background
                )
            finally:
                _clean_up(action)
    except AnsibleConnectionFailure as error:
        raise AnsibleConnectionFailure(visible(str(error))) from None
    except AnsibleError as error:
        done = {"failed": True, "msg": str(error), "exception": traceback.format_exc()}
    except Exception as error:  # ansible-core trusts a module to send each value in its right type
        sentence = f"The answer of this machine cannot be read: {type(error).__name__}: {error}"
        done = {"failed": True, "msg": sentence, "exception": traceback.format_exc()}
    done = dict(done)
    if context:
        for warning in context.get_warnings():
            _warn(warning)
        done["deprecations"] = [*context.get_deprecation_warnings(), *_list(done.get("deprecations"))]
    return done


def _clean_up(action: ActionBase) -> None:
    """Remove the module's files now: what Ansible says of it when the task is over, nobody escapes."""
    shell = action._connection._shell
    path, shell.tmpdir = shell.tmpdir, None
    if path:
        action._remove_tmp_path(path)


def _warn(warning: t.Any) -> None:
    display.warning(visible(str(plain(warning)), LINE))


def _taken(
    action: ActionBase, done: dict[str, t.Any], allowed: t.AbstractSet[str], raw: t.Sequence[str]
) -> dict[str, t.Any]:
    """What does no harm of an answer."""
    warnings, deprecations = (_list(done.get(key)) for key in ("warnings", "deprecations"))
    for warning in warnings[:MANY]:
        _warn(warning)
    if len(warnings) > MANY:
        display.warning(f"The module had {len(warnings) - MANY} more warnings, which are not shown.")
    taken = {key: value for key, value in done.items() if key in allowed}
    for key in {"module_stdout", "module_stderr"} & set(taken):
        taken[key] = str(plain(taken[key]))[-TAIL:]
    if done.get("failed"):  # which Ansible prints in full
        taken = bounded({key: plain(value) for key, value in taken.items()}, ITEMS)
    result = {key: plain(value) if key in raw else tidy(value) for key, value in taken.items()}
    for key in {"changed", "failed"} & set(result):
        result[key] = bool(result[key])
    if not isinstance(result.get("rc", 0), int):
        del result["rc"]
    for key in {"stdout", "stderr"} & set(result):
        result[key] = result[key] if isinstance(result[key], str) else shown(result[key])
    if "diff" in result:
        result["diff"] = _diff(result["diff"])
    if deprecations:
        result["deprecations"] = [_deprecation(entry) for entry in deprecations[:MANY]]
    if result.get("failed") or result.get("rc"):
        _explain(action, result, done.get("msg"), done.get("exception"))
    interpreter = action._discovered_interpreter
    if action._discovered_interpreter_key and re.fullmatch(r"/[\w./+-]+", str(interpreter)):
        # Found out by the control node, not said by the module: without it each task would look again.
        result["ansible_facts"] = {action._discovered_interpreter_key: str(interpreter)}
    return result


def _list(value: t.Any) -> list[t.Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


def _diff(value: t.Any) -> dict[str, t.Any]:
    """A difference as Ansible can show it: texts or mappings, before and after."""
    found = value if isinstance(value, dict) else {"after": value}
    sides = {key: found.get(key, "") for key in ("before", "after")}  # headers are printed as they are
    return {key: side if isinstance(side, (str, dict)) else shown(side) for key, side in sides.items()}


def _deprecation(entry: t.Any) -> dict[str, t.Any]:
    """A deprecation in the form that an action may return, safe to print."""
    values = entry if isinstance(entry, dict) else {}
    collection = values.get("collection_name")
    if is_message(entry):
        values = {key: getattr(entry, key, None) for key in ("version", "date")}
        collection = str(getattr(getattr(entry, "deprecator", None), "resolved_name", None) or "")
        collection = ".".join(collection.split(".")[:2])
    text = values.get("msg") if isinstance(entry, dict) else entry
    found = {"msg": visible(str(plain(text)), LINE)}
    for key in ("version", "date"):
        if values.get(key):
            found[key] = visible(str(plain(values[key])), 40)
    if isinstance(collection, str) and re.fullmatch(r"\w+\.\w+", collection, re.ASCII):
        found["collection_name"] = str(collection)
    return found


def _explain(action: ActionBase, result: dict[str, t.Any], msg: t.Any, problem: t.Any) -> None:
    """Give a failure its sentence; its trace goes to where Ansible looks for it, and to the reader with -vvv.

    No line of them begins where Ansible's own begin, so that none can be taken for what Ansible says of another host.
    """
    where = (trace(problem) if is_message(problem) else problem if isinstance(problem, str) else "")[-TRACE:]
    sentence = msg if isinstance(msg, str) else "" if msg is None else shown(plain(msg))
    if not sentence.strip():
        said = words(problem) if is_message(problem) else ""
        raised = _raised(where, "" if said == UNKNOWN else said)
        sentence = f"{_ended(raised)} {_cure(action, where)}" if raised else "It failed and did not say why."
    if "module_stdout" in result or "module_stderr" in result:
        said = str(result.get("module_stderr") or "").strip() or str(result.get("module_stdout") or "").strip()
        sentence = f"{_ended(sentence)} The machine said: {_gist(said)}"
        if result.get("rc") in (126, 127):  # a shell's word for a program that it did not find, or that does not run
            sentence = f"{_ended(sentence)} Set ansible_python_interpreter to a Python that runs there."
    result["msg"] = visible(sentence.strip(), TAIL)
    if not where.strip():
        return
    result["exception"] = textwrap.indent(tidy(where), "  ")
    if not action._task.no_log:
        address = visible(str(action._play_context.remote_addr or ""), 100)
        display.vvv(f"what was raised there:\n{result['exception']}", host=address)


def _ended(sentence: str) -> str:
    sentence = sentence.strip()
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."


def _gist(said: str) -> str:
    """The lines of an output that say most: Python names the exception in its last, most others begin with it."""
    lines = [line.strip()[-TAIL // 4 :] for line in said.splitlines() if line.strip()] or ["nothing"]
    first = [] if len(lines) == 1 or "Traceback (most recent call last):" in lines else [lines[0]]
    return " … ".join([*first, lines[-1]])


def _raised(where: str, said: str) -> str:
    """An exception's own sentence: its type, which only the trace has, and its text."""
    lines = where.strip().splitlines()
    if not said:
        return lines[-1].strip() if lines else ""
    for line in reversed(lines):
        kind, _colon, text = line.partition(": ")
        if text and said.startswith(text) and re.fullmatch(r"[\w.]+", kind):
            return f"{kind}: {said}"
    return said


def _cure(action: ActionBase, where: str) -> str:
    """What to do about an exception that came before the module could say so itself."""
    version = re.search(r"/python(\d{1,3})\.(\d{1,3})/", where)
    if version and (int(version[1]), int(version[2])) < OLDEST:
        return str(OldPython((int(version[1]), int(version[2]))))
    if re.search(r"^(ModuleNotFoundError|ImportError):", where, re.MULTILINE):
        return library_cure(str(action._used_interpreter or "").removeprefix("#!") or "this machine's Python")
    return "This is a defect of ebpf.lab: please report it, with what -vvv shows."
