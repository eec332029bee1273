# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read from the words of clang and bpftool, old and new."""

from __future__ import annotations

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.object.clang import Recipe, diagnostics
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.program.bpftool import KNOWN, read_refusal
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.program.steps import by_function, staging_of
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import LabError
from ansible_collections.ebpf.lab.plugins.module_utils._kernel.btf import Btf
from ansible_collections.ebpf.lab.plugins.module_utils._kernel.elf import ObjectInfo, ProgramDefinition
from ansible_collections.ebpf.lab.plugins.module_utils._kernel.syscall import ProgramInfo
from hypothesis import given
from hypothesis import strategies as st

VERIFIER = """libbpf: prog 'no_bounds': BPF program load failed: Permission denied
libbpf: prog 'no_bounds': -- BEGIN PROG LOAD LOG --
0: R1=ctx() R10=fp0
; void *data = (void *)(long)ctx->data;{place1}
0: (61) r1 = *(u32 *)(r1 +0)          ; R1=pkt(r=0)
; if (eth->h_proto == 8){place2}
1: (71) r2 = *(u8 *)(r1 +12)
invalid access to packet, off=12 size=1, R1(id=0,off=12,r=0)
R1 offset is outside of the packet
processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
-- END PROG LOAD LOG --
libbpf: prog 'no_bounds': failed to load: -13
libbpf: failed to load object 'nb.o'
Error: failed to load object file
"""


@pytest.mark.parametrize(
    ("places", "location"), [(("", ""), ""), ((" @ nb.c:7", " @ nb.c:9"), "nb.c:9")], ids=["old kernel", "new kernel"]
)
def test_a_verifier_log(places, location):
    found = read_refusal(VERIFIER.format(place1=places[0], place2=places[1]))
    assert found.program == "no_bounds"
    assert found.reason == "invalid access to packet, off=12 size=1, R1(id=0,off=12,r=0)"
    assert found.instruction == "1: (71) r2 = *(u8 *)(r1 +12)"
    assert found.source_line == "if (eth->h_proto == 8)"
    assert found.location == location
    assert "data_end" in found.cure
    assert found.log.startswith("0: R1=ctx()")


def test_a_loader_that_refuses_before_the_verifier():
    found = read_refusal(
        "libbpf: elf: legacy map definitions in 'maps' section are not supported by libbpf v1.0+\n"
        "Error: failed to open object file\n"
    )
    assert found.reason.startswith("elf: legacy map definitions")
    assert 'SEC(".maps")' in found.cure
    assert not found.log


@given(st.text())
def test_any_words_give_a_reason(said):
    found = read_refusal(said)
    assert found.reason
    assert not found.log or "BEGIN PROG LOAD LOG" in said


def test_each_known_sign_has_a_sentence():
    assert all((sign and cure.endswith(".")) or cure.endswith(";") for sign, cure in KNOWN), KNOWN


def test_clang_messages():
    found = diagnostics(
        "In file included from /opt/x.c:1:\n"
        "/opt/x.c:8:12: error: use of undeclared identifier 'XDP_PAS'\n        return XDP_PAS;\n               ^\n"
        "/opt/x.c:9:1: warning: control reaches end: of function [-Wreturn-type]\n"
        "/opt/x.c:1:10: fatal error: 'no/such.h' file not found\n2 errors generated.\n"
    )
    assert [(entry["line"], entry["column"], entry["kind"]) for entry in found] == [
        (8, 12, "error"),
        (9, 1, "warning"),
        (1, 10, "fatal error"),
    ]
    assert found[1]["message"] == "control reaches end: of function [-Wreturn-type]"


def test_the_two_ways_to_compile():
    direct = Recipe("/opt/x.c", flags=("-O2",), include_paths=("/opt/include",)).commands("o", "d", "ll")
    assert len(direct) == 1
    assert direct[0][:4] == ["clang", "-target", "bpf", "-O2"]
    assert "-I/opt/include" in direct[0]
    clang, llc = Recipe("/opt/x.c", method="llc").commands("o", "d", "ll")
    assert "-emit-llvm" in clang
    assert llc == ["llc", "-march=bpf", "-mcpu=probe", "-filetype=obj", "ll", "-o", "o"]


def info(name):
    return ProgramInfo(1, "xdp", name[:15], "tag", (), 0, 0, True, 16, 22, 0, 0, 0)


@pytest.mark.parametrize("by", ["function", "section"])
def test_pins_are_matched_whatever_bpftool_calls_them(by):
    """bpftool 7 pins by the function's name, 5.15 by the section's with slashes made underscores."""
    names = {"xdp_allow": "xdp-pass", "a_function_with_a_long_name": "xdp/long"}
    definitions = tuple(ProgramDefinition(name, section, 2) for name, section in names.items())
    pinned = {name if by == "function" else section.replace("/", "_"): info(name) for name, section in names.items()}
    found = by_function(ObjectInfo((), definitions, (), "GPL"), pinned)
    assert {name: pinned[pin].name for name, pin in found.items()} == {name: name[:15] for name in names}
    assert len(set(found.values())) == 2


def test_staging_lies_on_the_same_bpffs_beside_the_pins():
    assert staging_of("/sys/fs/bpf/ebpf") == "/sys/fs/bpf/ebpf_lab_staging"


@given(st.binary(max_size=200))
def test_any_bytes_are_btf_or_an_error(blob):
    try:
        assert Btf(blob).types
    except LabError as error:
        assert "BTF" in str(error)


@given(st.binary(max_size=120))
def test_broken_btf_with_a_good_head(body):
    head = b"\x9f\xeb\x01\x00" + (24).to_bytes(4, "little")
    sizes = b"".join(value.to_bytes(4, "little") for value in (0, len(body), len(body), 0))
    try:
        assert Btf(head + sizes + body).types
    except LabError as error:
        assert "BTF" in str(error)
