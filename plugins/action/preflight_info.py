# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show what ebpf.lab.preflight_info found; text from a host is shown escaped, and never templated."""

from __future__ import annotations

import os
import textwrap
import typing as t

from ansible import constants
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.utils.display import Display
from ansible_collections.ebpf.lab.plugins.action.lab import find_lab, labs_beside, read_lab
from ansible_collections.ebpf.lab.plugins.module_utils._lab.grading.plain import visible
from ansible_collections.ebpf.lab.plugins.plugin_utils.one_host import OneHost
from ansible_collections.ebpf.lab.plugins.plugin_utils.remote import execute

COLOURS = {"problem": constants.COLOR_ERROR, "warning": constants.COLOR_WARN, "ok": constants.COLOR_OK}
WIDTH = 100  # columns
LINE = 1000  # characters of one finding

display = Display()


class ActionModule(OneHost):
    """See the module's documentation."""

    def work(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Look, show, judge."""
        arguments: dict[str, t.Any] = {"force": boolean(self._task.args.get("force", False))}
        name = str(self._task.args.get("lab") or "")
        if name:
            content, lab = read_lab(find_lab(name, labs_beside(self)))
            arguments.update(lab=name, content=content, file=os.path.basename(lab.file))
        result = execute(self, "ebpf.lab.preflight_info", arguments, task_vars)
        if result.get("failed"):
            return result
        if boolean(self._task.args.get("show", False)):
            _show(str(task_vars.get("inventory_hostname", "")), result.get("lines"))
        problem = _problem(result.get("findings"))
        if problem and boolean(self._task.args.get("fail", False)):
            result.update(failed=True, msg=problem)
        return result


def _problem(findings: t.Any) -> str:
    """One sentence when the findings do not say that the machine is ready, else ""."""
    if not isinstance(findings, list) or not findings or not all(isinstance(finding, dict) for finding in findings):
        return "This machine sent no findings: nothing is known of it."
    problems = sum(finding.get("level") == "problem" for finding in findings)
    return f"This machine cannot run the lab yet; problems: {problems}." if problems else ""


def _show(host: str, lines: t.Any) -> None:
    display.display(f"  {visible(host, 100)}")
    for line in lines if isinstance(lines, list) else ():
        text = visible(str(line), LINE)
        colour = COLOURS.get(text.partition(":")[0])
        for part in textwrap.wrap(text, WIDTH, initial_indent="    ", subsequent_indent="      "):
            display.display(part, color=colour)
