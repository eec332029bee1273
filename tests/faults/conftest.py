# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What these tests have in common: each makes private machines of its own, so they run on the machine itself."""

from __future__ import annotations

import pytest

from .private import prepare


@pytest.fixture(scope="session", autouse=True)
def _prepared() -> None:
    """The collection by its name, and the objects that the machines' owners load."""
    prepare()
