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
    row("C2", "the foreign map holds the lab's entries after down"),
    row("C3", "a process in the mount stops the teardown, and the journal keeps a folder for ever", bpffs=False),
    row("C4", "a planned folder counts as the lab's"),
    row("C5", "a planned link and namespace count as the lab's"),
    row("C6", "a claim on the staging folder stays", bpffs=False),
    row("C7", "the run that waited works with the sockets of a namespace that is gone", bpffs=False),
    row("C8", "the claims stay"),
    *(
        row("C10", why, what=what)
        for what, why in {
            "read-only /var/lib": "a traceback",
            "full /var/lib": "a traceback",
            "read-only /run": "a traceback",
            "journal is a folder": "a traceback",
            "journal is deep": "a traceback",
            "journal has a value of another kind": "a traceback",
            "lock is a folder": "the lock is where everybody writes",
            "lock is a link": "the lock is where everybody writes",
            "lock is held by an ordinary user": "the lock is where everybody writes",
        }.items()
    ),
    row("C11", "a path with .. is followed"),
    row("C13", "all of down is refused"),
    row("C16", "the netlink library's import runs programs by PATH"),
    row("C17", "both count each other's packets"),
    row("C18", "the trace instance stays", stage="drop"),
    row("C18", "the map keeps the probe's entries", stage="count"),
    row("C19", "the owner's new rule is deleted", killed=True),
    row("C20", "the owner's new rule is deleted", killed=False),
    row("C21", "the program is dead"),
    row("C22", bpffs=False, call="rename"),
    row("C22", bpffs=False, call="fsync"),
    row("C23", "bpffs stays mounted", bpffs=False),
    row("C24", "the compiler's folder stays", bpffs=False),
    row("C25", "a traceback", of="up", call="mkdir /run/netns"),
    row("C25", of="up", call="rename /usr/local/src/ebpf.lab/lecture2/.ebpf-lab-*/object.o"),
    row("C25", of="down", call="unlink /usr/local/src/ebpf.lab/lecture2/packet.h"),
]
SHARED = {"C20": "c19"}


@pytest.mark.parametrize(("number", "given", "bpffs"), ROWS)
def test_case(number: str, given: dict[str, t.Any], bpffs: bool) -> None:
    wrong = inside(f"cases:{SHARED.get(number, number.lower())}", given, bpffs=bpffs)
    if wrong:
        raise NotAsItShould("\n".join(wrong))
