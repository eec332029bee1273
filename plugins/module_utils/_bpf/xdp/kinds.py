# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How an XDP program that a killed run was about to attach is told from somebody else's."""

from __future__ import annotations

import typing as t

from ..._core.host import Host
from ..._core.journal import Entry
from ..._core.plan import Key
from ..._core.resource import Kind
from ..interface import all_links, split
from ..pin.kept import is_kept


class SlotKind(Kind):
    """Named: the program's id is noted before it is attached. An interface that was made anew has another index."""

    prefix = "xdp:"
    way = "named"

    def look(self, host: Host, entries: t.Mapping[Key, Entry]) -> dict[Key, t.Any]:
        seen = all_links(host, map(split, entries))
        found: dict[Key, t.Any] = {}
        for key in entries:
            link = seen.get(split(key))
            there = link is not None and link.xdp_id
            found[key] = {"id": link.xdp_id, "mode": link.xdp_mode, "ifindex": link.index} if link and there else None
        return found

    def is_same(self, noted: t.Any, seen: t.Any) -> bool:
        if not isinstance(noted, dict) or noted.get("id") != seen["id"]:
            return False
        return noted.get("ifindex") in (None, 0, seen["ifindex"])

    def identity(self, coming: t.Any, seen: t.Any) -> t.Any:
        return {"reason": "a run that was stopped attached it so", **coming, **seen}

    def is_back(self, saved: t.Any, seen: t.Any) -> bool:
        if not is_kept(saved):
            return True  # somebody took it: there is nothing to put back
        return seen is not None and self.is_same(saved, seen)
