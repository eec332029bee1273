# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bpf_object outside of a lab's folder: what it did not make is refused, and stays when it goes."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

from .conftest import RunModule, sh

SOURCE = '__attribute__((section("xdp"))) int f(void *ctx) { return 2; }\n'
THERE: dict[str, t.Callable[[pathlib.Path], object]] = {
    "file": lambda path: path.write_bytes(b"mine"),
    "folder": lambda path: path.mkdir(),
    "symbolic link": lambda path: path.symlink_to("/nowhere/at/all"),
    "fifo": os.mkfifo,
}


@pytest.mark.case("R5")
@pytest.mark.parametrize("there", THERE)
def test_what_is_at_dest_is_refused_before_and_stays_after(
    run_module: RunModule, journal: t.Callable[[], dict[str, t.Any]], tmp_path: pathlib.Path, there: str
) -> None:
    (tmp_path / "x.c").write_text(SOURCE, encoding="utf-8")
    dest = tmp_path / "x.o"
    THERE[there](dest)
    arguments = {"src": str(tmp_path / "x.c"), "dest": str(dest)}
    said = "was not made by the lab" if there == "file" else f"is a {there}"
    # Only a file is what overwrite is for.
    assert said in run_module("bpf_object", fails=True, overwrite=there != "file", **arguments)["msg"]
    before = dest.lstat()
    if there == "file":
        os.rename(dest, tmp_path / "aside")
        run_module("bpf_object", **arguments)
        os.replace(tmp_path / "aside", dest)
    stays = run_module("bpf_object", dest=str(dest), state="absent")
    assert "stays" in stays["warnings"][0] and journal() == {}
    assert dest.lstat()[:2] == before[:2]


@pytest.mark.case("R6")
def test_bytes_of_a_rule_come_back(run_module: RunModule, sandbox_ns: t.Callable[[], str]) -> None:
    """A comment in Latin-1 is in the host's rules as it was, not as somebody's replacement for it."""
    netns = sandbox_ns()
    comment = os.fsdecode(b"gr\xfcn")
    sh("ip", "netns", "exec", netns, "iptables", "-A", "FORWARD", "-m", "comment", "--comment", comment)
    show = ["ip", "netns", "exec", netns, "iptables-save"]
    assert "gr\udcfcn" in sh(*show, errors="surrogateescape").stdout
    flushed = run_module("iptables_flush", netns=netns, flush=[{"table": "filter", "chains": ["FORWARD"]}])
    assert r"gr\xfcn" in str(flushed["diff"]).replace("\\\\", "\\")
    run_module("iptables_flush", netns=netns, state="restored")
    assert "gr\udcfcn" in sh(*show, errors="surrogateescape").stdout
