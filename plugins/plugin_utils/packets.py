# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets for test runs, built on the control node by scapy from fields or read from a capture."""

from __future__ import annotations

import typing as t

from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import BadInput, LabError

LIMIT = 10_000  # packets of one capture


def _scapy() -> t.Any:
    """scapy with all its layers. Raises LabError; imported late, because it takes a second."""
    try:
        import scapy.all
    except ImportError as error:
        raise LabError(
            "Packets from fields or from a capture need the Python library scapy, which the control node has not.",
            "Install it beside Ansible (pip install scapy), or give the packets as hex.",
        ) from error
    return scapy.all


def build(option: str, layers: t.Any) -> bytes:
    """The bytes of a packet from its layers, outermost first. Raises BadInput, LabError.

    A layer is the name of a scapy class, or a dictionary of that name with the fields that are not to be guessed.
    """
    right = "write a list such as [{Ether: {dst: 02:00:00:00:00:01}}, {IP: {dst: 10.0.0.1}}, ICMP]"
    if not isinstance(layers, list) or not layers:
        raise BadInput(option, layers, "is no list of layers", right)
    scapy = _scapy()
    packet = None
    for at, layer in enumerate(layers):
        where = f"{option}[{at}]"
        name, fields = _named(layer)
        kind = getattr(scapy, name, None) if name.isidentifier() else None
        if not isinstance(kind, type) or not issubclass(kind, scapy.Packet):
            raise BadInput(where, layer, "names no layer that scapy knows", right)
        known = [field.name for field in t.cast(t.Any, kind).fields_desc]
        for field in fields:
            if field not in known:
                raise BadInput(
                    f"{where}.{field}", fields[field], f"is no field of {name}", f"it has {', '.join(known)}"
                )
        try:
            made = kind(**fields)
            packet = made if packet is None else packet / made
            packet.build()
        except Exception as error:  # scapy raises whatever its fields do
            raise BadInput(where, layer, f"cannot be built ({type(error).__name__}: {error})", right) from error
    return bytes(t.cast(t.Any, packet))


def _named(layer: t.Any) -> tuple[str, dict[str, t.Any]]:
    """A layer's name and fields; "" for what is neither a name nor a dictionary of one."""
    if isinstance(layer, dict) and len(layer) == 1:
        ((name, fields),) = layer.items()
        if fields is None or isinstance(fields, dict):
            return str(name), fields or {}
    return (layer, {}) if isinstance(layer, str) else ("", {})


def read_capture(option: str, path: str) -> list[bytes]:
    """The packets of a pcap or pcapng file. Raises BadInput, LabError."""
    scapy = _scapy()
    found = []
    try:
        with scapy.RawPcapReader(path) as reader:
            for data, _about in reader:
                found.append(bytes(data))
                if len(found) > LIMIT:
                    raise BadInput(option, path, f"has more than {LIMIT} packets", "cut it")
    except (OSError, EOFError, scapy.Scapy_Exception) as error:
        right = "give a pcap or pcapng file of the control node"
        raise BadInput(option, path, f"cannot be read ({error})", right) from error
    return found


def expand(packets: t.Any, find: t.Callable[[str], str]) -> list[dict[str, t.Any]]:
    """Packets as the module takes them, all in hex; ``find`` gives the path of a capture. Raises BadInput, LabError."""
    right = "write a list of dictionaries, each with hex, fields or pcap"
    if not isinstance(packets, list):
        raise BadInput("packets", packets, "is no list", right)
    found: list[dict[str, t.Any]] = []
    for at, packet in enumerate(packets):
        option = f"packets[{at}]"
        ways = [way for way in ("hex", "fields", "pcap") if isinstance(packet, dict) and packet.get(way) is not None]
        if len(ways) != 1:
            raise BadInput(
                option, packet, f"has {' and '.join(ways) or 'no packet'}", "give one of hex, fields and pcap"
            )
        rest = {name: value for name, value in packet.items() if name not in ("fields", "pcap")}
        if ways == ["fields"]:
            found.append({**rest, "hex": build(f"{option}.fields", packet["fields"]).hex()})
        elif ways == ["pcap"]:
            name = packet.get("name") or str(packet["pcap"]).rpartition("/")[2]
            captured = read_capture(f"{option}.pcap", find(str(packet["pcap"])))
            found += [
                {**rest, "name": f"{name} {number}", "hex": data.hex()} for number, data in enumerate(captured, 1)
            ]
        else:
            found.append(dict(packet))
    return found
