# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that say which BPF map is meant, and how what is in it is written."""

from __future__ import annotations


class ModuleDocFragment:
    """``ebpf.lab.bpf_map``."""

    DOCUMENTATION = r"""
options:
  path:
    description: The map's pin, an absolute path on a bpffs.
    type: path
  id:
    description: The map's id.
    type: int
  program:
    description: A program that uses the map, by its pin's path, its id or its name; O(name) says which of its maps.
    type: str
  name:
    description: The name of the map of O(program), as its source has it.
    type: str
  format:
    description: Whether keys and values follow the map's BTF, where it has one, or are bytes in any case.
    type: str
    choices: [auto, bytes]
    default: auto
"""
