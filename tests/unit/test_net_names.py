# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad network arguments get one sentence: option, value, why, what would be right."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import BadInput
from ansible_collections.ebpf.lab.plugins.module_utils._net import names
from ansible_collections.ebpf.lab.plugins.module_utils._net.topology.options import one_veth, topology
from ansible_collections.ebpf.lab.plugins.module_utils._net.topology.state import Route


def end(name: str, **further: t.Any) -> dict[str, t.Any]:
    """The arguments of one interface as Ansible fills them in."""
    given = {"netns": "", "up": True, "mtu": None, "mac": None, "master": None, "exclusive": False, "sysctls": {}}
    return {"name": name, "addresses": [], "routes": [], "neighbours": [], **given, **further}


def network(**further: t.Any) -> dict[str, t.Any]:
    return {"namespaces": [], "bridges": [], "veths": [], "vlans": [], **further}


def vlan(name: str, parent: str, number: int = 5, **further: t.Any) -> dict[str, t.Any]:
    return end(name, parent=parent, id=number, **further)


@pytest.mark.parametrize(
    ("function", "value", "words"),
    [
        (names.interface_name, "a" * 16, "has 16 bytes; an interface's name has 1 to 15"),
        (names.interface_name, "ü" * 8, "has 16 bytes"),
        (names.interface_name, "", "has 0 bytes"),
        (names.interface_name, "a b", "use letters, digits"),
        (names.interface_name, "a/b", "use letters, digits"),
        (names.interface_name, "..", "is no interface name"),
        (names.netns_name, "a/b", "use a name such as vns1"),
        (names.netns_name, "..", "is no name for a network namespace"),
        (names.netns_place, "/proc/1//ns", "is no name for a network namespace"),
        (names.address, "10.0.0.1", "has no prefix length; write it as 192.168.100.1/24"),
        (names.address, "10.0.0.256/24", "is no IPv4 or IPv6 address"),
        (names.address, "10.0.0.1/33", "is no IPv4 or IPv6 address"),
        (names.address, "fd00::1/129", "is no IPv4 or IPv6 address"),
        (names.ip, "10.0.0.1/24", "is no IPv4 or IPv6 address"),
        (names.mac, "02:00:00:00:00", "is no MAC address"),
        (names.mac, "01:00:00:00:00:01", "is a multicast address"),
        (names.mtu, 67, "an MTU is 68 to 65535 bytes"),
        (names.mtu, 65536, "an MTU is 68 to 65535 bytes"),
        (names.route, {"to": "10.0.0.1/24"}, "is no destination"),
        (names.route, {"to": "nowhere"}, "write 'default', an address, or a network"),
        (names.route, {"to": "10.0.0.0/8", "via": "fd00::1"}, "IPv6 gateway for the IPv4 destination 10.0.0.0/8"),
        (names.route, {"to": "fd00::/8", "via": "10.0.0.1"}, "both must be of one family"),
        (names.route, {"to": "default", "via": "x"}, "is no IPv4 or IPv6 address"),
        (names.route, {"to": "default", "metric": -1}, "use 0 to 4294967295"),
        (names.interface_name, "caf\udce9", "is no text in Unicode"),
        (names.netns_name, "caf\udce9", "is no text in Unicode"),
    ],
)
def test_bad_values(function: t.Callable[..., t.Any], value: t.Any, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        function("veth.option", value)
    text = str(caught.value)
    assert words in text
    assert text.startswith("veth.option") and text.count("\n") == 0 and text.endswith(".")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("rp_filter", 0, "as in ipv4.rp_filter"),
        ("ipv4.../x", 0, "as in ipv4.rp_filter"),
        ("ipv4.rp_filter", [], "write a number or a word"),
        ("ipv4.rp_filter", None, "write a number or a word"),
    ],
)
def test_bad_interface_sysctls(key: str, value: t.Any, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        names.interface_sysctl("veth.sysctls", "veth1", key, value)


@pytest.mark.parametrize("key", ["ipv4.ip_forward", "net.ipv4/../x", "net.ipv4..x", "kernel.pid_max", "net.a b"])
def test_bad_namespace_sysctls(key: str) -> None:
    with pytest.raises(BadInput, match=r"write it as net\.ipv4\.ip_forward"):
        names.namespace_sysctl("sysctls", key, 1)


def test_good_values_are_brought_to_one_form() -> None:
    assert names.address("a", "FD00:0::1/64") == "fd00::1/64"
    assert names.mac("a", "02-00-00-00-00-AA") == "02:00:00:00:00:aa"
    assert names.route("a", {"to": "192.168.100.1"}) == Route("192.168.100.1/32")
    assert names.route("a", {"to": "default", "via": "fd00::1"}) == Route("::/0", "fd00::1")
    assert names.route("a", {"to": "default", "via": "10.0.0.1", "metric": 5}) == Route("0.0.0.0/0", "10.0.0.1", 5)
    assert names.netns_place("a", "/proc/1/ns/net") == "/proc/1/ns/net"
    assert names.interface_sysctl("a", "v.5", "ipv4.rp_filter", False) == ("ipv4/conf/v.5/rp_filter", "0")
    assert names.namespace_sysctl("a", "net.ipv4.ip_forward", True) == ("ipv4/ip_forward", "1")
    dotted = names.namespace_sysctl("a", "net.ipv4.conf.eth0/5.rp_filter", 2)  # as sysctl(8) spells it
    assert dotted == ("ipv4/conf/eth0.5/rp_filter", "2")


TWICE = [end("a", peer=end("b")), end("b", peer=end("c"))]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        (network(veths=TWICE), "name: 'b' is there twice"),
        (network(veths=[end("a", peer=end("a"))]), "name: 'a' is there twice"),
        (network(veths=[end("a", peer=None)]), r"veths\[0\]\.peer: None is missing; name the other end"),
        (network(namespaces=[{"name": "n", "sysctls": {}}] * 2), "namespaces: 'n' is there twice"),
        (network(bridges=[end("b", addresses=["10.0.0.1/8", "10.0.0.1/8"])]), "name each address once"),
        (network(bridges=[end("b", up=False, routes=[{"to": "10.0.0.0/8"}])]), "set up: true"),
        (network(bridges=[end("b", mtu=1000, addresses=["fd00::1/64"])]), "make it 1280 or more"),
        (network(bridges=[end("b", routes=[{"to": "10.0.0.0/8"}] * 2)]), "name each route once"),
        (
            network(bridges=[end("b", routes=[{"to": "default"}]), end("c", routes=[{"to": "default"}])]),
            "another metric",
        ),
        (network(bridges=[end("b", master="v")], vlans=[vlan("v", "b")]), "master: 'v' is no bridge"),
        (network(vlans=[vlan("v", "b", 4095)]), "an id is 1 to 4094"),
        (network(vlans=[vlan("v", "v")]), "stands on v itself"),
        (network(bridges=[end("b", up=False)], vlans=[vlan("v", "b")]), "its parent b has to be up as well"),
        (
            network(bridges=[end("b", up=False, neighbours=[{"address": "10.0.0.1", "mac": "02:00:00:00:00:01"}])]),
            "set up: true",
        ),
    ],
)
def test_networks_that_do_not_fit_together(params: dict[str, t.Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        topology(params)


def test_one_end_is_enough_to_remove_a_pair() -> None:
    assert [one.name for one in one_veth(end("a"), present=False).interfaces] == ["a"]
    with pytest.raises(BadInput, match=r"veth\.peer"):
        one_veth(end("a"), present=True)
