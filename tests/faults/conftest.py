# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What these tests have in common: each makes private machines of its own, so they run on the machine itself."""

from __future__ import annotations

import typing as t

import pytest

from .private import prepare
from .strange import Tried


@pytest.fixture(scope="session", autouse=True)
def _prepared() -> None:
    """The collection by its name, and the objects that the machines' owners load."""
    prepare()


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> t.Iterator[Tried]:
    """Counts what a test of bad input tries: of a module, or of "lab FILE"."""
    (name,) = request.node.callspec.params.values()
    found = Tried(name if "module" in request.node.callspec.params else f"lab {name}")
    yield found
    found.keep()
