# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things are on the control node, unless the user says otherwise: below Ansible's home."""

from __future__ import annotations

import os
import typing as t

from ansible import constants


def kept_folder(chosen: t.Optional[str] = None) -> str:
    """The folder of kept results."""
    return os.path.abspath(os.path.expanduser(chosen or os.path.join(_home(), "results")))


def report_folder(chosen: t.Optional[str] = None) -> str:
    """The folder that reports are written to."""
    return os.path.abspath(os.path.expanduser(chosen or os.path.join(_home(), "reports")))


def _home() -> str:
    return os.path.join(constants.config.get_config_value("ANSIBLE_HOME"), "ebpf.lab")
