# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and numbers of the network as people write them: checked, and brought to one form."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from .._core.errors import BadInput
from .sysctl.kinds import ROOT, key_of, path_of, place_of
from .topology.state import Route

MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
SYSCTL_KEY = re.compile(r"[A-Za-z0-9_./-]+")


def interface_name(option: str, value: str) -> str:
    """A name that the kernel takes for an interface (dev_valid_name in net/core/dev.c): 1 to 15 bytes."""
    length = len(_encoded(option, value))
    if not 1 <= length <= 15:
        raise BadInput(option, value, f"has {length} bytes", "an interface's name has 1 to 15")
    if value in (".", "..") or re.search(r"[/:%\s]", value):
        raise BadInput(option, value, "is no interface name", "use letters, digits, '-', '_' and '.'")
    return value


def netns_name(option: str, value: str) -> str:
    """A name for a network namespace: a file name below /run/netns."""
    if value in ("", ".", "..") or "/" in value or "\0" in value or len(_encoded(option, value)) > 255:
        raise BadInput(option, value, "is no name for a network namespace", "use a name such as vns1")
    return value


def netns_place(option: str, value: str) -> str:
    """A namespace to work in: a name, the absolute path of its file, or "" for the module's own."""
    if value.startswith("/") and "\0" not in value and "//" not in value and not value.endswith("/"):
        return value
    return netns_name(option, value) if value else ""


def _encoded(option: str, value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise BadInput(option, value, "is no text in Unicode", "write the name in UTF-8") from None


def address(option: str, value: str) -> str:
    """An address with its prefix length, in its shortest form."""
    if "/" not in value:
        raise BadInput(option, value, "has no prefix length", "write it as 192.168.100.1/24")
    try:
        return str(ipaddress.ip_interface(value))
    except ValueError:
        raise BadInput(option, value, "is no IPv4 or IPv6 address", "write it as 192.168.100.1/24") from None


def ip(option: str, value: str) -> str:
    """An address without a prefix length, in its shortest form."""
    try:
        found = ipaddress.ip_address(value)
    except ValueError:
        raise BadInput(option, value, "is no IPv4 or IPv6 address", "write it as 192.168.100.1") from None
    if getattr(found, "scope_id", None):
        raise BadInput(option, value, "names a zone after the '%'", "give the address alone")
    return str(found)


def route(option: str, value: t.Mapping[str, t.Any]) -> Route:
    """A route from ``to`` (a network, an address or "default"), ``via`` and ``metric``; families must agree."""
    to, via, metric = value["to"], value.get("via") or "", value.get("metric") or 0
    gateway = ipaddress.ip_address(ip(f"{option}.via", via)) if via else None
    if to == "default":
        to = "::/0" if gateway is not None and gateway.version == 6 else "0.0.0.0/0"
    try:
        network = ipaddress.ip_network(to)
    except ValueError:
        raise BadInput(
            f"{option}.to", to, "is no destination", "write 'default', an address, or a network such as 10.0.0.0/8"
        ) from None
    if gateway is not None and gateway.version != network.version:
        wrong = f"is an IPv{gateway.version} gateway for the IPv{network.version} destination {network}"
        raise BadInput(f"{option}.via", via, wrong, "both must be of one family")
    if not 0 <= metric < 1 << 32:
        raise BadInput(f"{option}.metric", metric, "is out of range", "use 0 to 4294967295")
    return Route(str(network), "" if gateway is None else str(gateway), metric)


def mac(option: str, value: str) -> str:
    """A unicast MAC address in lower case."""
    found = value.lower().replace("-", ":")
    if not MAC.fullmatch(found):
        raise BadInput(option, value, "is no MAC address", "write it as 02:00:00:00:00:01")
    if int(found[:2], 16) & 1:
        raise BadInput(option, value, "is a multicast address", "make the first byte even, as in 02:00:00:00:00:01")
    return found


def mtu(option: str, value: int) -> int:
    """An MTU in bytes; 68 is the least for IPv4 (RFC 791), 65535 the most that veth takes."""
    if not 68 <= value <= 65535:
        raise BadInput(option, value, "is out of range", "an MTU is 68 to 65535 bytes")
    return value


def interface_sysctl(option: str, interface: str, key: str, value: t.Any) -> tuple[str, str]:
    """A per-interface key such as ipv4.rp_filter as path below /proc/sys/net, and its value as text."""
    family, _dot, name = key.partition(".")
    if family not in ("ipv4", "ipv6") or not name or not re.fullmatch(r"\w+", name):
        raise BadInput(option, key, "is no per-interface sysctl", "write ipv4.NAME or ipv6.NAME, as in ipv4.rp_filter")
    return f"{family}/conf/{interface}/{name}", _sysctl_value(option, key, value)


def namespace_sysctl(option: str, key: str, value: t.Any) -> tuple[str, str]:
    """A key such as net.ipv4.ip_forward, spelled as sysctl(8) does, as path below /proc/sys/net; its value as text."""
    path = path_of(key)[len(f"{ROOT}/net/") :]
    if not SYSCTL_KEY.fullmatch(key) or place_of(key_of("", key)) is None or not path:
        raise BadInput(option, key, "is no network sysctl", "write it as net.ipv4.ip_forward")
    return path, _sysctl_value(option, key, value)


def _sysctl_value(option: str, key: str, value: t.Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    text = " ".join(str(value).split())
    one_line = "\n" not in str(value).strip()
    if not text or not text.isascii() or not text.isprintable() or not one_line or not isinstance(value, (int, str)):
        raise BadInput(f"{option}.{key}", value, "is no sysctl value", "write a number or a word")
    return text
