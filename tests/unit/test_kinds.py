# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every key that is written to the journal has a kind that settles it, somebody who restores it, and a row in docs."""

from __future__ import annotations

import pathlib
import re

from ansible_collections.ebpf.lab.plugins.module_utils._lab.kinds import kinds
from ansible_collections.ebpf.lab.plugins.module_utils._lab.teardown import RESTORERS
from ansible_collections.ebpf.lab.plugins.module_utils._tools import kinds as tools

ROOT = pathlib.Path(__file__).resolve().parents[2]
# How the source makes a key: f"netns:{name}".
WRITTEN = re.compile(r'\bf"([a-z]+):\{')
NO_KEYS = {"object", "program"}  # what steps of one run tell each other


def written() -> set[str]:
    """The beginnings of the keys that any room makes."""
    found = set()
    for path in (ROOT / "plugins/module_utils").rglob("*.py"):
        found |= set(WRITTEN.findall(path.read_text(encoding="utf-8")))
    return {f"{prefix}:" for prefix in found - NO_KEYS}


def test_every_key_has_a_kind() -> None:
    known = [kind.prefix for kind in (*kinds(), *tools.KINDS)]
    assert len(known) == len(set(known))
    assert {prefix for prefix in written() if not prefix.startswith(tuple(known))} == set()


def test_every_kind_has_who_restores_it() -> None:
    restored = {prefix for prefixes, _restorer in RESTORERS for prefix in prefixes}
    needed = {kind.prefix for kind in kinds() if kind.way not in ("temporary", "decided")}
    assert {prefix for prefix in needed if not prefix.startswith(tuple(restored))} == set()


def test_the_table_in_the_docs_has_every_kind_with_its_way() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[a-z]+:.*?) \| (\w+) \|", text, re.MULTILINE)
    told = {key: way for keys, way in rows for key in re.findall(r"`([a-z]+:)", keys)}
    assert told == {f"{kind.prefix.partition(':')[0]}:": kind.way for kind in (*kinds(), *tools.KINDS)}
