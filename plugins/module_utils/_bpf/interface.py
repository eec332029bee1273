# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The interface that programs are attached to: as it is now, and what earlier parts of a plan will make of it."""

from __future__ import annotations

import os
import typing as t

from .._core.errors import BadInput, LabError
from .._core.host import Host
from .._core.plan import Forecast, Key
from .._kernel import netns as namespaces
from .._kernel.rtnl.read import Link, links
from .._net.names import interface_name, netns_name
from .._net.topology.state import link_key
from .pin.folders import MOUNT, check_pin_path
from .pin.pins import will_be_another


def asked(params: t.Mapping[str, t.Any], example: str) -> tuple[bool, str, str, str]:
    """What every attachment is asked: whether it is to be there, the interface, its namespace, and the program.

    ``example`` is a program's name, for the error's sentence. Raises BadInput.
    """
    present = params.get("state", "present") == "present"
    netns = params.get("netns") or ""
    if netns and not netns.startswith("/"):
        netns_name("netns", netns)
    program = str(params.get("program") or "")
    if present and not program:
        right = f"give its pinned path, such as {MOUNT}/ebpf/{example}, its id or its name"
        raise BadInput("program", params.get("program"), "names no program", right)
    program = check_pin_path("program", program) if program.startswith("/") else program
    return present, interface_name("interface", params["interface"]), netns, program


def has_namespace(netns: str) -> bool:
    """Whether there is such a namespace, and one that may be entered."""
    if netns.startswith("/"):
        return os.path.exists(netns)
    return not netns or namespaces.kind(netns) == "present"


def refuse_lie(netns: str) -> None:
    """Raise LabError for a name that stands for the host's own namespace: nothing is attached by it."""
    if netns and namespaces.kind(netns) == "own":
        raise namespaces.lie(netns)


def look(host: Host, netns: str, interface: str) -> t.Optional[Link]:
    """The interface, None when it or its namespace is not there. Raises KernelRefused."""
    return links(host.netlink(netns)).get(interface) if has_namespace(netns) else None


def need(host: Host, netns: str, interface: str) -> Link:
    """The interface, in a namespace that an earlier step may have made anew. Raises LabError with what is there."""
    host.forget_netlink(netns)
    if not has_namespace(netns):
        if namespaces.kind(netns) == "own":
            raise namespaces.lie(netns)
        names = ", ".join(namespaces.names()) or "none"
        raise LabError(f"netns: there is no network namespace {netns}; there are: {names}.")
    seen = links(host.netlink(netns))
    if interface not in seen:
        where = f"in the namespace {netns}" if netns else "on this host"
        raise LabError(f"interface: there is no {interface} {where}; there are: {', '.join(sorted(seen))}.")
    return seen[interface]


def place(netns: str, interface: str) -> str:
    """The interface, for sentences."""
    return f"{interface} in the namespace {netns}" if netns else interface


def split(key: Key) -> tuple[str, str]:
    """The namespace and the interface of a key KIND:NETNS:INTERFACE: no interface's name holds a colon."""
    netns, _colon, interface = key.partition(":")[2].rpartition(":")
    return netns, interface


def all_links(host: Host, wanted: t.Iterable[tuple[str, str]]) -> dict[tuple[str, str], Link]:
    """Those interfaces that are there, by namespace and name: one dump for each namespace. Raises nothing."""
    found: dict[tuple[str, str], Link] = {}
    names: dict[str, set[str]] = {}
    for netns, interface in wanted:
        names.setdefault(netns, set()).add(interface)
    for netns, interfaces in names.items():
        try:
            seen = links(host.netlink(netns)) if has_namespace(netns) else {}
        except (LabError, OSError, ValueError):  # it went while we looked, or is no namespace
            continue
        found.update({(netns, name): seen[name] for name in interfaces & seen.keys()})
    return found


def becomes(coming: Forecast, netns: str, interface: str) -> str:
    """What earlier steps make of an interface: "made" anew, and empty; "removed"; or "" for as it is."""
    told = coming.get(link_key((netns, interface)))
    if told is not None and told.what in ("made", "removed"):
        return told.what
    around = coming.get(f"netns:{netns}") if netns else None
    return "removed" if around is not None and around.what in ("made", "removed") else ""


def is_pending(coming: Forecast, program: str, is_there: bool) -> bool:
    """Whether a program that is named by its pin's path will be another one, whose id is not known yet."""
    return program.startswith("/") and will_be_another(program, is_there, coming)


def dictionary(noted: t.Any) -> dict[str, t.Any]:
    """What the journal notes of a thing: a journal that somebody has edited may hold anything."""
    return noted if isinstance(noted, dict) else {}
