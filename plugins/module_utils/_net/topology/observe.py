# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""See the named part of a host's network: a few dumps a namespace, no process, nothing written."""

from __future__ import annotations

import contextlib
import os
import typing as t
from collections import defaultdict
from types import MappingProxyType

from ..._core.errors import KernelRefused
from ..._core.host import Host
from ..._core.journal import Entry
from ..._kernel import netns
from ..._kernel.rtnl.read import Link, addresses, links, namespace_id, neighbours, routes
from ..._kernel.rtnl.socket import Netlink
from ..management import reach
from .state import (
    ALIAS,
    FOLDER_KEY,
    GROUPS,
    SYSCTL,
    Interface,
    Now,
    Ref,
    Route,
    Want,
    from_saved,
    interface_of,
    interface_sysctl_of,
    is_made,
    link_key,
    netns_key,
    peer_of,
    satisfies,
    sysctl_key,
)


def observe(host: Host, want: Want) -> Now:
    """The state of what ``want`` names, and of nothing else. Raises KernelRefused when a dump fails."""
    named = sorted({*want.namespaces, *(interface.netns for interface in want.interfaces if interface.netns)})
    kinds = _kinds(host, want, named)
    wanted_in: dict[str, list[Interface]] = defaultdict(list)
    for interface in want.interfaces:
        wanted_in[interface.netns].append(interface)
    all_links: dict[str, dict[str, Link]] = {}
    for name in ["", *named] if wanted_in[""] else named:
        if not name or kinds[name] == "present":
            all_links[name] = links(netlink_of(host, name))
    journal = host.journal.entries
    saved_sysctls = _saved_sysctls(journal, want)
    interfaces: dict[Ref, Interface] = {}
    for name, seen in all_links.items():
        paths = {path for path, _value in saved_sysctls.get(name, frozenset())}
        interfaces.update(interfaces_in(host, name, seen, wanted_in[name], all_links, paths))
    by_path = [name for name in named if name.startswith("/") and kinds[name] == "present"]
    own = frozenset({"", *filter(netns.is_own, by_path)})
    adds = want.present and not want.force and any(_adds(interface, interfaces, own) for interface in want.interfaces)
    claims = {key: entry.value for key, entry in journal.items() if entry.claimed}
    return Now(
        namespaces=kinds,
        loopback=frozenset(name for name, seen in all_links.items() if "lo" in seen and seen["lo"].up),
        interfaces=interfaces,
        sysctls={
            name: read_sysctls(name, (path for path, _value in wanted))
            for name, wanted in want.sysctls.items()
            if kinds.get(name) == "present" and wanted
        },
        claimed=frozenset(claims) - _of_others(all_links),
        peers={key: peer_of(value) for key, value in claims.items() if key.startswith("link:") and peer_of(value)},
        saved=_saved_links(journal),
        saved_sysctls=saved_sysctls,
        folder=netns.folder_is_mount(),
        exists=os.path.isdir(netns.FOLDER),
        made=is_made(claims.get(FOLDER_KEY)),
        others=frozenset(os.listdir(netns.FOLDER)) - set(named) if os.path.isdir(netns.FOLDER) else frozenset(),
        own=own,
        lifelines=reach(host, all_links.get("")) if adds else (),
    )


def netlink_of(host: Host, name: str) -> Netlink:
    """The socket of a namespace: a name may stand for another one than when it was opened."""
    netlink = host.netlink(name)
    if netlink.namespace != netns.identity(name):
        host.forget_netlink(name)
        netlink = host.netlink(name)
    return netlink


def _of_others(all_links: t.Mapping[str, t.Mapping[str, Link]]) -> set[str]:
    """The keys of what is there without our mark: whatever the journal says of the names, somebody made it since."""
    found = {link_key((name, link.name)) for name, seen in all_links.items() for link in seen.values()
             if link.group not in GROUPS}  # fmt: skip
    return found | {
        netns_key(name) for name, seen in all_links.items() if "lo" not in seen or seen["lo"].alias != ALIAS
    }


def _saved_links(journal: t.Mapping[str, Entry]) -> dict[str, Interface]:
    """The interfaces as they were before us."""
    found = {}
    for key, entry in journal.items():
        if entry.has_saved and key.startswith("link:"):
            with contextlib.suppress(TypeError, KeyError, ValueError, IndexError):  # no value of ours
                found[key] = from_saved(entry.saved)
    return found


def _kinds(host: Host, want: Want, named: t.Sequence[str]) -> dict[str, str]:
    """What bears each of the names. A second name for a namespace that has another one of them is a "twin" of it."""
    kinds = {name: netns.kind(name) for name in named}
    ours = {key[len("netns:") :] for key in host.journal.claims("netns:")}
    alike: dict[t.Optional[netns.Identity], list[str]] = defaultdict(list)
    for name in sorted({*named, *ours}):
        if not name.startswith("/") and kinds.get(name, "present") == "present":
            alike[netns.identity(name)].append(name)
    alike.pop(None, None)
    for some in alike.values():
        if len(some) > 1:
            wanted = {i.ref for i in want.interfaces}
            there = set(links(netlink_of(host, some[0])))
            # The one that it was made for is the one whose interfaces are in it, or else the one that is not ours.
            some.sort(key=lambda name: (-sum((name, link) in wanted for link in there), name in ours))
            kinds.update(dict.fromkeys(set(some[1:]) & set(named), "twin"))
    return kinds


def _adds(wanted: Interface, seen: t.Mapping[Ref, Interface], own: t.Collection[str]) -> bool:
    """Whether an interface would bring an address or a route into our own namespace that is not there."""
    there = seen.get(wanted.ref)
    if wanted.netns not in own or not (wanted.addresses or wanted.routes):
        return False
    return (
        there is None
        or not there.up
        or not wanted.addresses <= there.addresses
        or not all(any(satisfies(route, one) for route in there.routes | there.implied) for one in wanted.routes)
    )


def _saved_sysctls(journal: t.Mapping[str, Entry], want: Want) -> dict[str, frozenset[tuple[str, str]]]:
    """What the journal holds of the wanted namespaces' sysctls and of all sysctls of the wanted interfaces."""
    wanted = {sysctl_key(name, path): (name, path) for name, pairs in want.sysctls.items() for path, _value in pairs}
    refs = {interface.ref for interface in want.interfaces}
    found: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for key, entry in journal.items():
        # One that is claimed as well is ip_forward's, which wrote it last.
        if not entry.has_saved or entry.claimed or not key.startswith("sysctl:"):
            continue
        place = wanted.get(key) or interface_sysctl_of(key)
        if place is not None and (key in wanted or (place[0], interface_of(place[1])) in refs):
            found[place[0]].add((place[1], entry.saved))
    return {name: frozenset(pairs) for name, pairs in found.items()}


def interfaces_in(
    host: Host,
    name: str,
    seen: t.Mapping[str, Link],
    wanted: t.Sequence[Interface],
    all_links: t.Mapping[str, t.Mapping[str, Link]] = MappingProxyType({}),
    saved_paths: t.Collection[str] = (),
) -> dict[Ref, Interface]:
    """The wanted interfaces that are there in one namespace, whose links are ``seen``."""
    here = [interface for interface in wanted if interface.name in seen]
    if not here:
        return {}
    netlink = host.netlink(name)
    by_index = {link.index: link.name for link in seen.values()}
    held_addresses: dict[int, set[str]] = defaultdict(set)
    held_secondary: dict[int, set[str]] = defaultdict(set)
    wanted_addresses = {address for interface in here for address in interface.addresses}
    for address in addresses(netlink):
        # The kernel gives each IPv6 link its fe80:: address by itself: that is nobody's wish and nobody's drift.
        if not address.link_local or address.text in wanted_addresses:
            held_addresses[address.index].add(address.text)
        if address.secondary:
            held_secondary[address.index].add(address.text)
    held_routes: dict[int, set[Route]] = defaultdict(set)
    implied: dict[int, set[Route]] = defaultdict(set)
    for route in routes(netlink):
        found_in = implied if route.kernel else held_routes
        found_in[route.index].add(Route(route.to, route.via, route.metric, route.protocol, route.source))
    held_neighbours: dict[int, set[tuple[str, str]]] = defaultdict(set)
    entries = host.journal.entries  # of what is not ours all is seen, because all of it may be put back
    if any(i.neighbours or i.exclusive or i.key not in entries or not entries[i.key].claimed for i in here):
        for index, address_text, mac in neighbours(netlink):
            held_neighbours[index].add((address_text, mac))
    paths = {path for interface in here for path, _value in interface.sysctls}.union(saved_paths)
    values = dict(read_sysctls(name, paths))
    found: dict[Ref, Interface] = {}
    for interface in here:
        link = seen[interface.name]
        found[interface.ref] = Interface(
            netns=name,
            name=link.name,
            kind=link.kind,
            up=link.up,
            mtu=link.mtu,
            mac=link.mac,
            peer=_peer(host, interface, link, all_links) if link.kind == "veth" else None,
            master=by_index.get(link.master, "") if link.master else "",
            parent=by_index.get(link.peer_index) if link.kind == "vlan" and link.peer_nsid is None else None,
            vlan=link.vlan,
            addresses=frozenset(held_addresses[link.index]),
            routes=frozenset(held_routes[link.index]),
            implied=frozenset(implied[link.index]),
            neighbours=frozenset(held_neighbours[link.index]),
            secondary=frozenset(held_secondary[link.index]),
            sysctls=frozenset(pair for pair in values.items() if interface_of(pair[0]) == interface.name),
            group=link.group,
        )
    return found


def _peer(
    host: Host, wanted: Interface, link: Link, all_links: t.Mapping[str, t.Mapping[str, Link]]
) -> t.Optional[Ref]:
    """The other end, when it is where it is wanted; None when it is anywhere else.

    A link names its peer by index and by the number that its namespace has for the other one, so an equal index in a
    wrong namespace is no proof.
    """
    if wanted.peer is None or wanted.peer[0] not in all_links:
        return None
    peer = all_links[wanted.peer[0]].get(wanted.peer[1])
    if peer is None or peer.index != link.peer_index:
        return None
    if wanted.peer[0] == wanted.netns:
        return wanted.peer if link.peer_nsid is None else None
    if link.peer_nsid is None or link.peer_nsid != namespace_id(host.netlink(wanted.netns), wanted.peer[0]):
        return None
    return wanted.peer


def read_sysctls(name: str, paths: t.Iterable[str]) -> frozenset[tuple[str, str]]:
    """Path and value of those keys below /proc/sys/net that there are in a namespace."""
    wanted = list(paths)

    def read() -> frozenset[tuple[str, str]]:
        found = set()
        for path in wanted:
            try:
                with open(os.path.join(SYSCTL, path), encoding="utf-8", errors="surrogateescape") as file:
                    found.add((path, " ".join(file.read().split())))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise KernelRefused(f"read the sysctl net/{path}", error.errno or 0) from error
        return frozenset(found)

    return netns.in_netns(name, read) if wanted else frozenset()
