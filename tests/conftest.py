# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""For every test: plans are watched (tests/audit), and property tests explore at random.

Each run ends with its seed; pytest --hypothesis-seed=NUMBER repeats it, and a failure prints its example.
EBPF_LAB_EXAMPLES is how many each tries, unless it says a number of its own.
"""

from __future__ import annotations

import os
import pathlib
import random
import runpy

import pytest
from hypothesis import core, settings

runpy.run_path(str(pathlib.Path(__file__).parent / "audit" / "sitecustomize.py"), run_name="audit")
settings.register_profile("random", max_examples=int(os.environ.get("EBPF_LAB_EXAMPLES", "100")))
settings.load_profile("random")


def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed that hypothesis would choose without a word, the same in each process of the run."""
    if config.getoption("hypothesis_seed") is None:
        seed = os.environ.setdefault("EBPF_LAB_SEED", str(random.SystemRandom().getrandbits(32)))
        config.option.hypothesis_seed = seed
        core.global_force_seed = int(seed)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The line that repeats the run, also when it is quiet."""
    terminalreporter.write_line(f"hypothesis seed: {config.getoption('hypothesis_seed')}")
