#!/usr/bin/python
# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bpftool
short_description: A bpftool that works on the running kernel, from a package or from source
version_added: "1.0.0"
author: the ebpf.lab authors (@ebpf-lab)
description:
  - Makes sure that there is a bpftool, and that it answers on the running kernel. A file is no proof. Ubuntu's
    C(/usr/sbin/bpftool) is a wrapper that may have no binary to call; it then counts as absent.
  - From source it is built by an unprivileged user in a private directory, stripped, proven to be linked statically
    by its own ELF headers, and installed atomically. It is built again only when the source, the flags or the
    compiler changed. A build that fails leaves the old binary where it is.
options:
  state:
    description:
      - V(absent) removes what this module placed and puts back what that had replaced. Packages stay.
    type: str
    choices: [present, absent]
    default: present
  source:
    description:
      - V(package) is the distribution's package.
      - V(kernel) is C(tools/bpf/bpftool) of a kernel tree.
      - V(libbpf_mirror) is bpftool's repository on its own, with libbpf as a submodule.
      - V(binary) is a binary that another host built with this module, at O(path) on this host, proven by O(checksum).
    type: str
    choices: [package, kernel, libbpf_mirror, binary]
    default: package
  origin:
    description:
      - Where the tree of O(source=kernel) and O(source=libbpf_mirror) comes from.
      - V(git) fetches one commit of O(url), and only the folders that bpftool needs where the server can do that.
      - V(tarball) is the archive at O(url) with O(checksum).
      - V(directory) is the tree at O(path) on the host.
      - V(package) is the distribution's C(linux-source-VERSION), which is not installed for it.
    type: str
    choices: [git, tarball, directory, package]
    default: git
  version:
    description:
      - A tag, branch or commit id for O(origin=git); a branch is followed. The default is V(v6.12) for the kernel
        and V(v7.5.0) for the mirror.
      - The version in the package's name for O(origin=package), such as V(6.1); the default is the newest one.
    type: str
  url:
    description:
      - The git repository (https, http or git) or the tarball (https or http).
      - The default for O(origin=git) is
        V(https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git) for the kernel and
        V(https://github.com/libbpf/bpftool.git) for the mirror.
    type: str
  checksum:
    description: The tarball's or binary's checksum, C(sha256:) and 64 hexadecimal digits.
  path:
    description: A tree (O(origin=directory)) or a binary (O(source=binary)) on the host.
    type: path
  static:
    description:
      - V(required) fails with the reason where a static binary is impossible, as on Debian 13.
      - V(preferred) links it with shared libraries there. V(no) always does so.
      - A static binary cannot disassemble what the JIT compiler made.
    type: str
    choices: [required, preferred, "no"]
    default: required
  prefix:
    description: The binary is placed in C(sbin) below it.
    type: path
    default: /usr/local
  overwrite:
    description:
      - Whether a bpftool that this module did not place may be replaced. It is kept aside, and O(state=absent) puts it
        back.
    type: bool
    default: false
  link_versioned:
    description:
      - What to do with O(source=package) where the archive has no C(linux-tools) for the running kernel. V(true)
        installs the generic one and links its binary, which works on other kernels, too. V(false) fails.
    type: bool
    default: true
extends_documentation_fragment: [ebpf.lab.attributes.converges, ebpf.lab.build, ebpf.lab.telling]
attributes:
  diff_mode:
    description: Shows which bpftool answers before and after.
requirements:
  - pyelftools (for all but O(source=package))
  - gcc, make, libelf-dev, zlib1g-dev, and git where it is the origin; clang for skeletons
seealso:
  - module: ebpf.lab.toolchain_info
"""

EXAMPLES = r"""
- name: The distribution's bpftool, made to work on the running kernel
  become: true
  ebpf.lab.bpftool:

- name: A static bpftool of the distribution's own kernel source
  become: true
  ebpf.lab.bpftool:
    source: kernel
    origin: package
    version: "6.1"

- name: A static bpftool of the kernel's git, as in the lecture
  become: true
  ebpf.lab.bpftool:
    source: kernel
    version: v6.12

- name: Away with what was built
  become: true
  ebpf.lab.bpftool:
    state: absent
"""

RETURN = r"""
binary:
  description: The path of the bpftool that works here, empty when none does.
  returned: always
  type: str
  sample: /usr/local/sbin/bpftool
version:
  description: Its version, as it says itself on this kernel.
  returned: always
  type: str
  sample: 7.1.0
libbpf_version:
  description: The version of its libbpf; old ones do not say.
  returned: always
  type: str
  sample: "1.1"
features:
  description: What was compiled in.
  returned: always
  type: dict
  sample: {"libbfd": false, "skeletons": true}
size:
  description: The size of the file at RV(binary) in bytes.
  returned: always
  type: int
  sample: 1598248
sha256:
  description: The checksum of the binary that this module placed; empty for another one.
  returned: always
  type: str
  sample: 0c2152eaba28d28aa51b96741bc660c29cecc98924ad4d6cda3b908f3886e010
build:
  description:
    - From what the placed binary was made. The keys are C(source), C(compiler), C(flags), C(static) (proven from the
      ELF headers), C(not_static_because), C(fetch_seconds) and C(build_seconds).
  returned: always
  type: dict
  sample: {"static": true, "build_seconds": 12.6, "compiler": "gcc (Debian 12.2.0-14+deb12u1) 12.2.0"}
package_says:
  description: Why the distribution's bpftool does not work here; empty when it does.
  returned: always
  type: str
  sample: there is no /usr/sbin/bpftool
steps:
  description: What was done, or would be done in check mode.
  returned: always
  type: list
  elements: str
  sample:
    - build bpftool from the Linux kernel, package linux-source-6.1, version 6.1.192-2
    - install bpftool to /usr/local/sbin/bpftool
log:
  description: The end of the log of what failed.
  returned: failure
  type: list
  elements: str
  sample: ["main.c:12:10: fatal error: bpf/bpf.h: No such file or directory"]
"""

from ansible_collections.ebpf.lab.plugins.module_utils import _python  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.ebpf.lab.plugins.module_utils._core.module import run_module
from ansible_collections.ebpf.lab.plugins.module_utils._core.progress import TELLING, progress_file
from ansible_collections.ebpf.lab.plugins.module_utils._tools.bpftool.resource import Bpftool
from ansible_collections.ebpf.lab.plugins.module_utils._tools.builds.build_dir import ROOT


def main() -> None:
    run_module(
        {
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "source": {
                "type": "str",
                "choices": ["package", "kernel", "libbpf_mirror", "binary"],
                "default": "package",
            },
            "origin": {"type": "str", "choices": ["git", "tarball", "directory", "package"], "default": "git"},
            "version": {"type": "str"},
            "url": {"type": "str"},
            "checksum": {"type": "str"},
            "path": {"type": "path"},
            "static": {"type": "str", "choices": ["required", "preferred", "no"], "default": "required"},
            "prefix": {"type": "path", "default": "/usr/local"},
            "overwrite": {"type": "bool", "default": False},
            "link_versioned": {"type": "bool", "default": True},
            "jobs": {"type": "int"},
            "build_dir": {"type": "path", "default": ROOT},
            **TELLING,
        },
        Bpftool.from_params,
        progress=progress_file,
    )


if __name__ == "__main__":
    main()
