# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labs whose objects are not the lecture's: tail calls, and programs of other kinds than XDP."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import typing as t

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import LabError
from ansible_collections.ebpf.lab.plugins.module_utils._lab.schema import WORK_FOLDER
from ansible_collections.ebpf.lab.tests.kernel.test_prog_arrays import CHAIN

from .conftest import PINS, Lab, bpftool

JOURNAL = pathlib.Path("/var/lib/ebpf.lab/journal.jsonl")
LAB = """
name: chain
objects: {chain: {source: chain.c, flags: [-O2, -g, -DVERDICT=XDP_TX]}, other: {source: other.c}}
stages:
  - {name: array, programs: [{object: chain}]}
  - {name: named, programs: [{object: chain, pin_maps: [jumps]}]}
  - {name: other, programs: [{object: other}]}
  - {name: refused, refused: [{object: other}], traffic: [{name: none, to: 127.0.0.1}]}
"""
OTHER = """
__attribute__((section("xdp"))) int fine(void *ctx) { return 2; }
__attribute__((section("tracepoint/xdp/xdp_exception"))) int on_exception(void *ctx) { return 0; }
"""


@pytest.fixture
def chain(tmp_path: pathlib.Path) -> t.Iterator[Lab]:
    (tmp_path / "chain.yml").write_text(LAB, encoding="utf-8")
    (tmp_path / "chain.c").write_text(CHAIN, encoding="utf-8")
    (tmp_path / "other.c").write_text(OTHER, encoding="utf-8")
    lab = Lab(str(tmp_path / "chain.yml"))
    yield lab
    lab.down()
    assert not JOURNAL.exists() and not os.path.exists(WORK_FOLDER) and not os.path.exists(PINS)


def verdict(tmp_path: pathlib.Path) -> int:
    packet = tmp_path / "packet"
    packet.write_bytes(bytes(64))
    run = bpftool("-j", "prog", "run", "pinned", f"{PINS}/first", "data_in", str(packet), "repeat", "1")
    return int(json.loads(run.stdout)["retval"])


@pytest.mark.case("C15")
@pytest.mark.parametrize(("stage", "pin"), [("array", "chain-jumps"), ("named", "jumps")])
def test_tail_calls_in_a_lab(chain: Lab, tmp_path: pathlib.Path, stage: str, pin: str) -> None:
    done = chain.up(stage)
    assert (verdict(tmp_path), sorted(os.listdir(PINS))) == (3, sorted([pin, "first", "second"]))
    assert [(entry["name"], entry["pin"]) for entry in done["facts"]["maps"]] == [("jumps", f"{PINS}/{pin}")]
    for again in (chain.up(stage), chain.reset(), chain.reset(stage)):
        assert not again["changed"], again["steps"]
    os.unlink(f"{PINS}/{pin}")
    assert verdict(tmp_path) == 1
    assert chain.reset(check=True)["steps"] == chain.reset()["steps"] != []
    assert verdict(tmp_path) == 3
    assert chain.up("named" if stage == "array" else "array")["changed"] and verdict(tmp_path) == 3
    assert len(os.listdir(PINS)) == 3


@pytest.mark.case("L1")
def test_a_program_of_another_kind_is_refused_and_nothing_stays(chain: Lab) -> None:
    words = r"the program on_exception of .*/other.o is in the section 'tracepoint/xdp/xdp_exception'"
    with pytest.raises(LabError, match=words):
        chain.up("other")
    assert not JOURNAL.exists() and not os.path.exists(PINS) and not os.path.exists(WORK_FOLDER)
    chain.up("array")
    before = JOURNAL.read_bytes(), sorted(os.listdir(PINS))
    with pytest.raises(LabError, match=words):
        chain.up("other")
    assert (JOURNAL.read_bytes(), sorted(os.listdir(PINS))) == before
    tried = chain.up("refused")["facts"]["refusals"]["other"]
    assert tried["refused"] is None and "on_exception" in tried["reason"]


@pytest.mark.case("R5")
def test_a_folder_that_a_student_removed_is_no_riddle(chain: Lab) -> None:
    chain.up("array")
    shutil.rmtree(f"{WORK_FOLDER}/chain")
    chain.down()
    assert not JOURNAL.exists()
    chain.up("array")
    shutil.rmtree(WORK_FOLDER)
    assert chain.reset()["changed"]
