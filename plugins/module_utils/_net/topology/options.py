# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments of netns, veth, topology and lab, and the topology that they want."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ..._core.errors import BadInput
from .. import names
from .state import Interface, Ref, Want

Params = t.Mapping[str, t.Any]


def interface_options(**further: t.Any) -> dict[str, t.Any]:
    """The argument spec of one interface, as veth, its peer, bridges and VLANs share it."""
    route = {
        "to": {"type": "str", "required": True},
        "via": {"type": "str"},
        "metric": {"type": "int", "default": 0},
    }
    neighbour = {"address": {"type": "str", "required": True}, "mac": {"type": "str", "required": True}}
    return {
        "name": {"type": "str", "required": True},
        "netns": {"type": "str", "default": ""},
        "up": {"type": "bool", "default": True},
        "mtu": {"type": "int"},
        "mac": {"type": "str"},
        "master": {"type": "str"},
        "addresses": {"type": "list", "elements": "str", "default": []},
        "routes": {"type": "list", "elements": "dict", "options": route, "default": []},
        "neighbours": {"type": "list", "elements": "dict", "options": neighbour, "default": []},
        "sysctls": {"type": "dict", "default": {}},
        "exclusive": {"type": "bool", "default": False},
        **further,
    }


def veth_options() -> dict[str, t.Any]:
    """The argument spec of a veth pair."""
    return interface_options(peer={"type": "dict", "options": interface_options()})


def topology_options() -> dict[str, t.Any]:
    """The argument spec of a whole topology, without ``state`` and ``force``."""
    namespace = {"name": {"type": "str", "required": True}, "sysctls": {"type": "dict", "default": {}}}
    vlan = interface_options(parent={"type": "str", "required": True}, id={"type": "int", "required": True})
    return {
        "namespaces": {"type": "list", "elements": "dict", "options": namespace, "default": []},
        "bridges": {"type": "list", "elements": "dict", "options": interface_options(), "default": []},
        "veths": {"type": "list", "elements": "dict", "options": veth_options(), "default": []},
        "vlans": {"type": "list", "elements": "dict", "options": vlan, "default": []},
    }


def _unique(option: str, values: t.Iterable[str], right: str) -> frozenset[str]:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise BadInput(option, value, "is there twice", right)
        seen.add(value)
    return frozenset(seen)


def interface(option: str, params: Params, kind: str, **further: t.Any) -> Interface:
    """One wanted interface from its arguments; ``option`` is where they stand, for the error's sentence."""
    name = names.interface_name(f"{option}.name", params["name"])
    netns = names.netns_place(f"{option}.netns", params["netns"])
    addresses = [names.address(f"{option}.addresses", value) for value in params["addresses"]]
    routes = [names.route(f"{option}.routes", value) for value in params["routes"]]
    if routes and not params["up"]:
        raise BadInput(f"{option}.routes", str(routes[0]), "cannot leave by a link that is down", "set up: true")
    _unique(f"{option}.routes", map(str, routes), "name each route once")
    if params["mtu"] is not None and params["mtu"] < 1280 and any(":" in address for address in addresses):
        raise BadInput(f"{option}.mtu", params["mtu"], "is too small for IPv6", "make it 1280 or more (RFC 8200)")
    if params["neighbours"] and not params["up"]:
        raise BadInput(f"{option}.neighbours", name, "is down and can know no neighbours", "set up: true")
    where = f"{option}.neighbours"
    neighbours = [
        (names.ip(f"{where}.address", value["address"]), names.mac(f"{where}.mac", value["mac"]))
        for value in params["neighbours"]
    ]
    _unique(where, (address for address, _mac in neighbours), "name each address once")
    return Interface(
        netns=netns,
        name=name,
        kind=kind,
        up=params["up"],
        mtu=None if params["mtu"] is None else names.mtu(f"{option}.mtu", params["mtu"]),
        mac=None if params["mac"] is None else names.mac(f"{option}.mac", params["mac"]),
        master=params["master"] and names.interface_name(f"{option}.master", params["master"]),
        addresses=_unique(f"{option}.addresses", addresses, "name each address once"),
        routes=frozenset(routes),
        neighbours=frozenset(neighbours),
        sysctls=frozenset(
            names.interface_sysctl(f"{option}.sysctls", name, key, value) for key, value in params["sysctls"].items()
        ),
        exclusive=params["exclusive"],
        **further,
    )


def veth(option: str, params: Params) -> tuple[Interface, Interface]:
    """Both ends of a wanted pair."""
    if not params.get("peer"):
        raise BadInput(f"{option}.peer", None, "is missing", "name the other end, as in peer: {name: vpeer1}")
    one = interface(option, params, "veth")
    other = interface(f"{option}.peer", params["peer"], "veth")
    return replace(one, peer=other.ref), replace(other, peer=one.ref)


def vlan(option: str, params: Params) -> Interface:
    """One wanted VLAN."""
    if not 1 <= params["id"] <= 4094:
        raise BadInput(f"{option}.id", params["id"], "is no VLAN", "an id is 1 to 4094 (IEEE 802.1Q)")
    parent = names.interface_name(f"{option}.parent", params["parent"])
    return interface(option, params, "vlan", parent=parent, vlan=params["id"])


def topology(params: Params) -> Want:
    """A whole wanted topology from the arguments of ``topology_options``. Raises BadInput."""
    interfaces: list[Interface] = []
    for place, value in enumerate(params["bridges"]):
        interfaces.append(interface(f"bridges[{place}]", value, "bridge"))
    for place, value in enumerate(params["veths"]):
        interfaces += veth(f"veths[{place}]", value)
    for place, value in enumerate(params["vlans"]):
        interfaces.append(vlan(f"vlans[{place}]", value))
    namespaces = [
        names.netns_name(f"namespaces[{place}].name", value["name"]) for place, value in enumerate(params["namespaces"])
    ]
    _unique("namespaces", namespaces, "name each namespace once")
    sysctls = {
        value["name"]: frozenset(
            names.namespace_sysctl("namespaces.sysctls", key, setting) for key, setting in value["sysctls"].items()
        )
        for value in params["namespaces"]
    }
    return wanted(Want(tuple(namespaces), tuple(interfaces), sysctls))


def wanted(want: Want) -> Want:
    """``want`` itself, when its interfaces fit together; raises BadInput when they do not."""
    refs: set[Ref] = set()
    for one in want.interfaces:
        if one.ref in refs:
            raise BadInput("name", str(one), "is there twice", "give each of the lab's interfaces its own name")
        refs.add(one.ref)
    kinds = {one.ref: one.kind for one in want.interfaces}
    for one in want.interfaces:
        if one.master and kinds.get((one.netns, one.master), "bridge") != "bridge":
            raise BadInput("master", one.master, "is no bridge", f"name a bridge in the namespace of {one}")
        if one.kind == "vlan":
            _vlan_stands(one, {other.ref: other for other in want.interfaces})
    # One table a namespace: two interfaces cannot both have the route to a place with the same metric.
    routes = [f"{route.to} metric {route.metric}" + (f" in {one.netns}" if one.netns else "")
              for one in want.interfaces for route in one.routes]  # fmt: skip
    _unique("routes", routes, "give one of them another metric")
    return want


def _vlan_stands(one: Interface, interfaces: t.Mapping[Ref, Interface]) -> None:
    """Raises BadInput when a VLAN stands on itself, or is to be up on a link that is down."""
    below: t.Optional[Interface] = one
    seen: set[Ref] = set()
    while below is not None and below.kind == "vlan":
        if below.ref in seen:
            raise BadInput("parent", one.parent, f"stands on {one} itself", "name a link below it")
        seen.add(below.ref)
        below = interfaces.get((below.netns, below.parent or ""))
        if below is not None and one.up and not below.up:
            raise BadInput("up", True, f"cannot be for {one}", f"its parent {below} has to be up as well")


def namespaces(given: t.Sequence[str], sysctls: Params, present: bool) -> Want:
    """Namespaces alone, each with the same sysctls: what the module netns wants. Raises BadInput."""
    found = [names.netns_name("name", name) for name in given]
    _unique("name", found, "name each namespace once")
    pairs = frozenset(names.namespace_sysctl("sysctls", key, value) for key, value in sysctls.items())
    return Want(tuple(found), sysctls={name: pairs for name in found}, present=present, force=not present)


def one_veth(params: Params, present: bool, force: bool = False) -> Want:
    """One pair alone: what the module veth wants. For its absence one end is enough. Raises BadInput."""
    if present:
        return wanted(Want(interfaces=veth("veth", params), force=force))
    ends = veth("veth", params) if params.get("peer") else (interface("veth", params, "veth"),)
    return Want(interfaces=ends, present=False, force=True)
