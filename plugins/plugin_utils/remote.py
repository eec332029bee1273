# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a module on a host whose owner may answer what he likes, and take of the answer what does no harm."""

from __future__ import annotations

import contextlib
import gc
import typing as t

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from .plain import plain, tidy, visible

try:
    from ansible._internal._display_utils import DeferredWarningContext
except ImportError:  # no ansible-core's promise; without it a module's warnings are as Ansible prints them
    DeferredWarningContext = None

LINE = 1000  # characters of a warning

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


def execute(
    action: ActionBase, module: str, arguments: dict[str, t.Any], task_vars: dict[str, t.Any], raw: t.Sequence[str] = ()
) -> dict[str, t.Any]:
    """The module's result in plain types, every text of it safe to print, but for the keys ``raw``: facts to compare.

    ``ansible_facts`` are gone, because a host does not set the variables of the play, and the invocation. Warnings are
    shown, escaped: Ansible itself prints them as they come.
    """
    context = DeferredWarningContext(variables=task_vars) if DeferredWarningContext else None
    with context or contextlib.nullcontext(), _uncollected():
        done = action._execute_module(module_name=module, module_args=arguments, task_vars=task_vars)
    said = [warning.event.msg for warning in context.get_warnings()] if context else []
    given = done.pop("warnings", None)
    said += given if isinstance(given, list) else []
    for text in dict.fromkeys(visible(str(plain(text)), LINE) for text in said):
        display.warning(text)
    for key in ("ansible_facts", "deprecations", "invocation"):
        done.pop(key, None)
    return {key: plain(value) if key in raw else tidy(value) for key, value in done.items()}
