# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collected cases about killed, failing and simultaneous runs; cases.py has what each does.

``today`` says what a case does that it should not; one that does so no more has to lose that mark.
"""

from __future__ import annotations

import typing as t

import pytest

from .private import inside


class NotAsItShould(AssertionError):
    """What the case is about; anything else that goes wrong is a fault of the test."""


def row(number: str, today: str = "", *, bpffs: bool = True, **given: t.Any) -> t.Any:
    """A case: its number, what fails today, and what its function is given."""
    marks = [pytest.mark.case(number)]
    if today:
        marks.append(pytest.mark.xfail(strict=True, raises=NotAsItShould, reason=f"{number}: {today}"))
    name = number + "".join(f" {value}" for value in given.values())
    return pytest.param(number, given, bpffs, marks=marks, id=name)


ROWS = [
    row("C1"),
    row("C2"),
    row("C3", bpffs=False),
    row("C4"),
    row("C5"),
    row("C6", bpffs=False),
    row("C7", bpffs=False),
    row("C8"),
    *(
        row("C10", what=what)
        for what in (
            "read-only /var/lib",
            "full /var/lib",
            "read-only /run",
            "journal is a folder",
            "journal is deep",
            "journal has a value of another kind",
            "lock is a folder",
            "lock is a link",
            "lock is held by an ordinary user",
        )
    ),
    row("C11"),
    row("C13"),
    row("C16"),
    row("C17"),
    row("C18", stage="drop"),
    row("C18", stage="count"),
    row("C19", killed=True),
    row("C20", killed=False),
    row("C21"),
    row("C22", bpffs=False, call="write"),
    row("C22", bpffs=False, call="fsync"),
    row("C23", bpffs=False),
    row("C24", bpffs=False),
    row("C25", of="up", call="mkdir /run/netns"),
    row("C25", of="up", call="rename /usr/local/src/ebpf.lab/lecture2/.ebpf-lab-*.o/object.o"),
    row("C25", of="down", call="unlink /usr/local/src/ebpf.lab/lecture2/packet.h"),
]
SHARED = {"C20": "c19"}


@pytest.mark.parametrize(("number", "given", "bpffs"), ROWS)
def test_case(number: str, given: dict[str, t.Any], bpffs: bool) -> None:
    wrong = inside(f"cases:{SHARED.get(number, number.lower())}", given, bpffs=bpffs)
    if wrong:
        raise NotAsItShould("\n".join(wrong))
