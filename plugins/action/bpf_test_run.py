# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control node's half of ebpf.lab.bpf_test_run: packets from fields or a capture become bytes here."""

from __future__ import annotations

import os
import typing as t

from ansible.errors import AnsibleError
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import BadInput
from ansible_collections.ebpf.lab.plugins.module_utils._lab.grading.plain import plain
from ansible_collections.ebpf.lab.plugins.plugin_utils.one_host import OneHost
from ansible_collections.ebpf.lab.plugins.plugin_utils.packets import expand
from ansible_collections.ebpf.lab.plugins.plugin_utils.remote import execute


class ActionModule(OneHost):
    """See the module's documentation."""

    def work(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Build, send, hand back."""
        options = dict(self._task.args)
        if "packets" in options:
            options["packets"] = expand(plain(options["packets"]), self._capture)
        return execute(self, "ebpf.lab.bpf_test_run", options, task_vars)

    def _capture(self, path: str) -> str:
        """Where a capture is: beside the playbook or role as any file, or at its absolute path."""
        if os.path.isabs(path):
            return path
        try:
            return str(self._find_needle("files", path))
        except AnsibleError as error:
            right = "give a path, or a name below files/ beside the playbook or role"
            raise BadInput("packets", path, "is no capture that can be found", right) from error
