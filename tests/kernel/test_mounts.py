# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of mounts also has those that another one hides; what is said and done is about what can be seen."""

from __future__ import annotations

import os
import pathlib
import shlex
import sys
import tempfile
import typing as t

import pytest

from .conftest import ROOT, RunModule, sh

BPFFS = "/sys/fs/bpf"
TRACEFS = "/sys/kernel/tracing"
PINS = f"{BPFFS}/ebpf"
PIN = f"{PINS}/xdp_allow"
# What was mounted in the course of a machine's life after one bpffs and one tracefs, and what of each can be seen.
MACHINES = {
    "each once": ("true", [BPFFS], TRACEFS),
    "bpffs twice": (f"mount -t bpf b {BPFFS}", [BPFFS], TRACEFS),
    "bpffs at two places": ("mkdir '/run/b b'; mount -t bpf b '/run/b b'", [BPFFS, "/run/b b"], TRACEFS),
    "bpffs hidden": (f"mount -t tmpfs t {BPFFS}", [], TRACEFS),
    "bpffs hidden from above": ("mount -t tmpfs t /sys/fs", [], TRACEFS),
    "bpffs hidden from above by an equal folder": (f"mount -t tmpfs t /sys/fs; mkdir {BPFFS}", [], TRACEFS),
    "bpffs hidden by a bpffs": (f"mount -t tmpfs t /sys/fs; mkdir {BPFFS}; mount -t bpf b {BPFFS}", [BPFFS], TRACEFS),
    "tracefs twice": (f"mount -t tmpfs t {TRACEFS}; mount -t tracefs t {TRACEFS}", [BPFFS], TRACEFS),
    "tracefs hidden": (f"mount -t tmpfs t {TRACEFS}", [BPFFS], None),
    "tracefs hidden from above": ("mount -t tmpfs t /sys/kernel", [BPFFS], None),
    "all of /sys hidden": ("mount -t tmpfs t /sys", [], None),
    "all of /sys hidden by the same sysfs": ("mount --bind /sys /sys", [], None),
}


@pytest.fixture
def run_on(collections: pathlib.Path, tmp_path: pathlib.Path) -> t.Callable[[str], RunModule]:
    """``run_on("mount …")`` runs modules on machines made so: each call in a mount namespace of its own."""

    def make(commands: str) -> RunModule:
        wrapper = tmp_path / "python"
        inside = f'set -e; {commands}; exec {sys.executable} "$@"'
        wrapper.write_text(f'#!/bin/sh\nexec unshare --mount sh -c {shlex.quote(inside)} sh "$@"\n')
        wrapper.chmod(0o755)
        run = RunModule(collections)
        run.python = str(wrapper)
        return run

    return make


@pytest.fixture
def xdp_pass(run_module: RunModule, tmp_path: pathlib.Path) -> str:
    target = str(tmp_path / "xdp_pass.o")
    run_module("bpf_object", src=str(ROOT / "files/bpf/xdp_pass.c"), dest=target)
    return target


@pytest.mark.case("C14")
@pytest.mark.parametrize("machine", MACHINES)
def test_what_is_hidden_is_not_mounted(run_on: t.Callable[[str], RunModule], machine: str) -> None:
    made, bpffs, tracefs = MACHINES[machine]
    features = run_on(made)("bpf_info", gather_subset=["features"])["features"]
    assert sorted(set(features["bpffs"])) == sorted(bpffs)
    assert len(set(features["bpffs"])) == len(features["bpffs"]), "one place is named once"
    assert features["tracefs"] == tracefs


@pytest.mark.case("C14")
@pytest.mark.parametrize("hides", ["/sys/fs", "/sys"])
def test_no_place_to_mount_at_is_a_sentence(run_on: t.Callable[[str], RunModule], xdp_pass: str, hides: str) -> None:
    run = run_on(f"mount -t tmpfs t {hides}")
    for check in (True, False):
        result = run("bpf_program", object=xdp_pass, pin_path=PINS, check=check, fails=True)
        assert f"{BPFFS} does not exist" in result["msg"] and "another mount hides" in result["msg"]


@pytest.mark.case("C14")
@pytest.mark.parametrize("whose", ["our bpffs", "somebody's bpffs"])
@pytest.mark.parametrize("hider", [("tmpfs", BPFFS), ("bpf", BPFFS), ("tmpfs", "/sys/fs")], ids=" at ".join)
def test_pins_that_a_mount_hides_are_not_taken_for_gone(
    run_module: RunModule, journal: t.Any, xdp_pass: str, whose: str, hider: tuple[str, str]
) -> None:
    filesystem, place = hider
    if whose == "our bpffs":
        sh("umount", BPFFS)
    program = {"object": xdp_pass, "pin_path": PINS}
    try:
        run_module("bpf_program", **program)
        before = journal()
        sh("mount", "-t", filesystem, "x", place)
        try:
            for state, check in (("absent", True), ("absent", False), ("present", True), ("present", False)):
                result = run_module("bpf_program", **program, state=state, check=check, fails=True)
                assert f"mounted a {filesystem} at {place}, which hides" in result["msg"]
                assert f"umount {place}" in result["msg"]
            assert journal() == before
        finally:
            sh("umount", place)
        assert not run_module("bpf_program", **program)["changed"]
        assert run_module("bpf_program", **program, state="absent")["changed"]
        assert not os.path.exists(PINS)
        assert os.path.ismount(BPFFS) == (whose == "somebody's bpffs")
    finally:
        if not os.path.ismount(BPFFS):
            sh("mount", "-t", "bpf", "bpf", BPFFS)


@pytest.mark.case("C14")
def test_a_mount_over_a_tmpfs_goes_and_the_tmpfs_stays(run_module: RunModule, journal: t.Any, xdp_pass: str) -> None:
    sh("mount", "-t", "tmpfs", "x", BPFFS)
    try:
        steps = run_module("bpf_program", object=xdp_pass, pin_path=PINS)["steps"]
        assert steps[0] == f"mount bpffs at {BPFFS}"
        run_module("bpf_program", object=xdp_pass, pin_path=PINS, state="absent")
        assert sh("stat", "-f", "-c", "%T", BPFFS).stdout.strip() == "tmpfs"
        assert not any(key.startswith(("mount:", "pin:", "dir:")) for key in journal())
    finally:
        sh("umount", BPFFS)


@pytest.mark.case("C14")
def test_another_bpffs_in_the_place_of_ours_is_left_alone(run_module: RunModule, journal: t.Any, xdp_pass: str) -> None:
    """Ours was unmounted, with all in it; what is there now is somebody else's, empty or not."""
    sh("umount", BPFFS)
    run_module("bpf_program", object=xdp_pass, pin_path=PINS)
    sh("umount", BPFFS)
    with tempfile.TemporaryDirectory() as elsewhere:
        sh("mount", "-t", "tmpfs", "x", elsewhere)  # takes the number of the file system that went
        sh("mount", "-t", "bpf", "bpf", BPFFS)
        sh("umount", elsewhere)
    run_module("bpf_program", object=xdp_pass, pin_path=PINS, state="absent")
    assert os.path.ismount(BPFFS)
    assert not any(key.startswith(("mount:", "pin:", "dir:")) for key in journal())
