# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runs that are killed and made to fail: up, each change of stage, reset, down and verify of every shipped lab,
and each module that changes a host, there and back."""

from __future__ import annotations

import functools
import typing as t
from dataclasses import dataclass

from . import product, sources
from .private import ROOT, SCRATCH
from .product import Command

PINS = "/sys/fs/bpf/ebpf"
WORK = "/usr/local/src/faults"


@dataclass(frozen=True)
class Scenario:
    """``target`` is what is killed, ``before`` brings the machine there, ``down`` takes everything away again.

    ``check`` is the target in check mode: after it was run again it has nothing to do. ``bpffs``: it is mounted, with
    the owner's pins in it; else the run has to mount it.
    """

    name: str
    target: Command
    down: Command
    before: tuple[Command, ...] = ()
    check: t.Optional[Command] = None
    bpffs: bool = False


def _lab(name: str, stages: t.Sequence[str], sabotages: t.Mapping[str, str]) -> t.Iterator[Scenario]:
    """All that is done with one lab."""
    down = product.down(name)

    def at(stage: str) -> Command:
        return product.up(stage, name, traffic=False)

    def scenario(what: str, target: Command, *before: Command, check: t.Optional[Command] = None) -> Scenario:
        return Scenario(f"{name} {what}", target, down, before, check)

    yield scenario("up", product.up("", name), check=product.up("", name, check=True))
    changes = [*zip(stages, stages[1:]), *zip(stages[1:], stages), (stages[-1], stages[0])]
    for old, new in dict.fromkeys(change for change in changes if change[0] != change[1]):
        yield scenario(f"{old}>{new}", product.up(new, name), at(old), check=product.up(new, name, check=True))
    for stage, script in sabotages.items():
        check = product.reset(name=name, check=True)
        yield scenario(f"reset {stage}", product.reset(name=name), at(stage), product.shell(script), check=check)
        yield scenario(f"verify {stage}", product.verify(name=name), at(stage))
        yield scenario(f"down {stage}", down, at(stage), check=product.down(name, check=True))


SABOTAGE = f"""
ip link set veth1 xdp off
ip addr add 10.9.9.9/32 dev veth1
ip -n vns1 route add 10.8.0.0/16 via 192.168.100.1
sysctl -qw net.ipv4.ip_forward=0
rm {PINS}/xdp_*
"""
LABS = (
    (
        "lecture2",
        "environment hello drop count count_bytes icmp rate_limit filter".split(),
        {
            "drop": SABOTAGE,
            "count": f"{SABOTAGE}bpftool map update pinned {PINS}/pkt_cnt key 1 0 0 0 value 9 0 0 0 0 0 0 0\n",
            "filter": "tc filter del dev veth1 ingress\nip link del veth1\n",
        },
    ),
    ("xdp_hello", ["hello"], {"hello": "ip netns list | cut -d' ' -f1 | grep -v owner | xargs -n 1 ip netns del\n"}),
    ("redirect", "bridge watch redirect".split(), {"redirect": "ip netns del left\n"}),
)

VETH = {
    "name": "v0",
    "addresses": ["10.20.0.1/24", "fd00:20::1/64"],
    "peer": {
        "name": "v1",
        "netns": "n1",
        "addresses": ["10.20.0.2/24"],
        "routes": [{"to": "default", "via": "10.20.0.1"}],
    },
    "sysctls": {"ipv4.rp_filter": 2},
}
TOPOLOGY = {
    "namespaces": [{"name": "n1"}, {"name": "n2"}],
    "veths": [VETH, {"name": "w0", "peer": {"name": "w1", "netns": "n2"}}],
}
FLUSH = {
    "policies": [{"chain": "FORWARD", "policy": "ACCEPT"}],
    "flush": [{"table": "filter", "chains": ["FORWARD"]}, {"table": "nat"}],
}
SOURCE = {"src": f"{WORK}/xdp_count.c", "dest": f"{WORK}/out/xdp_count.o"}
LOAD = {"object": str(SCRATCH / "owner.o"), "pin_path": PINS, "pin_maps": ["owner_map"]}
LOAD_FILTER = {"object": str(SCRATCH / "filter.o"), "pin_path": PINS, "type": "classifier"}
ATTACH = {"interface": "owner2", "program": f"{PINS}/owner"}
MAP = {"path": f"{PINS}/table", "type": "hash", "key_type": "u32", "value_type": "u64", "max_entries": 8}
ENTRIES = [{"key": 1, "value": 2}, {"key": 3, "value": 4}]
TREE = {"prefix": sources.PREFIX, "jobs": 1}
TOOLS: dict[str, dict[str, t.Any]] = {
    "bpftool": {
        **TREE,
        **{"source": "kernel", "origin": "directory", "path": f"{sources.FOLDER}/bpftool", "static": "preferred"},
    },
    "golang": {
        **{"version": sources.GO_VERSION, "checksum": sources.go_checksum(), "url": sources.GO_URL},
        "prefix": sources.PREFIX,
    },
    "iproute2": {
        **TREE,
        **{"source": "directory", "path": f"{sources.FOLDER}/iproute2"},
        "include_dir": f"{sources.PREFIX}/include/iproute2",
    },
}


def _modules() -> t.Iterator[Scenario]:
    """Each module that changes a host: there, and back."""
    netns = product.module("netns", name=["n1"])
    copy = product.shell(f"mkdir -p {WORK}; cp {ROOT}/files/bpf/xdp_count.c {ROOT}/files/bpf/packet.h {WORK}")
    away = product.shell(f"cd {WORK}; rm xdp_count.c packet.h; rmdir --ignore-fail-on-non-empty {WORK}")
    load = product.module("bpf_program", **LOAD)
    load_filter = product.module("bpf_program", **LOAD_FILTER)
    absent = {"state": "absent"}
    gone = product.module("bpf_program", pin_path=PINS, **absent)
    yield from _module(
        "netns", {"name": ["n1", "n2"], "sysctls": {"net.ipv4.ip_forward": 1}}, {"name": ["n1", "n2"], **absent}
    )
    yield from _module("veth", VETH, {**VETH, **absent}, netns, product.module("netns", name=["n1"], **absent))
    yield from _module("topology", TOPOLOGY, {**TOPOLOGY, **absent})
    yield from _module("iptables_flush", FLUSH, {"state": "restored"})
    yield from _module("ip_forward", {"ipv4": True, "ipv6": True}, {"state": "restored"})
    yield from _module("bpf_object", SOURCE, {"dest": SOURCE["dest"], **absent}, copy, away)
    over = {**SOURCE, "dest": "/usr/local/src/owner/notes.txt", "overwrite": True}
    yield from _module("bpf_object over", over, {"dest": over["dest"], **absent}, copy, away)
    yield from _module("bpf_program", LOAD, {"pin_path": PINS, **absent})
    over = {**LOAD, "pin_path": "/sys/fs/bpf/owner/p", "map_pin_path": f"{PINS}/maps", "overwrite": True}
    yield from _module("bpf_program over", over, {"pin_path": over["pin_path"], **absent})
    yield from _module("xdp_attachment", ATTACH, {"interface": "owner2", **absent}, load, gone)
    # Over the owner's program, and in another mode, which takes two requests.
    over = {**ATTACH, "interface": "owner0", "mode": "generic", "overwrite": True}
    yield from _module("xdp_attachment over", over, {"interface": "owner0", **absent}, load, gone)
    attach = {"interface": "owner2", "program": f"{PINS}/filter"}
    yield from _module("tc_attachment", attach, {"interface": "owner2", **absent}, load_filter, gone)
    yield from _module("bpf_map", {**MAP, "entries": ENTRIES}, {"path": MAP["path"], **absent})
    yield from _tools()


def _tools() -> t.Iterator[Scenario]:
    """The modules that build and install tools. Packages stay when a lab goes, so theirs have no way back."""
    absent = {"state": "absent", "prefix": sources.PREFIX}
    for name, params in TOOLS.items():
        away = product.shell(f"rmdir --ignore-fail-on-non-empty {sources.PREFIX}") if name == "golang" else None
        yield from _module(name, params, absent, product.shell(getattr(sources, name)()), away)
    there, check = (product.module("packages", check=check, name=[sources.PACKAGES[0]]) for check in (False, True))
    before, after = product.shell(sources.packages()), product.shell(sources.without_packages())
    yield Scenario("packages there", there, after, (before,), check, bpffs=True)


def _module(
    name: str,
    present: dict[str, t.Any],
    absent: dict[str, t.Any],
    before: t.Optional[Command] = None,
    after: t.Optional[Command] = None,
) -> t.Iterator[Scenario]:
    """A module's two directions. ``before`` makes what it needs, ``after`` takes that away again.

    The first word of ``name`` is the module's; behind it may stand what is special about it.
    """
    module = name.partition(" ")[0]
    there, back = product.module(module, **present), product.module(module, **absent)
    down = product.all_of(back, after) if after else back
    starts = (before,) if before else ()
    check_there, check_back = (product.module(module, check=True, **params) for params in (present, absent))
    yield Scenario(f"{name} there", there, down, starts, check_there, bpffs=True)
    yield Scenario(f"{name} back", back, down, (*starts, there), check_back, bpffs=True)


@functools.cache
def scenarios() -> dict[str, Scenario]:
    """All of them by their names."""
    found = [scenario for lab in LABS for scenario in _lab(*lab)]
    found += _modules()
    return {scenario.name: scenario for scenario in found}
