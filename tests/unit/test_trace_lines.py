# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of the trace: those that kernels write, and any task name and text that a line can be made of."""

from __future__ import annotations

import typing as t
from decimal import Decimal

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.info.trace import Marker, select
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.info.trace_lines import Line, lost, parse, parse_all
from hypothesis import given
from hypothesis import strategies as st

PRINTABLE = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp"))
TASKS = st.text(PRINTABLE, min_size=1, max_size=15).map(str.strip).filter(bool)


@pytest.mark.parametrize(
    ("line", "want"),
    [
        (  # 6.18
            "            ping-24956   [000] ..s2.  3024.618417: bpf_trace_printk: You Shall Not Pass!!",
            Line("ping", 24956, 0, Decimal("3024.618417"), "You Shall Not Pass!!"),
        ),
        (  # 5.10: four flags
            "          <idle>-0       [003] ..s.    52.000123: bpf_trace_printk: x",
            Line("<idle>", 0, 3, Decimal("52.000123"), "x"),
        ),
        (  # with the option record-tgid
            "     kworker/1:1-6746    (   6746) [001] ..s2.  2932.988924: bpf_trace_printk: a: b: c",
            Line("kworker/1:1", 6746, 1, Decimal("2932.988924"), "a: b: c"),
        ),
        (
            "     tmux: server-812    (-------) [127] d.s3.  1.000001: bpf_trace_printk: ",
            Line("tmux: server", 812, 127, Decimal("1.000001"), ""),
        ),
        (  # a clock that counts events
            "   kworker/u8:4-28376   [001] ..s2.           271: bpf_trace_printk: n",
            Line("kworker/u8:4", 28376, 1, Decimal(271), "n"),
        ),
        (  # a text that looks like another line
            "            ping-1     [000] ..s2.  1.000001: bpf_trace_printk: sh-2 [001] ..s2. 2.0: bpf_trace_printk: x",
            Line("ping", 1, 0, Decimal("1.000001"), "sh-2 [001] ..s2. 2.0: bpf_trace_printk: x"),
        ),
        ("# tracer: nop", None),
        ("CPU:1 [LOST 12 EVENTS]", None),
        ("            bash-1000    [000] .....  99.000001: sched_switch: prev_comm=bash", None),
        ("", None),
    ],
)
def test_lines_of_kernels(line: str, want: t.Optional[Line]) -> None:
    assert parse(line) == want


def test_lost() -> None:
    assert lost("CPU:1 [LOST 12 EVENTS]") == 12
    assert lost("CPU:3 [LOST EVENTS]") == 1
    assert lost("# CPU:3") == 0


@given(
    TASKS,
    st.integers(0, 4194304),
    st.integers(0, 8191),
    st.integers(0, 10**12),
    st.text(PRINTABLE, max_size=200),
)
def test_any_line_is_read_back(task: str, pid: int, cpu: int, micros: int, text: str) -> None:
    time = f"{micros // 10**6}.{micros % 10**6:06}"
    raw = f"{task:>16}-{pid:<7} [{cpu:03}] ..s2. {time:>12}: bpf_trace_printk: {text}\n"
    assert list(parse_all([raw])) == [Line(task, pid, cpu, Decimal(time), text)]


def test_texts_of_several_lines_are_put_together() -> None:
    head = "            ping-1     [000] ..s2.  1.000001: bpf_trace_printk: "
    raw = [
        "# tracer: nop\n",
        f"{head}one\n",
        "\n",
        f"{head}two\n",
        "and more\n",
        "CPU:0 [LOST 3 EVENTS]\n",
        f"{head}three\n",
    ]
    assert [line.text for line in parse_all(raw)] == ["one", "two\nand more", "three"]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50), st.sampled_from(["a", "b", "ab"]))), st.integers(1, 9))
def test_select_keeps_the_last_that_fit(rows: list[tuple[int, int, str]], limit: int) -> None:
    lines = [Line("x", 1, cpu, Decimal(time), text) for cpu, time, text in rows]
    marker = Marker({0: Decimal(10), 1: Decimal(20), 2: Decimal(30)})
    fitting = [line for line in lines if "b" in line.text and line.time >= marker.now.get(line.cpu, 0)]
    assert select(lines, marker, "b", None, limit) == fitting[-limit:]
    assert Marker.from_dict(marker.as_dict()) == marker
