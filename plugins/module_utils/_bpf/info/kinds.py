# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a probe has while it runs: an instance of tracefs, the entries of maps from before."""

from __future__ import annotations

import contextlib
import os
import typing as t

from ..._core import files
from ..._core.errors import KernelRefused, LabError
from ..._core.host import Host
from ..._core.journal import Entry
from ..._core.plan import Key
from ..._core.resource import Kind
from ..._core.temporary import noted
from ..map.contents import Snapshot, restore_entries, snapshot
from ..map.entries import MapRef
from ..map.layout import DEVICES, NUMBERS

TRACE, ENTRIES = "trace:", "entries:"


class TraceKind(Kind):
    """Temporary: an instance of tracefs of our own."""

    prefix = TRACE
    way = "temporary"

    def look(self, host: Host, entries: t.Mapping[Key, Entry]) -> dict[Key, t.Any]:
        return {key: os.path.isdir(key[len(TRACE) :]) or None for key in entries}

    def sweep(self, host: Host, key: Key, entry: Entry) -> None:
        path = key[len(TRACE) :]
        try:
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(path)
        except OSError as error:
            raise files.failed(f"remove the trace instance {path}", error) from error


class EntriesKind(Kind):
    """Temporary: the entries that a map had before a probe, by the map's id."""

    prefix = ENTRIES
    way = "temporary"

    def look(self, host: Host, entries: t.Mapping[Key, Entry]) -> dict[Key, t.Any]:
        return dict.fromkeys(entries, True)  # the map may be as it was: putting back does nothing then

    def sweep(self, host: Host, key: Key, entry: Entry) -> None:
        number = int(key[len(ENTRIES) :])
        noted = entry.coming if entry.about else entry.value
        pairs = tuple((bytes.fromhex(name), bytes.fromhex(value)) for name, value in noted)
        _put_back(Snapshot(MapRef(id=number), number, pairs))


PROBES: tuple[Kind, ...] = (TraceKind(), EntriesKind())


@contextlib.contextmanager
def entries_as_they_were(host: Host, refs: t.Iterable[MapRef], most: int) -> t.Iterator[None]:
    """Put the entries of maps back at the end of the ``with`` block, and in the next run when this one is killed.

    Maps without entries, those with room for more than ``most``, and those that only user space writes are left alone.
    """
    with contextlib.ExitStack() as stack:
        for ref in refs:
            try:
                before = snapshot(ref)
            except LabError:  # a map without entries, such as a ring buffer, or one that cannot be read
                continue
            if len(before.entries) > most or before.type in NUMBERS | DEVICES:
                continue
            pairs = [[key.hex(), value.hex()] for key, value in before.entries]
            stack.enter_context(noted(host, f"{ENTRIES}{before.id}", pairs))
            stack.callback(_put_back, before)
        yield


def _put_back(before: Snapshot) -> None:
    try:
        restore_entries(before)
    except KernelRefused:
        raise
    except LabError:  # the map is gone
        pass
