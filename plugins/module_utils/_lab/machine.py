# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What decides whether a machine can do a lab, read without changing a thing: no mount, no module loaded, no table."""

from __future__ import annotations

import configparser
import contextlib
import fnmatch
import glob
import os
import platform
import re
import shutil
import typing as t
from dataclasses import dataclass, field

from .._bpf.info import inventory
from .._core import interpreter
from .._core.errors import LabError
from .._core.host import Host
from .._kernel import bpftool, lookup
from .._net.iptables.observe import tables_of
from .._net.iptables.state import BACKENDS, FAMILIES, Place
from .._net.management import lifelines as lifelines_of
from .._net.management import takeovers
from .._net.topology.observe import observe as observe_network
from .._net.topology.state import Want
from .._tools.packages import archive as apt_archive
from .._tools.packages import lock as apt_lock

# Who makes rules or manages links: their processes, by the 15 characters that the kernel keeps of a name.
MANAGERS = ("dockerd", "libvirtd", "firewalld", "NetworkManager", "systemd-networkd", "kubelet", "bpfman")
FOREIGN_CHAINS = re.compile(r"(DOCKER|LIBVIRT_|KUBE-|CNI-|cali-|ufw-|f2b-)")
NM_RULES = ("/etc/udev/rules.d", "/run/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d")
NETWORKD = ("/etc/systemd/network", "/run/systemd/network", "/usr/lib/systemd/network", "/lib/systemd/network")


@dataclass(frozen=True)
class Machine:
    """One machine as it was seen. Sizes are bytes; None means that the machine does not tell."""

    root: bool = True
    release: str = ""
    arch: str = ""
    bpf_error: str = ""  # why the bpf system call did not answer; "" when it did
    features: t.Mapping[str, t.Any] = field(default_factory=dict)
    filesystems: frozenset[str] = frozenset()
    max_net_namespaces: t.Optional[int] = None
    tracing_on: t.Optional[int] = None
    disk: t.Mapping[str, int] = field(default_factory=dict)  # free, by folder
    memory: t.Optional[int] = None  # available
    tools: t.Mapping[str, t.Optional[str]] = field(default_factory=dict)  # versions
    broken: t.Mapping[str, str] = field(default_factory=dict)  # libraries that are there and do not import: why
    outdated: t.Mapping[str, str] = field(default_factory=dict)  # libraries that are there and too old: why
    apt: bool = True
    apt_lock: str = ""  # who holds one
    fetched: tuple[str, ...] = ()  # the tools that would have to come from an archive of packages
    archives: t.Optional[tuple[str, ...]] = None  # None: none was asked
    archive_problems: tuple[apt_archive.Problem, ...] = ()
    xdp: tuple[t.Mapping[str, t.Any], ...] = ()
    xdp_error: str = ""
    chains: tuple[str, ...] = ()  # "nft ipv4 filter DOCKER-USER", of others
    dropping: tuple[str, ...] = ()  # tables whose FORWARD drops by default
    rules_error: str = ""
    running: frozenset[str] = frozenset()  # of MANAGERS
    nm_leaves_veth: bool = True
    networkd_takes: tuple[str, ...] = ()  # .network files that match veth1
    lifelines: t.Mapping[str, str] = field(default_factory=dict)  # interface: what it carries
    takeovers: tuple[str, ...] = ()  # what the lab's network would take over of them, a sentence each


def look(host: Host, want: Want = Want()) -> Machine:  # noqa: B008 - it is frozen
    """See the machine, and whether the network ``want`` would fit. Never raises for what it finds there."""
    bpf_error = ""
    try:
        next(lookup.programs(), None)
    except LabError as error:
        bpf_error = str(error)
    xdp_found: list[dict[str, t.Any]] = []
    lifelines: dict[str, str] = {}
    taken: list[str] = []
    xdp_error = ""
    try:
        xdp_found = inventory.attachments(host)
        lifelines = lifelines_of(host)
        taken = takeovers(want, observe_network(host, want))
    except (LabError, OSError) as error:
        xdp_error = str(error)
    chains, dropping, rules_error = _rules(host)
    tools, broken, outdated = _tools(host)
    apt = host.runner.which("apt-get") is not None
    fetched = tuple(tool for tool, version in tools.items() if version is None and not _at_hand(host, tool))
    archives, archive_problems = _archives(host) if apt and fetched else (None, ())
    return Machine(
        root=os.geteuid() == 0,
        release=platform.release(),
        arch=platform.machine(),
        bpf_error=bpf_error,
        features=inventory.features(),
        filesystems=frozenset(line.split()[-1] for line in _lines("/proc/filesystems") if line.split()),
        max_net_namespaces=_number("/proc/sys/user/max_net_namespaces"),
        tracing_on=_number(f"{inventory.features()['tracefs'] or '/nonexistent'}/tracing_on"),
        disk={folder: shutil.disk_usage(folder).free for folder in ("/usr/local", "/var/lib") if os.path.isdir(folder)},
        memory=_available(),
        tools=tools,
        broken=broken,
        outdated=outdated,
        apt=apt,
        apt_lock=str(apt_lock.holder() or "") if apt else "",
        fetched=fetched,
        archives=archives,
        archive_problems=archive_problems,
        xdp=tuple(xdp_found),
        xdp_error=xdp_error,
        chains=chains,
        dropping=dropping,
        rules_error=rules_error,
        running=_running(),
        nm_leaves_veth=nm_leaves_veth(NM_RULES),
        networkd_takes=networkd_takes(NETWORKD, "veth1"),
        lifelines=lifelines,
        takeovers=tuple(taken),
    )


def _at_hand(host: Host, tool: str) -> bool:
    """Whether a tool that does not answer can be had without an archive: a bpftool of installed linux-tools can."""
    return tool == "bpftool" and bool(bpftool.versioned(host.runner))


def _archives(host: Host) -> tuple[t.Optional[tuple[str, ...]], tuple[apt_archive.Problem, ...]]:
    """The archives that what is missing would be fetched from, and what is wrong with them."""
    try:
        known, problems = apt_archive.probe(host.runner)
    except (LabError, OSError):  # apt itself does not work, which is told when it is used
        return None, ()
    return tuple(known), tuple(problems)


def _tools(host: Host) -> tuple[dict[str, t.Optional[str]], dict[str, str], dict[str, str]]:
    """The tools' versions, why libraries that are there cannot be imported, and why some will not do."""
    found: dict[str, t.Optional[str]] = inventory.tools(host.runner)
    for tool in ("ping", "iptables", "tc"):
        found[tool] = "installed" if host.runner.which(tool) else None
    broken, outdated = {}, {}
    for library in interpreter.as_used(tuple(interpreter.LIBRARIES)):
        name = interpreter.LIBRARIES[library.name].distribution
        if library.broken:
            broken[name] = f"{library.python}: {library.why}"
        elif library.version and not library.works:
            outdated[name] = library.why
    return found, broken, outdated


def _rules(host: Host) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """Others' chains and the tables whose FORWARD drops, in both back ends; and why nothing could be seen."""
    chains, dropping, why = [], [], ""
    for backend in BACKENDS:
        places = [Place(backend, family, table) for family in FAMILIES for table in ("filter", "nat")]
        try:
            tables, _foreign = tables_of(host, "", places)
        except (LabError, OSError) as error:
            why = str(error)
            continue
        for place, found in tables.items():
            where = f"{place.backend} {place.family} {place.table}"
            chains += [f"{where} {name}" for name in found if FOREIGN_CHAINS.match(name)]
            if place.table == "filter" and getattr(found.get("FORWARD"), "policy", None) == "DROP":
                dropping.append(where)
    return tuple(chains), tuple(dropping), why


def _running() -> frozenset[str]:
    found = set()
    for path in glob.glob("/proc/[0-9]*/comm"):
        name = "".join(_lines(path)).strip()
        found |= {manager for manager in MANAGERS if name == manager[:15]}
    return frozenset(found)


def nm_leaves_veth(folders: t.Sequence[str]) -> bool:
    """Whether a udev rule tells NetworkManager to leave veths alone; its own package brings one."""
    for folder in folders:
        for path in sorted(glob.glob(os.path.join(folder, "*.rules"))):
            for line in _lines(path):
                if "NM_UNMANAGED" in line and "veth" in line and not line.lstrip().startswith("#"):
                    return True
    return False


def networkd_takes(folders: t.Sequence[str], interface: str) -> tuple[str, ...]:
    """The .network files by which systemd-networkd would manage a veth of that name (systemd.network(5), [Match])."""
    seen: set[str] = set()
    found = []
    for folder in folders:
        for path in sorted(glob.glob(os.path.join(folder, "*.network"))):
            name = os.path.basename(path)
            if name in seen:  # one of an earlier folder replaces it
                continue
            seen.add(name)
            match = _match_section(path)
            if _matches(match, interface):
                found.append(path)
    return tuple(found)


def _match_section(path: str) -> dict[str, list[str]]:
    parser = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys keep their case
    with contextlib.suppress(configparser.Error):
        parser.read_file(_lines(path))
    section = dict(parser["Match"]) if parser.has_section("Match") else {}
    return {key: (value or "").split() for key, value in section.items()}


def _matches(match: t.Mapping[str, t.Sequence[str]], interface: str) -> bool:
    facts = {"Name": interface, "Type": "ether", "Kind": "veth", "Driver": "veth"}
    if not match or set(match) - set(facts):  # a MAC address, a path or a host of its own: not our veth
        return False
    for key, patterns in match.items():
        negated = bool(patterns) and patterns[0].startswith("!")
        hit = any(fnmatch.fnmatchcase(facts[key], pattern.lstrip("!")) for pattern in patterns)
        if hit == negated:
            return False
    return True


def _available() -> t.Optional[int]:
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _number(path: str) -> t.Optional[int]:
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdigit() else None


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().splitlines()
    except OSError:
        return []
