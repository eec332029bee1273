# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""By which interfaces, addresses and routes this host is reached, and what of a wanted network would take them over.

The one place that is asked before an address or a route comes into the host's own namespace. An address brings a route
to its network with metric 0, which wins over a LAN's own where that was set up with a metric, as NetworkManager does;
then whoever came over the LAN is gone, and so is the run that would take the address away again.
"""

from __future__ import annotations

import contextlib
import glob
import ipaddress
import os
import sys
import typing as t
from dataclasses import dataclass, field

from .._core.errors import KernelRefused, Refused
from .._core.host import Host
from .._kernel.rtnl.read import Link, Way, addresses, links, routes, way
from .._kernel.rtnl.socket import Netlink
from .topology.state import Interface, Now, Want, link_key, satisfies

SESSION, DEFAULT = "the SSH session", "the default route"
DEFAULTS = ("0.0.0.0/0", "::/0")
SERVERS = ("sshd", "sshd-session", "sshd-auth", "dropbear")  # processes that hold a session's connection
ESTABLISHED, LISTEN = "01", "0A"  # states in /proc/net/tcp: include/net/tcp_states.h
UNSAID = {4: 0, 6: 1024}  # what the kernel makes of a route without a metric
CONNECTED = {4: 0, 6: 256}  # the metric of the route that an address brings
GLOBAL = ipaddress.ip_network("2000::/3")  # all that is routed in IPv6
ANYWHERE = ("192.0.2.1", "2001:db8::1")  # addresses that only a default route leads to: RFC 5737, RFC 3849
WORST = 0xFFFFFFFF  # a metric: by the order of rules, the main table's default route may win with any
ON_LINK = ipaddress.ip_network("fe80::/10")  # each link has its own: none of them takes over another's
CURE = (
    "Give the lab another subnet (its addresses and routes are in the lab file or the task), or say force: true if you "
    "mean it; the playbooks take --extra-vars lab_force=true."
)

Address = t.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
Network = t.Union[ipaddress.IPv4Network, ipaddress.IPv6Network]


@dataclass(frozen=True)
class Lifeline:
    """Something that this host is reached by: a session or a default route, and the interface that carries it.

    ``target`` is the session's other end or the gateway, "" for none; ``way`` leads to it now. ``networks`` are on the
    interface's link. ``default`` is the metric of the family's best default route, None when this is none.
    """

    carries: str
    interface: str
    target: str = ""
    way: Way = field(default_factory=lambda: Way(0))
    networks: tuple[str, ...] = ()
    version: int = 4
    default: t.Optional[int] = None

    @property
    def words(self) -> str:
        """What it carries, and for whom."""
        return f"{SESSION} from {self.target}" if self.carries == SESSION and self.target else self.carries


def lifelines(host: Host) -> dict[str, str]:
    """The interfaces of our own namespace by which this host is reached, each with what it carries."""
    seen = links(host.netlink(""))
    by_index = {link.index: name for name, link in seen.items()}
    found = {line.interface: line.carries for line in reversed(reach(host, seen))}
    # A program on a bridge's port or a VLAN's parent sees the same packets.
    upper = list(found)
    while upper:
        name = upper.pop()
        link = seen[name]
        lower = [other.name for other in seen.values() if other.master == link.index]
        if link.kind in ("vlan", "macvlan", "ipvlan") and link.peer_nsid is None and link.peer_index in by_index:
            lower.append(by_index[link.peer_index])
        for below in lower:
            if below not in found:
                found[below] = found[name]
                upper.append(below)
    return found


def reach(host: Host, seen: t.Optional[t.Mapping[str, Link]] = None) -> tuple[Lifeline, ...]:
    """What this host is reached by, sessions first. A link that the lab made itself is nobody's lifeline."""
    netlink = host.netlink("")
    seen = links(netlink) if seen is None else seen
    names = {link.index: name for name, link in seen.items() if host.journal.claimed(link_key(("", name))) is None}
    held: dict[str, int] = {}
    networks: dict[int, list[str]] = {}
    for address in addresses(netlink):
        held[address.text.partition("/")[0]] = address.index
        networks.setdefault(address.index, []).append(str(ipaddress.ip_interface(address.text).network))
    table = routes(netlink, multipath=True)
    for route in table:
        # An address can come without its network, and the network as a route; tunnels have routes that are none.
        if not route.via and ipaddress.ip_network(route.to).prefixlen >= 8:
            inside = any(index == route.index and _holds(route.to, own) for own, index in held.items())
            networks.setdefault(route.index, []).extend([route.to] if inside else [])
    on_link = {index: tuple(dict.fromkeys(found)) for index, found in networks.items()}
    found: list[Lifeline] = []
    for peer, own in _sessions(held):
        there = _way(netlink, peer, own)
        if there is not None and there.index in names:
            found.append(Lifeline(SESSION, names[there.index], peer, there, on_link.get(there.index, ())))
        if held[own] in names and (there is None or there.index != held[own]):
            found.append(Lifeline(SESSION, names[held[own]], networks=on_link.get(held[own], ())))
    defaults = [route for route in table if route.to in DEFAULTS]
    for route in defaults:
        if route.index in names:
            there = (_way(netlink, route.via) if route.via else None) or Way(route.index)
            best = min(other.metric for other in defaults if other.to == route.to)
            version = 6 if ":" in route.to else 4
            networks_there = on_link.get(route.index, ())
            found.append(Lifeline(DEFAULT, names[route.index], route.via, there, networks_there, version, best))
    for far in ANYWHERE:  # by rules, a default route of another table can be the one that is used
        out = _way(netlink, far)
        if out is not None and not out.main and not out.prefix and out.index in names:
            there = (_way(netlink, out.via) if out.via else None) or out
            version = ipaddress.ip_address(far).version
            networks_there = on_link.get(out.index, ())
            found.append(Lifeline(DEFAULT, names[out.index], out.via, there, networks_there, version, WORST))
    return tuple(found)


def _holds(network: str, address: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(network)


def _way(netlink: Netlink, to: str, source: str = "") -> t.Optional[Way]:
    """The way to an address; None when there is none, and for a link-local one, which has one on each link."""
    if ipaddress.ip_address(to) in ON_LINK:
        return None
    with contextlib.suppress(KernelRefused):
        return way(netlink, to, source)
    return None


def _sessions(held: t.Collection[str]) -> list[tuple[str, str]]:
    """The SSH sessions that count, as the client's address and ours: the one that started us, or all that there are.

    ``held`` are this namespace's addresses: an environment can be older than the network that it tells of.
    """
    mine = _environment()
    found = [mine] if mine is not None and mine[1] in held else _connections()
    return [(peer, own) for peer, own in found if own in held and peer not in held]


def _environment() -> t.Optional[tuple[str, str]]:
    """SSH_CONNECTION of this process or, as sudo takes it out of the environment, of one above it."""
    pid = os.getpid()
    while pid > 1:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                for entry in file.read().split(b"\0"):
                    if entry.startswith(b"SSH_CONNECTION="):
                        words = os.fsdecode(entry).partition("=")[2].split()
                        if len(words) == 4:
                            return _plain(words[0]), _plain(words[2])
            with open(f"/proc/{pid}/stat", "rb") as stat:
                pid = int(stat.read().rpartition(b")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return None
    return None


def _connections() -> list[tuple[str, str]]:
    """The established connections to an SSH server of this host."""
    found: dict[str, tuple[str, str]] = {}
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError), open(f"/proc/thread-self/net/{name}", encoding="ascii") as file:
            lines = [line.split() for line in file.readlines()[1:]]
            served = {line[1].rpartition(":")[2] for line in lines if line[3] == LISTEN}
            for line in lines:
                if line[3] == ESTABLISHED and line[1].rpartition(":")[2] in served:
                    found[f"socket:[{line[9]}]"] = (_unpacked(line[2]), _unpacked(line[1]))
    return [found[name] for name in sorted(_held_by_servers() & set(found))] if found else []


def _held_by_servers() -> set[str]:
    found = set()
    for path in glob.glob("/proc/[0-9]*/comm"):
        with contextlib.suppress(OSError):
            with open(path, "rb") as file:
                if os.fsdecode(file.read().rstrip(b"\n")) not in SERVERS:
                    continue
            folder = f"{os.path.dirname(path)}/fd"
            for handle in os.listdir(folder):
                with contextlib.suppress(OSError):
                    found.add(os.readlink(f"{folder}/{handle}"))
    return found


def _unpacked(text: str) -> str:
    """An address as /proc/net/tcp has it: in hexadecimal, each 32 bits in the order of the machine."""
    digits = text.rpartition(":")[0]
    words = [int(digits[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(digits), 8)]
    return _plain(str(ipaddress.ip_address(b"".join(words))))


def _plain(text: str) -> str:
    """An address without its zone, and an IPv4 address that IPv6 carries as itself. Raises ValueError."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return str(getattr(address, "ipv4_mapped", None) or address)


@dataclass(frozen=True)
class _Claim:
    """What an address (``address``) or a route (None) of a wanted interface takes for itself, and in which words."""

    what: str
    interface: str
    network: Network
    metric: int
    via: str = ""
    address: t.Optional[Address] = None


def takeovers(want: Want, now: Now) -> list[str]:
    """What of ``want`` would take over a lifeline, a sentence each. What is there already takes nothing. Pure."""
    claims = [claim for interface in want.interfaces if interface.netns in now.own for claim in _claims(interface, now)]
    found = []
    for claim in claims:
        line = next((line for line in now.lifelines if _takes(claim, line)), None)
        if line is not None:
            found.append(_sentence(claim, line))
    return found or _in_pieces(claims, now.lifelines)


def refuse_takeovers(want: Want, now: Now) -> None:
    """Raises Refused with the first of ``takeovers``."""
    for sentence in takeovers(want, now):
        raise Refused(sentence, CURE)


def _claims(interface: Interface, now: Now) -> t.Iterator[_Claim]:
    seen = now.interfaces.get(interface.ref)
    there = seen if seen is not None and seen.up else Interface(*interface.ref, interface.kind)
    for text in sorted(interface.addresses - there.addresses):
        own = ipaddress.ip_interface(text)
        # As long as the link is down, there is only the address itself.
        network = own.network if interface.up else ipaddress.ip_network(own.ip)
        if not _within(network, ON_LINK):
            what = f"addresses: {text} of {interface.name}"
            yield _Claim(what, interface.name, network, CONNECTED[own.version], address=own.ip)
    for route in sorted(interface.routes):
        network = ipaddress.ip_network(route.to)
        if not any(satisfies(other, route) for other in there.routes | there.implied) and not _within(network, ON_LINK):
            what = f"routes: the route {route} of {interface.name}"
            yield _Claim(what, interface.name, network, route.metric or UNSAID[network.version], route.via)


def _takes(claim: _Claim, line: Lifeline) -> bool:
    """Whether a claim wins over what carries a lifeline: it is longer, or as long and its metric is not worse."""
    target = ipaddress.ip_address(line.target) if line.target else None
    same = claim.interface == line.interface
    if claim.address is not None and (claim.address == target or (not same and _overlapped(claim, line))):
        return True
    default = line.default is not None and claim.network.version == line.version and not claim.network.prefixlen
    if default and claim.metric <= (line.default or 0) and not (same and claim.via == line.target):
        return True
    if target is None or target not in claim.network or (same and claim.via == line.way.via):
        return False
    ahead = claim.network.prefixlen - line.way.prefix
    return not line.way.main or ahead > 0 or (ahead == 0 and claim.metric <= line.way.metric)


def _in_pieces(claims: t.Sequence[_Claim], lines: t.Sequence[Lifeline]) -> list[str]:
    """0.0.0.0/1 and 128.0.0.0/1, or whatever else comes to the same: a default route that does not say so."""
    for line in lines:
        some = [claim for claim in claims if claim.network.version == line.version and claim.network.prefixlen]
        whole: list[Network] = list(ipaddress.collapse_addresses(claim.network for claim in some))  # type: ignore
        for network in whole if line.default is not None else ():
            if network.prefixlen <= 1 or _within(GLOBAL, network):
                parts = [claim for claim in some if _within(claim.network, network)]
                return [_sentence(min(parts, key=lambda claim: claim.network.prefixlen), line)]
    return []


def _within(inner: Network, outer: Network) -> bool:
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]


def _overlapped(claim: _Claim, line: Lifeline) -> str:
    """The network on the lifeline's link that a claim overlaps, "" for none."""
    for text in line.networks:
        network = ipaddress.ip_network(text)
        same_family = network.version == claim.network.version
        if same_family and network.overlaps(claim.network) and not _within(network, ON_LINK):
            return text
    return ""


def _sentence(claim: _Claim, line: Lifeline) -> str:
    over = _overlapped(claim, line) if claim.address is not None else ""
    if over:
        return f"{claim.what} would take over {over} on {line.interface}, which carries {line.words}."
    return f"{claim.what} would take over {line.words}, which {line.interface} carries."
