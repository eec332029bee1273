# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compile C to a BPF object: the command lines, the compiler's words, the disassembly."""

from __future__ import annotations

import os
import platform
import re
import typing as t
from dataclasses import dataclass

from ..._core import files
from ..._core.command import Runner
from ..._core.errors import Completed, LabError, ToolMissing, outcome

FLAGS = ("-O2", "-g", "-Wall")
OBJECT = "object.o"  # the name of what is compiled, in its temporary folder
# Debian's multiarch folder where it is not simply the machine's name.
_TRIPLETS = {
    "armv7l": "arm-linux-gnueabihf",
    "i686": "i386-linux-gnu",
    "ppc64le": "powerpc64le-linux-gnu",
}
_DIAGNOSTIC = re.compile(
    r"^(?P<file>[^:\n]+):(?P<line>\d+):(?P<column>\d+): (?P<kind>(?:fatal )?error|warning): (?P<text>.*)$"
)
_INSTRUCTION = re.compile(r"^\s*[0-9]+:\s+(?P<text>\S.*)$")


class CompileFailed(LabError):
    """The compiler refused the source; ``diagnostics`` and ``compiler_output`` are among the details."""

    def __init__(self, source: str, done: Completed) -> None:
        found = diagnostics(done.stderr)
        first = next((line for line in found if "error" in line["kind"]), None)
        text = f"{first['file']}:{first['line']}:{first['column']}: {first['message']}" if first else outcome(done)
        fix = ""
        if first and "file not found" in first["message"]:
            fix = "Install the headers (libbpf-dev, linux-libc-dev), or name their folder in include_paths."
        super().__init__(
            f"{source} does not compile: {text.rstrip('.')}.",
            fix,
            diagnostics=found,
            compiler_output=done.stderr[-20000:],
            argv=list(done.argv),
            rc=done.rc,
        )


def diagnostics(text: str) -> list[dict[str, t.Any]]:
    """Clang's messages: file, line, column (both from 1), kind (error, fatal error, warning), message."""
    return [
        {
            "file": match["file"],
            "line": int(match["line"]),
            "column": int(match["column"]),
            "kind": match["kind"],
            "message": match["text"],
        }
        for match in map(_DIAGNOSTIC.match, text.splitlines())
        if match
    ]


def system_flags() -> tuple[str, ...]:
    """What makes this machine's C headers usable for -target bpf.

    asm/types.h lies in the multiarch folder, which clang searches for its own target only; and gnu/stubs.h asks for
    the 32-bit headers of gcc-multilib unless a 64-bit machine is named.
    """
    machine = platform.machine()
    folder = f"/usr/include/{_TRIPLETS.get(machine, machine + '-linux-gnu')}"
    flags = ["-idirafter", folder] if os.path.isdir(folder) else []
    return (*flags, f"-D__{machine}__") if machine in ("x86_64", "aarch64") else tuple(flags)


@dataclass(frozen=True)
class Recipe:
    """How a source becomes an object. ``method``: "direct" is clang alone, "llc" is clang to LLVM IR and then llc."""

    source: str
    method: str = "direct"
    flags: tuple[str, ...] = FLAGS
    include_paths: tuple[str, ...] = ()

    def commands(self, output: str, depfile: str, ir: str) -> list[list[str]]:
        """The command lines, in order; ``ir`` is the file between the two steps of the llc method."""
        clang = ["clang", "-target", "bpf", *self.flags]
        clang += [f"-I{path}" for path in self.include_paths]
        clang += [*system_flags(), "-MD", "-MF", depfile, "-MT", "object"]
        if self.method == "direct":
            return [[*clang, "-c", self.source, "-o", output]]
        return [
            [*clang, "-emit-llvm", "-c", self.source, "-o", ir],
            ["llc", "-march=bpf", "-mcpu=probe", "-filetype=obj", ir, "-o", output],
        ]

    def tools(self) -> tuple[str, ...]:
        """The programs that it runs."""
        return ("clang",) if self.method == "direct" else ("clang", "llc")


def compile_object(runner: Runner, recipe: Recipe, folder: str) -> tuple[str, list[str], list[dict[str, t.Any]]]:
    """Compile inside the empty ``folder``; returns the object's path, the headers it was made from, and warnings."""
    output, depfile, ir = (os.path.join(folder, name) for name in (OBJECT, "object.d", "object.ll"))
    said = ""
    for argv in recipe.commands(output, depfile, ir):
        # The working directory goes into the debug information: a fixed one makes equal inputs give equal objects.
        done = runner.run(argv, check=False, timeout=120, cwd=os.path.dirname(recipe.source))
        said += done.stderr
        if done.rc != 0:
            raise CompileFailed(recipe.source, done)
    text = os.fsdecode(files.read(depfile) or b"")
    words = re.split(r"(?<!\\)\s+", text.replace("\\\n", " ").partition(":")[2].strip())
    headers = [word.replace("\\ ", " ") for word in words if word and word != recipe.source]
    return output, headers, diagnostics(said)


def identity(runner: Runner, tools: t.Iterable[str]) -> list[list[t.Any]]:
    """The tools' files: path, size in bytes, modification time in ns. Raises ToolMissing."""
    found = []
    for tool in tools:
        path = runner.which(tool)
        if path is None:
            raise ToolMissing(tool, {"clang": "clang", "llc": "llvm"}.get(tool, ""))
        path = os.path.realpath(path)
        status = os.stat(path)
        found.append([path, status.st_size, status.st_mtime_ns])
    return found


def version(runner: Runner, tools: t.Iterable[str]) -> str:
    """The first line of each tool's --version that names a version."""
    lines = []
    for tool in tools:
        said = runner.run([tool, "--version"], doing=f"ask {tool} for its version").stdout
        lines.append(next((line.strip() for line in said.splitlines() if "version" in line), said.strip()[:80]))
    return "; ".join(lines)


def disassemble(runner: Runner, path: str, section: str) -> list[str]:
    """The instructions of one section of an object, one a line. Raises LabError when there is no such section."""
    done = runner.run(
        ["llvm-objdump", "--disassemble", "--no-show-raw-insn", f"--section={section}", path],
        doing=f"disassemble the section {section}",
    )
    lines = [match["text"].strip() for match in map(_INSTRUCTION.match, done.stdout.splitlines()) if match]
    if not lines:
        raise LabError(f"{path} has no section {section!r} with instructions.", "See the value 'sections'.")
    return lines
