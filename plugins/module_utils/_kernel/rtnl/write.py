# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""rtnetlink requests as pyroute2 messages: what to send for each kind of change.

pyroute2 is imported here and nowhere else, when the first message is made: a host need not have it to be looked at.
Works with 0.7.2 and later. A link is named by its index where it is known and by its name otherwise; index 0 means "by
name" (rtnetlink(7), RTM_NEWLINK).
"""

from __future__ import annotations

import importlib
import ipaddress
import socket
import typing as t
from dataclasses import dataclass

from ..._core import interpreter
from ..._net.topology.state import Route

RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR, RTM_NEWROUTE, RTM_DELROUTE = 16, 17, 20, 21, 24, 25
RTM_NEWNEIGH, RTM_DELNEIGH = 28, 29
REPLACE, EXCLUSIVE, CREATE = 0x100, 0x200, 0x400
IFF_UP = 1
IFA_F_NODAD = 0x02
NUD_PERMANENT = 0x80
RTN_UNICAST, RT_TABLE_MAIN = 1, 254
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_ANY = 0, 253, 255

Attributes = list[tuple[str, t.Any]]


def message(of: str, kind: int, flags: int, fields: t.Mapping[str, t.Any], attributes: Attributes) -> t.Any:
    """A request of pyroute2's class ``of``, for example ifinfmsg. Raises Missing or LibraryBroken."""
    try:
        made = getattr(importlib.import_module(f"pyroute2.netlink.rtnl.{of}"), of)()
    except ImportError:
        interpreter.require(["pyroute2"])
        raise
    for name, value in fields.items():
        made[name] = value
    made["attrs"] = attributes
    made["header"]["type"] = kind
    made["header"]["flags"] = flags
    return made


@dataclass(frozen=True)
class NewLink:
    """What is in the request that makes a link: udev and the peer's defaults would change it afterwards.

    ``group`` is a number by which many links are known together; the kernel's own is 0.
    """

    name: str
    mtu: t.Optional[int] = None
    mac: t.Optional[str] = None
    group: int = 0

    def attributes(self) -> Attributes:
        """As netlink has it."""
        group: Attributes = [("IFLA_GROUP", self.group)] if self.group else []
        return [("IFLA_IFNAME", self.name), *_own(self.mtu, self.mac), *group]


def _own(mtu: t.Optional[int], mac: t.Optional[str]) -> Attributes:
    found: Attributes = []
    if mtu is not None:
        found.append(("IFLA_MTU", mtu))
    if mac is not None:
        found.append(("IFLA_ADDRESS", mac))
    return found


def create_link(link: NewLink, kind: str, data: Attributes) -> t.Any:
    """Make a link of ``kind``; refused when the name is taken."""
    info = [("IFLA_INFO_KIND", kind), *([("IFLA_INFO_DATA", {"attrs": data})] if data else [])]
    attributes = [*link.attributes(), ("IFLA_LINKINFO", {"attrs": info})]
    return message("ifinfmsg", RTM_NEWLINK, CREATE | EXCLUSIVE, {}, attributes)


def create_veth(link: NewLink, peer: NewLink, peer_netns: int) -> t.Any:
    """Make a veth pair: this end in the socket's namespace, the other in that behind the descriptor ``peer_netns``."""
    other = [*peer.attributes(), ("IFLA_NET_NS_FD", peer_netns)]
    return create_link(link, "veth", [("VETH_INFO_PEER", {"attrs": other})])


def create_vlan(link: NewLink, parent: int, vlan: int) -> t.Any:
    """Make the VLAN ``vlan`` on the link with the index ``parent``."""
    made = create_link(link, "vlan", [("VLAN_ID", vlan)])
    made["attrs"].append(("IFLA_LINK", parent))
    return made


def set_link(
    name: str,
    up: t.Optional[bool] = None,
    mtu: t.Optional[int] = None,
    mac: t.Optional[str] = None,
    master: t.Optional[int] = None,
    group: t.Optional[int] = None,
) -> t.Any:
    """Change a link's settings; ``master`` is the bridge's index, 0 takes the link out of it."""
    fields = {} if up is None else {"flags": IFF_UP if up else 0, "change": IFF_UP}
    attributes: Attributes = [("IFLA_IFNAME", name), *_own(mtu, mac)]
    if master is not None:
        attributes.append(("IFLA_MASTER", master))
    if group is not None:
        attributes.append(("IFLA_GROUP", group))
    return message("ifinfmsg", RTM_NEWLINK, 0, fields, attributes)


def delete_link(name: str) -> t.Any:
    """Delete a link by name."""
    return message("ifinfmsg", RTM_DELLINK, 0, {}, [("IFLA_IFNAME", name)])


def delete_group(group: int) -> t.Any:
    """Delete all links of a group, in one go: the kernel then waits for its readers once, not once a link."""
    return message("ifinfmsg", RTM_DELLINK, 0, {}, [("IFLA_GROUP", group)])


def address(index: int, text: str, add: bool) -> t.Any:
    """Add or delete an address such as 192.168.100.1/24.

    IPv6 addresses are added without duplicate address detection: a lab's link has no stranger on it, and a tentative
    address does not answer for a second.
    """
    parsed = ipaddress.ip_interface(text)
    fields = {
        "family": socket.AF_INET if parsed.version == 4 else socket.AF_INET6,
        "prefixlen": parsed.network.prefixlen,
        "index": index,
    }
    attributes: Attributes = [("IFA_LOCAL", str(parsed.ip)), ("IFA_ADDRESS", str(parsed.ip))]
    if parsed.version == 4 and parsed.network.prefixlen < 31 and add:
        attributes.append(("IFA_BROADCAST", str(parsed.network.broadcast_address)))
    if parsed.version == 6 and add:
        attributes.append(("IFA_FLAGS", IFA_F_NODAD))
    kind, flags = (RTM_NEWADDR, CREATE | EXCLUSIVE) if add else (RTM_DELADDR, 0)
    return message("ifaddrmsg", kind, flags, fields, attributes)


def route(index: int, wanted: Route, add: bool) -> t.Any:
    """Add or delete a route of the main table; deleting takes it whatever its scope and origin."""
    network, via = ipaddress.ip_network(wanted.to), wanted.via
    scope = RT_SCOPE_UNIVERSE if via or network.version == 6 else RT_SCOPE_LINK
    fields = {
        "family": socket.AF_INET if network.version == 4 else socket.AF_INET6,
        "dst_len": network.prefixlen,
        "table": RT_TABLE_MAIN,
        "proto": wanted.protocol if add else 0,
        "type": RTN_UNICAST,
        "scope": scope if add else RT_SCOPE_ANY,
    }
    attributes: Attributes = [("RTA_OIF", index), ("RTA_TABLE", RT_TABLE_MAIN)]
    if network.prefixlen:
        attributes.append(("RTA_DST", str(network.network_address)))
    if via:
        attributes.append(("RTA_GATEWAY", via))
    if wanted.metric:
        attributes.append(("RTA_PRIORITY", wanted.metric))
    if wanted.source and add:
        attributes.append(("RTA_PREFSRC", wanted.source))
    kind, flags = (RTM_NEWROUTE, CREATE | EXCLUSIVE) if add else (RTM_DELROUTE, 0)
    return message("rtmsg", kind, flags, fields, attributes)


def neighbour(index: int, text: str, mac: str, add: bool) -> t.Any:
    """Set or delete a permanent neighbour entry."""
    family = socket.AF_INET if ipaddress.ip_address(text).version == 4 else socket.AF_INET6
    fields = {"family": family, "ifindex": index, "state": NUD_PERMANENT if add else 0}
    attributes: Attributes = [("NDA_DST", text), *([("NDA_LLADDR", mac)] if add else [])]
    kind, flags = (RTM_NEWNEIGH, CREATE | REPLACE) if add else (RTM_DELNEIGH, 0)
    return message("ndmsg", kind, flags, fields, attributes)
