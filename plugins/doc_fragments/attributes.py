# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module does in check mode and in diff mode: one gate decides it for all modules of a kind."""

from __future__ import annotations

CONVERGES = r"""
attributes:
  check_mode:
    description: Predicts exactly the changes of a run, and makes none.
    support: full
  diff_mode:
    description: Shows what is and what will be.
    support: full
"""


class ModuleDocFragment:
    """``ebpf.lab.attributes.KIND``; a module may give a description of its own."""

    # With a type where they are put together: ansible-test takes all others for plain text.
    CONVERGES: str = CONVERGES
    NETLINK: str = f"""{CONVERGES}
requirements:
  - Python 3.9 or later on the managed host, as root.
  - pyroute2 0.7.2 or later, when something has to be changed.
"""
    READS = r"""
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
"""
    PROBES = r"""
attributes:
  check_mode:
    description: The module is skipped, and says what it would do.
    details: Nothing is done in check mode, so nothing is found out.
    support: partial
  diff_mode:
    description: There is nothing to compare.
    support: none
"""
    CONTROL_NODE = r"""
attributes:
  check_mode:
    description: Writes no file.
    support: full
  diff_mode:
    description: No host is changed.
    support: none
"""
