# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options by which a module is told of a lab file, and of what was kept of its results."""

from __future__ import annotations


class ModuleDocFragment:
    """``ebpf.lab.lab_file`` on a host, ``ebpf.lab.lab_file.kept`` on the control node."""

    DOCUMENTATION = r"""
options:
  lab:
    description:
      - The name of a lab of this collection, or the path of a lab file.
      - It is looked for beside the playbook, then where Ansible was started, then among the collection's labs.
    type: str
  content:
    description: The lab file's content. Set by the action plugin.
    type: dict
  file:
    description: The lab file's name, for messages. Set by the action plugin.
    type: str
    default: lab
"""
    KEPT = r"""
options:
  folder:
    description: Where the results are kept. The default is C(ebpf.lab/results) below Ansible's home folder.
    type: path
"""
