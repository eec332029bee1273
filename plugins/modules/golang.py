#!/usr/bin/python
# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: golang
short_description: Releases of Go, side by side, one of them in use
version_added: "1.0.0"
author: the ebpf.lab authors (@ebpf-lab)
description:
  - Downloads a release of Go as go.dev packs it, proves its checksum, unpacks it to C(PREFIX/goVERSION) and switches
    the link C(PREFIX/go) to it in one rename.
  - A download that is not whole, a wrong checksum, an archive with a path or a link that leaves its folder, a release
    for another architecture and a full disk are refused with nothing changed.
options:
  state:
    description:
      - V(absent) removes the release O(version), or all that this module unpacked when no version is given. The link
        and the profile go with the release that they lead to.
    type: str
    choices: [present, absent]
    default: present
  version:
    description: The release, such as V(1.26.6). Needed unless O(state=absent).
    type: str
  checksum:
    description:
      - The archive's checksum, C(sha256:) and 64 hexadecimal digits, as go.dev shows it. Needed unless O(unverified).
    type: str
  unverified:
    description: Take the archive without a checksum.
    type: bool
    default: false
  url:
    description:
      - The archive's URL (https or http). C({version}) stands for the release and C({arch}) for V(amd64) or V(arm64).
    type: str
    default: https://go.dev/dl/go{version}.linux-{arch}.tar.gz
  prefix:
    description: The directory that holds the releases and the link.
    type: path
    default: /usr/local
  default:
    description: Whether the link C(PREFIX/go) leads to this release.
    type: bool
    default: true
  profile:
    description: Whether the link's C(bin) is put on the PATH of login shells, by a file in C(/etc/profile.d).
    type: bool
    default: true
  overwrite:
    description:
      - Whether a link C(PREFIX/go) that this module did not make may be replaced. O(state=absent) puts it back. A
        directory is never replaced.
    type: bool
    default: false
extends_documentation_fragment: [ebpf.lab.attributes.converges, ebpf.lab.telling]
attributes:
  check_mode:
    description: Predicts exactly the changes of a run, and makes none, without downloading.
  diff_mode:
    description: Shows releases, link and profile before and after.
"""

EXAMPLES = r"""
- name: Go for the programs that load BPF objects
  become: true
  ebpf.lab.golang:
    version: "{{ golang_version }}"
    checksum: "{{ golang_checksum }}"

- name: An older release beside it, not in use
  become: true
  ebpf.lab.golang:
    version: 1.25.5
    unverified: true
    default: false

- name: Away with all of them
  become: true
  ebpf.lab.golang:
    state: absent
"""

RETURN = r"""
goroot:
  description: Where the release lies; empty when it is absent.
  returned: always
  type: str
  sample: /usr/local/go1.26.6
checksum:
  description: The checksum of the archive that the release was unpacked from.
  returned: always
  type: str
  sample: sha256:0c2152eaba28d28aa51b96741bc660c29cecc98924ad4d6cda3b908f3886e010
versions:
  description: All releases that this module unpacked.
  returned: always
  type: list
  elements: str
  sample: ["1.25.5", "1.26.6"]
default:
  description: The release that the link leads to; empty without a link.
  returned: always
  type: str
  sample: 1.26.6
steps:
  description: What was done, or would be done in check mode.
  returned: always
  type: list
  elements: str
  sample: ["unpack Go 1.26.6 to /usr/local/go1.26.6", "install golang to /usr/local/go"]
"""

from ansible_collections.ebpf.lab.plugins.module_utils import _python  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.ebpf.lab.plugins.module_utils._core.module import run_module
from ansible_collections.ebpf.lab.plugins.module_utils._core.progress import TELLING, progress_file
from ansible_collections.ebpf.lab.plugins.module_utils._tools.golang.resource import URL, Golang


def main() -> None:
    run_module(
        {
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "version": {"type": "str"},
            "checksum": {"type": "str"},
            "unverified": {"type": "bool", "default": False},
            "url": {"type": "str", "default": URL},
            "prefix": {"type": "path", "default": "/usr/local"},
            "default": {"type": "bool", "default": True},
            "profile": {"type": "bool", "default": True},
            "overwrite": {"type": "bool", "default": False},
            **TELLING,
        },
        Golang.from_params,
        progress=progress_file,
    )


if __name__ == "__main__":
    main()
