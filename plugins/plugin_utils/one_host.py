# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the action plugins of modules that run on a host have in common."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import LabError


class OneHost(ActionBase):
    """One task a host; what ``work`` raises as a LabError is the task's failure, in its sentence."""

    _supports_check_mode = True
    _requires_connection = True

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[dict[str, t.Any]] = None) -> dict[str, t.Any]:
        """The task's result."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        try:
            return {**result, **self.work(task_vars or {})}
        except LabError as error:
            return {**result, "failed": True, "msg": str(error)}

    def work(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """What there is to be done, and what came of it. Raises LabError."""
        raise NotImplementedError
