# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How rules and policies that a killed run was about to change are told from others' doing: by what is there.

They have no identity. Counters take no part, for they move while one looks.
"""

from __future__ import annotations

import typing as t
from collections import defaultdict

from ..._core.errors import LabError
from ..._core.host import Host
from ..._core.journal import Entry
from ..._core.plan import Key
from ..._core.resource import UNKNOWN, Kind
from ..._kernel import netns as namespaces
from .observe import look_at
from .state import PREFIX, Chain, Where, is_value, policy_value, recounted, rules_in, rules_value, split_key

GONE = {"gone": True}  # with its namespace, so that nothing is to be put back


class IptablesKind(Kind):
    """``iptables:NETNS:BACKEND:FAMILY:TABLE:CHAIN:rules`` and ``…:policy``, and ``…:TABLE::table``; see state.py."""

    prefix = PREFIX
    way = "value"

    def look(self, host: Host, entries: t.Mapping[Key, Entry]) -> dict[Key, t.Any]:
        found: dict[Key, t.Any] = dict.fromkeys(entries, UNKNOWN)
        wanted: dict[str, dict[Key, Where]] = defaultdict(dict)
        for key, entry in entries.items():
            where = split_key(key)
            if where is not None and is_value(where.thing, entry.saved):
                wanted[where.netns][key] = where
        for netns, keys in wanted.items():
            if netns and namespaces.kind(netns) != "present":
                found.update(dict.fromkeys(keys, GONE))
                continue
            # Which base chains there are takes another program, and is asked only when it matters.
            exact = any(entries[key].saved is None for key in keys)
            try:
                seen = look_at(host, netns, dict.fromkeys(where.place for where in keys.values()), exact)
            except LabError:
                continue
            for key, where in keys.items():
                if where.place not in seen.failed and where.place not in seen.foreign:
                    found[key] = _value(where, seen.tables.get(where.place))
        return found

    def is_back(self, saved: t.Any, seen: t.Any) -> bool:
        if seen == GONE:
            return True
        if saved is None or seen is None:
            return saved is None and seen is None
        if "counters" in seen:
            return not recounted(
                saved, {name: Chain(None, rules_in({"rules": r})) for name, r in seen["counters"].items()}
            )
        if "policy" in saved:
            return bool(saved["policy"] == seen["policy"])
        return [rule[2] for rule in saved["rules"]] == [rule[2] for rule in seen["rules"]]


def _value(where: Where, chains: t.Any) -> t.Any:
    if where.thing == "table":
        return None if chains is None else True
    if where.thing == "counters":
        every = (chains or {}).items()
        return {"counters": {name: [[r.packets, r.bytes, r.text] for r in chain.rules] for name, chain in every}}
    chain = (chains or {}).get(where.chain)
    return policy_value(chain) if where.thing == "policy" else rules_value(chain, chains or {})
