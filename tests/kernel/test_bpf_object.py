# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bpf_object with the real compiler."""

from __future__ import annotations

import os
import pathlib
import shutil

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
COUNT = """
#include "lab.h"
#include <linux/bpf.h>
#include <asm/types.h>
#include <netinet/in.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, LIMIT); __type(key, __u32); __type(value, __u64); }
    pkt_cnt SEC(".maps");
SEC("xdp") int count(struct xdp_md *ctx) { __u32 key = 1; return bpf_map_lookup_elem(&pkt_cnt, &key) ? 1 : 2; }
char _license[] SEC("license") = "GPL";
"""


@pytest.fixture
def source(tmp_path):
    """The lecture's program in a folder of its own."""
    return pathlib.Path(shutil.copy(ROOT / "files/bpf/xdp_pass.c", tmp_path / "xdp_pass.c"))


@pytest.mark.parametrize("method", ["direct", "llc"])
def test_four_runs_and_absent(four_runs, run_module, journal, source, tmp_path, method):
    dest = tmp_path / "new" / "folder" / "xdp_pass.o"
    arguments = {"src": str(source), "dest": str(dest), "method": method, "disassemble": "xdp-pass"}
    result = four_runs("bpf_object", **arguments)
    assert result["programs"] == [{"name": "xdp_allow", "section": "xdp-pass", "instructions": 2}]
    assert [line.split()[-1] for line in result["disassembly"]] == ["2", "exit"]
    assert result["licence"] == "GPL"
    assert "/usr/include/linux/bpf.h" in result["headers"]
    assert "xdp-pass" in result["sections"]
    removed = run_module("bpf_object", dest=str(dest), state="absent")
    assert removed["changed"]
    assert not (tmp_path / "new").exists()
    assert journal() == {}
    assert not run_module("bpf_object", dest=str(dest), state="absent")["changed"]


def test_maps_and_header_change(run_module, tmp_path):
    (tmp_path / "lab.h").write_text("#define LIMIT 16\n")
    (tmp_path / "count.c").write_text(COUNT)
    arguments = {"src": str(tmp_path / "count.c"), "dest": str(tmp_path / "count.o")}
    result = run_module("bpf_object", **arguments)
    assert result["maps"] == [
        {
            "name": "pkt_cnt", "type": "hash", "key_size": 4, "value_size": 8, "max_entries": 16, "flags": 0,
            "legacy": False, "pin_by_name": False, "timers": False,
        }
    ]  # fmt: skip
    (tmp_path / "lab.h").write_text("#define LIMIT 32\n")
    assert run_module("bpf_object", check=True, **arguments)["changed"]
    assert run_module("bpf_object", **arguments)["maps"][0]["max_entries"] == 32
    assert not run_module("bpf_object", **arguments)["changed"]


@pytest.mark.parametrize("drift", ["source", "object", "object gone", "flags"])
def test_drift_is_repaired(run_module, source, tmp_path, drift):
    dest = tmp_path / "xdp_pass.o"
    arguments = {"src": str(source), "dest": str(dest), "flags": ["-O2", "-g"]}
    run_module("bpf_object", **arguments)
    before = dest.read_bytes()
    if drift == "source":
        source.write_text(source.read_text().replace("XDP_PASS;", "XDP_DROP;"))
    elif drift == "object":
        dest.write_bytes(b"not an object")
    elif drift == "object gone":
        dest.unlink()
    else:
        arguments["flags"] = ["-O2"]
    assert run_module("bpf_object", check=True, **arguments)["changed"]
    assert run_module("bpf_object", **arguments)["changed"]
    assert not run_module("bpf_object", **arguments)["changed"]
    assert (dest.read_bytes() == before) == drift.startswith("object")


def test_syntax_error_reaches_the_reader(run_module, source, tmp_path):
    good = run_module("bpf_object", src=str(source), dest=str(tmp_path / "x.o"))
    source.write_text(source.read_text().replace("XDP_PASS;", "XDP_PAS"))
    line = next(n for n, text in enumerate(source.read_text().splitlines(), 1) if "return XDP_PAS" in text)
    failed = run_module("bpf_object", src=str(source), dest=str(tmp_path / "x.o"), fails=True)
    assert f"{source}:{line}:" in failed["msg"]
    assert failed["diagnostics"][0]["line"] == line
    assert "XDP_PAS" in failed["compiler_output"]
    assert (tmp_path / "x.o").exists(), "the old object stays"
    source.write_text(source.read_text().replace("XDP_PAS\n", "XDP_PASS;\n"))
    assert not run_module("bpf_object", src=str(source), dest=str(tmp_path / "x.o"))["changed"], good
    assert [name for name in os.listdir(tmp_path) if name.startswith(".ebpf-lab")] == []


def test_a_foreign_file_is_kept(run_module, journal, source, tmp_path):
    dest = tmp_path / "mine.o"
    dest.write_bytes(b"a student's own")
    arguments = {"src": str(source), "dest": str(dest)}
    assert "was not made by the lab" in run_module("bpf_object", fails=True, **arguments)["msg"]
    assert not run_module("bpf_object", dest=str(dest), state="absent")["changed"]
    assert run_module("bpf_object", overwrite=True, **arguments)["programs"]
    assert run_module("bpf_object", dest=str(dest), state="absent")["changed"]
    assert dest.read_bytes() == b"a student's own"
    assert journal() == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"src": "xdp.c", "dest": "/tmp/x.o"}, "src: 'xdp.c' is not an absolute path"),
        ({"dest": "/tmp/x.o"}, "src: None names no source"),
        ({"src": "/nowhere/x.c", "dest": "/tmp/x.o"}, "there is no file /nowhere/x.c"),
        ({"src": "/tmp/x.c", "dest": "/tmp/x.c"}, "is the source itself"),
    ],
)
def test_bad_arguments(run_module, arguments, words):
    assert words in run_module("bpf_object", fails=True, **arguments)["msg"]


def test_unknown_section(run_module, source, tmp_path):
    failed = run_module("bpf_object", src=str(source), dest=str(tmp_path / "x.o"), disassemble="xdp", fails=True)
    assert "no section 'xdp'" in failed["msg"]
    assert not (tmp_path / "x.o").exists()


def test_foreign_header_missing(run_module, tmp_path):
    (tmp_path / "x.c").write_text("#include <no/such.h>\n")
    failed = run_module("bpf_object", src=str(tmp_path / "x.c"), dest=str(tmp_path / "x.o"), fails=True)
    assert "no/such.h" in failed["msg"]
    assert "libbpf-dev" in failed["msg"]
