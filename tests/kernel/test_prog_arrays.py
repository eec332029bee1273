# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps that the kernel empties or stops when their last descriptor and pin goes: pinned with their programs."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import typing as t

import pytest

from .conftest import RunModule, sh

PINS = "/sys/fs/bpf/chains"
CHAIN = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char _license[] SEC("license") = "GPL";
SEC("xdp") int second(struct xdp_md *ctx) { return VERDICT; }
struct {
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 4); __type(key, __u32);
    __array(values, int (void *));
} jumps SEC(".maps") = { .values = { [2] = (void *)&second } };
SEC("xdp") int first(struct xdp_md *ctx) { bpf_tail_call(ctx, &jumps, 2); return XDP_DROP; }
"""
TIMER = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char _license[] SEC("license") = "GPL";
struct value { __u64 before; struct bpf_timer timer; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct value); }
    timers SEC(".maps");
SEC("xdp") int first(struct xdp_md *ctx)
{
    __u32 key = 0;
    struct value *value = bpf_map_lookup_elem(&timers, &key);
    return value && !bpf_timer_init(&value->timer, &timers, 1) ? XDP_TX : XDP_DROP;
}
"""


def build(path: pathlib.Path, text: str, verdict: str = "XDP_TX") -> str:
    path.with_suffix(".c").write_text(text, encoding="utf-8")
    flags = ["-O2", "-g", "-target", "bpf", "-I/usr/include/x86_64-linux-gnu", f"-DVERDICT={verdict}"]
    sh("clang", *flags, "-c", str(path.with_suffix(".c")), "-o", str(path))
    return str(path)


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> t.Callable[..., str]:
    """Each object compiled once."""
    folder = tmp_path_factory.mktemp("chains")

    def get(name: str, text: str, verdict: str = "XDP_TX") -> str:
        path = folder / f"{name}.o"
        return str(path) if path.exists() else build(path, text, verdict)

    return get


@pytest.fixture
def verdict(tmp_path: pathlib.Path) -> t.Iterator[t.Callable[[], str]]:
    """The verdict of the pinned program ``first``; afterwards nothing is pinned."""
    packet = tmp_path / "packet"
    packet.write_bytes(bytes(64))

    def ask() -> str:
        done = sh("bpftool", "-j", "prog", "run", "pinned", f"{PINS}/first", "data_in", str(packet), "repeat", "1")
        return ["XDP_ABORTED", "XDP_DROP", "XDP_PASS", "XDP_TX"][json.loads(done.stdout)["retval"]]

    yield ask
    shutil.rmtree(PINS, ignore_errors=True)
    shutil.rmtree("/sys/fs/bpf/other", ignore_errors=True)


@pytest.mark.case("C15")
def test_tail_calls_work_and_go_on_working(
    run_module: RunModule,
    four_runs: t.Callable[..., dict[str, t.Any]],
    objects: t.Callable[..., str],
    verdict: t.Callable[[], str],
    journal: t.Callable[[], dict[str, t.Any]],
    tmp_path: pathlib.Path,
) -> None:
    path = shutil.copy(objects("chain.bpf", CHAIN), tmp_path / "chain.bpf.o")
    arguments = {"object": str(path), "pin_path": PINS}
    done = four_runs("bpf_program", **arguments)
    run = run_module("bpf_test_run", program=f"{PINS}/first", packets=[{"hex": "00" * 64}])
    assert run["results"][0]["verdict"] == verdict() == "XDP_TX"
    pin = f"{PINS}/chain_bpf-jumps"
    assert [(entry["name"], entry["pin"]) for entry in done["maps"]] == [("jumps", pin)]
    assert sorted(os.listdir(PINS)) == ["chain_bpf-jumps", "first", "second"] and f"pin:{pin}" in journal()
    # The kernel emptied it, so a new pin of the same array would be of no use.
    sh("bpftool", "map", "pin", "id", str(done["maps"][0]["id"]), f"{PINS}/aside")
    os.unlink(pin)
    os.unlink(f"{PINS}/aside")
    assert verdict() == "XDP_DROP"
    assert run_module("bpf_program", **arguments)["changed"] and verdict() == "XDP_TX"
    shutil.copy(objects("chain_pass", CHAIN, "XDP_PASS"), path)
    changed = run_module("bpf_program", **arguments)
    assert verdict() == "XDP_PASS" and changed["warnings"] == []
    # The same by the user's own word: once, and where he says.
    named = run_module("bpf_program", pin_maps=["jumps"], map_pin_path="/sys/fs/bpf/other", **arguments)
    assert [entry["pin"] for entry in named["maps"]] == ["/sys/fs/bpf/other/jumps"] and verdict() == "XDP_PASS"
    assert sorted(os.listdir(PINS)) == ["first", "second"]
    run_module("bpf_program", pin_path=PINS, state="absent")
    assert not os.path.exists(PINS) and not os.path.exists("/sys/fs/bpf/other") and journal() == {}


@pytest.mark.case("C15")
def test_two_objects_in_one_folder_have_an_array_each(
    run_module: RunModule, objects: t.Callable[..., str], verdict: t.Callable[[], str], tmp_path: pathlib.Path
) -> None:
    one = objects("chain.bpf", CHAIN)
    # A program of another object with the array's name, and an array of the same name.
    other = build(tmp_path / "other.o", CHAIN.replace("first", "jumps_too").replace("second", "third"))
    for path in (one, other):
        run_module("bpf_program", object=path, pin_path=PINS)
    assert verdict() == "XDP_TX"
    assert sorted(os.listdir(PINS)) == ["chain_bpf-jumps", "first", "jumps_too", "other-jumps", "second", "third"]
    for path in (one, other):
        assert not run_module("bpf_program", object=path, pin_path=PINS)["changed"]
    run_module("bpf_program", object=other, pin_path=PINS, state="absent")
    assert sorted(os.listdir(PINS)) == ["chain_bpf-jumps", "first", "second"] and verdict() == "XDP_TX"
    run_module("bpf_program", pin_path=PINS, state="absent")


@pytest.mark.case("C15")
def test_a_timer_can_be_started(
    run_module: RunModule, objects: t.Callable[..., str], verdict: t.Callable[[], str]
) -> None:
    run_module("bpf_program", object=objects("clock", TIMER), pin_path=PINS)
    assert verdict() == "XDP_TX"
    assert json.loads(sh("bpftool", "-j", "map", "show", "pinned", f"{PINS}/clock-timers").stdout)["name"] == "timers"
    run_module("bpf_program", pin_path=PINS, state="absent")
