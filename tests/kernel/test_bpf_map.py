# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bpf_map and bpf_map_info on real maps; bpftool is the second opinion."""

from __future__ import annotations

import json
import os
import pathlib
import platform
import shutil
import subprocess
import typing as t

import pytest

FOLDER = "/sys/fs/bpf/maps"
SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct counted { __u64 packets; __u64 bytes; };
enum colour { RED = 1, BLUE = 7 };
struct mixed {
    __u32 number; char name[8]; __u8 low : 3, high : 5; enum colour colour;
    union { __u32 word; __u8 parts[4]; }; _Bool flag; __s16 below;
};
struct prefix { __u32 prefixlen; __u8 address[4]; };
#define MAP(NAME, TYPE, ENTRIES, KEY, VALUE, FLAGS) struct { __uint(type, BPF_MAP_TYPE_##TYPE); \\
    __uint(max_entries, ENTRIES); __uint(map_flags, FLAGS); __type(key, KEY); __type(value, VALUE); } NAME SEC(".maps");
MAP(counts, HASH, 4, __u32, struct counted, 0)
MAP(each, PERCPU_ARRAY, 3, __u32, struct counted, 0)
MAP(mixes, ARRAY, 2, __u32, struct mixed, 0)
MAP(nets, LPM_TRIE, 8, struct prefix, __s32, BPF_F_NO_PREALLOC)
MAP(tails, PROG_ARRAY, 3, __u32, __u32, 0)
MAP(ports, DEVMAP, 4, __u32, struct bpf_devmap_val, 0)
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4); __uint(key_size, 4); __uint(value_size, 8); }
    plain SEC(".maps");
int limit = 5;
SEC("xdp") int counter(struct xdp_md *ctx)
{
    __u32 zero = 0;
    struct prefix prefix = {};
    void *found = bpf_map_lookup_elem(&counts, &zero);
    if (!found) found = bpf_map_lookup_elem(&each, &zero);
    if (!found) found = bpf_map_lookup_elem(&mixes, &zero);
    if (!found) found = bpf_map_lookup_elem(&plain, &zero);
    if (!found) found = bpf_map_lookup_elem(&nets, &prefix);
    if (limit == 7) bpf_tail_call(ctx, &tails, 0);
    if (limit == 8) return bpf_redirect_map(&ports, 0, 0);
    return found ? XDP_DROP : XDP_PASS;
}
char _license[] SEC("license") = "GPL";
"""


def sh(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


def bpftool(*argv: str) -> t.Any:
    return json.loads(sh("bpftool", "-j", *argv) or "null")


def dumped(path: str) -> list[tuple[t.Any, t.Any]]:
    """What bpftool makes of the map by its BTF."""
    found = [
        (entry["formatted"]["key"], entry["formatted"]["value"]) for entry in bpftool("map", "dump", "pinned", path)
    ]
    return sorted(found, key=str)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("object")
    (folder / "maps.c").write_text(SOURCE)
    include = f"-I/usr/include/{platform.machine()}-linux-gnu"
    path = str(folder / "maps.o")
    sh("clang", "-O2", "-g", "-Wall", "-Werror", "-target", "bpf", include, "-c", str(folder / "maps.c"), "-o", path)
    return path


@pytest.fixture
def maps(program: str) -> t.Iterator[str]:
    """A folder of pins that are not ours."""
    sh("bpftool", "prog", "loadall", program, FOLDER, "type", "xdp", "pinmaps", FOLDER)
    yield FOLDER
    shutil.rmtree(FOLDER, ignore_errors=True)


@pytest.fixture
def folder() -> t.Iterator[str]:
    yield FOLDER
    shutil.rmtree(FOLDER, ignore_errors=True)


def possible_cpus() -> int:
    return len(bpftool("map", "lookup", "pinned", f"{FOLDER}/each", "key", "0", "0", "0", "0")["values"])


def test_entries_of_a_foreign_map_and_the_way_back(
    maps: str, four_runs: t.Any, run_module: t.Any, journal: t.Any
) -> None:
    path = f"{maps}/counts"
    run_module("bpf_map", path=path, entries=[{"key": 9, "value": {"packets": 9, "bytes": 90}}])
    shutil.rmtree("/var/lib/ebpf.lab")  # that one is a stranger's
    before = dumped(path)
    entries = [{"key": 1, "value": {"packets": 1, "bytes": 60}}, {"key": 2, "value": {"packets": 2**63, "bytes": 0}}]
    result = four_runs("bpf_map", path=path, entries=entries)
    assert result["entries"] == entries
    assert dumped(path) == [(1, {"packets": 1, "bytes": 60}), (2, {"packets": 2**63, "bytes": 0}), *before]
    # Drift: one entry changed, one gone.
    sh("bpftool", "map", "delete", "pinned", path, "key", "1", "0", "0", "0")
    drifted = four_runs("bpf_map", path=path, entries=entries)
    assert drifted["steps"] == [f"set 1 entry of {path}: 1"]
    four_runs("bpf_map", path=path, entries=entries[:1], absent_keys=[2], exclusive=True)
    assert dumped(path) == [(1, {"packets": 1, "bytes": 60})]
    assert len(journal()) == 3
    assert four_runs("bpf_map", path=path, state="absent")["map"]["name"] == "counts"
    assert dumped(path) == before and journal() == {}
    assert not run_module("bpf_map", path=path, state="absent")["changed"]
    assert os.path.exists(path)


def test_structs_arrays_bit_fields_unions(maps: str, four_runs: t.Any, run_module: t.Any) -> None:
    value = {
        "number": 4000000000, "name": "hallo", "low": 5, "high": 30, "colour": "BLUE", "word": 0x01020304, "flag": True,
        "below": -2,
    }  # fmt: skip
    result = four_runs("bpf_map", path=f"{maps}/mixes", entries=[{"key": 1, "value": value}])
    assert result["entries"][0]["value"] == {**value, "parts": [4, 3, 2, 1]}
    ((_zero, _empty), (_one, theirs)) = dumped(f"{maps}/mixes")
    assert (theirs["number"], theirs["below"]) == (4000000000, -2)
    assert (int(theirs["low"], 16), int(theirs["high"], 16)) == (5, 30)
    again = run_module("bpf_map", path=f"{maps}/mixes", entries=result["entries"])
    assert not again["changed"]  # what is shown can be written
    gone = four_runs("bpf_map", path=f"{maps}/mixes", absent_keys=[1])
    assert gone["entries"][0]["value"]["number"] == 0


def test_per_cpu(maps: str, four_runs: t.Any, run_module: t.Any) -> None:
    cpus = possible_cpus()
    values = [{"packets": cpu + 1, "bytes": 10 * cpu} for cpu in range(cpus)]
    path = f"{maps}/each"
    four_runs(
        "bpf_map", path=path, entries=[{"key": 0, "value": values}, {"key": 2, "value": {"packets": 7, "bytes": 0}}]
    )
    found = run_module("bpf_map_info", path=path)
    assert found["map"]["cpus"] == cpus
    assert (
        found["entries"][0]["value"] == values and found["entries"][2]["value"] == [{"packets": 7, "bytes": 0}] * cpus
    )
    summed = run_module("bpf_map_info", path=path, sum_per_cpu=True)["entries"]
    assert summed[0]["value"] == {"packets": sum(range(1, cpus + 1)), "bytes": 10 * sum(range(cpus))}
    assert [entry["key"] for entry in summed] == [0, 1, 2]


def test_a_trie_does_not_take_a_shorter_prefix_for_the_entry(maps: str, four_runs: t.Any, run_module: t.Any) -> None:
    wide = {"prefixlen": 8, "address": [10, 0, 0, 0]}
    narrow = {"prefixlen": 24, "address": [10, 1, 2, 99]}  # the bits behind the prefix do not count
    path = f"{maps}/nets"
    four_runs("bpf_map", path=path, entries=[{"key": wide, "value": -1}])
    four_runs("bpf_map", path=path, entries=[{"key": narrow, "value": -1}])
    assert len(dumped(path)) == 2
    four_runs("bpf_map", path=path, absent_keys=[{"prefixlen": 24, "address": [10, 1, 2, 3]}])
    assert [entry["key"] for entry in run_module("bpf_map_info", path=path)["entries"]] == [wide]


def test_bytes_without_btf(maps: str, four_runs: t.Any, run_module: t.Any) -> None:
    entries = [{"key": "01 00 00 00", "value": "0102030405060708"}, {"key": 2, "value": 3}]
    result = four_runs("bpf_map", path=f"{maps}/plain", entries=entries)
    assert result["entries"][0] == {"key": "01 00 00 00", "value": "01 02 03 04 05 06 07 08"}
    raw = run_module("bpf_map_info", path=f"{maps}/counts", format="bytes")
    assert raw["map"]["btf"] and raw["entries"] == []


def test_global_variables_and_tail_calls(maps: str, four_runs: t.Any) -> None:
    (data,) = (name for name in os.listdir(maps) if name.endswith("_data"))
    result = four_runs("bpf_map", path=f"{maps}/{data}", entries=[{"key": 0, "value": {"limit": 9}}])
    assert result["entries"] == [{"key": 0, "value": {"limit": 9}}]
    program = bpftool("prog", "show", "pinned", f"{maps}/counter")["id"]
    result = four_runs("bpf_map", path=f"{maps}/tails", entries=[{"key": 1, "value": program}])
    assert result["entries"] == [{"key": 1, "value": program}]
    four_runs("bpf_map", path=f"{maps}/tails", entries=[], exclusive=True)


def test_a_devmap_by_interface_name_in_a_namespace(maps: str, four_runs: t.Any, sandbox_ns: t.Any) -> None:
    netns = sandbox_ns()
    sh("ip", "-n", netns, "link", "add", "here", "index", "77", "type", "veth", "peer", "name", "there")
    entries = [{"key": 0, "value": "here"}]
    result = four_runs("bpf_map", path=f"{maps}/ports", entries=entries, netns=netns)
    assert result["entries"] == [{"key": 0, "value": {"ifindex": 77, "program": 0}}]
    sh("ip", "-n", netns, "link", "del", "here")  # takes the entry with it
    sh("ip", "-n", netns, "link", "add", "here", "index", "78", "type", "veth", "peer", "name", "there")
    assert (
        four_runs("bpf_map", path=f"{maps}/ports", entries=entries, netns=netns)["entries"][0]["value"]["ifindex"] == 78
    )


def test_make_pin_drift_absent(folder: str, four_runs: t.Any, run_module: t.Any, journal: t.Any) -> None:
    arguments: dict[str, t.Any] = {
        "path": f"{folder}/mine", "type": "hash", "key_type": "u32", "max_entries": 8,
        "value_type": {"packets": "u64", "name": "char[16]", "ok": "bool", "pair": "s16[2]"},
    }  # fmt: skip
    entries = [{"key": 7, "value": {"packets": 5, "name": "eth0", "ok": True, "pair": [-1, 1]}}]
    result = four_runs("bpf_map", **arguments, entries=entries)
    assert result["entries"] == entries and (result["map"]["key_size"], result["map"]["value_size"]) == (4, 32)
    ((key, theirs),) = dumped(f"{folder}/mine")
    assert key == 7 and theirs["packets"] == 5 and theirs["name"] == "eth0" and theirs["pair"] == [-1, 1]
    os.unlink(f"{folder}/mine")
    assert four_runs("bpf_map", **arguments, entries=entries)["entries"] == entries
    larger = four_runs("bpf_map", **{**arguments, "max_entries": 16}, entries=entries)
    assert larger["map"]["max_entries"] == 16 and larger["entries"] == entries
    four_runs("bpf_map", path=f"{folder}/mine", state="absent")
    assert not os.path.exists(folder) and journal() == {}
    assert not run_module("bpf_map", path=f"{folder}/mine", state="absent")["changed"]


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("array", {"value_type": "u64"}),
        ("percpu_hash", {"key_type": "u32", "value_type": {"a": "u64"}}),
        ("lpm_trie", {"key_type": {"prefixlen": "u32", "address": "u8[4]"}, "value_type": "u8"}),
        ("lru_hash", {"key_size": 16, "value_size": 3}),
        ("devmap", {"value_size": 8}),
        ("prog_array", {}),
        ("queue", {"value_size": 4}),
        ("ringbuf", {"max_entries": 4096}),
    ],
)
def test_kinds_that_can_be_made(folder: str, four_runs: t.Any, kind: str, more: dict[str, t.Any]) -> None:
    result = four_runs("bpf_map", path=f"{folder}/mine", type=kind, **{"max_entries": 8, **more})
    assert bpftool("map", "show", "pinned", f"{folder}/mine")["type"] == kind == result["map"]["type"]
    four_runs("bpf_map", path=f"{folder}/mine", state="absent")


def test_pin_a_programs_map(maps: str, four_runs: t.Any, run_module: t.Any, journal: t.Any) -> None:
    counts = bpftool("map", "show", "pinned", f"{maps}/counts")["id"]
    other = f"{maps}/deeper/counts"
    result = four_runs("bpf_map", program=f"{maps}/counter", name="counts", path=other)
    assert result["map"]["id"] == counts == bpftool("map", "show", "pinned", other)["id"]
    by_id = run_module("bpf_map_info", id=counts)
    assert by_id["map"]["id"] == counts
    assert "each" in run_module("bpf_map", path=f"{maps}/each", id=counts, fails=True)["msg"]
    four_runs("bpf_map", path=other, state="absent")
    assert not os.path.exists(f"{maps}/deeper") and os.path.exists(f"{maps}/counts") and journal() == {}


def test_bounded(maps: str, run_module: t.Any) -> None:
    entries = [{"key": key, "value": {"packets": key, "bytes": 0}} for key in range(4)]
    run_module("bpf_map", path=f"{maps}/counts", entries=entries)
    found = run_module("bpf_map_info", path=f"{maps}/counts", limit=3)
    assert len(found["entries"]) == 3 and found["truncated"]
    found = run_module("bpf_map_info", path=f"{maps}/counts", limit=4)
    assert found["entries"] == entries and not found["truncated"]


def test_a_full_map_is_left_as_it_was(maps: str, run_module: t.Any, journal: t.Any) -> None:
    entries = [{"key": key, "value": {"packets": key, "bytes": 0}} for key in range(5)]
    failed = run_module("bpf_map", path=f"{maps}/counts", entries=entries, fails=True)
    assert "holds 4 entries and no more" in failed["msg"]
    assert dumped(f"{maps}/counts") == [] and journal() == {}
    assert run_module("bpf_map", path=f"{maps}/counts", entries=entries[:4])["changed"]
    moved = [{"key": 10 + key, "value": {"packets": 0, "bytes": 0}} for key in range(4)]
    assert run_module("bpf_map", path=f"{maps}/counts", entries=moved, exclusive=True)["changed"]


def test_maps_of_our_own_program_need_no_journal(program: str, run_module: t.Any, journal: t.Any) -> None:
    run_module("bpf_program", object=program, pin_path=FOLDER, pin_maps=["counts"])
    claims = journal()
    run_module("bpf_map", path=f"{FOLDER}/counts", entries=[{"key": 1, "value": {"packets": 1, "bytes": 1}}])
    assert journal() == claims
    run_module("bpf_program", pin_path=FOLDER, state="absent")
    assert not os.path.exists(FOLDER) and journal() == {}


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, ["path", "pinned path"]),
        ({"path": "counts"}, ["counts", "absolute path"]),
        ({"path": FOLDER}, [FOLDER, "folder"]),
        ({"path": f"{FOLDER}/counter"}, ["counter", "program, not a map"]),
        ({"path": f"{FOLDER}/counts", "id": 3, "program": "x", "name": "y"}, ["program", "beside"]),
        ({"program": f"{FOLDER}/counter", "name": "cuonts"}, ["cuonts", "counts"]),
        ({"program": "counter"}, ["name", "missing"]),
        (
            {"path": f"{FOLDER}/counts", "entries": [{"key": -1, "value": {}}]},
            ["entries[0].key", "-1", "0 to 4294967295"],
        ),
        ({"path": f"{FOLDER}/counts", "entries": [{"key": 1, "value": {"packets": 1}}]}, ["lacks bytes", "packets"]),
        ({"path": f"{FOLDER}/counts", "entries": [{"key": 1, "value": {"a": 1}}]}, ["value.a", "no member", "packets"]),
        ({"path": f"{FOLDER}/counts", "absent_keys": [1, 1]}, ["absent_keys", "twice"]),
        ({"path": f"{FOLDER}/plain", "entries": [{"key": "01", "value": "02"}]}, ["entries[0].key", "has 1 byte"]),
        ({"path": f"{FOLDER}/counts", "exclusive": True}, ["exclusive", "entries: []"]),
        ({"path": f"{FOLDER}/counts", "state": "absent", "entries": [{"key": 1, "value": 1}]}, ["absent"]),
        (
            {"path": f"{FOLDER}/counts", "type": "array", "value_type": "u8", "max_entries": 1},
            ["another map", "counts"],
        ),
        (
            {"path": f"{FOLDER}/new", "type": "hash", "key_type": "int", "value_type": "u8", "max_entries": 1},
            ["int", "u8"],
        ),
        ({"path": f"{FOLDER}/new", "type": "hash", "key_type": "u8", "value_type": "u8"}, ["max_entries"]),
        ({"path": f"{FOLDER}/new", "type": "hash", "max_entries": 2}, ["key_size", "key_type"]),
    ],
)
def test_bad_input_is_one_sentence(maps: str, run_module: t.Any, params: dict[str, t.Any], words: list[str]) -> None:
    for check in (True, False):
        message = run_module("bpf_map", **params, check=check, fails=True)["msg"]
        assert all(word in message for word in words), message
        assert "\n" not in message


def test_a_map_that_is_not_there(folder: str, run_module: t.Any) -> None:
    arguments = {"path": f"{folder}/later", "entries": [{"key": 1, "value": 1}]}
    predicted = run_module("bpf_map", **arguments, check=True)
    assert predicted["changed"] and "not" in json.dumps(predicted["warnings"])
    assert "later" in run_module("bpf_map", **arguments, fails=True)["msg"]
    assert "later" in run_module("bpf_map_info", path=f"{folder}/later", fails=True)["msg"]
    assert not run_module("bpf_map", path=f"{folder}/later", state="absent")["changed"]
    assert not pathlib.Path(folder).exists()
