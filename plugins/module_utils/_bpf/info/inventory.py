# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this host has of BPF: programs, maps, pins, attachments, features, tools. Reads only, and bounded."""

from __future__ import annotations

import contextlib
import gzip
import os
import platform
import re
import typing as t
from dataclasses import asdict

from ..._core import interpreter, mounts
from ..._core.command import Runner
from ..._core.errors import KernelRefused, LabError
from ..._core.host import Host
from ..._kernel import bpftool, lookup, syscall
from ..._kernel import netns as namespaces
from ..._kernel.rtnl.read import links
from ..._kernel.syscall import LinkInfo, MapInfo, ProgramInfo
from ..xdp.state import slot

SUBSETS = ("programs", "maps", "pins", "attachments", "features", "tools")
PINS_AT_MOST = 5000
# How each tool is asked for its version, and what of the answer is the version.
VERSIONS = {
    "clang": ("--version", r"version (\S+)"),
    "llc": ("--version", r"version (\S+)"),
    "llvm-objdump": ("--version", r"version (\S+)"),
    "ip": ("-V", r"iproute2-(\S+?),?(?:\s|$)"),
}
NATIVE_VETH = (4, 19)  # the kernel in which veth learnt native XDP


def gather(host: Host, subsets: t.Collection[str]) -> dict[str, t.Any]:
    """The facts of ``subsets`` (of SUBSETS) as plain JSON types, and the kernel's release."""
    result: dict[str, t.Any] = {
        "kernel": {"release": platform.release(), "machine": platform.machine(), "boot_id": host.journal.boot}
    }
    pins = _pins() if {"pins", "programs", "maps"} & set(subsets) else []
    if "pins" in subsets:
        result["pins"] = [
            {"path": path, "kind": kind, "id": number, "ours": host.journal.claimed(f"pin:{path}") is not None}
            for path, kind, number in pins
        ]
        result["pins_truncated"] = len(pins) >= PINS_AT_MOST
    if "programs" in subsets:
        result["programs"] = [_program(info, pins) for info in lookup.programs()]
    if "maps" in subsets:
        result["maps"] = [_map(info, pins) for info in lookup.maps()]
    if "attachments" in subsets:
        result["attachments"] = attachments(host)
    if "features" in subsets:
        result["features"] = features()
    if "tools" in subsets:
        result["tools"] = tools(host.runner)
    return result


def _program(info: ProgramInfo, pins: t.Iterable[tuple[str, str, int]]) -> dict[str, t.Any]:
    values = asdict(info)
    values["map_ids"] = list(info.map_ids)
    values["pins"] = [path for path, kind, number in pins if kind == "program" and number == info.id]
    return values


def _map(info: MapInfo, pins: t.Iterable[tuple[str, str, int]]) -> dict[str, t.Any]:
    return {**asdict(info), "pins": [path for path, kind, number in pins if kind == "map" and number == info.id]}


def _pins() -> list[tuple[str, str, int]]:
    """Path, kind and id of all pins of all bpffs mounts."""
    found: dict[str, tuple[str, str, int]] = {}
    for mount in mounts.visible("bpf"):
        for folder, _folders, names in os.walk(mount):
            for name in sorted(names):
                if len(found) >= PINS_AT_MOST:
                    return sorted(found.values())
                path = os.path.join(folder, name)
                with contextlib.suppress(KernelRefused):
                    what = syscall.at(path)
                    if what is not None:
                        kinds = {ProgramInfo: "program", MapInfo: "map", LinkInfo: "link"}
                        found[path] = (path, kinds[type(what)], what.id)
    return sorted(found.values())


def attachments(host: Host) -> list[dict[str, t.Any]]:
    """The XDP program of each interface that has one, in our namespace and in each that has a name."""
    held = {(link.program_id, link.ifindex): link.id for link in syscall.xdp_links()}
    found = []
    for netns in ["", *namespaces.names()]:
        with contextlib.suppress(KernelRefused):  # the namespace went while we looked
            seen = links(host.netlink(netns))
            for name, link in sorted(seen.items()):
                if not link.xdp_mode:
                    continue
                info = syscall.program_by_id(link.xdp_id) if link.xdp_id else None
                claim = host.journal.claimed(slot(netns, name))
                found.append(
                    {
                        "netns": netns,
                        "interface": name,
                        "ifindex": link.index,
                        "mode": link.xdp_mode,
                        "id": link.xdp_id,
                        "name": info.name if info is not None else "",
                        "tag": info.tag if info is not None else "",
                        "link_id": held.get((link.xdp_id, link.index), 0),
                        "ours": claim is not None and (claim.value or {}).get("id") == link.xdp_id,
                    }
                )
        if netns:
            host.forget_netlink(netns)  # a socket for each of a thousand namespaces is too many
    return found


def read(path: str) -> t.Optional[str]:
    """A small file of the kernel's, stripped; None when it is not there or may not be read."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read(4096).strip()
    except OSError:
        return None


def _number(path: str) -> t.Optional[int]:
    text = read(path)
    return int(text) if text is not None and text.lstrip("-").isdigit() else None


def lockdown() -> str:
    """The lockdown mode in force: none, integrity or confidentiality (the word in brackets)."""
    match = re.search(r"\[(\w+)\]", read("/sys/kernel/security/lockdown") or "")
    return match[1] if match else "none"


def has_module(name: str, option: str) -> t.Optional[bool]:
    """Whether a part of the kernel is loaded, built in, or there to be loaded; None when this host does not tell.

    ``option`` is the kernel's configuration for it, such as CONFIG_VETH.
    """
    if os.path.isdir(f"/sys/module/{name}"):
        return True
    with contextlib.suppress(OSError), gzip.open("/proc/config.gz", "rt", encoding="utf-8") as file:
        return re.search(rf"^{option}=[ym]$", file.read(), re.MULTILINE) is not None
    told = None
    folder = f"/lib/modules/{platform.release()}"
    for listing in ("modules.builtin", "modules.dep"):
        with (
            contextlib.suppress(OSError),
            open(os.path.join(folder, listing), encoding="utf-8", errors="surrogateescape") as file,
        ):
            told = False
            if any(re.match(rf"\S*/{re.escape(name)}\.ko", line) for line in file):
                return True
    return told


def features() -> dict[str, t.Any]:
    """What a lab needs of the kernel. null: this host does not tell, for example inside a container."""
    release = tuple(int(part) for part in re.findall(r"\d+", platform.release())[:2])
    tracefs = mounts.visible("tracefs")
    return {
        "btf": os.path.exists("/sys/kernel/btf/vmlinux"),
        "jit": _number("/proc/sys/net/core/bpf_jit_enable"),
        "unprivileged_bpf_disabled": _number("/proc/sys/kernel/unprivileged_bpf_disabled"),
        "statistics": _number("/proc/sys/kernel/bpf_stats_enabled"),
        "veth": has_module("veth", "CONFIG_VETH"),
        "xdp_on_veth": "native" if release >= NATIVE_VETH else "generic",
        "lockdown": lockdown(),
        "bpffs": mounts.visible("bpf"),
        "tracefs": tracefs[0] if tracefs else None,
    }


def tools(runner: Runner) -> dict[str, t.Any]:
    """The tools' versions; null for one that is not there or does not run."""
    found: dict[str, t.Any] = {"bpftool": bpftool.usable(runner).version or None}
    for tool, (option, pattern) in VERSIONS.items():
        found[tool] = None
        with contextlib.suppress(LabError):
            done = runner.run([tool, option], check=False, timeout=10)
            match = re.search(pattern, done.stdout)
            found[tool] = match[1] if match else None
    for library in interpreter.as_used(tuple(interpreter.LIBRARIES)):
        name = interpreter.LIBRARIES[library.name].distribution
        found[name] = (library.version or "of an unknown version") if library.works else None
    return found
