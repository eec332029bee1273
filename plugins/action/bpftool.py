# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show what ebpf.lab.bpftool does, how far it is, and that it is done."""

from __future__ import annotations

from ansible_collections.ebpf.lab.plugins.plugin_utils.telling import Telling


class ActionModule(Telling):
    """One task a host: see the module's documentation."""

    module = "ebpf.lab.bpftool"
