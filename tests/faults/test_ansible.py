# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills through the whole of ./lab: the play says that it failed, and the next run mends it."""

from __future__ import annotations

import typing as t

import pytest

from .private import inside
from .test_cases import NotAsItShould

TRIES = [
    pytest.param({"call": call, "nth": 1, "whom": whom, "way": way}, id=f"{call}, then {way}")
    for call, whom, way in (
        ("mkdir /sys/fs/bpf/ebpf", "alone", "again"),
        ("mkdir /sys/fs/bpf/ebpf_lab_staging", "group", "down"),
    )
]


@pytest.mark.case("C24")
@pytest.mark.xfail(strict=True, raises=NotAsItShould, reason="C24: the file in which a run tells its progress stays")
@pytest.mark.parametrize("given", TRIES)
def test_killed(given: dict[str, t.Any]) -> None:
    answer = inside("through_ansible:killed", given, bpffs=False)
    assert answer["points"] > 10
    if answer["wrong"]:
        raise NotAsItShould("\n".join([*answer["wrong"], answer["said"]]))
