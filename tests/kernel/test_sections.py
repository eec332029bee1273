# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No program is loaded as what its section says that it is not."""

from __future__ import annotations

import os
import pathlib
import subprocess
import typing as t

import pytest

from .conftest import RunModule

PINS = "/sys/fs/bpf/sections"
# As libbpf 1.6's section_defs have them, one of each family and the odd ones.
OTHERS = """
tracepoint/xdp/xdp_exception tp/xdp/xdp_exception raw_tp/sys_enter raw_tracepoint.w/x tp_btf/xdp_exception
kprobe/do_exit kretprobe/do_exit kprobe.multi/do_* kprobe.session/x ksyscall/openat kretsyscall/openat
uprobe//bin/sh:main uretprobe.multi.s/x usdt//bin/sh:a:b fentry/do_exit fexit.s/x fmod_ret/x freplace/main
lsm/file_open lsm.s/x lsm_cgroup/socket_bind iter/task iter.s/x perf_event syscall struct_ops/init struct_ops.s/x
tc classifier tc/ingress tcx/egress action netkit/primary netkit/peer netfilter
socket sockops sk_skb sk_skb/stream_parser sk_msg sk_lookup sk_reuseport/migrate
cgroup/skb cgroup_skb/ingress cgroup/connect4 cgroup/sysctl cgroup/dev lwt_in lwt_seg6local lirc_mode2 flow_dissector
?tracepoint/xdp/xdp_exception ?tc classifier/old
""".split()
XDP = ["xdp", "?xdp", "xdp.frags", "xdp-pass", "xdp_drop2", "prog", "xdp/anything", "tcp_filter", "kprobes", "my.xdp"]


def build(folder: pathlib.Path, sections: t.Sequence[str]) -> str:
    """One object with a program in each section."""
    lines = [
        f'__attribute__((section("{section}"), used)) int f{number}(void *ctx) {{ return 2; }}'
        for number, section in enumerate(sections)
    ]
    path = folder / f"all{len(sections)}.o"
    subprocess.run(
        ["clang", "-O2", "-g", "-target", "bpf", "-x", "c", "-c", "-", "-o", str(path)],
        input="\n".join(lines),
        text=True,
        check=True,
    )
    return str(path)


@pytest.mark.case("L1")
def test_each_section_that_is_not_xdp_is_known(tmp_path: pathlib.Path) -> None:
    from ansible_collections.ebpf.lab.plugins.module_utils._bpf.program.sections import kind_of
    from ansible_collections.ebpf.lab.plugins.module_utils._kernel.elf import read_object

    sections = {program.section for program in read_object(build(tmp_path, [*OTHERS, *XDP])).programs}
    assert sections == {*OTHERS, *XDP}
    assert {section for section in sections if kind_of(section) in ("", "xdp")} == set(XDP)


@pytest.mark.case("L1")
@pytest.mark.parametrize(
    ("sections", "kind", "words"),
    [
        (["tracepoint/xdp/xdp_exception"], "xdp", "f0 of {} is in the section 'tracepoint/xdp/xdp_exception', which"),
        (["xdp", "kprobe/x"], "xdp", "f1 of {} is in the section 'kprobe/x', which makes it a program of"),
        (["xdp", "tc"], "xdp", "f1 of {} is in the section 'tc', which makes it a tc classifier"),
        (["tc"], "xdp", "Say type: classifier."),
        (["netkit/peer"], "classifier", "f0 of {} is in the section 'netkit/peer', which"),
        ([".text"], "xdp", '{} holds no program. Say before the function of each what it is: SEC("xdp").'),
        ([".text"] * 2, "classifier", '{} holds no program. Say before the function of each what it is: SEC("tc")'),
        (["?xdp"], "xdp", "f0 of {} is in the section '?xdp', whose question mark says"),
        (["xdp", "?xdp.frags"], "xdp", 'Say SEC("xdp.frags").'),
    ],
)
def test_what_is_something_else_is_refused_by_name(
    run_module: RunModule,
    journal: t.Callable[[], dict[str, t.Any]],
    tmp_path: pathlib.Path,
    sections: list[str],
    kind: str,
    words: str,
) -> None:
    path = build(tmp_path, sections)
    failed = run_module("bpf_program", object=path, pin_path=PINS, type=kind, check=len(sections) == 1, fails=True)
    assert words.format(path) in failed["msg"]
    assert not os.path.exists(PINS) and journal() == {}


@pytest.mark.case("L1")
@pytest.mark.parametrize(
    ("sections", "kind", "loaded"),
    [
        (["xdp-pass", "xdp_drop2", "prog", "xdp"], "xdp", "xdp"),
        (["tc", "classifier", "tc/ingress", "my_filter"], "classifier", "sched_cls"),
    ],
)
def test_what_libbpf_does_not_know_is_what_the_caller_says(
    run_module: RunModule, tmp_path: pathlib.Path, sections: list[str], kind: str, loaded: str
) -> None:
    try:
        done = run_module("bpf_program", object=build(tmp_path, sections), pin_path=PINS, type=kind)
        assert [program["type"] for program in done["programs"]] == [loaded] * len(sections)
    finally:
        run_module("bpf_program", pin_path=PINS, state="absent")
    assert not os.path.exists(PINS)
