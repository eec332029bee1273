# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control node's half of ebpf.lab.lab: reads the lab file and its sources, watches the run, grades what comes back.

Nothing that a host reports is templated or executed here: facts are only queried, as plain values, and shown escaped.
"""

from __future__ import annotations

import base64
import os
import typing as t

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import LabError
from ansible_collections.ebpf.lab.plugins.module_utils._lab.grading.outcomes import evaluate, started, validate_checks
from ansible_collections.ebpf.lab.plugins.module_utils._lab.grading.plain import tidy, visible
from ansible_collections.ebpf.lab.plugins.module_utils._lab.schema import EVERY_STAGE, BadLab, Lab, Stage, parse
from ansible_collections.ebpf.lab.plugins.plugin_utils.lab_yaml import load
from ansible_collections.ebpf.lab.plugins.plugin_utils.outcome import failed_checks, outcome, prediction
from ansible_collections.ebpf.lab.plugins.plugin_utils.remote import execute
from ansible_collections.ebpf.lab.plugins.plugin_utils.watch import Watch

COLLECTION = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LABS = os.path.join(COLLECTION, "playbooks", "labs")
SOURCES = os.path.join(COLLECTION, "files", "bpf")

display = Display()


def find_lab(name: str, folders: t.Sequence[str]) -> str:
    """The path of a lab file: a path as it is, or the name of one in ``folders`` or in the collection."""
    candidates = [name] if os.path.isabs(name) else [os.path.join(folder, name) for folder in folders]
    if not name.endswith((".yml", ".yaml")):
        candidates += [os.path.join(folder, f"{name}.yml") for folder in (*folders, LABS)]
    for path in candidates:
        if os.path.isfile(path):
            return path
    known = sorted(entry[:-4] for entry in os.listdir(LABS) if entry.endswith(".yml"))
    raise LabError(
        f"lab: {name!r} is neither a file nor a lab of this collection.", f"It has {', '.join(known)}; or give a path."
    )


def read_lab(path: str) -> tuple[dict[str, t.Any], Lab]:
    """A lab file's content, and the same checked. Raises BadLab and LabError, which name the file and the place."""
    try:
        with open(path, "rb") as file:
            raw = file.read()
    except OSError as error:
        raise LabError(f"lab: {path} cannot be read: {error.strerror}.") from error
    content = load(path, raw)
    lab = parse(content, path)
    for stage in lab.stages:
        wrong = validate_checks(stage.checks, f"stages.{stage.name}.checks")
        if wrong:
            raise BadLab(path, "", wrong[0])
    return content, lab


def read_sources(lab: Lab) -> dict[str, bytes]:
    """The content of each source file that the lab names: beside the lab file, in files/bpf beside it, or ours.

    Bytes, because the encoding is between the teacher and the compiler.
    """
    here = os.path.dirname(os.path.abspath(lab.file))
    found = {}
    for name in lab.sources:
        tried = [os.path.join(folder, name) for folder in (here, os.path.join(here, "files", "bpf"), SOURCES)]
        path = next((path for path in tried if os.path.isfile(path)), None)
        if path is None:
            raise BadLab(lab.file, "objects", f"there is no source {name}; it was looked for at {', '.join(tried)}.")
        try:
            with open(path, "rb") as file:
                found[name] = file.read()
        except OSError as error:
            raise LabError(f"{lab.file}: the source {path} cannot be read: {error.strerror}.") from error
    return found


def labs_beside(action: ActionBase) -> list[str]:
    """Where a task's lab file is looked for: beside its playbook, then where Ansible was started."""
    folders = [action._loader.get_basedir(), os.getcwd()]
    if action._task.get_path():
        folders.insert(0, os.path.dirname(action._task.get_path().rpartition(":")[0]))
    return folders


def sent(sources: t.Mapping[str, bytes]) -> dict[str, str]:
    """The sources in the form in which the module gets them: a module's arguments are JSON, so no plain bytes."""
    return {name: base64.b64encode(content).decode("ascii") for name, content in sources.items()}


class ActionModule(ActionBase):
    """One task a host: see the module's documentation."""

    _supports_check_mode = True
    _supports_diff = True
    _requires_connection = True

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[dict[str, t.Any]] = None) -> dict[str, t.Any]:
        """Read, send, watch, grade."""
        task_vars = task_vars or {}
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        options = dict(self._task.args)
        name = str(options.get("lab") or "")
        quiet, prove = (boolean(options.get(name, False)) for name in ("quiet", "prove"))
        try:
            content, lab = read_lab(find_lab(name, labs_beside(self)))
            sources = sent(read_sources(lab))
            every = options.get("stage") == EVERY_STAGE and options.get("state") == "verified"
            stages = lab.stages if every else [lab.stage(str(options.get("stage") or ""))]
        except LabError as error:
            return {**result, "failed": True, "msg": str(error)}
        options.update(content=content, file=os.path.basename(lab.file), sources=sources)
        options["tools_follow"] = self._task.check_mode and boolean(options.get("tools_follow", False))
        host = visible(str(task_vars.get("inventory_hostname", "")), 100)
        with Watch(self, host, not quiet) as watch:
            if every:
                return {**result, **self._every_stage(lab, options, task_vars)}
            result.update(self._one_stage(lab, stages[0], {**options, "progress": watch.token}, task_vars))
        if prove and self._task.check_mode and not result.get("failed") and "steps" in result:
            alone = len(task_vars.get("ansible_play_hosts_all") or ()) < 2
            for line in prediction(host, result, listed=alone):
                display.display(line)
        if prove and not result.get("failed") and not result.get("missing") and not self._task.check_mode:
            for line in outcome(host, result):
                display.display(line)
            failures = failed_checks(result.get("checks") or ())
            if failures:
                result.update(failed=True, msg=f"The lab is up and does not work as it should. {failures}")
        return result

    def _one_stage(
        self, lab: Lab, stage: Stage, options: dict[str, t.Any], task_vars: dict[str, t.Any]
    ) -> dict[str, t.Any]:
        """Run the module and grade what it found."""
        result = execute(self, "ebpf.lab.lab", options, task_vars, raw=("facts",))
        for key in ("checks", "points", "max_points", "stages", "started"):  # grades are given here alone
            result.pop(key, None)
        facts = result.pop("facts", None)
        if not boolean(options.get("report_missing", False)) and not options.get("tools_follow"):
            result.pop("missing", None)  # only where a later task installs them is it an answer, and proves then
        if isinstance(facts, dict) and facts:
            self._grade(result, lab, facts, _graded(lab, stage, options, facts))
            result["facts"] = tidy(facts)  # graded as they came, and shown by whoever prints a result
        elif not result.get("failed") and not result.get("missing") and options.get("state") != "absent":
            msg = "This machine sent no facts about the lab: nothing is proved."
            result.update(failed=True, msg=msg)
        return result

    def _every_stage(self, lab: Lab, options: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Grade the host as it is against each stage in turn; stops at the first that the host cannot answer."""
        stages: dict[str, t.Any] = {}
        for stage in lab.stages:
            found = self._one_stage(lab, stage, {**options, "stage": stage.name}, task_vars)
            if "checks" not in found:
                return found
            stages[stage.name] = {key: found[key] for key in ("stage", "started", "checks", "points", "max_points")}
            machine = found["facts"].get("machine")
        points = {key: sum(stage[key] for stage in stages.values()) for key in ("points", "max_points")}
        facts = {"machine": machine}  # the same for each stage
        return {"changed": False, "lab": lab.name, "stage": EVERY_STAGE, "stages": stages, "facts": facts, **points}

    @staticmethod
    def _grade(result: dict[str, t.Any], lab: Lab, facts: dict[str, t.Any], stage: Stage) -> None:
        # A lab that makes nothing of its own leaves nothing by which to tell.
        begun = started(facts) or not (lab.topology.namespaces or lab.topology.interfaces or lab.objects)
        checks = evaluate(stage.checks, facts, begun)
        result.update(
            stage=stage.name,
            started=begun,
            checks=checks,
            points=sum(check["points"] for check in checks),
            max_points=sum(check["max_points"] for check in checks),
        )


def _graded(lab: Lab, stage: Stage, options: t.Mapping[str, t.Any], facts: t.Mapping[str, t.Any]) -> Stage:
    """The stage whose checks count: the one asked for, else the one that the host says it is at, if there is such."""
    said = facts.get("stage")
    if options.get("stage"):
        return stage
    return next((entry for entry in lab.stages if entry.name == said), stage)
