# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control node's half of the modules that install: what is done where, how far it is, and that it is done."""

from __future__ import annotations

import time
import typing as t

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.ebpf.lab.plugins.action.on_host import ActionModule as OnHost

from ..module_utils._lab.grading.plain import visible
from .remote import execute
from .watch import LINE, Watch

# Who waits for a lock of apt is to hear of it within a second; a run with nothing to install is over by then.
QUIET_SECONDS = 0.7
POLL_SECONDS = 0.3

_display = Display()


class Telling(OnHost):
    """An action plugin of a module with the options ``quiet`` and ``progress``; ``module`` is its name."""

    module = ""

    def run(self, tmp: t.Optional[str] = None, task_vars: t.Optional[dict[str, t.Any]] = None) -> dict[str, t.Any]:
        """Send, watch, tell."""
        if self._task.async_val:  # nobody watches a job in the background
            return super().run(tmp, task_vars)
        task_vars = task_vars or {}
        result: dict[str, t.Any] = ActionBase.run(self, tmp, task_vars)
        options = dict(self._task.args)
        show = not boolean(options.get("quiet", False))
        host = visible(str(task_vars.get("inventory_hostname", "")), 100)
        began = time.monotonic()
        with Watch(self, host, show, QUIET_SECONDS, POLL_SECONDS) as watch:
            result.update(execute(self, self.module, {**options, "progress": watch.token}, task_vars))
        steps = result.get("steps")
        if show and result.get("changed") and not result.get("failed") and isinstance(steps, list):
            what = "; ".join(map(str, steps))
            said = f"would {what}" if self._task.check_mode else f"done in {time.monotonic() - began:.0f} s: {what}"
            _display.display(f"  {host}: {visible(said, LINE)}")
        return result
