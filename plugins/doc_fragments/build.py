# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of whatever is made from source on the host."""

from __future__ import annotations


class ModuleDocFragment:
    """``ebpf.lab.build``."""

    DOCUMENTATION = r"""
options:
  checksum:
    description: The tarball's checksum, C(sha256:) and 64 hexadecimal digits.
    type: str
  jobs:
    description: How many compilers run at once. The default is one for each processor.
    type: int
  build_dir:
    description: Where the private build directory is made. It needs about 50 MB, or 400 MB for a kernel's tarball.
    type: path
    default: /var/cache/ebpf.lab
"""
