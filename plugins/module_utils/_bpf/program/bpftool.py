# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bpftool commands that the lab runs, and what its loader says when it refuses."""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass

from ..._core.command import Runner
from ..._core.errors import Completed, LabError, ToolMissing, outcome
from ..._kernel import bpftool

_LOG = re.compile(r"-- BEGIN PROG LOAD LOG --\n(?P<log>.*?)(?:libbpf: )?-- END PROG LOAD LOG --", re.DOTALL)
_PROGRAM = re.compile(r"libbpf: (?:prog|load bpf program) '(?P<name>[^']*)'")
_INSTRUCTION = re.compile(r"^\d+: \([0-9a-f]{2}\) ")
_NOISE = re.compile(r"^(processed \d+ insns|\d+: |;|from \d+ to |R\d+(?:_w)?=|verification time|stack depth)")
_LOCATION = re.compile(r" @ (?P<file>[^:@]+):(?P<line>\d+)\s*$")

# What the loader or the verifier says, and the cause and cure in a student's words.
KNOWN: tuple[tuple[str, str], ...] = (
    (
        "legacy map definitions in 'maps' section",
        'The source defines a map the old way, by a struct in SEC("maps"), which libbpf 1.0 and newer do not load: '
        'define it in SEC(".maps") by __uint(type, …), __type(key, …) and so on.',
    ),
    (
        "failed to guess program type",
        "The section's name does not tell the program's type: give the type, or name the section SEC(\"xdp\").",
    ),
    (
        "missing BPF prog type",
        "The section's name does not tell the program's type: give the type, or name the section SEC(\"xdp\").",
    ),
    (
        "invalid access to packet",
        "A bounds check is missing: before a byte of the packet is read, the program has to compare the end of what it "
        "reads with ctx->data_end, and return when it lies beyond.",
    ),
    (
        "cannot call GPL-restricted function",
        'The program calls a helper that is for programs under the GPL only: add char _license[] SEC("license") = '
        '"GPL"; to the source.',
    ),
    (
        "map_value_or_null",
        "A map lookup can find nothing: compare its result with NULL before it is used.",
    ),
    ("infinite loop detected", "A loop has no bound that the verifier can see: give it a constant one."),
    ("back-edge from insn", "This kernel takes no loops: unroll it by #pragma unroll."),
    ("BPF program is too large", "The verifier has too many paths to walk: shorten loops, split the program."),
    ("R0 !read_ok", "The program can end without a return value: return a verdict on each path."),
    ("invalid read from stack", "A variable is read before all of its bytes, padding too, were set: zero it first."),
    ("invalid indirect read from stack", "A variable is handed to a helper before all of its bytes, padding too, were "
     "set: zero it first."),
    ("unknown func", "This kernel does not have the helper, or not for this program type."),
    ("couldn't reuse pinned map", "The pinned map is of another shape than the object's: unpin it, or change one."),
    ("Operation not permitted", "Loading BPF needs root, and a kernel that is not locked down (see "
     "/sys/kernel/security/lockdown)."),
)  # fmt: skip


class LoadRefused(LabError):
    """The loader or the verifier refused an object; the details have ``verifier_log`` and where in the source."""

    def __init__(self, path: str, done: Completed) -> None:
        refusal = read_refusal(done.stderr or done.stdout)
        where = f" at {refusal.location}" if refusal.location else ""
        line = f" ({refusal.source_line})" if refusal.source_line else ""
        who = f"the program {refusal.program} of {path}" if refusal.program else path
        why = refusal.reason if refusal.log or "libbpf: " in done.stderr + done.stdout else outcome(done)
        super().__init__(
            f"The kernel's verifier refused {who}{where}{line}: {why.rstrip('.')}."
            if refusal.log
            else f"{who} cannot be loaded: {why.rstrip('.')}.",
            refusal.cure,
            program=refusal.program,
            reason=refusal.reason,
            source_line=refusal.source_line,
            source_location=refusal.location,
            instruction=refusal.instruction,
            verifier_log=refusal.log[-20000:],
            loader_output=done.stderr[-20000:],
            argv=list(done.argv),
            rc=done.rc,
        )


@dataclass(frozen=True)
class Refusal:
    """What could be read from the loader's words; "" for what is not there. ``location`` is file:line."""

    reason: str
    program: str = ""
    instruction: str = ""
    source_line: str = ""
    location: str = ""
    log: str = ""
    cure: str = ""


def read_refusal(said: str) -> Refusal:
    """Find the verifier's log in bpftool's messages, and in it the reason, the instruction and the source line."""
    cure = next((words for sign, words in KNOWN if sign in said), "")
    match = _LOG.search(said)
    if match is None:
        lines = [line for line in said.splitlines() if line.strip() and not line.startswith("Warning:")]
        plain = [line[len("libbpf: ") :] for line in lines if line.startswith("libbpf: ")]
        reason = next((line for line in plain if any(sign in line for sign, _words in KNOWN)), "")
        return Refusal(reason or (plain or lines or ["it said nothing"])[0], cure=cure)
    log = match["log"]
    lines = log.splitlines()
    at = max((number for number, line in enumerate(lines) if _INSTRUCTION.match(line)), default=-1)
    source = next((line for line in reversed(lines[: at + 1]) if line.startswith(";")), "")
    place = _LOCATION.search(source)
    reasons = [line for line in lines[at + 1 :] if line.strip() and not _NOISE.match(line)]
    name = _PROGRAM.search(said)
    return Refusal(
        reason=reasons[0] if reasons else (lines or ["no reason given"])[-1],
        program=name["name"] if name else "",
        instruction=lines[at].partition(" ;")[0].strip() if at >= 0 else "",
        source_line=_LOCATION.sub("", source).lstrip("; ").strip(),
        location=f"{place['file'].strip()}:{place['line']}" if place else "",
        log=log,
        cure=cure,
    )


class Bpftool:
    """bpftool, run by ``runner``."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner

    def _run(self, arguments: t.Sequence[str]) -> Completed:
        done = self.runner.run(["bpftool", *arguments], check=False, timeout=120)
        if done.rc != 0 and bpftool.WRAPPER_SAYS in done.stdout + done.stderr:
            for found in bpftool.versioned(self.runner):
                return self.runner.run([found.path, *arguments], check=False, timeout=120)
            raise ToolMissing("bpftool for the running kernel", "linux-tools-$(uname -r) or linux-tools-generic")
        return done

    def loadall(
        self,
        path: str,
        programs: str,
        *,
        program_type: str,
        maps: t.Optional[str] = None,
        reuse: t.Optional[t.Mapping[str, str]] = None,
    ) -> None:
        """Load all programs of an object and pin them in the folder ``programs``, its maps in the folder ``maps``.

        ``reuse``: maps by name, with the pins of those to use in their place. Raises LoadRefused.
        """
        arguments = ["prog", "loadall", path, programs, "type", program_type]
        for name, pin in (reuse or {}).items():
            arguments += ["map", "name", name, "pinned", pin]
        if maps is not None:
            arguments += ["pinmaps", maps]
        done = self._run(arguments)
        if done.rc != 0:
            raise LoadRefused(path, done)
        if not os.path.isdir(programs):
            raise LabError(f"bpftool ended as if it had loaded {path}, and has pinned nothing in {programs}.")
