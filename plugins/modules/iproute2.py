#!/usr/bin/python
# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: iproute2
short_description: The distribution's iproute2, or one from source beside it, with bpf_api.h
version_added: "1.0.0"
author: the ebpf.lab authors (@ebpf-lab)
description:
  - From source, iproute2 is configured and built by an unprivileged user in a private directory and installed below a
    prefix of its own. It does not touch the distribution's files unless O(overwrite) allows it.
  - Its header C(bpf_api.h), which is in no package, is installed to O(include_dir), with C(bpf_elf.h) where that is
    missing.
  - It is built again only when the source, the compiler, the libraries it links or the places changed.
options:
  state:
    description: V(absent) removes what this module placed and puts back what that had replaced. The package stays.
    type: str
    choices: [present, absent]
    default: present
  source:
    description:
      - V(package) is the distribution's, which has no C(bpf_api.h).
      - V(git) is O(version) of the repository O(url), V(tarball) the archive at O(url) with O(checksum), V(directory)
        the tree at O(path) on the host.
    type: str
    choices: [package, git, tarball, directory]
    default: package
  version:
    description: A tag, branch or commit id for O(source=git); a branch is followed. The default is V(v6.12.0).
    type: str
  url:
    description:
      - The git repository (https, http or git) or the tarball (https or http). The default for O(source=git) is
        V(https://git.kernel.org/pub/scm/network/iproute2/iproute2.git).
    type: str
  path:
    description: A tree on the host.
    type: path
  prefix:
    description: Where it is installed. V(/usr) is what the lecture does, and needs O(overwrite).
    type: path
    default: /usr/local
  include_dir:
    description: Where C(bpf_api.h) is installed.
    type: path
    default: /usr/include/iproute2
  overwrite:
    description:
      - Whether files that this module did not place may be replaced. They are kept aside, and O(state=absent) puts
        them back.
    type: bool
    default: false
extends_documentation_fragment: [ebpf.lab.attributes.converges, ebpf.lab.build, ebpf.lab.telling]
attributes:
  diff_mode:
    description: Shows where iproute2 is from before and after.
requirements:
  - gcc, make, bison, flex, pkg-config, libmnl-dev and libcap-dev for a build; git where it is the source
seealso:
  - module: ebpf.lab.toolchain_info
"""

EXAMPLES = r"""
- name: The distribution's iproute2
  become: true
  ebpf.lab.iproute2:

- name: The lecture's, beside the distribution's
  become: true
  ebpf.lab.iproute2:
    source: git
    version: v6.12.0

- name: Away with what was built
  become: true
  ebpf.lab.iproute2:
    state: absent
"""

RETURN = r"""
ip:
  description: The path of the placed ip; empty when it is the distribution's.
  returned: always
  type: str
  sample: /usr/local/sbin/ip
version:
  description: The version that ip answers with.
  returned: always
  type: str
  sample: 6.12.0
package_version:
  description: The version of the distribution's package; empty when it is not installed.
  returned: always
  type: str
  sample: 6.1.0-3
bpf_api:
  description: The path of C(bpf_api.h); empty when there is none.
  returned: always
  type: str
  sample: /usr/include/iproute2/bpf_api.h
files:
  description: All files that this module placed.
  returned: always
  type: list
  elements: str
  sample: [/usr/include/iproute2/bpf_api.h, /usr/local/sbin/ip]
build:
  description: From what it was made.
  returned: always
  type: dict
  sample: {"version": "6.12.0", "build_seconds": 20.1}
steps:
  description: What was done, or would be done in check mode.
  returned: always
  type: list
  elements: str
  sample: [
    "build iproute2 from commit 9d6b7c1a0f3c6b5d7c0e2a4c8f1b3d5e7f9a1b2c",
    "install iproute2 to /usr/local and /usr/include/iproute2"]
log:
  description: The end of the log of what failed.
  returned: failure
  type: list
  elements: str
  sample: ["/bin/sh: 1: bison: not found"]
"""

from ansible_collections.ebpf.lab.plugins.module_utils import _python  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.ebpf.lab.plugins.module_utils._core.module import run_module
from ansible_collections.ebpf.lab.plugins.module_utils._core.progress import TELLING, progress_file
from ansible_collections.ebpf.lab.plugins.module_utils._tools.builds.build_dir import ROOT
from ansible_collections.ebpf.lab.plugins.module_utils._tools.iproute2.resource import Iproute2


def main() -> None:
    run_module(
        {
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "source": {"type": "str", "choices": ["package", "git", "tarball", "directory"], "default": "package"},
            "version": {"type": "str"},
            "url": {"type": "str"},
            "checksum": {"type": "str"},
            "path": {"type": "path"},
            "prefix": {"type": "path", "default": "/usr/local"},
            "include_dir": {"type": "path", "default": "/usr/include/iproute2"},
            "overwrite": {"type": "bool", "default": False},
            "jobs": {"type": "int"},
            "build_dir": {"type": "path", "default": ROOT},
            **TELLING,
        },
        Iproute2.from_params,
        progress=progress_file,
    )


if __name__ == "__main__":
    main()
