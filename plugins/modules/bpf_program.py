#!/usr/bin/python
# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bpf_program
short_description: Load an object's BPF programs and pin them
version_added: "1.0.0"
author:
  - the ebpf.lab authors (@ebpf-lab)
description:
  - Loads all programs of a BPF object as XDP programs, and pins each in a folder of bpffs under its function's name. A
    missing bpffs is mounted.
  - A section may have any name. One that libbpf knows as that of another kind of program, such as C(kprobe/do_exit),
    is refused, so that nothing is loaded as what it is not.
  - Maps that the kernel empties or stops when their last user outside of it goes are pinned without being asked for,
    or tail calls would do nothing. These are prog arrays, and maps with a C(bpf_timer) or a C(bpf_wq) in their values.
    Such a map is pinned in O(pin_path) as the object's file name without its ending, a dash, and the map's name, for
    example C(chain-jumps) for the map C(jumps) of C(chain.o); a program's pin has no dash. Each load makes it anew.
    One that O(pin_maps) names is pinned as that says, and only there.
  - Loads again when the object, a pin or the maps of a program are not what they should be. The new programs wait in a
    folder of their own until the verifier has passed all of them; then the pins are replaced, each in one step. When
    the verifier refuses one, the old programs stay, and its log reaches you.
  - An attachment is not touched. One that was made from an old program keeps it until M(ebpf.lab.xdp_attachment) runs.
extends_documentation_fragment: [ebpf.lab.attributes.converges]
attributes:
  diff_mode:
    description: Shows which object each pin was and will be loaded from.
options:
  object:
    description:
      - The object file, an absolute path on the host. Required while O(state=present).
      - With O(state=absent), only the pins that were made from this object are removed.
    type: path
  pin_path:
    description: The folder for the pins, on a bpffs. Missing folders are made, and go again with the last pin.
    type: path
    required: true
  type:
    description:
      - What the programs are loaded as. V(classifier) is for M(ebpf.lab.tc_attachment).
    type: str
    choices: [xdp, classifier]
    default: xdp
  pin_maps:
    description: Names of the object's maps that are pinned too.
    type: list
    elements: str
    default: []
  map_pin_path:
    description: The folder for the pins of the maps; O(pin_path) when not given.
    type: path
  reuse_maps:
    description:
      - Whether a map that is pinned already is used by the new programs, with its entries, when its type, sizes and
        flags are those that the object defines. Otherwise a new one takes its place.
    type: bool
    default: true
  overwrite:
    description:
      - Whether pins that the lab did not make may be moved aside. O(state=absent) puts them back.
    type: bool
    default: false
  state:
    description:
      - Whether the programs are there. V(absent) removes the pins that this module made, the folders and the mount of
        bpffs when it made them and nothing else is in them. A pin that somebody has put in the place of ours stays,
        with a warning.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Load the program and pin it as /sys/fs/bpf/ebpf/xdp_allow
  ebpf.lab.bpf_program:
    object: /opt/lab/xdp_pass.o
    pin_path: /sys/fs/bpf/ebpf

- name: Load a program that counts, and pin its map as /sys/fs/bpf/ebpf/pkt_cnt
  ebpf.lab.bpf_program:
    object: /opt/lab/xdp_count.o
    pin_path: /sys/fs/bpf/ebpf
    pin_maps: [pkt_cnt]

- name: Unpin all that was loaded there
  ebpf.lab.bpf_program:
    pin_path: /sys/fs/bpf/ebpf
    state: absent
"""

RETURN = r"""
pin_path:
  description: The folder of the pins.
  returned: success
  type: str
  sample: /sys/fs/bpf/ebpf
object_sha256:
  description: Digest of the object file; null when it is not there.
  returned: success
  type: str
  sample: 0f343b0931126a20f133d67c2b018a3b5c6c9a3d1d5bd1d4ce7b0dba5f5e3a77
programs:
  description:
    - The object's programs that are pinned. C(kernel_name) is cut at 15 characters, C(loaded_ns) counts from boot,
      sizes are bytes.
  returned: success
  type: list
  elements: dict
  sample:
    - {name: xdp_allow, pin: /sys/fs/bpf/ebpf/xdp_allow, section: xdp-pass, id: 42, type: xdp, tag: 3b185187f1855c4c,
       map_ids: [], kernel_name: xdp_allow, loaded_ns: 1195971158009, uid: 0, gpl_compatible: true, xlated_bytes: 16,
       jited_bytes: 22, btf_id: 31}
maps:
  description: The maps that are pinned, also those that nobody named; sizes are bytes.
  returned: success
  type: list
  elements: dict
  sample:
    - name: pkt_cnt
      pin: /sys/fs/bpf/ebpf/pkt_cnt
      id: 31
      type: hash
      key_size: 4
      value_size: 8
      max_entries: 256
      flags: 0
      btf_id: 31
      kernel_name: pkt_cnt
reason:
  description: Why the verifier or the loader refused the object, in its own words.
  returned: when it refused
  type: str
  sample: "invalid access to packet, off=12 size=1, R1(id=0,off=12,r=0)"
program:
  description: The program that was refused.
  returned: when the verifier refused
  type: str
  sample: xdp_icmp
source_line:
  description: The line of the source that the verifier stopped at, when the object was compiled with C(-g).
  returned: when the verifier refused
  type: str
  sample: if (eth->h_proto == 8)
source_location:
  description: File and line of RV(source_line), when this kernel tells.
  returned: when the verifier refused
  type: str
  sample: xdp_icmp.c:9
instruction:
  description: The instruction that the verifier stopped at.
  returned: when the verifier refused
  type: str
  sample: "1: (71) r2 = *(u8 *)(r1 +12)"
verifier_log:
  description: The verifier's whole log, its last 20000 characters.
  returned: when the verifier refused
  type: str
  sample: "0: R1=ctx() R10=fp0 ..."
loader_output:
  description: All that bpftool said.
  returned: when it refused
  type: str
  sample: "libbpf: prog 'xdp_icmp': BPF program load failed: Permission denied"
steps:
  description: What was done, or would be done in check mode, in order.
  returned: success
  type: list
  elements: str
  sample: [load /opt/lab/xdp_pass.o, pin the program xdp_allow at /sys/fs/bpf/ebpf/xdp_allow]
"""

from ansible_collections.ebpf.lab.plugins.module_utils import _python  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.program.options import OPTIONS
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.program.resource import ProgramResource
from ansible_collections.ebpf.lab.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(OPTIONS, ProgramResource.from_params)


if __name__ == "__main__":
    main()
