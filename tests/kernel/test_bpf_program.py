# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bpf_program with the real verifier."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PINS = "/sys/fs/bpf/ebpf"
HEAD = """
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>
"""
LICENCE = 'char _license[] SEC("license") = "GPL";\n'
COUNT = (
    HEAD
    + LICENCE
    + """
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, LIMIT); __type(key, __u32); __type(value, __u64); }
    pkt_cnt SEC(".maps");
SEC("xdp") int xdp_count(struct xdp_md *ctx)
{
    __u32 key = 1;
    __u64 *value = bpf_map_lookup_elem(&pkt_cnt, &key);
    return value ? VERDICT : XDP_PASS;
}
"""
)


def sh(*argv, check=True):
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, f"{argv}: {done.stdout}{done.stderr}"
    return done


def compile_(text, path, *flags):
    """Compile without our own modules."""
    source = pathlib.Path(path).with_suffix(".c")
    source.write_text(text)
    sh(
        "clang",
        "-O2",
        "-g",
        "-target",
        "bpf",
        "-I/usr/include/x86_64-linux-gnu",
        *flags,
        "-c",
        str(source),
        "-o",
        str(path),
    )
    return str(path)


def shown(pin):
    return json.loads(sh("bpftool", "-j", "prog", "show", "pinned", pin).stdout)


@pytest.fixture(autouse=True)
def clean_bpffs():
    """Mounted at the start and at the end, and nothing of ours left in it."""
    yield
    if not os.path.ismount("/sys/fs/bpf"):
        sh("mount", "-t", "bpf", "bpf", "/sys/fs/bpf")
    for name in os.listdir("/sys/fs/bpf"):
        if name not in ("progs.debug", "maps.debug"):
            path = pathlib.Path("/sys/fs/bpf") / name
            # tc makes links to folders here.
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@pytest.fixture
def xdp_pass(tmp_path):
    return compile_((ROOT / "files/bpf/xdp_pass.c").read_text(), tmp_path / "xdp_pass.o")


def test_four_runs_and_absent(four_runs, run_module, journal, xdp_pass):
    result = four_runs("bpf_program", object=xdp_pass, pin_path=PINS)
    (program,) = result["programs"]
    assert program["pin"] == f"{PINS}/xdp_allow"
    seen = shown(f"{PINS}/xdp_allow")
    assert (seen["id"], seen["tag"], seen["type"]) == (program["id"], program["tag"], "xdp")
    assert os.listdir("/sys/fs/bpf/ebpf") == ["xdp_allow"]
    again = run_module("bpf_program", object=xdp_pass, pin_path=PINS)
    assert again["programs"] == result["programs"], "the same program, not one loaded anew"
    assert run_module("bpf_program", pin_path=PINS, state="absent", check=True)["changed"]
    assert run_module("bpf_program", pin_path=PINS, state="absent")["changed"]
    assert not os.path.exists(PINS)
    assert os.path.ismount("/sys/fs/bpf"), "the mount was there before us"
    assert journal() == {}
    assert not run_module("bpf_program", pin_path=PINS, state="absent")["changed"]


def test_bpffs_is_mounted_and_unmounted(four_runs, run_module, journal, xdp_pass):
    while os.path.ismount("/sys/fs/bpf"):
        sh("umount", "/sys/fs/bpf")
    result = four_runs("bpf_program", object=xdp_pass, pin_path=f"{PINS}/deep")
    assert result["steps"][0] == "mount bpffs at /sys/fs/bpf"
    run_module("bpf_program", pin_path=f"{PINS}/deep", state="absent")
    assert not os.path.ismount("/sys/fs/bpf")
    assert journal() == {}
    assert not run_module("bpf_program", pin_path=f"{PINS}/deep", state="absent")["changed"]


def test_a_mount_with_something_in_it_stays(run_module, xdp_pass):
    while os.path.ismount("/sys/fs/bpf"):
        sh("umount", "/sys/fs/bpf")
    run_module("bpf_program", object=xdp_pass, pin_path=PINS)
    os.mkdir("/sys/fs/bpf/student")
    run_module("bpf_program", pin_path=PINS, state="absent")
    assert os.path.isdir("/sys/fs/bpf/student")
    os.rmdir("/sys/fs/bpf/student")
    assert run_module("bpf_program", pin_path=PINS, state="absent")["changed"]
    assert not os.path.ismount("/sys/fs/bpf")
    assert not run_module("bpf_program", pin_path=PINS, state="absent")["changed"]


@pytest.mark.parametrize("drift", ["pin gone", "pin swapped", "object", "same tag", "folder gone"])
def test_drift_is_repaired(run_module, xdp_pass, tmp_path, drift):
    first = run_module("bpf_program", object=xdp_pass, pin_path=PINS)["programs"][0]
    pin = f"{PINS}/xdp_allow"
    if drift == "pin gone":
        os.unlink(pin)
    elif drift == "folder gone":
        shutil.rmtree(PINS)
    elif drift in ("pin swapped", "same tag"):
        os.unlink(pin)
        text = (ROOT / "files/bpf/xdp_pass.c").read_text()
        text = text.replace("XDP_PASS;", "XDP_DROP;") if drift == "pin swapped" else text
        other = compile_(text, tmp_path / "other.o")
        sh("bpftool", "prog", "load", other, pin, "type", "xdp")
        assert (shown(pin)["tag"] == first["tag"]) == (drift == "same tag")
    else:
        compile_(pathlib.Path(xdp_pass).with_suffix(".c").read_text().replace("XDP_PASS;", "XDP_DROP;"), xdp_pass)
    assert run_module("bpf_program", check=True, object=xdp_pass, pin_path=PINS)["changed"]
    repaired = run_module("bpf_program", object=xdp_pass, pin_path=PINS)
    assert repaired["changed"]
    assert repaired["programs"][0]["id"] != first["id"]
    assert not run_module("bpf_program", object=xdp_pass, pin_path=PINS)["changed"]


def test_an_object_with_other_programs_takes_the_old_pins_away(run_module, tmp_path):
    two = HEAD + LICENCE + 'SEC("xdp-a") int first(struct xdp_md *c) { return 2; }\n'
    path = compile_(
        two + 'SEC("xdp-b") int a_function_with_a_long_name(struct xdp_md *c) { return 1; }\n', tmp_path / "two.o"
    )
    run_module("bpf_program", object=path, pin_path=PINS)
    assert sorted(os.listdir(PINS)) == ["a_function_with_a_long_name", "first"]
    compile_(two, path)
    run_module("bpf_program", object=path, pin_path=PINS)
    assert os.listdir(PINS) == ["first"]


def test_two_objects_in_one_folder(run_module, xdp_pass, tmp_path, journal):
    drop = compile_((ROOT / "files/bpf/xdp_drop.c").read_text(), tmp_path / "xdp_drop.o")
    run_module("bpf_program", object=xdp_pass, pin_path=PINS)
    run_module("bpf_program", object=drop, pin_path=PINS)
    assert sorted(os.listdir(PINS)) == ["xdp_allow", "xdp_deny"]
    assert not run_module("bpf_program", object=xdp_pass, pin_path=PINS)["changed"]
    run_module("bpf_program", object=xdp_pass, pin_path=PINS, state="absent")
    assert os.listdir(PINS) == ["xdp_deny"]
    run_module("bpf_program", pin_path=PINS, state="absent")
    assert journal() == {}


def test_maps_are_pinned_and_reused(four_runs, run_module, journal, tmp_path):
    path = compile_(COUNT, tmp_path / "count.o", "-DLIMIT=16", "-DVERDICT=XDP_DROP")
    arguments = {"object": path, "pin_path": PINS, "pin_maps": ["pkt_cnt"]}
    result = four_runs("bpf_program", **arguments)
    assert result["maps"][0]["max_entries"] == 16
    assert result["programs"][0]["map_ids"] == [result["maps"][0]["id"]]
    key = ["1", "0", "0", "0"]
    sh("bpftool", "map", "update", "pinned", f"{PINS}/pkt_cnt", "key", *key, "value", *"7 0 0 0 0 0 0 0".split())
    compile_(COUNT, path, "-DLIMIT=16", "-DVERDICT=XDP_TX")
    again = run_module("bpf_program", **arguments)
    assert again["maps"][0]["id"] == result["maps"][0]["id"], "the map with its entries is used by the new program"
    assert again["programs"][0]["map_ids"] == [again["maps"][0]["id"]]
    assert not run_module("bpf_program", **arguments)["changed"]
    compile_(COUNT, path, "-DLIMIT=32", "-DVERDICT=XDP_TX")
    grown = run_module("bpf_program", **arguments)
    assert grown["maps"][0]["max_entries"] == 32
    assert any("entries are lost" in line for line in grown["warnings"])
    os.unlink(f"{PINS}/pkt_cnt")
    assert run_module("bpf_program", **arguments)["changed"]
    run_module("bpf_program", pin_path=PINS, state="absent")
    assert journal() == {}
    assert not os.path.exists(PINS)


REFUSED = {
    "no bounds check": (
        HEAD + LICENCE + 'SEC("xdp") int bad(struct xdp_md *ctx)\n{\n'
        "    struct ethhdr *eth = (void *)(long)ctx->data;\n    if (eth->h_proto == 8) return 1;\n    return 2;\n}\n",
        ["verifier refused the program bad", "invalid access to packet", "data_end", "if (eth->h_proto == 8)"],
    ),
    "no licence": (
        HEAD + 'SEC("xdp") int bad(struct xdp_md *ctx) { bpf_printk("x"); return 2; }\n',
        ["cannot call GPL-restricted function", 'SEC("license")'],
    ),
    "no null check": (
        COUNT.replace("value ? VERDICT : XDP_PASS", "*value ? 1 : 2"),
        ["map_value_or_null", "compare its result with NULL"],
    ),
    "legacy map": (
        HEAD + LICENCE + "struct definition { unsigned int type, key_size, value_size, max_entries, flags; };\n"
        'struct definition SEC("maps") old = { 1, 4, 8, 16, 0 };\n'
        'SEC("xdp") int bad(struct xdp_md *ctx) { __u32 k = 1; return bpf_map_lookup_elem(&old, &k) ? 1 : 2; }\n',
        ["legacy map definitions", 'SEC(".maps")'],
    ),
    "no program": (HEAD + LICENCE + "int x = 1;\n", ["holds no program"]),
    "pins itself": (
        COUNT.replace("__type(key", "__uint(pinning, LIBBPF_PIN_BY_NAME); __type(key"), ["LIBBPF_PIN_BY_NAME"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_refused_objects_leave_the_old_program(run_module, journal, xdp_pass, tmp_path, case):
    first = run_module("bpf_program", object=xdp_pass, pin_path=PINS)
    before = journal()
    text, words = REFUSED[case]
    bad = compile_(text, tmp_path / "bad.o", "-DLIMIT=16", "-DVERDICT=XDP_DROP")
    shutil.copy(bad, xdp_pass)
    failed = run_module("bpf_program", object=xdp_pass, pin_path=PINS, fails=True)
    for word in words:
        assert word in failed["msg"]
    if "verifier" in failed["msg"]:
        assert failed["instruction"]
        assert failed["source_line"] in text
        assert failed["verifier_log"].count("\n") > 2
    assert shown(f"{PINS}/xdp_allow")["id"] == first["programs"][0]["id"]
    assert os.listdir("/sys/fs/bpf/ebpf") == ["xdp_allow"]
    assert "ebpf_lab_staging" not in os.listdir("/sys/fs/bpf")
    assert journal() == before


def test_a_refused_first_load_leaves_nothing(run_module, journal, tmp_path):
    sh("umount", "/sys/fs/bpf")
    bad = compile_(REFUSED["no bounds check"][0], tmp_path / "bad.o")
    failed = run_module("bpf_program", object=bad, pin_path=PINS, fails=True)
    assert "taken back" in failed["msg"]
    assert not os.path.ismount("/sys/fs/bpf")
    assert journal() == {}


def test_foreign_pins_are_kept(run_module, journal, xdp_pass):
    os.mkdir(PINS)
    sh("bpftool", "prog", "load", xdp_pass, f"{PINS}/xdp_allow", "type", "xdp")
    mine = shown(f"{PINS}/xdp_allow")["id"]
    assert "not by the lab" in run_module("bpf_program", object=xdp_pass, pin_path=PINS, fails=True)["msg"]
    assert not run_module("bpf_program", pin_path=PINS, state="absent")["changed"]
    assert run_module("bpf_program", object=xdp_pass, pin_path=PINS, overwrite=True)["programs"][0]["id"] != mine
    assert run_module("bpf_program", pin_path=PINS, state="absent")["changed"]
    assert shown(f"{PINS}/xdp_allow")["id"] == mine
    assert os.listdir("/sys/fs/bpf/ebpf") == ["xdp_allow"]
    assert "ebpf_lab_kept" not in os.listdir("/sys/fs/bpf")
    assert journal() == {}


def test_two_pins_of_one_foreign_program_are_kept(run_module, journal, tmp_path):
    two = compile_(
        HEAD
        + LICENCE
        + 'SEC("xdp") int first(struct xdp_md *c) { return 2; }\n'
        + 'SEC("xdp") int second(struct xdp_md *c) { return 1; }\n',
        tmp_path / "two.o",
    )
    os.mkdir(PINS)
    sh("bpftool", "prog", "load", two, f"{PINS}/first", "type", "xdp")
    mine = shown(f"{PINS}/first")["id"]
    sh("bpftool", "prog", "pin", "id", str(mine), f"{PINS}/second")
    run_module("bpf_program", object=two, pin_path=PINS, overwrite=True)
    assert mine not in [shown(f"{PINS}/{name}")["id"] for name in ("first", "second")]
    run_module("bpf_program", pin_path=PINS, state="absent")
    assert [shown(f"{PINS}/{name}")["id"] for name in ("first", "second")] == [mine, mine]
    assert "ebpf_lab_kept" not in os.listdir("/sys/fs/bpf")
    assert journal() == {}


def test_a_pin_in_the_place_of_ours_stays(run_module, journal, xdp_pass):
    run_module("bpf_program", object=xdp_pass, pin_path=PINS)
    os.unlink(f"{PINS}/xdp_allow")
    sh("bpftool", "prog", "load", xdp_pass, f"{PINS}/xdp_allow", "type", "xdp")
    mine = shown(f"{PINS}/xdp_allow")["id"]
    done = run_module("bpf_program", pin_path=PINS, state="absent")
    assert "is a pin that the lab did not make, and stays" in done["warnings"][0]
    assert shown(f"{PINS}/xdp_allow")["id"] == mine
    os.unlink(f"{PINS}/xdp_allow")
    assert run_module("bpf_program", pin_path=PINS, state="absent")["steps"] == [f"remove the folder {PINS}"]
    assert journal() == {}


def test_a_busy_mount_stays_and_is_finished_later(run_module, journal, xdp_pass):
    while os.path.ismount("/sys/fs/bpf"):
        sh("umount", "/sys/fs/bpf")
    run_module("bpf_program", object=xdp_pass, pin_path=PINS)
    with subprocess.Popen(["sleep", "60"], cwd="/sys/fs/bpf") as sleeper:
        try:
            failed = run_module("bpf_program", pin_path=PINS, state="absent", fails=True)
        finally:
            sleeper.kill()
    assert f"It is used by sleep ({sleeper.pid})" in failed["msg"]
    assert failed["not_taken_away"]
    assert os.path.ismount("/sys/fs/bpf")
    assert not os.path.exists(PINS)
    assert list(journal()) == ["mount:/sys/fs/bpf"]
    assert run_module("bpf_program", pin_path=PINS, state="absent")["steps"] == ["unmount bpffs from /sys/fs/bpf"]
    assert not os.path.ismount("/sys/fs/bpf")
    assert journal() == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"pin_path": PINS}, "object: None names no object"),
        ({"object": "x.o", "pin_path": PINS}, "object: 'x.o' is not an absolute path"),
        ({"object": "/nowhere.o", "pin_path": PINS}, "there is no file /nowhere.o"),
        ({"object": "/bin/true", "pin_path": PINS}, "not for BPF"),
        ({"object": "/etc/passwd", "pin_path": PINS}, "is not an ELF object"),
        ({"object": "/x.o", "pin_path": "/sys/fs/bpf"}, "is the root of the file system itself"),
        ({"object": "/x.o", "pin_path": "/sys/fs/bpf/lab.d"}, "holds a dot"),
        ({"object": "/x.o", "pin_path": "ebpf"}, "is not an absolute path"),
        ({"object": "/x.o", "pin_path": "/tmp/pins"}, "is not on a bpffs"),
    ],
)
def test_bad_arguments(run_module, journal, arguments, words):
    assert words in run_module("bpf_program", fails=True, **arguments)["msg"]
    assert journal() == {}


def test_a_map_that_is_not_there(run_module, xdp_pass):
    failed = run_module("bpf_program", object=xdp_pass, pin_path=PINS, pin_maps=["pkt_cnt"], fails=True)
    assert "'pkt_cnt' is no map of" in failed["msg"]


def test_check_mode_before_the_object_is_there(run_module, tmp_path):
    result = run_module("bpf_program", object=str(tmp_path / "later.o"), pin_path=PINS, check=True)
    assert result["changed"]
    assert any("not there yet" in line for line in result["warnings"])


def test_bpftool_missing(run_module, xdp_pass, tmp_path):
    empty = tmp_path / "empty"
    empty.write_text("")
    sh("mount", "--bind", str(empty), "/usr/sbin/bpftool")
    try:
        failed = run_module("bpf_program", object=xdp_pass, pin_path=PINS, fails=True)
    finally:
        sh("umount", "/usr/sbin/bpftool")
    assert "bpftool was not found on this host" in failed["msg"]
    assert not os.path.exists(PINS)
