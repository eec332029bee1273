# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The trace of the real kernel. Its buffer is shared by the whole machine, so each test looks for a text of its own."""

from __future__ import annotations

import os
import platform
import subprocess
import typing as t
import uuid

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.info import trace, tracefs
from ansible_collections.ebpf.lab.plugins.module_utils._core.converge import converge
from ansible_collections.ebpf.lab.plugins.module_utils._core.host import Host

SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("xdp") int says(struct xdp_md *ctx)
{
    bpf_printk("%s You Shall Not Pass!!\\n");
    bpf_printk("%s two\\nlines: %%d", 2);
    return XDP_DROP;
}
char _license[] SEC("license") = "GPL";
"""


def sh(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def text() -> str:
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def say(tmp_path: t.Any, text: str) -> t.Iterator[t.Callable[..., None]]:
    """Runs a program that prints two lines with ``text`` in them."""
    (tmp_path / "says.c").write_text(SOURCE % (text, text))
    path = f"/sys/fs/bpf/{text}"
    include = f"-I/usr/include/{platform.machine()}-linux-gnu"
    sh("clang", "-O2", "-g", "-target", "bpf", include, "-c", str(tmp_path / "says.c"), "-o", str(tmp_path / "says.o"))
    sh("bpftool", "prog", "load", str(tmp_path / "says.o"), path, "type", "xdp")
    (tmp_path / "packet").write_bytes(bytes(64))
    yield lambda times=1: sh(
        "bpftool", "prog", "run", "pinned", path, "data_in", str(tmp_path / "packet"), "repeat", str(times)
    )
    os.unlink(path)


def test_lines_since_a_marker(run_module: t.Any, say: t.Any, text: str) -> None:
    say()
    first = run_module("bpf_trace_info", matches=text)
    assert first["available"] and not first["changed"]
    assert [line["text"] for line in first["lines"]] == [f"{text} You Shall Not Pass!!", f"{text} two\nlines: 2"]
    assert first["lines"][0]["task"] == "bpftool" and first["lines"][0]["pid"] > 0
    say()
    again = run_module("bpf_trace_info", since=first["marker"], matches=text)
    assert len(again["lines"]) == 2
    assert float(again["lines"][0]["time"]) > float(first["lines"][-1]["time"])
    # Not consumed: they are all there still.
    assert len(run_module("bpf_trace_info", matches=text)["lines"]) == 4
    assert len(run_module("bpf_trace_info", matches=f"{text} two", limit=1)["lines"]) == 1
    pid = again["lines"][0]["pid"]
    assert len(run_module("bpf_trace_info", matches=text, pid=pid)["lines"]) == 2
    assert run_module("bpf_trace_info", since=again["marker"], matches=text)["lines"] == []


def test_waits_no_longer_than_told(run_module: t.Any, say: t.Any, text: str) -> None:
    say()
    assert len(run_module("bpf_trace_info", matches=text, timeout=60, count=2)["lines"]) == 2
    assert len(run_module("bpf_trace_info", matches=text, timeout=0.3, count=3)["lines"]) == 2


def test_a_recording_has_what_a_reader_of_the_pipe_takes(
    monkeypatch: pytest.MonkeyPatch, say: t.Any, text: str
) -> None:
    """The reader's pipe is that of a second instance, laid out like the whole: the machine's own is everybody's."""
    with Host() as host, trace.recording(host) as student, trace.recording(host) as ours:
        monkeypatch.setattr(trace, "FOLDERS", (student.path,))
        before = trace.mark(host)
        say()
        assert len(trace.since(host, before, matches=text)) == 2
        assert trace.mark(host).consumed == before.consumed
        pipe = os.open(f"{student.path}/trace_pipe", os.O_RDONLY | os.O_NONBLOCK)
        try:
            assert text.encode() in os.read(pipe, 65536)  # reading trace took nothing away from them
        finally:
            os.close(pipe)
        assert trace.since(host, before, matches=text) == []
        assert trace.mark(host).consumed - before.consumed >= 2
        assert len(ours.lines(matches=text)) == 2
        with open(f"{student.path}/tracing_on", "w", encoding="ascii") as file:
            file.write("0")
        assert "Tracing is off" in trace.why_silent()
        path = ours.path
    assert not os.path.exists(path)


def test_not_mounted_is_a_reason_and_mounting_is_a_step_with_a_way_back(run_module: t.Any, journal: t.Any) -> None:
    sh("umount", "/sys/kernel/tracing")
    try:
        result = run_module("bpf_trace_info")
        assert not result["available"] and "not mounted" in result["reason"] and result["lines"] == []
        assert not os.path.exists("/sys/kernel/tracing/trace")  # looking has not mounted it
        for present in (True, False):
            predicted = converge(Host(), tracefs.TracefsResource(present), True)
            applied = converge(Host(), tracefs.TracefsResource(present), False)
            assert predicted["changed"] and applied["changed"] and predicted["diff"] == applied["diff"]
            assert os.path.exists("/sys/kernel/tracing/trace") == present
            assert ("mount:/sys/kernel/tracing" in journal()) == present
            assert not converge(Host(), tracefs.TracefsResource(present), False)["changed"]
    finally:
        sh("mount", "-t", "tracefs", "tracefs", "/sys/kernel/tracing")
    assert not converge(Host(), tracefs.TracefsResource(True), False)["changed"]
    assert not converge(Host(), tracefs.TracefsResource(False), False)["changed"]  # not ours, so it stays
    assert journal() == {}


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"matches": "("}, ["matches", "regular expression"]),
        ({"since": {"now": 3}}, ["since", "marker"]),
        ({"limit": 0}, ["limit", "1 or more"]),
        ({"timeout": -1}, ["timeout", "0 or more"]),
    ],
)
def test_bad_input_is_one_sentence(run_module: t.Any, params: dict[str, t.Any], words: list[str]) -> None:
    message = run_module("bpf_trace_info", **params, fails=True)["msg"]
    assert all(word in message for word in words), message
