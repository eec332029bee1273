#!/usr/bin/python
# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bpf_object
short_description: Compile C to a BPF object
version_added: "1.0.0"
author:
  - the ebpf.lab authors (@ebpf-lab)
description:
  - Compiles a C source that is on the host to a BPF object, either by clang alone or by clang to LLVM IR and llc.
  - The object is made anew when its source, a header that it includes, the flags or the compiler changed, or when the
    object itself is not the one that was made. It replaces the old one in one step, so that nobody reads half of it.
  - The headers of this machine are found without C(gcc-multilib), C(asm/types.h) among them.
extends_documentation_fragment: [ebpf.lab.attributes.converges]
attributes:
  diff_mode:
    description: Shows what the object was and will be made from.
options:
  src:
    description: The C source, an absolute path on the host. Required while O(state=present).
    type: path
  dest:
    description: The object, an absolute path on the host. Missing folders are made, and go again with the object.
    type: path
    required: true
  flags:
    description: What is given to clang beside the target and the include paths.
    type: list
    elements: str
    default: ["-O2", "-g", "-Wall"]
  method:
    description:
      - V(direct) is C(clang -target bpf -c).
      - V(llc) is C(clang -emit-llvm) and then C(llc -march=bpf -mcpu=probe), which compiles for the running kernel.
    type: str
    choices: [direct, llc]
    default: direct
  include_paths:
    description: Folders in which headers are looked for first, absolute paths.
    type: list
    elements: path
    default: []
  disassemble:
    description: A section whose instructions are returned as RV(disassembly).
    type: str
  overwrite:
    description:
      - Whether a file at O(dest) that the lab did not make may be replaced. The journal keeps it, and O(state=absent)
        puts it back.
    type: bool
    default: false
  state:
    description:
      - Whether the object is there. V(absent) removes what this module made and nothing else. A file that somebody has
        put in its place meanwhile stays, with a warning.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Compile the program by the two steps of the lecture and show its instructions
  ebpf.lab.bpf_object:
    src: /opt/lab/xdp_pass.c
    dest: /opt/lab/xdp_pass.o
    method: llc
    disassemble: xdp-pass

- name: Compile with a constant
  ebpf.lab.bpf_object:
    src: /opt/lab/xdp_rate_limit.c
    dest: /opt/lab/xdp_rate_limit.o
    flags: ["-O2", "-g", "-Wall", "-DBURST=64"]

- name: Remove the object
  ebpf.lab.bpf_object:
    dest: /opt/lab/xdp_pass.o
    state: absent
"""

RETURN = r"""
dest:
  description: The object.
  returned: always
  type: str
  sample: /opt/lab/xdp_pass.o
sha256:
  description: Digest of the object.
  returned: when the object is there
  type: str
  sample: 0f343b0931126a20f133d67c2b018a3b5c6c9a3d1d5bd1d4ce7b0dba5f5e3a77
sections:
  description: The object's sections with code or data.
  returned: when the object is there
  type: list
  elements: str
  sample: [xdp-pass, license]
programs:
  description: The programs in the object.
  returned: when the object is there
  type: list
  elements: dict
  sample: [{name: xdp_allow, section: xdp-pass, instructions: 2}]
maps:
  description: The maps that the object defines; sizes are bytes. C(legacy) marks those that libbpf 1.0 refuses,
    C(timers) those with a bpf_timer or a bpf_wq in their values.
  returned: when the object is there
  type: list
  elements: dict
  sample:
    - name: pkt_cnt
      type: hash
      key_size: 4
      value_size: 8
      max_entries: 256
      flags: 0
      legacy: false
      pin_by_name: false
      timers: false
licence:
  description: The licence that the object names; empty when it names none.
  returned: when the object is there
  type: str
  sample: GPL
headers:
  description: The headers that the source includes, directly or not.
  returned: when the object is there
  type: list
  elements: str
  sample: [/usr/include/linux/bpf.h, /usr/include/bpf/bpf_helpers.h]
compiler:
  description: What compiled it.
  returned: when the object is there
  type: str
  sample: Debian clang version 14.0.6
disassembly:
  description: The instructions of the section O(disassemble).
  returned: when asked for and the object is there
  type: list
  elements: str
  sample: ["w0 = 2", "exit"]
diagnostics:
  description: What the compiler warned of, or, on failure, why it refused.
  returned: when it compiled or refused to
  type: list
  elements: dict
  sample:
    - {file: /opt/lab/bad.c, line: 8, column: 12, kind: error, message: "use of undeclared identifier 'XDP_PAS'"}
compiler_output:
  description: All that the compiler said.
  returned: when the compiler refused the source
  type: str
  sample: "/opt/lab/bad.c:8:12: error: use of undeclared identifier 'XDP_PAS'"
steps:
  description: What was done, or would be done in check mode, in order.
  returned: success
  type: list
  elements: str
  sample: [compile /opt/lab/xdp_pass.c to /opt/lab/xdp_pass.o, put /opt/lab/xdp_pass.o in place]
"""

from ansible_collections.ebpf.lab.plugins.module_utils import _python  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.object.options import OPTIONS
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.object.resource import ObjectResource
from ansible_collections.ebpf.lab.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(OPTIONS, ObjectResource.from_params)


if __name__ == "__main__":
    main()
