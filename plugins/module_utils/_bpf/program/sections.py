# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What kind of program a section's name stands for, so that none is loaded as what it is not.

The names are those that libbpf's section_defs know, up to their first slash or dot: "kprobe.multi/…" is a kprobe, and
"xdp.frags/devmap" is XDP. A name that libbpf does not know ("xdp-pass", "prog") says nothing; the caller says the type.
"""

from __future__ import annotations

import re

from ..._core.errors import Refused
from ..._kernel.elf import ObjectInfo

XDP, CLASSIFIER = "xdp", "classifier"
# Types that can be asked for, by bpftool's names, as a sentence calls them.
LOADED_AS = {XDP: "XDP", CLASSIFIER: "a tc classifier"}

_NAMES = {
    XDP: "xdp",
    CLASSIFIER: "tc tcx classifier",
    "tc action": "action",
    "netkit": "netkit",
    "kprobe": "kprobe kretprobe ksyscall kretsyscall",
    "uprobe": "uprobe uretprobe usdt",
    "tracepoint": "tracepoint tp raw_tracepoint raw_tp tp_btf",
    "tracing": "fentry fexit fmod_ret fsession",
    "perf event": "perf_event",
    "extension": "freplace",
    "LSM": "lsm lsm_cgroup",
    "iterator": "iter",
    "syscall": "syscall",
    "struct_ops": "struct_ops",
    "socket filter": "socket",
    "socket operations": "sockops",
    "socket map": "sk_skb sk_msg",
    "socket lookup": "sk_lookup",
    "socket reuseport": "sk_reuseport",
    "cgroup": "cgroup cgroup_skb",
    "lightweight tunnel": "lwt_in lwt_out lwt_xmit lwt_seg6local",
    "infrared (lirc)": "lirc_mode2",
    "flow dissector": "flow_dissector",
    "netfilter": "netfilter",
}
_KINDS = {name: kind for kind, names in _NAMES.items() for name in names.split()}


def kind_of(section: str) -> str:
    """The kind of the programs in a section; "" when its name does not tell. "?" marks what is not loaded unasked."""
    return _KINDS.get(re.split(r"[/.]", section.lstrip("?"), maxsplit=1)[0], "")


def check(path: str, info: ObjectInfo, program_type: str) -> None:
    """Raise Refused when a program of the object is of another kind than it would be loaded as, or none is loaded."""
    if not info.programs:
        raise Refused(
            f"object: {path} holds no program.",
            f'Say before the function of each what it is: SEC("{"xdp" if program_type == XDP else "tc"}").',
        )
    for program in info.programs:
        if program.section.startswith("?") and kind_of(program.section) == program_type:
            raise Refused(
                f"object: the program {program.name} of {path} is in the section {program.section!r}, whose question "
                "mark says that it is loaded only where somebody asks for it by name, which nothing here does.",
                f'Say SEC("{program.section[1:]}").',
                program=program.name,
                section=program.section,
            )
        kind = kind_of(program.section)
        if kind in ("", program_type):
            continue
        alone = len({kind_of(other.section) for other in info.programs}) == 1
        if kind not in LOADED_AS:
            fix = f"This collection loads XDP programs and tc classifiers: give {program.name} a source of its own."
        elif alone:
            fix = f"Say type: {kind}."
        else:
            fix = f"Give {program.name} a source of its own, and load that one with type: {kind}."
        what = LOADED_AS.get(kind, f"a program of the kind {kind}")
        raise Refused(
            f"object: the program {program.name} of {path} is in the section {program.section!r}, which makes it "
            f"{what}, and it would be loaded as {LOADED_AS[program_type]}.",
            fix,
            program=program.name,
            section=program.section,
        )
