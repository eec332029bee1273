# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep what verify found and show it. Runs on the control node alone; nothing that a machine said is templated."""

from __future__ import annotations

import os
import typing as t
from collections.abc import Mapping

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.ebpf.lab.plugins.action.lab import find_lab, read_lab
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import LabError
from ansible_collections.ebpf.lab.plugins.module_utils._lab.schema import EVERY_STAGE
from ansible_collections.ebpf.lab.plugins.plugin_utils.folders import kept_folder
from ansible_collections.ebpf.lab.plugins.plugin_utils.results import Standing, load_all, make_result, save
from ansible_collections.ebpf.lab.plugins.plugin_utils.terminal import every_stage, verdict, view

COLOURS = {"good": constants.COLOR_OK, "bad": constants.COLOR_ERROR, "odd": constants.COLOR_UNREACHABLE}

display = Display()


class ActionModule(ActionBase):
    """One task for all machines of the play: see the module's documentation."""

    _supports_check_mode = True
    _requires_connection = False
    TRANSFERS_FILES = False

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[dict[str, t.Any]] = None) -> dict[str, t.Any]:
        """Collect, keep, show, judge."""
        task_vars = task_vars or {}
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        _checked, options = self.validate_argument_spec(
            {
                "lab": {"type": "str", "required": True},
                "variable": {"type": "str", "required": True},
                "stage": {"type": "str", "default": ""},
                "folder": {"type": "path"},
                "fail": {"type": "bool", "default": True},
            }
        )
        folder = kept_folder(options["folder"])
        try:
            _content, lab = read_lab(find_lab(options["lab"], [self._loader.get_basedir()]))
        except LabError as error:
            return {**result, "failed": True, "msg": str(error)}
        about = {
            "name": lab.name,
            "title": lab.title,
            "stages": [
                {"name": stage.name, "title": stage.title, "max_points": stage.max_points} for stage in lab.stages
            ],
        }
        every = options["stage"] == EVERY_STAGE
        found = []
        for host, outcome in _outcomes(task_vars, options["variable"]):
            if not every:
                found.append(make_result(host, about, options["stage"], outcome))
                continue
            graded = outcome.get("stages") if isinstance(outcome.get("stages"), Mapping) else {}
            for stage in lab.stages:
                mine = {**graded[stage.name], "facts": outcome.get("facts")} if stage.name in graded else outcome
                found.append(make_result(host, about, stage.name, mine))
        if not found:
            msg = f"No machine of this play has the variable {options['variable']!r}: register the task ebpf.lab.lab."
            return {**result, "failed": True, "msg": msg}
        try:
            for entry in found if not (every or self._task.check_mode) else ():
                save(folder, entry)
            kept = {machine.host: machine for machine in load_all(folder, lab.name)[0]}
        except OSError as error:
            return {**result, "failed": True, "msg": f"The results could not be kept in {folder}: {error}."}
        most = {stage["name"]: stage["max_points"] for stage in found[0]["stages"]}
        standings = {entry["host"]: Standing.of(kept.get(entry["host"]), most) for entry in found}
        for line, colour in (every_stage if every else view)(found, standings):
            display.display(line, color=COLOURS.get(colour))
        # To look at all stages is no grade: a machine is at one of them, and fails the checks of the others.
        sentence = verdict(found, grades=not every)
        good = "Nothing of this was kept: verify grades the stage of each machine." if every else "Every check passed."
        result.update(
            changed=False,
            folder=os.path.join(folder, lab.name),
            points=sum(entry["points"] for entry in found),
            max_points=sum(entry["max_points"] for entry in found),
            lab_points=sum(standing.points for standing in standings.values()),
            lab_max_points=sum(standing.max_points for standing in standings.values()),
            msg=sentence or good,
            failed=bool(sentence) and options["fail"],
        )
        return result


def _outcomes(task_vars: Mapping[str, t.Any], variable: str) -> t.Iterator[tuple[str, t.Any]]:
    """The registered results by machine, as they are: raw_get does not template."""
    hostvars = task_vars["hostvars"]
    for host in task_vars["ansible_play_hosts_all"]:
        outcome = hostvars.raw_get(host).get(variable)
        if isinstance(outcome, Mapping):
            yield str(host), dict(outcome)
