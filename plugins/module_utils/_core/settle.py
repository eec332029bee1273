# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of what is noted: a run may have been killed, and a thing's owner may have taken it away.

Only looked at and decided here; what is decided is written by whoever holds the locks.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .journal import Entries, Entry
from .plan import Key
from .resource import UNKNOWN, Kind

if t.TYPE_CHECKING:
    from .host import Host


def settle(host: Host, kinds: t.Iterable[Kind], stale: bool) -> dict[Key, t.Optional[Entry]]:
    """The entries that are to be otherwise: what a killed run had begun is made or is not, by looking.

    ``stale``: entries whose thing is gone, and values that are as they were, are over too. Raises LabError.
    """
    patch: dict[Key, t.Optional[Entry]] = {}
    for kind in kinds:
        mine = {
            key: entry
            for key, entry in host.journal.entries.items()
            if key.startswith(kind.prefix) and (stale or entry.open or kind.way == "temporary")
        }
        if not mine:
            continue
        seen = kind.look(host, mine)
        for key, entry in mine.items():
            patch[key] = settled(kind, entry, seen.get(key))
    return {key: entry for key, entry in patch.items() if host.journal.entries.get(key) != entry}


def settled(kind: Kind, entry: Entry, seen: t.Any) -> t.Optional[Entry]:
    """One entry in the light of what is there; None when it is over."""
    if seen is UNKNOWN:
        return entry
    if kind.way == "temporary":
        return None if seen is None else entry
    if entry.about:
        if seen is not None and kind.is_same(entry.coming, seen):
            entry = replace(entry, claimed=True, value=kind.identity(entry.coming, seen))
        entry = replace(entry, about=False, coming=None)
    if entry.claimed and (seen is None or not kind.is_same(entry.value, seen)):
        entry = replace(entry, claimed=False, value=None)
    if entry.has_saved and kind.is_back(entry.saved, seen):
        entry = replace(entry, has_saved=False, saved=None, saving=False, wrote=())
    entry = replace(entry, saving=False)
    return entry if entry.claimed or entry.has_saved else None


def sweep(host: Host, kinds: t.Iterable[Kind]) -> list[str]:
    """Remove what killed runs left: temporary things, and what lies beside things that they were about to make.

    Returns what could not be, a sentence each.
    """
    left = []
    over: dict[Key, t.Optional[Entry]] = {}
    for kind in kinds:
        temporary = kind.way == "temporary"
        for key, entry in _of(host.journal.entries, kind).items():
            if not temporary and not entry.open:
                continue
            try:
                kind.sweep(host, key, entry)
                if temporary:
                    over[key] = None
            except Exception as error:  # whatever it is, the others are still removed
                left.append(f"{key}: {error}")
    host.journal.patch(over)
    return left


def _of(entries: Entries, kind: Kind) -> dict[Key, Entry]:
    return {key: entry for key, entry in entries.items() if key.startswith(kind.prefix)}
