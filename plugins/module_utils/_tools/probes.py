# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lecture's tools as they are on this host: version, where from, and whether they do their work here.

A tool works when it did a small piece of its real work, not when its file is there.
"""

from __future__ import annotations

import os
import platform
import re
import typing as t
from dataclasses import asdict, dataclass, replace

from .._core import interpreter
from .._core.errors import LabError
from .._kernel import bpftool
from .install.state import PLACED, noted_of, record_of

if t.TYPE_CHECKING:
    from .._core.command import Runner
    from .._core.host import Host

_PROGRAM = "int one(void *context) { return 1; }\n"
_IR = 'target triple = "bpf"\ndefine i32 @one(ptr %context) {\n  ret i32 1\n}\n'
_OLD_IR = _IR.replace("ptr", "i8*")  # LLVM 14 and older
# The header's own names clash with nothing, but clang finds asm/types.h only below the multiarch folder.
_MULTIARCH = f"-I/usr/include/{platform.machine()}-linux-gnu"


@dataclass(frozen=True)
class Probe:
    """How to see a tool at work: ``work`` with ``stdin`` must succeed, and say ``expect`` (a regular expression).

    One that ``sends`` packets is not at work in check mode: there its version has to do.
    """

    name: str
    version: tuple[str, ...]
    work: tuple[str, ...] = ()
    stdin: str = ""
    expect: str = ""
    or_stdin: str = ""
    sends: bool = False


@dataclass(frozen=True)
class Finding:
    """``origin`` is a package with its version, "source: …", or "unknown"; ``why`` is empty when it works."""

    name: str
    path: str = ""
    version: str = ""
    origin: str = ""
    works: bool = False
    why: str = ""


_TO_BPF = ("-target", "bpf", "-O2", "-x", "c", "-c", "-o", "/dev/null", "-")
PROBES = (
    Probe("clang", ("--version",), _TO_BPF, _PROGRAM),
    Probe("llc", ("--version",), ("-march=bpf", "-filetype=asm", "-o", "-", "-"), _IR, r"r0 = 1", _OLD_IR),
    Probe("llvm-objdump", ("--version",), ("--version",), "", r"bpf"),
    Probe("gcc", ("--version",), ("-x", "c", "-c", "-o", "/dev/null", "-"), _PROGRAM),
    Probe("make", ("--version",), ("-f", "-", "-s"), "all:\n\t@echo made\n", r"made"),
    Probe("pkg-config", ("--version",), ("--libs", "libelf"), "", r"-lelf"),
    Probe("ip", ("-V",), ("-j", "link", "show", "dev", "lo"), "", r"LOOPBACK"),
    Probe("tc", ("-V",), ("-j", "qdisc", "show", "dev", "lo"), "", r"\["),
    Probe("iptables", ("-V",), ("-w", "-S", "INPUT"), "", r"-P INPUT"),
    Probe("ping", ("-V",), ("-c", "1", "-W", "1", "127.0.0.1"), "", r" 0% packet loss", sends=True),
    Probe("ethtool", ("--version",), ("-k", "lo"), "", r"Features for lo"),
    Probe("tcpdump", ("--version",), ("-d", "icmp"), "", r"ret"),
    Probe("jq", ("--version",), (".a",), '{"a": 42}', r"42"),
    Probe("git", ("--version",), ("--exec-path",), "", r"git"),
)


def gather(host: Host) -> list[Finding]:
    """All findings, in the order of the lecture."""
    runner = host.runner
    quiet = (replace(one, work=one.version, expect="") if one.sends and host.only_reads else one for one in PROBES)
    found = [_bpftool(runner), *(_probe(runner, probe) for probe in quiet), _go(runner), _header(runner)]
    origins = _origins(host, [finding.path for finding in found if finding.path])
    found = [Finding(**{**asdict(finding), "origin": origins.get(finding.path, "")}) for finding in found]
    return [*found, *map(_library, interpreter.as_used(tuple(interpreter.LIBRARIES)))]


def table(findings: t.Sequence[Finding]) -> list[str]:
    """A line for each finding: tool, version, where from, whether it works and else why not."""
    rows = [(one.name, one.version, one.origin, "works" if one.works else one.why) for one in findings]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[3]]) for row in rows]


def _bpftool(runner: Runner) -> Finding:
    path = runner.which("bpftool")
    if path is None:
        return Finding("bpftool", why="not installed")
    answer = bpftool.ask(runner, path)
    return Finding("bpftool", path, answer.version, works=answer.works, why=answer.why)


def _probe(runner: Runner, probe: Probe) -> Finding:
    path = runner.which(probe.name)
    if path is None:
        return Finding(probe.name, why="not installed")
    version, why = "", ""
    try:
        done = runner.run([path, *probe.version], check=False, timeout=20)
        number = re.search(r"\d+\.\d+[\w.+~-]*|\d{4,}", done.stdout + done.stderr)
        version = number.group(0).rstrip(".") if number else ""
        for stdin in filter(None, (probe.stdin or " ", probe.or_stdin)):
            done = runner.run([path, *probe.work], check=False, stdin=stdin, timeout=20)
            if done.rc == 0 and re.search(probe.expect, done.stdout):
                return Finding(probe.name, path, version, works=True)
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()
        why = f"{probe.name} {' '.join(probe.work)}: exit code {done.rc}, it said: {said[0][:200]}"
    except LabError as error:
        why = error.message
    return Finding(probe.name, path, version, why=why)


def _go(runner: Runner) -> Finding:
    path = "/usr/local/go/bin/go" if os.path.exists("/usr/local/go/bin/go") else runner.which("go")
    if path is None:
        return Finding("go", why="not installed (it is optional)")
    done = runner.run([path, "version"], check=False, timeout=20, env={"GOTOOLCHAIN": "local", "GOTELEMETRY": "off"})
    words = done.stdout.split()
    if words[:2] == ["go", "version"] and len(words) > 2:
        return Finding("go", path, words[2][2:], works=True)
    return Finding("go", path, why=f"go version: exit code {done.rc}")


def _header(runner: Runner) -> Finding:
    path = "/usr/include/iproute2/bpf_api.h"
    if not os.path.exists(path):
        return Finding("bpf_api.h", why="not installed (it is optional)")
    source = f'#include "{path}"\n__section("classifier") int one(struct __sk_buff *skb) {{ return TC_ACT_OK; }}\n'
    source = "#include <stdint.h>\n#include <linux/pkt_cls.h>\n" + source
    try:
        done = runner.run(["clang", "-D__x86_64__", _MULTIARCH, *_TO_BPF], check=False, stdin=source, timeout=20)
    except LabError as error:
        return Finding("bpf_api.h", path, why=error.message)
    why = "" if done.rc == 0 else f"clang: {(done.stderr.strip() or 'it said nothing').splitlines()[0][:200]}"
    return Finding("bpf_api.h", path, works=not why, why=why)


def _library(library: interpreter.Library) -> Finding:
    """A Python library, as the interpreter sees it that would use it."""
    why = f"{library.python} cannot import it: {library.why}" if library.broken else library.why
    return Finding(library.name, "", library.version, library.python if library.works else "", library.works, why)


def _origins(host: Host, paths: t.Sequence[str]) -> dict[str, str]:
    """Where each file is from, asked of the journal and of dpkg in one call."""
    origins: dict[str, str] = {}
    for tool in ("bpftool", "iproute2", "golang"):
        record = record_of(host.journal, tool)
        built = (record.about if record is not None else {}).get("source") or {}
        text = ", ".join(f"{name} {value}" for name, value in built.items() if value) or "an archive"
        origins.update({path: f"source: {text}" for path in noted_of(host.journal, PLACED, tool)})
    names: dict[str, str] = {}
    for path in paths:
        if path.startswith("/usr/local/go/"):
            origins[path] = origins.get("/usr/local/go", "unknown")
        if path not in origins:
            origins[path] = "unknown"
            real = os.path.realpath(path)
            for name in (path, real, real.replace("/usr/", "/", 1)):  # dpkg knows files by their old places, too
                names[name] = path
    done = host.runner.run(["dpkg-query", "-S", *names], check=False) if names else None
    for line in done.stdout.splitlines() if done else ():
        package, _colon, name = line.partition(": ")
        if name in names and not package.startswith("diversion"):
            origins[names[name]] = f"package {package.split(',')[0].split(':')[0]}"
    return origins
