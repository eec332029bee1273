# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs those modules that need nothing of the control node but that their answer is not believed.

``meta/runtime.yml`` leads each of them here.
"""

from __future__ import annotations

import time
import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.ebpf.lab.plugins.plugin_utils.remote import execute, job_status

display = Display()


class ActionModule(ActionBase):
    """One task a host: see the documentation of the module that the task names."""

    _supports_check_mode = True
    _supports_diff = True
    _supports_async = True
    _requires_connection = True

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[dict[str, t.Any]] = None) -> dict[str, t.Any]:
        """Run the module, or start it in the background and wait for it."""
        task_vars = task_vars or {}
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        module, options = self._task.resolved_action, dict(self._task.args)
        result.update(execute(self, module, options, task_vars, background=bool(self._task.async_val)))
        if self._task.async_val and self._task.poll and not result.get("failed"):
            result.update(self._wait(module, result, task_vars))
            self._task.async_val = 0  # or Ansible would ask once more, and believe the answer
        return result

    def _wait(self, module: str, job: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """The job's result, or a failure when it is not there in time."""
        seconds = self._task.async_val
        result = {"failed": True, "msg": f"It was not done after {seconds} seconds, and goes on in the background."}
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(self._task.poll)
            try:
                found = job_status(self, module, str(job.get("ansible_job_id", "")), task_vars)
            except AnsibleConnectionFailure as error:  # a job is in the background so that it survives this
                display.vvv(str(error))
                self._connection.reset()
                continue
            written = "module_stdout" not in found  # else it was read while it was being written
            if written and (found.get("finished") or found.get("failed")):
                return found
        return result
