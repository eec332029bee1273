# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known to fail today, strictly: when it does not fail any more, its mark has to go."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass


@dataclass(frozen=True)
class Mark:
    """``case`` is the number of the collected case, ``witness`` a try that fails for it each time."""

    case: str
    witness: t.Mapping[str, t.Any]


EXPECTED: dict[tuple[str, str], Mark] = {
    ("together", "at once: up, down, up"): Mark("C7", {"nth": 1}),
    ("together", "at once: two graders"): Mark("C17", {"nth": 1}),
}
