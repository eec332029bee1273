# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What holds for every module that changes things, because one gate decides it for all of them."""

    DOCUMENTATION = r"""
requirements:
  - Python 3.9 or later on the managed host, as root.
  - pyroute2 0.7.2 or later, when a link, an address or a route has to be changed.
attributes:
  check_mode:
    description: Predicts exactly the changes of a run, and makes none.
    support: full
  diff_mode:
    description: Shows what is and what will be.
    support: full
"""
