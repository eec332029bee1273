# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The failing parts do fail, at the call that is aimed at and at no other; and what is expected of them exists."""

from __future__ import annotations

import random

from . import clocks, parts, records
from .private import inside
from .scenarios import scenarios

WELL = "0 b'12345678'"
SECOND = {
    "missing": "missing",
    "failing a message": "1 b''",
    "failing no word": "3 b''",
    "failing a signal": "-11 b''",
    "failing binary": "1 b''",
    "hanging by itself": "hangs",
    "hanging with a child": "hangs",
    "silent": "0 b''",
    "garbage binary": "0 10000000 bytes",
    "garbage a list": "0 b'[]'",
    "garbage deep": "0 100000 bytes",
    "half": "0 b'1234'",
    "lying": f"1 {WELL[2:]}",
}


def test_a_tool_fails_at_the_call_that_is_aimed_at() -> None:
    found = inside("selftest:wrapped", {})
    for name, (hit, first, second, third, healed) in found.items():
        assert hit and first == WELL and healed == WELL, name
        assert second == SECOND.get(name, second) != WELL, name
        assert third == ("missing" if name == "missing" else WELL), name
    assert found.keys() >= SECOND.keys()


def test_records_of_any_format_are_broken() -> None:
    found = inside("selftest:ways", {})
    assert all(number for name, number in found.items() if "unknown" not in name or "short" in name), found
    assert found["records of other types, lines"] > 10


def test_what_is_expected_exists() -> None:
    for kind, name in parts.EXPECTED:
        assert (name in scenarios() and kind in parts.TOOLS) or parts.groups().get(name) == kind


def test_the_cut_draws_of_each_kind() -> None:
    calls = {"lecture2 up": [["/usr/bin/clang", number] for number in range(1, 9)]}
    names = [*records.WAYS, *clocks.names()]
    drawn = [one for seed in range(40) for one in parts.cut(names, calls, random.Random(seed))]
    assert {one["kind"] for one in drawn} == {*parts.KINDS} - {"hanging"}
