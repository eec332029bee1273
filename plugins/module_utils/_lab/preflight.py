# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Can this machine do a lab? Judges a Machine as it was seen: pure, each finding with its reason and its cure."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .._net.management import CURE
from .._tools.packages import archive as apt_archive
from .machine import Machine

MEGABYTE = 1 << 20
LEVELS = ("problem", "warning", "ok")
INSTALL = "The playbook ebpf.lab.provision installs it (role ebpf.lab.prerequisites)."
PURPOSES = {
    "bpftool": "loads, pins and shows programs",
    "clang": "compiles the programs",
    "llc": "is the second step of the lecture's compilation",
    "llvm-objdump": "shows the compiled instructions",
    "ip": "shows links, addresses and namespaces",
    "tc": "shows filters at a link",
    "ping": "sends the traffic of the checks",
    "iptables": "shows and sets the host's rules",
    "pyroute2": "lets the modules talk netlink",
    "pyelftools": "lets the modules read compiled objects",
}


@dataclass(frozen=True)
class Finding:
    """``level`` is problem (the lab cannot work), warning (look at it first) or ok; ``cure`` is empty when ok."""

    topic: str
    level: str
    what: str
    why: str = ""
    cure: str = ""


def judge(machine: Machine, force: bool = False) -> list[Finding]:
    """All findings, problems first, each group in the order in which a lab would meet it.

    ``force``: the lab may take over what the machine is reached by.
    """
    taken = [
        Finding("subnet", "warning" if force else "problem", text, "Whoever is connected would be cut off.", CURE)
        for text in machine.takeovers
    ]
    found = [
        *taken,
        *_kernel(machine),
        *_filesystems(machine),
        *_room(machine),
        *_tools(machine),
        *_archives(machine),
        *_neighbours(machine),
    ]
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))


def lines(findings: t.Sequence[Finding]) -> list[str]:
    """For people: what is not ok in full, what is in one line."""
    text = []
    for finding in findings:
        if finding.level != "ok":
            text.append(f"{finding.level}: {finding.what} {finding.why} {finding.cure}")
    fine = [finding.topic for finding in findings if finding.level == "ok"]
    return [*text, f"ok: {', '.join(dict.fromkeys(fine))}"] if fine else text


def _kernel(machine: Machine) -> t.Iterator[Finding]:
    features = machine.features
    if not machine.root:
        yield Finding(
            "root", "problem", "The task does not run as root.", "Only root may load programs.", "Use become."
        )
    if machine.bpf_error:
        yield Finding(
            "bpf",
            "problem",
            f"The bpf system call does not answer: {machine.bpf_error}",
            "Nothing of the lab works without it.",
            "Use a kernel with CONFIG_BPF_SYSCALL, root, and no container that filters the call.",
        )
    else:
        yield Finding("bpf", "ok", "The bpf system call answers.")
    release = tuple(int(part) for part in re.findall(r"\d+", machine.release)[:2])
    if features.get("veth") is False:
        yield Finding(
            "veth",
            "problem",
            f"Kernel {machine.release} has no veth.",
            "The lab's links are veth pairs.",
            "Install the full kernel package in place of the cloud or minimal one.",
        )
    elif release < (4, 19):
        yield Finding(
            "kernel",
            "problem",
            f"Kernel {machine.release} is too old.",
            "Native XDP on veth came with 4.19.",
            "Upgrade the kernel to 4.19 or newer; 5.10 and newer are tested.",
        )
    else:
        yield Finding("kernel", "ok", f"Kernel {machine.release} has native XDP on veth.")
    if features.get("btf"):
        yield Finding("btf", "ok", "The kernel describes its types.")
    else:
        yield Finding(
            "btf",
            "warning",
            "The kernel has no BTF.",
            "bpftool and some programs of later lectures want the kernel's types.",
            "Use a kernel with CONFIG_DEBUG_INFO_BTF, as Debian's and Ubuntu's are.",
        )
    if features.get("jit") == 0:
        yield Finding(
            "jit",
            "warning",
            "The BPF JIT is off.",
            "Programs are interpreted, and rates and times differ from the lecture's.",
            "Run sysctl net.core.bpf_jit_enable=1.",
        )
    if features.get("lockdown") == "confidentiality":
        yield Finding(
            "lockdown",
            "problem",
            "Kernel lockdown is in the mode confidentiality.",
            "tracefs is closed then, so nobody sees what bpf_printk writes.",
            "Boot with lockdown=integrity, or without lockdown.",
        )
    if machine.max_net_namespaces == 0:
        yield Finding(
            "netns",
            "problem",
            "No network namespace may be made (user.max_net_namespaces is 0).",
            "The lab's hosts are namespaces.",
            "Run sysctl user.max_net_namespaces=1024.",
        )
    else:
        yield Finding("netns", "ok", "Network namespaces can be made.")


def _filesystems(machine: Machine) -> t.Iterator[Finding]:
    if "bpf" not in machine.filesystems:
        yield Finding(
            "bpffs", "problem", "The kernel has no bpffs.", "Programs and maps are pinned there.",
            "Use a kernel with CONFIG_BPF_SYSCALL.",
        )  # fmt: skip
    else:
        yield Finding("bpffs", "ok", "bpffs is mounted." if machine.features.get("bpffs") else "bpffs can be mounted.")
    if "tracefs" not in machine.filesystems:
        yield Finding(
            "tracefs", "problem", "The kernel has no tracefs.", "What bpf_printk writes is read there.",
            "Use a kernel with CONFIG_FTRACE.",
        )  # fmt: skip
    elif not machine.features.get("tracefs"):
        yield Finding(
            "tracefs",
            "warning",
            "tracefs is not mounted.",
            "What bpf_printk writes is read there.",
            "Run mount -t tracefs tracefs /sys/kernel/tracing.",
        )
    elif machine.tracing_on == 0:
        yield Finding(
            "tracefs",
            "warning",
            "Tracing is off.",
            "bpf_printk writes nothing then.",
            f"Run echo 1 > {machine.features['tracefs']}/tracing_on.",
        )
    else:
        yield Finding("tracefs", "ok", "tracefs is mounted and tracing is on.")


def _room(machine: Machine) -> t.Iterator[Finding]:
    missing = any(version is None for version in machine.tools.values())
    need = 1500 * MEGABYTE if missing else 100 * MEGABYTE
    reason = "clang and its libraries take about 1 GB." if missing else "Sources, objects and the journal go there."
    for folder, free in machine.disk.items():
        if free < need:
            yield Finding(
                "disk",
                "problem" if free < 20 * MEGABYTE else "warning",
                f"{folder} has {free // MEGABYTE} MB free.",
                reason,
                f"Free {need // MEGABYTE} MB, for example with apt-get clean.",
            )
        else:
            yield Finding("disk", "ok", f"{folder} has {free // MEGABYTE} MB free.")
    if machine.memory is not None:
        megabytes = machine.memory // MEGABYTE
        if megabytes < 256:
            yield Finding(
                "memory",
                "problem" if megabytes < 64 else "warning",
                f"{megabytes} MB of memory are available.",
                "clang takes about 150 MB to compile a program.",
                "Stop other programs, or give the machine more memory.",
            )
        else:
            yield Finding("memory", "ok", f"{megabytes} MB of memory are available.")


def _tools(machine: Machine) -> t.Iterator[Finding]:
    for tool, purpose in PURPOSES.items():
        version = machine.tools.get(tool)
        if version is not None:
            yield Finding("tools", "ok", f"{tool} works ({version}).")
            continue
        if tool in machine.broken:
            yield Finding(
                "tools",
                "problem",
                f"The Python library {tool} is there and cannot be imported ({machine.broken[tool]}).",
                f"It {purpose}.",
                f"Install it anew, for example with apt-get install --reinstall python3-{tool}.",
            )
            continue
        what = f"{tool} is not installed" + (", or has no program for this kernel." if tool == "bpftool" else ".")
        what = f"{tool}: {machine.outdated[tool]}." if tool in machine.outdated else what
        if machine.apt:
            yield Finding("tools", "warning", what, f"It {purpose}.", INSTALL)
        else:
            yield Finding("tools", "problem", what, f"It {purpose}.", "Install it; only apt is known to the lab.")


def _archives(machine: Machine) -> t.Iterator[Finding]:
    """Where what is missing is to come from."""
    if machine.apt_lock:
        yield Finding(
            "apt",
            "warning",
            f"apt is busy: {machine.apt_lock}.",
            "Nothing can be installed until it ends.",
            "ebpf.lab.provision waits for it; a machine's own daily update takes some minutes after boot.",
        )
    if machine.archives is None:
        return
    why = f"What is missing would be fetched from there: {', '.join(machine.fetched)}."
    wrong = {problem.archive for problem in machine.archive_problems}
    good = [archive for archive in machine.archives if archive not in wrong]
    if machine.archive_problems:
        what, cure = apt_archive.sentences(machine.archive_problems)
        yield Finding("archive", "warning" if good else "problem", what, why, cure)
    elif good:
        yield Finding("archive", "ok", f"The package archive {' and '.join(good)} can be reached.")
    else:
        cure = "Name the distribution's archive in /etc/apt/sources.list."
        yield Finding("archive", "problem", "apt knows no archive of packages.", why, cure)


def _neighbours(machine: Machine) -> t.Iterator[Finding]:
    """Who else works on this machine's network."""
    if machine.xdp_error:
        yield Finding(
            "xdp", "warning", f"The links could not be looked at: {machine.xdp_error}",
            "A foreign XDP program may hold one.", "Look at ip link.",
        )  # fmt: skip
    foreign = [entry for entry in machine.xdp if not entry["ours"]]
    for entry in foreign:
        where = entry["interface"] + (f" in {entry['netns']}" if entry["netns"] else "")
        name = entry["name"] or f"id {entry['id']}"
        loader = "libxdp or bpfman" if name.startswith("xdp_dispatcher") else "somebody else"
        yield Finding(
            "xdp",
            "warning",
            f"{where} has the XDP program {name} of {loader}.",
            "The lab does not replace it unless it is told to.",
            f"If it is left over: ip link set dev {entry['interface']} xdp off.",
        )
    if not foreign and not machine.xdp_error:
        yield Finding("xdp", "ok", "No foreign XDP program is attached.")
    if machine.chains:
        shown = ", ".join(machine.chains[:3]) + (f" and {len(machine.chains) - 3} more" if machine.chains[3:] else "")
        yield Finding(
            "iptables",
            "warning",
            f"Others have chains here: {shown}.",
            "A lab that flushes rules takes theirs away until it is taken down; then they are put back.",
            "Leave flush out of the lab file's host_network, or stop what made them for the class.",
        )
    if machine.dropping:
        yield Finding(
            "iptables",
            "warning",
            f"FORWARD drops by default in {', '.join(machine.dropping)}.",
            "Packets between namespaces and other links are dropped there.",
            "The lab file's host_network can set the policy, and puts it back.",
        )
    if not machine.chains and not machine.dropping:
        yield Finding("iptables", "ok", "No foreign chain, and FORWARD accepts, as far as it can be seen.")
    if "firewalld" in machine.running:
        yield Finding(
            "firewalld", "warning", "firewalld runs.", "It drops what its zones do not allow, and reloads its rules.",
            "Stop it for the class, or put the lab's links into the zone trusted.",
        )  # fmt: skip
    if "NetworkManager" in machine.running and not machine.nm_leaves_veth:
        yield Finding(
            "links",
            "warning",
            "NetworkManager runs and no udev rule makes it leave veths alone.",
            "It may take the lab's addresses away.",
            "Put [keyfile] unmanaged-devices=interface-name:veth* into /etc/NetworkManager/conf.d/ebpf-lab.conf.",
        )
    elif "systemd-networkd" in machine.running and machine.networkd_takes:
        yield Finding(
            "links",
            "warning",
            f"systemd-networkd would manage the lab's veths by {', '.join(machine.networkd_takes)}.",
            "It may take the lab's addresses away and ask for others by DHCP.",
            "Add Kind=!veth to the [Match] section there.",
        )
    else:
        yield Finding("links", "ok", "Nobody else manages veths.")
    for interface, carries in machine.lifelines.items():
        yield Finding("ssh", "ok", f"{interface} carries {carries}; the lab attaches nothing there unasked.")
