# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known to fail today, strictly: when it does not fail any more, its mark has to go."""

from __future__ import annotations

import errno
import typing as t
from dataclasses import dataclass


@dataclass(frozen=True)
class Mark:
    """``case`` is the number of the collected case, ``witness`` a try that fails for it each time.

    ``lines`` is a pattern of what goes wrong for it; other lines are failures still. "" stands for all.
    """

    case: str
    witness: t.Mapping[str, t.Any]
    lines: str = ""


# A dpkg that was interrupted wants to be told to go on where it was, and the next run does not tell it.
INTERRUPTED = "the next run failed: installing packages: apt-get .* E: (dpkg was interrupted|Sub-process|Unmet dep)"
EXPECTED = {
    ("kill", "packages there"): Mark(
        "dpkg", {"point": "fsync /var/lib/dpkg/info", "number": 4, "whom": "group", "way": "again"}, INTERRUPTED
    ),
    ("refuse", "packages there"): Mark(
        "dpkg", {"point": "fsync /var/lib/dpkg/updates/tmp.i", "number": 6, "errno": errno.ENOBUFS}, INTERRUPTED
    ),
}
