# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this host is reached by is not taken over by an address or a route of a lab, unless that is meant."""

from __future__ import annotations

import typing as t

import pytest

from .conftest import RunModule, sh

pytestmark = pytest.mark.case("R1")

FAR = "203.0.113.9"  # the client's address, behind the gateway


@pytest.fixture(scope="module", autouse=True)
def uplink() -> t.Iterator[None]:
    """eth0 with both families and a default route of each; the session comes from behind the gateway."""
    sh("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "port")
    for name in ("eth0", "port"):
        sh("ip", "link", "set", name, "addrgenmode", "none", "up")
    sh("ip", "addr", "add", "10.9.1.57/24", "dev", "eth0")
    sh("ip", "addr", "add", "2001:db8:9::57/64", "dev", "eth0", "nodad")
    sh("ip", "route", "add", "default", "via", "10.9.1.1", "dev", "eth0", "metric", "100")
    sh("ip", "route", "add", "192.168.0.0/16", "dev", "eth0")  # as a tunnel's: not the network of the link
    sh("ip", "route", "add", "default", "via", "2001:db8:9::1", "dev", "eth0")
    yield
    sh("ip", "link", "del", "eth0")


@pytest.fixture(autouse=True)
def session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", f"{FAR} 50000 10.9.1.57 22")


def veth(addresses: t.Sequence[str] = (), routes: t.Sequence[str] = (), **more: t.Any) -> dict[str, t.Any]:
    """A pair of the host's own namespace; a route is ``to``, ``to metric`` or ``to metric via``."""
    given = [dict(zip(("to", "metric", "via"), route.split())) for route in routes]
    return {"name": "lab1", "addresses": list(addresses), "routes": given, "peer": {"name": "lab2"}, **more}


TAKES = {
    "the session's other end": veth(["203.0.113.1/24"]),
    "half of the room": veth(["10.9.1.129/25"]),
    "a link that is down": veth(["10.9.1.1/24"], up=False),
    "a host route": veth(["172.31.0.1/24"], [f"{FAR}/32"]),
    "a better metric": veth(["172.31.0.1/24"], ["default 50 172.31.0.2"]),
    "two halves": veth(["172.31.0.1/24"], ["0.0.0.0/1", "128.0.0.0/1"]),
    "IPv6": veth(["2001:db8:9::1:1/112"]),
    "an IPv6 route": veth(["fd00:31::1/64"], ["2000::/3"]),
    "our own namespace by its path": veth(["10.9.1.1/32"], netns="/proc/1/ns/net"),
}


@pytest.mark.parametrize("params", TAKES.values(), ids=TAKES)
def test_what_takes_over_is_refused(run_module: RunModule, params: dict[str, t.Any]) -> None:
    said = run_module("veth", check=True, fails=True, **params)["msg"]
    assert "lab1" in said and "eth0" in said and "force: true" in said


def test_what_takes_nothing_is_not(run_module: RunModule) -> None:
    """Other subnets, a worse default route, a part of the room that nobody uses, shorter routes, link-local."""
    addresses = ["192.168.100.1/24", "fd00:100::1/64", "fe80::1/64"]
    routes = ["default 200 192.168.100.2", "10.9.1.128/25", "8.0.0.0/8", "224.0.0.0/4", "10.8.0.0/15"]
    assert run_module("veth", check=True, **veth(addresses, routes))["changed"]


def test_a_namespace_of_its_own_is_its_own(run_module: RunModule) -> None:
    routes = [{"to": "default", "via": "10.9.1.2"}, {"to": FAR}]
    peer = {"name": "lab2", "netns": "inside", "addresses": ["10.9.1.1/24"], "routes": routes}
    inside = {"namespaces": [{"name": "inside"}], "veths": [{"name": "lab1", "peer": peer}]}
    taking = {**inside, "veths": [{"name": "lab1", "addresses": ["10.9.1.2/24"], "peer": peer}]}
    try:
        assert run_module("topology", **inside)["changed"]
        said = run_module("topology", fails=True, **taking)["msg"]
        assert "addresses: 10.9.1.2/24 of lab1 would take over 10.9.1.0/24 on eth0" in said
        assert "the SSH session from 203.0.113.9" in said
        # What was forced through is there, and is no reason to refuse the next run.
        assert run_module("topology", force=True, **taking)["changed"]
        assert not run_module("topology", **taking)["changed"]
    finally:
        run_module("topology", state="absent", **inside)


def test_the_parts_of_a_default_route_are_named(run_module: RunModule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "")
    quarters = [f"{first}.0.0.0/2 0 172.31.0.2" for first in (0, 64, 128, 192)]
    said = run_module("veth", check=True, fails=True, **veth(["172.31.0.1/24"], quarters))["msg"]
    assert said.startswith("routes: the route 0.0.0.0/2 via 172.31.0.2"), said


def test_a_default_route_that_rules_lead_to_carries_too(run_module: RunModule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "")
    sh("ip", "route", "del", "default")
    sh(*"ip route add default via 10.9.1.1 dev eth0 table 100".split())
    sh(*"ip rule add pref 40000 table 100".split())
    try:
        said = run_module("veth", check=True, fails=True, **veth(["10.9.1.129/25"]))["msg"]
        assert "10.9.1.0/24 on eth0, which carries the default route" in said
        assert "default route" in run_module("veth", check=True, fails=True, **veth(routes=["default"]))["msg"]
        assert run_module("veth", check=True, **veth(["192.168.100.1/24"]))["changed"]
    finally:
        sh(*"ip rule del pref 40000".split())
        sh(*"ip route flush table 100".split())
        sh("ip", "route", "add", "default", "via", "10.9.1.1", "dev", "eth0", "metric", "100")


def test_a_route_with_several_next_hops_carries_too(run_module: RunModule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "")
    sh("ip", "route", "del", "default")
    sh(*"ip route add default nexthop via 10.9.1.1 dev eth0 nexthop via 10.9.1.2 dev eth0".split())
    try:
        assert "default route" in run_module("veth", check=True, fails=True, **veth(["10.9.1.2/32"]))["msg"]
    finally:
        sh("ip", "route", "del", "default")
        sh("ip", "route", "add", "default", "via", "10.9.1.1", "dev", "eth0", "metric", "100")
