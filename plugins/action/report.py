# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the teacher's report from the results that verify kept. Runs on the control node, which has jinja2."""

from __future__ import annotations

import os
import typing as t

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.ebpf.lab.plugins.action.lab import find_lab, read_lab
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import LabError
from ansible_collections.ebpf.lab.plugins.plugin_utils.folders import kept_folder, report_folder
from ansible_collections.ebpf.lab.plugins.plugin_utils.report import write
from ansible_collections.ebpf.lab.plugins.plugin_utils.results import labs, load_all, one_line, timestamp
from ansible_collections.ebpf.lab.plugins.plugin_utils.summary import STATUSES, summarise

display = Display()


class ActionModule(ActionBase):
    """One task for all machines: see the module's documentation."""

    _supports_check_mode = True
    _requires_connection = False
    TRANSFERS_FILES = False

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[dict[str, t.Any]] = None) -> dict[str, t.Any]:
        """Read the results, write the files."""
        result: dict[str, t.Any] = super().run(tmp, task_vars or {})
        _checked, options = self.validate_argument_spec(
            {
                "lab": {"type": "str", "default": ""},
                "hosts": {"type": "list", "elements": "str", "default": []},
                "others": {"type": "bool", "default": True},
                "folder": {"type": "path"},
                "dest": {"type": "path"},
            }
        )
        kept, dest = kept_folder(options["folder"]), report_folder(options["dest"])
        try:
            known = labs(kept)
        except OSError as error:
            return {**result, "failed": True, "msg": f"The results in {kept} cannot be read: {error}."}
        lab = options["lab"] or (known[0] if known else "")
        if lab not in known:
            named = f"of the lab {lab!r} " if lab else ""
            instead = f"; there are results of {', '.join(known)}" if known else ""
            msg = f"There are no results {named}in {kept}{instead}. Run the playbook ebpf.lab.verify first."
            return {**result, "failed": True, "msg": msg}
        machines, wrong = load_all(kept, lab)
        for sentence in wrong:
            display.warning(one_line(sentence))
        if not options["others"]:
            wanted = {one_line(host) for host in options["hosts"]}
            machines = [machine for machine in machines if machine.host in wanted]
        warnings = [one_line(sentence) for sentence in wrong]
        worth = self._worth(lab)
        summary = summarise(lab, machines, options["hosts"], timestamp(), warnings, worth)
        result.update(changed=False, totals=summary["totals"], lab=lab)
        if self._task.check_mode:
            return result
        try:
            result["paths"] = write(dest, summary)
        except OSError as error:
            return {**result, "failed": True, "msg": f"The report could not be written to {dest}: {error}."}
        totals = summary["totals"]
        counts = ", ".join(f"{totals[status]} {status}" for status in STATUSES if totals[status])
        display.display(f"{lab}: {counts}")
        for path in result["paths"].values():
            display.display(f"  {path}")
        return result

    def _worth(self, name: str) -> dict[str, int]:
        """The points of each stage, where the lab file can be had: a report needs it for old results alone."""
        try:
            _content, lab = read_lab(find_lab(name, [self._loader.get_basedir(), os.getcwd()]))
        except (LabError, ImportError):
            return {}
        return {stage.name: stage.max_points for stage in lab.stages} if lab.name == name else {}
