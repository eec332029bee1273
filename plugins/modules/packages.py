#!/usr/bin/python
# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: packages
short_description: Install Debian and Ubuntu packages in one transaction
version_added: "1.0.0"
author: the ebpf.lab authors (@ebpf-lab)
description:
  - Installs the packages that are missing, all of them in one transaction of apt. A package that is there in any
    version is left as it is.
  - The archive's index is read only when something is missing and the index is older than O(cache_valid_time), so a
    repeated run needs no network.
  - Unlike M(ansible.builtin.apt) it knows packages that only some releases have (O(optional)), and check mode works
    on a host whose index was never read.
  - When an archive cannot be reached, is not signed by a key that the host knows, or is of another time than the host's
    clock, the error says so; one that is not needed for what is missing may be out of reach.
  - An action plugin of the same name shows what is installed and how far it is.
options:
  name:
    description: Packages that must be there, by their real names (a virtual package is never "there").
    type: list
    elements: str
    required: true
  optional:
    description: Packages that are installed where the archive of this release has them.
    type: list
    elements: str
    default: []
  cache_valid_time:
    description: Age in seconds up to which the archive's index counts as fresh.
    type: int
    default: 86400
  recommends:
    description: Whether to install what the packages recommend, too.
    type: bool
    default: false
  lock_timeout:
    description:
      - Seconds to wait, altogether, while somebody else holds a lock of apt or dpkg, as a machine's own daily update
        does after boot. That of the archive's index counts, too. Who holds it is shown at once.
    type: int
    default: 300
extends_documentation_fragment: [ebpf.lab.attributes.converges, ebpf.lab.telling]
attributes:
  diff_mode:
    description: Shows each named package before and after.
notes:
  - Packages stay when a lab is taken down.
seealso:
  - ref: ansible_collections.ebpf.lab.prerequisites_role
    description: The role that installs what the lab needs.
"""

EXAMPLES = r"""
- name: What the lab's programs are compiled with
  become: true
  ebpf.lab.packages:
    name: [clang, llvm, libbpf-dev]
    optional:
      - gcc-multilib # not on arm64
"""

RETURN = r"""
versions:
  description: The installed ones of the named packages, with their versions.
  returned: always
  type: dict
  sample: {"clang": "1:14.0-55.7~deb12u1", "llvm": "1:14.0-55.7~deb12u1"}
not_offered:
  description: Those of O(optional) that the archive of this release does not have.
  returned: always
  type: list
  elements: str
  sample: ["gcc-multilib"]
steps:
  description: What was done, or would be done in check mode.
  returned: always
  type: list
  elements: str
  sample: ["install the packages clang, llvm"]
"""

from ansible_collections.ebpf.lab.plugins.module_utils import _python  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.ebpf.lab.plugins.module_utils._core.module import run_module
from ansible_collections.ebpf.lab.plugins.module_utils._core.progress import TELLING, progress_file
from ansible_collections.ebpf.lab.plugins.module_utils._tools.packages.apt import DAY
from ansible_collections.ebpf.lab.plugins.module_utils._tools.packages.lock import TIMEOUT
from ansible_collections.ebpf.lab.plugins.module_utils._tools.packages.resource import Packages


def main() -> None:
    run_module(
        {
            "name": {"type": "list", "elements": "str", "required": True},
            "optional": {"type": "list", "elements": "str", "default": []},
            "cache_valid_time": {"type": "int", "default": int(DAY)},
            "recommends": {"type": "bool", "default": False},
            "lock_timeout": {"type": "int", "default": TIMEOUT},
            **TELLING,
        },
        Packages.from_params,
        progress=progress_file,
    )


if __name__ == "__main__":
    main()
