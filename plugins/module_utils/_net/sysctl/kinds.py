# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sysctls as the journal knows them: one key for each, whoever sets it.

Names are those of sysctl(8): dots between the parts, and a dot that belongs to an interface's name written as a
slash (``net.ipv4.conf.eth0/100.forwarding``).

The first value from before is kept, and put back by whoever wrote last. An entry that is claimed as well is that of
ip_forward: its claim is the value that it wrote, and over when another one is there. One that only holds the value from
before is the topology's. Each leaves the other's entries, and values, as they are.
"""

from __future__ import annotations

import os
import typing as t

from ..._core.errors import LabError
from ..._core.plan import Key
from ..._core.resource import UNKNOWN, Kind
from .switches import switch_of

if t.TYPE_CHECKING:
    from ..._core.host import Host
    from ..._core.journal import Entry

ROOT = "/proc/sys"
PREFIX = "sysctl:"
_SWAP = str.maketrans("./", "/.")


def path_of(name: str) -> str:
    """The file of a sysctl: ``net.ipv4.ip_forward`` → ``/proc/sys/net/ipv4/ip_forward``."""
    return f"{ROOT}/{name.translate(_SWAP)}"


def name_of(path: str) -> str:
    """The name of a sysctl from its file, the inverse of ``path_of``."""
    return os.path.relpath(path, ROOT).translate(_SWAP)


def key_of(netns: str, name: str) -> Key:
    """The journal's key of a sysctl, a namespace's or an interface's. ``netns`` is "" for the module's own."""
    return f"{PREFIX}{netns}:{name}"


def place_of(key: Key) -> t.Optional[tuple[str, str]]:
    """Namespace and name from the journal's key; None for what is no network sysctl's."""
    # Neither an interface nor a sysctl has a colon in its name; the path of a namespace may.
    netns, colon, name = key[len(PREFIX) :].rpartition(":")
    parts = name.translate(_SWAP).split("/")
    wrong = not colon or parts[0] != "net" or "\0" in key or any(part in ("", ".", "..") for part in parts)
    return None if wrong or not key.startswith(PREFIX) else (netns, name)


def read(name: str) -> t.Optional[str]:
    """The value in the namespace of the calling thread, its words apart by one blank; None when there is none."""
    try:
        with open(path_of(name), encoding="utf-8", errors="surrogateescape") as file:
            return " ".join(file.read().split())
    except (OSError, UnicodeEncodeError):  # gone, not to be read in this state, or no name at all
        return None


class Following(str):
    """The value of what the kernel set along with a forwarding switch that is not back yet.

    It is not back either, even where it is the same value: putting the switch back will change it.
    """


class Sysctls(Kind):
    """``sysctl:NETNS:NAME``: the value, as ``read`` returns it. One that is gone has nothing to be put back."""

    prefix = PREFIX
    way = "value"

    def look(self, host: Host, entries: t.Mapping[Key, Entry]) -> dict[Key, t.Any]:
        names: dict[str, dict[Key, str]] = {}
        for key in entries:
            place = place_of(key)
            if place is not None:
                wanted = names.setdefault(place[0], {})
                wanted[key] = place[1]
                switch = switch_of(place[1])
                wanted.update({key_of(place[0], switch): switch} if switch else {})
        found: dict[Key, t.Any] = {}
        for netns, wanted in names.items():
            found.update(_read_in(netns, wanted))
        return {key: _seen(host, key, entry, found) for key, entry in entries.items()}

    def is_back(self, saved: t.Any, seen: t.Any) -> bool:
        return seen is None or (not isinstance(seen, Following) and super().is_back(saved, seen))


def _seen(host: Host, key: Key, entry: Entry, found: t.Mapping[Key, t.Any]) -> t.Any:
    value, place = found.get(key), place_of(key)
    if place is None or not isinstance(value, str):
        return value
    switch = key_of(place[0], switch_of(place[1]))
    above = host.journal.saved(switch)
    if above is not None and found.get(switch) not in (None, above.saved):
        return Following(value)
    # As it was before, so that a claim on the very same value is over too.
    return None if entry.has_saved and value == entry.saved else value


def _read_in(netns: str, names: t.Mapping[Key, str]) -> dict[Key, t.Any]:
    """The values in one namespace, by key; none of a namespace that is gone, or whose name stands for another.

    UNKNOWN of one that cannot be entered.
    """
    from ..._kernel import netns as namespaces  # late: the control node only needs the names

    try:
        if netns and namespaces.kind(netns) != "present":
            return {}
        return namespaces.in_netns(netns, lambda: {key: read(name) for key, name in names.items()})
    except LabError:
        return dict.fromkeys(names, UNKNOWN)
    except UnicodeEncodeError:
        return {}
