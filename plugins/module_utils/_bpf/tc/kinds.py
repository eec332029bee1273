# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How filters and qdiscs that a killed run was about to make are told from those of others."""

from __future__ import annotations

import typing as t

from ..._core.errors import LabError
from ..._core.host import Host
from ..._core.journal import Entry
from ..._core.plan import Key
from ..._core.resource import Kind
from ..._kernel.rtnl import tc
from ..interface import all_links, split
from .state import Slot


class FilterKind(Kind):
    """Named: the program's id is noted before the filter is attached. Later on the place is ours as long as the
    interface is the same: another program in it is replaced, and left alone by an end."""

    prefix = "tc:"
    way = "named"

    def look(self, host: Host, entries: t.Mapping[Key, Entry]) -> dict[Key, t.Any]:
        found: dict[Key, t.Any] = dict.fromkeys(entries)
        slots = _slots(entries)
        seen = all_links(host, ((slot.netns, slot.interface) for slot in slots.values()))
        hooks: dict[tuple[str, int, str], list[tc.Filter]] = {}
        for key, slot in slots.items():
            link = seen.get((slot.netns, slot.interface))
            if link is None:
                continue
            hook = (slot.netns, link.index, slot.direction)
            if hook not in hooks:
                hooks[hook] = _filters(host, *hook)
            for entry in hooks[hook]:
                if slot.holds(entry):
                    found[key] = {"id": entry.id, "ifindex": link.index}
        return found

    def is_same(self, noted: t.Any, seen: t.Any) -> bool:
        if not isinstance(noted, dict):
            return False
        if "ifindex" in noted:
            return bool(noted["ifindex"] == seen["ifindex"])
        return bool(noted.get("id") == seen["id"])

    def identity(self, coming: t.Any, seen: t.Any) -> t.Any:
        return {**coming, "ifindex": seen["ifindex"]}


class QdiscKind(Kind):
    """By its value, for all are alike: before there was none. One that a killed run was about to add is ours when
    nobody else has a filter at it."""

    prefix = "qdisc:"

    def look(self, host: Host, entries: t.Mapping[Key, Entry]) -> dict[Key, t.Any]:
        found: dict[Key, t.Any] = dict.fromkeys(entries)
        places = {key: split(key) for key in entries}
        seen = all_links(host, places.values())
        ours = {key for key, entry in host.journal.entries.items() if entry.claimed or entry.about}
        for key, (netns, interface) in places.items():
            link = seen.get((netns, interface))
            if link is None:
                continue
            kind = ""
            try:
                kind = tc.qdisc(host.netlink(netns), link.index)
            except LabError:
                continue
            if kind != "clsact":
                continue
            keys = [
                Slot(interface, netns, direction, entry.priority, entry.handle).key
                for direction in tc.HOOKS
                for entry in _filters(host, netns, link.index, direction)
            ]
            found[key] = {"ifindex": link.index, "shared": any(one not in ours for one in keys)}
        return found

    def is_same(self, noted: t.Any, seen: t.Any) -> bool:
        if not isinstance(noted, dict):
            return False
        if noted.get("new"):
            return not seen["shared"]
        return noted.get("ifindex") in (None, seen["ifindex"])

    def identity(self, coming: t.Any, seen: t.Any) -> t.Any:
        return {"ifindex": seen["ifindex"]}


def _slots(keys: t.Iterable[Key]) -> dict[Key, Slot]:
    """The places of keys, without those of texts that are none."""
    found = {}
    for key in keys:
        try:
            slot = Slot.of(key)
        except ValueError:
            continue
        if slot.direction in tc.HOOKS:
            found[key] = slot
    return found


def _filters(host: Host, netns: str, index: int, direction: str) -> list[tc.Filter]:
    try:
        return tc.filters(host.netlink(netns), index, direction)
    except LabError:  # it went while we looked
        return []
