# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How what is noted of links, namespaces and their folder is told from what others made in the same place.

A link is *marked*: its group is in the request that makes it. A namespace is *named*: it is made without a name, its lo
gets our alias, and then it is bound to the name. An inode's number would be no identity: the kernel gives it to the
next namespace at once.
"""

from __future__ import annotations

import os
import typing as t

from ..._core.errors import BadInput, LabError
from ..._core.plan import Key
from ..._core.resource import UNKNOWN, Kind
from ..._kernel import netns
from ..._kernel.rtnl.read import Link, links
from .. import names
from .observe import interfaces_in, netlink_of
from .state import ALIAS, FOLDER_KEY, GROUPS, Interface, Ref, from_saved, is_made, link_key, ref_of

if t.TYPE_CHECKING:
    from ..._core.host import Host
    from ..._core.journal import Entry

COMPARED = ("up", "mtu", "mac", "master", "addresses", "routes", "neighbours")


class Links(Kind):
    """``link:NETNS/NAME``. Ours as long as it is in our group, whatever else a student changed on it.

    A saved value is what ``Interface.to_saved`` says.
    """

    prefix = "link:"
    way = "marked"

    def look(self, host: Host, entries: t.Mapping[Key, Entry]) -> dict[Key, t.Any]:
        places: dict[str, dict[Key, Entry]] = {}
        for key, entry in entries.items():
            places.setdefault(ref_of(key)[0], {})[key] = entry
        found: dict[Key, t.Any] = {}
        for where, some in places.items():
            try:
                found.update(_look_in(host, where, some))
            except LabError:
                found.update(dict.fromkeys(some, UNKNOWN))
        return found

    def is_same(self, noted: t.Any, seen: t.Any) -> bool:
        return seen["group"] in GROUPS

    def is_back(self, saved: t.Any, seen: t.Any) -> bool:
        if seen is None:
            return True  # gone, and with it what there was to put back
        try:
            before, now = from_saved(saved), from_saved(seen)
        except (TypeError, KeyError, ValueError, IndexError):
            return "kind" in seen  # what was saved is nothing that could be put back
        compared = ("up",) if before.kind == "loopback" else COMPARED
        return all(getattr(before, name) == getattr(now, name) for name in compared)


def _look_in(host: Host, where: str, entries: t.Mapping[Key, Entry]) -> dict[Key, t.Any]:
    """What is there of the links of one namespace. Raises LabError."""
    seen = _links_in(host, where)
    here = {ref_of(key)[1]: key for key in entries if ref_of(key)[1] in seen}
    found: dict[Key, t.Any] = {key: {"group": seen[name].group} for name, key in here.items()}
    noted = {name: entries[key].saved for name, key in here.items() if entries[key].has_saved}
    saved = [_as_wanted((where, name), value) for name, value in noted.items()]
    for ref, interface in interfaces_in(host, where, seen, saved).items():
        found[link_key(ref)].update(interface.to_saved())
    return found


def _as_wanted(ref: Ref, saved: t.Any) -> Interface:
    """What to look for: the addresses that were there before count even where they are the kernel's own."""
    addresses = saved.get("addresses", ()) if isinstance(saved, dict) else ()
    return Interface(*ref, "", addresses=frozenset(map(str, addresses)))


def _links_in(host: Host, where: str) -> dict[str, Link]:
    """The links of a namespace, none of one that is gone or whose name stands for another.

    Raises LabError for one that is there and cannot be looked at: what is noted of it must not be taken for over.
    """
    if where and (not _is_place(where) or netns.kind(where) != "present"):
        return {}
    try:
        return links(netlink_of(host, where))
    except LabError:
        if netns.kind(where) == "present":
            raise
        return {}


def _is_place(text: str) -> bool:
    """Whether it is what ``netns`` of a module may be: what else a journal holds is nobody's namespace."""
    try:
        names.netns_place("netns", text)
    except BadInput:
        return False
    return True


class Namespaces(Kind):
    """``netns:NAME``. What is noted before has ``over``: what bore the name then, "absent" or "stray".

    A plain file of the name is ours too, unless one was there: a run that was killed made it to bind the namespace to.
    """

    prefix = "netns:"
    way = "named"

    def look(self, host: Host, entries: t.Mapping[Key, Entry]) -> dict[Key, t.Any]:
        found: dict[Key, t.Any] = {}
        for key in entries:
            name = key[len(self.prefix) :]
            kind = netns.kind(name) if not name.startswith("/") and _is_place(name) else "absent"
            if kind == "present":
                found[key] = _inside(host, name)
            elif kind != "absent":
                found[key] = {"kind": kind, "plain": netns.is_plain(name)}
        return found

    def is_same(self, noted: t.Any, seen: t.Any) -> bool:
        if seen["kind"] == "present":
            return bool(seen["alias"] == ALIAS)
        over = noted.get("over") if isinstance(noted, dict) else None
        if over is None:
            return True  # the name was ours, and stands for no namespace of somebody's
        return seen["kind"] == "stray" and bool(seen["plain"]) and over == "absent"

    def identity(self, coming: t.Any, seen: t.Any) -> t.Any:
        return {"alias": ALIAS}


def _inside(host: Host, name: str) -> t.Any:
    """What is seen of a namespace that is there."""
    try:
        seen = _links_in(host, name)
    except LabError:
        return UNKNOWN
    return {"kind": "present", "alias": seen["lo"].alias if "lo" in seen else ""}


class Folder(Kind):
    """``namespaces:/run/netns``: the mount that holds the names, when we made it; ``made``: and the folder.

    A mount onto itself bears no mark. Who else makes one, iproute2, uses the one that is there, and neither needs it
    any more when it is empty, which is when we take it away.
    """

    prefix = FOLDER_KEY
    way = "named"

    def look(self, host: Host, entries: t.Mapping[Key, Entry]) -> dict[Key, t.Any]:
        there = os.path.isdir(netns.FOLDER) and FOLDER_KEY in entries
        return {FOLDER_KEY: {"mounted": netns.folder_is_mount()}} if there else {}

    def is_same(self, noted: t.Any, seen: t.Any) -> bool:
        return bool(seen["mounted"]) or is_made(noted)

    def identity(self, coming: t.Any, seen: t.Any) -> t.Any:
        return {"made": is_made(coming)}
