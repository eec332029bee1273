# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documentation of each module that installs something has in common."""

from __future__ import annotations


class ModuleDocFragment:
    """See ``extends_documentation_fragment``."""

    DOCUMENTATION = r"""
options:
  quiet:
    description: Whether the lines are left out that say what is installed where, how far it is and that it is done.
    type: bool
    default: false
  progress:
    description: Names the file on the host for progress lines. Set by the action plugin.
    type: str
    default: ""
"""
