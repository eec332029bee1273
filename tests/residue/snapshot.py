#!/usr/bin/env python3
# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A snapshot of all that a lab may change on a machine, as JSON, and the difference of two of them.

    snapshot.py take > before.json
    snapshot.py take > after.json
    snapshot.py diff before.json after.json     # exit code 1 when they differ, and a line for each difference

It reads with the system's own tools and never with the collection's code, which it is to judge.
"""

from __future__ import annotations

import argparse
import fnmatch
import glob
import hashlib
import json
import os
import pathlib
import re
import stat
import subprocess
import sys
import typing as t

# Sysctls that change by themselves or are no settings, each with its reason.
NOT_COMPARED = {
    "netfilter/nf_conntrack_count": "how many connections there are now",
    "netfilter/nf_conntrack_buckets": "grows with the kernel's own table, which all namespaces share",
    "ipv4/route/flush": "a trigger without a value",
    "ipv6/route/flush": "a trigger without a value",
    "ipv*/conf/*/stable_secret": "unreadable until it is set",
    "ipv4/tcp_fastopen_key": "the kernel draws it at random when it is first used",
    "ipv4/tcp_available_*": "what the kernel has loaded, no setting",
    "ipv4/tcp_ehash_entries": "the size of a table that the kernel made, no setting",
    "core/rps_default_mask": "of the hardware, no setting",
    "core/flow_limit_cpu_bitmap": "of the hardware, no setting",
}
NAMES = {"iptables": "ip_tables_names", "ip6tables": "ip6_tables_names"}
LINK = ("ifname", "mtu", "address", "txqlen", "qdisc", "group", "xdp", "master", "linkinfo", "link", "ifalias")
VOLATILE_LINK = re.compile(r"LOWER_UP|RUNNING|NO-CARRIER|M-DOWN")  # they follow the other end
# Not all of /usr/local: that takes seconds.
TREES = ("/etc", "/var/lib/ebpf.lab", "/var/cache/ebpf.lab", "/run/netns", "/usr/local/src")
RUN = "/run/*ebpf*"  # files of ours where everybody's come and go; a lock file may stay, for two must not hold it

Json = t.Any


def run(*argv: str, netns: str = "", check: bool = True) -> str:
    """The output of a command in a namespace ("" is our own). A command that fails is no silence: it ends the run."""
    inside = ["nsenter", f"--net=/run/netns/{netns}"] if netns else []
    env = {**os.environ, "LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    done = subprocess.run([*inside, *argv], capture_output=True, text=True, check=False, env=env)
    if done.returncode and check:
        sys.exit(f"snapshot: {' '.join([*inside, *argv])}: {done.stderr.strip()}")
    return done.stdout


def rules(netns: str, counters: bool) -> dict[str, Json]:
    """nft's whole rule set, and the legacy tables that are loaded: looking at another one would load it."""
    found: dict[str, Json] = {"nft": chains_of(run("nft", "list", "ruleset", netns=netns), counters)}
    for tool, names in NAMES.items():
        loaded = sorted(run("cat", f"/proc/thread-self/net/{names}", netns=netns, check=False).split())
        found[f"{tool}-legacy"] = {
            table: [
                # Policies count all traffic, our own included, so theirs are never compared.
                line if counters and line.startswith("[") else re.sub(r"\[\d+:\d+\]", "[]", line)
                for line in run(f"{tool}-legacy-save", "-c", "-t", table, netns=netns).splitlines()
                if not line.startswith("#")
            ]
            for table in loaded
        }
    return found


def chains_of(ruleset: str, counters: bool) -> dict[str, Json]:
    """nft's text by table and chain: the order of chains in a table is that of their making and means nothing."""
    found: dict[str, Json] = {}
    table: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in ruleset.splitlines():
        if not counters:
            line = re.sub(r"packets \d+ bytes \d+", "", line)
        if line.startswith("table "):
            table = found.setdefault(line.rstrip(" {"), {})
        elif line.startswith("\t") and not line.startswith("\t\t") and line.endswith("{"):
            lines = table.setdefault(line.strip(" \t{"), [])
        elif line.startswith("\t\t"):
            lines.append(line.strip())
    return found


def links(netns: str) -> dict[str, Json]:
    """Links, addresses, routes, rules and permanent neighbours."""

    def ask(*argv: str) -> list[dict[str, Json]]:
        return [item for item in json.loads(run("ip", "-j", *argv, netns=netns) or "[]") if item]

    found: dict[str, Json] = {}
    for link in ask("-d", "link"):
        kept = {key: without_timers(link[key]) for key in LINK if key in link}
        kept["flags"] = sorted(flag for flag in link["flags"] if not VOLATILE_LINK.match(flag))
        found[link["ifname"]] = kept
    for link in ask("address"):
        found[link["ifname"]]["addresses"] = sorted(
            f"{a['local']}/{a['prefixlen']} {a['scope']}" for a in link["addr_info"] if "local" in a
        )
    return {
        "links": found,
        "routes": sorted(json.dumps(strip(r), sort_keys=True) for f in "46" for r in ask(f"-{f}", *ALL_ROUTES)),
        "rules": [json.dumps(rule, sort_keys=True) for f in "46" for rule in ask(f"-{f}", "rule")],
        "neighbours": sorted(json.dumps(n, sort_keys=True) for n in ask("neigh", "show", "nud", "permanent")),
    }


def without_timers(value: Json) -> Json:
    """A bridge and its ports count down by themselves."""
    if isinstance(value, dict):
        return {key: without_timers(item) for key, item in value.items() if not key.endswith("_timer")}
    return value


ALL_ROUTES = ("route", "show", "table", "all")


def strip(route: dict[str, Json]) -> dict[str, Json]:
    """A route without what counts by itself."""
    return {key: value for key, value in route.items() if key not in ("expires", "used", "age")}


def sysctls() -> dict[str, str]:
    """All of /proc/sys/net in our own namespace but NOT_COMPARED."""
    root = pathlib.Path("/proc/sys/net")
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if not path.is_file() or any(fnmatch.fnmatch(name, pattern) for pattern in NOT_COMPARED):
            continue
        if path.stat().st_mode & 0o444:
            try:
                found[name] = path.read_text(encoding="ascii").strip()
            except OSError as error:
                found[name] = f"unreadable: {error.strerror}"
    return found


def network(netns: str, counters: bool) -> dict[str, Json]:
    """Everything of one namespace."""
    inside = run(sys.executable, os.path.abspath(__file__), "sysctls", netns=netns)
    return {"packet filter": rules(netns, counters), **links(netns), "sysctl": json.loads(inside)}


def tree(root: str) -> dict[str, str]:
    """Path → mode, owner and digest (or target) of each file below ``root``."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in [*files, *folders]:
            path = os.path.join(folder, name)
            try:
                found[path] = describe(path)
            except FileNotFoundError:  # a temporary file of somebody who is at work
                continue
    return {root: "there", **found} if os.path.isdir(root) else found


def describe(path: str) -> str:
    """One file in a line."""
    info = os.lstat(path)
    text = f"{stat.filemode(info.st_mode)} {info.st_uid}:{info.st_gid}"
    if stat.S_ISLNK(info.st_mode):
        return f"{text} -> {os.readlink(path)}"
    if stat.S_ISREG(info.st_mode) and os.statvfs(path).f_blocks:  # not the nsfs files in /run/netns
        with open(path, "rb") as file:
            return f"{text} {hashlib.sha256(file.read()).hexdigest()}"
    return text


def mounts() -> list[str]:
    """Mount point, type, source, root and options of each mount, in order, without the kernel's numbers."""
    found = []
    for line in pathlib.Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        before, _sign, after = line.partition(" - ")
        _id, _parent, _device, root, point, options, *propagation = before.split()
        kind, source, more = after.split(" ", 2)
        shared = "shared" if any(item.startswith("shared:") for item in propagation) else "private"
        # The inode in nsfs' root and the numbers of peer groups are new with every mount.
        found.append(f"{point} {kind} {source} {re.sub(r'[0-9]+', 'N', root)} {options} {shared} {more}")
    return found


def filesystem(path: str) -> str:
    """What a path leads to, in stat's words; the list of mounts also has those that another one hides."""
    return run("stat", "--file-system", "--format=%T", path, check=False).strip()


def bpffs() -> dict[str, str]:
    """Every file below each bpffs mount: folders as they are, pins with the type, name and tag of what they hold."""
    found = {}
    for line in mounts():
        point, kind = line.split()[:2]
        if kind != "bpf" or filesystem(point) != "bpf_fs":
            continue
        for folder, folders, files in os.walk(point):
            found.update({os.path.join(folder, name): "folder" for name in folders})
            for name in files:
                path = os.path.join(folder, name)
                found[path] = pinned(path)
    return found


def pinned(path: str) -> str:
    """What a pin holds. The id is part of it: a user's pin must hold the same object afterwards, not an equal one."""
    for kind in ("prog", "map", "link"):
        text = run("bpftool", "-j", kind, "show", "pinned", path, check=False)
        try:
            item = json.loads(text)
        except ValueError:
            continue
        item = item[0] if isinstance(item, list) and item else item
        if isinstance(item, dict) and "id" in item:
            return f"{kind} {item['id']} {item.get('type')} {item.get('name', '')} {item.get('tag', '')}".rstrip()
    return "a pin that bpftool cannot read"


def ids() -> dict[str, list[str]]:
    """All programs, maps and links of the kernel: only for a machine that nobody else works on."""
    return {
        kind: [
            f"{item['id']} {item.get('type')} {item.get('name', '')} {item.get('tag', '')}"
            for item in json.loads(run("bpftool", "-j", kind, "show") or "[]")
        ]
        for kind in ("prog", "map", "link")
    }


def take(counters: bool = False, all_ids: bool = False) -> dict[str, Json]:
    """The snapshot. ``counters``: of the rules, too (never of policies); ``all_ids``: all BPF objects, too."""
    named = sorted(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else []
    return {
        "network": {name or "(own)": network(name, counters) for name in ["", *named]},
        "bpffs": bpffs(),
        "objects": ids() if all_ids else "not asked for",
        "mounts": mounts(),
        "files": {path: text for root in TREES for path, text in tree(root).items()}
        | {path: describe(path) for path in glob.glob(RUN) if not path.endswith(".lock")},
    }


def differences(before: Json, after: Json, path: str = "") -> list[str]:
    """A line for each difference, "- " for what is gone and "+ " for what is new; [] for equal snapshots."""
    if before == after:
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        lines = []
        for key in sorted({*before, *after}):
            where = f"{path} | {key}" if path else key
            if key not in after:
                lines.append(f"- {where}{brief(before[key])}")
            elif key not in before:
                lines.append(f"+ {where}{brief(after[key])}")
            else:
                lines += differences(before[key], after[key], where)
        return lines
    if isinstance(before, list) and isinstance(after, list):
        gone, new = list(before), []
        for item in after:
            if item in gone:
                gone.remove(item)
            else:
                new.append(item)
        if not gone and not new:
            return [f"  {path}: the same in another order: {json.dumps(after)}"]
        return [f"- {path}: {json.dumps(item)}" for item in gone] + [f"+ {path}: {json.dumps(item)}" for item in new]
    return [f"- {path}: {json.dumps(before)}", f"+ {path}: {json.dumps(after)}"]


def brief(value: Json) -> str:
    """What there was or is: whole when it is short, else how much of it."""
    text = json.dumps(value)
    return f": {text}" if len(text) < 300 else f": {len(value)} entries: {', '.join(list(value)[:8])}"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    taking = commands.add_parser("take", help="print a snapshot of this machine as JSON")
    taking.add_argument("--counters", action="store_true", help="with the counters of the rules (not of policies)")
    taking.add_argument("--ids", action="store_true", help="with all BPF objects of the kernel (an exclusive machine)")
    comparing = commands.add_parser("diff", help="show what differs between two snapshots")
    comparing.add_argument("before", type=pathlib.Path)
    comparing.add_argument("after", type=pathlib.Path)
    commands.add_parser("sysctls", help="print the sysctls of this namespace as JSON")
    arguments = parser.parse_args()
    if arguments.command == "take":
        json.dump(take(arguments.counters, arguments.ids), sys.stdout, indent=1)
    elif arguments.command == "sysctls":
        json.dump(sysctls(), sys.stdout)
    else:
        before, after = (json.loads(path.read_text(encoding="utf-8")) for path in (arguments.before, arguments.after))
        lines = differences(before, after)
        print("\n".join(lines) or "the snapshots are equal")
        return 1 if lines else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
