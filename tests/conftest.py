# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Property tests try the same examples each time, so that a change is what fails a run; EBPF_LAB_RANDOM=1 explores.

EBPF_LAB_EXAMPLES is how many each tries, unless it says a number of its own.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile(
    "same",
    derandomize=os.environ.get("EBPF_LAB_RANDOM") != "1",
    max_examples=int(os.environ.get("EBPF_LAB_EXAMPLES", "100")),
)
settings.load_profile("same")
