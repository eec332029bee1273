# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build bpftool from a tree: the flags that this tree and this host's libraries need, and the proof; or take one."""

from __future__ import annotations

import os
import platform
import time
import typing as t
from dataclasses import asdict, dataclass

from ..._core import files
from ..._core.errors import LabError
from ..._kernel import elf
from ..builds.build_dir import BuildDir
from ..builds.steps import InBuildDir
from ..sources.source import AnySource, Wanted
from .state import KERNEL, MIRROR, TOOL, Recipe

if t.TYPE_CHECKING:
    from ..._core.host import Host

_MAKE_DIR = {KERNEL: "tools/bpf/bpftool", MIRROR: "src"}
# Disassembling what the JIT made needs libbfd or LLVM, which cannot be linked statically on most releases.
_NO_DISASSEMBLER = (
    "feature-llvm=0",
    "feature-libbfd=0",
    "feature-libbfd-liberty=0",
    "feature-libbfd-liberty-z=0",
)
# What the static libelf may need behind itself, according to the release's elfutils.
_BEHIND_LIBELF = (("-lz",), ("-lz", "-lzstd"), ("-lz", "-lzstd", "-llzma", "-lbz2"))
_PROBE = "int main(void) { return 0; }\n"
_EM = {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64", "ppc64le": "EM_PPC64", "s390x": "EM_S390", "riscv64": "EM_RISCV"}


@dataclass(frozen=True)
class BuildBpftool(InBuildDir):
    """Fetch ``source``, build it and stage the binary."""

    tool = TOOL
    libraries = ("elftools",)
    source: AnySource
    wanted: Wanted
    recipe: Recipe
    prefix: str
    jobs: int

    def title(self) -> str:
        origin = ", ".join(f"{name} {value}" for name, value in self.recipe.identity)
        return f"build bpftool from {self.wanted.what}, {origin}"

    def build(self, host: Host, place: BuildDir) -> dict[str, t.Any]:
        """Prove that it is linked as it should be, and that it answers."""
        start = time.monotonic()
        self.source.fetch(host, place, self.wanted)
        fetched = time.monotonic()
        static, why_not, binary, flags = self._compile(place)
        place.run(["strip", binary], doing="stripping bpftool")
        linked = elf.linkage(binary)
        prove(linked, static)
        stage(place, binary, self.prefix)
        return {
            "source": {**asdict(self.source), **dict(self.recipe.identity)},
            "compiler": self.recipe.compiler,
            "flags": list(flags),
            "static": linked.static,
            "not_static_because": why_not,
            "fetch_seconds": round(fetched - start, 1),
            "build_seconds": round(time.monotonic() - fetched, 1),
        }

    def _compile(self, place: BuildDir) -> tuple[bool, str, str, tuple[str, ...]]:
        """Compile; returns (static, why it is not, the binary, the flags)."""
        folder = os.path.join(place.src, _MAKE_DIR[self.wanted])
        flags = [f"-j{self.jobs}", f"OUTPUT={place.out}/"]
        if self.recipe.skeletons:
            # Their own probe compiles for BPF without the multiarch include path, and so finds nothing on Debian.
            flags.append("feature-clang-bpf-co-re=1")
        static, why_not = False, ""
        if self.recipe.static != "no":
            why_not = static_libelf(place)
            static = not why_not
            if why_not and self.recipe.static == "required":
                raise LabError(
                    f"bpftool cannot be linked statically on this host: {why_not}.",
                    "static: preferred builds it with shared libraries here; what was installed before is untouched.",
                )
        if static:
            flags += [f"EXTRA_LDFLAGS=-static -L{place.path}/static", *_NO_DISASSEMBLER, "SKIP_CRYPTO=1"]
            flags += [] if _archive(place, "libcap") else ["feature-libcap=0"]
        elif not os.path.exists("/usr/include/openssl/evp.h"):
            flags.append("SKIP_CRYPTO=1")
        place.run(["make", "-C", folder, *flags], doing="building bpftool")
        binary = os.path.join(place.out, "bpftool")
        if not os.path.exists(binary):
            raise LabError("Building bpftool: make succeeded, and there is no bpftool.", "Is this tree a bpftool's?")
        return static, why_not, binary, tuple(flag for flag in flags if not flag.startswith(("-j", "OUTPUT=")))


@dataclass(frozen=True)
class TakeBinary(InBuildDir):
    """Stage a binary that another host built, once its checksum is proven."""

    tool = TOOL
    libraries = ("elftools",)
    path: str
    checksum: str
    prefix: str
    static: str

    def title(self) -> str:
        return f"take bpftool from {self.path} ({self.checksum[:19]}…)"

    def build(self, host: Host, place: BuildDir) -> dict[str, t.Any]:
        """Prove its checksum, how it is linked, and that it answers."""
        binary = os.path.join(place.out, "bpftool")
        # Read once: the file may be swapped between two looks at it.
        content = files.read(self.path, follow=True)
        if content is None:
            raise LabError(f"{self.path}: there is no such file.")
        found = f"sha256:{files.digest(content)}"
        if found != self.checksum:
            raise LabError(
                f"{self.path} has the checksum {found}, not {self.checksum}.",
                "It is not the binary that the building host made; nothing was changed.",
            )
        files.write(binary, content, mode=0o755)
        os.chown(binary, place.uid, place.uid)
        linked = elf.linkage(binary)
        prove(linked, self.static == "required")
        stage(place, binary, self.prefix)
        return {"source": {"binary": self.checksum}, "static": linked.static}


def prove(linked: elf.Linkage, static: bool) -> None:
    """Raise LabError when a binary is not what it should be, by its own ELF headers."""
    wanted = _EM.get(platform.machine(), linked.machine)
    if linked.machine != wanted:
        raise LabError(f"The bpftool is for {linked.machine}, and this host is {wanted}.")
    if static and not linked.static:
        needs = ", ".join(linked.needed) or linked.interpreter
        raise LabError(f"The bpftool is not linked statically: it needs {needs}.")


def stage(place: BuildDir, binary: str, prefix: str) -> None:
    """Prove that the binary answers on this kernel, and stage it."""
    place.run([binary, "version"], doing="starting the new bpftool", timeout=20)
    target = os.path.join(place.stage, prefix.lstrip("/"), "sbin", "bpftool")
    os.makedirs(os.path.dirname(target))
    os.rename(binary, target)


def _archive(place: BuildDir, name: str) -> str:
    """The path of a static library, "" when it is not installed (gcc then only repeats the name)."""
    found = place.run(["gcc", f"-print-file-name={name}.a"], doing=f"looking for {name}.a").stdout.strip()
    return found if "/" in found else ""


def static_libelf(place: BuildDir) -> str:
    """Make ``static/libelf.a``, a linker script that names libelf with all it needs; returns why it cannot be.

    bpftool's Makefile links ``-lelf -lz`` in this order, which is too little where libelf.a wants zstd. With this
    script in front of the library path, no Makefile is edited and the bootstrap binary links as well.
    """
    library = _archive(place, "libelf")
    if not library:
        return "there is no libelf.a (the package libelf-dev brings it)"
    if not _archive(place, "libz"):
        return "there is no libz.a (the package zlib1g-dev brings it)"
    folder = os.path.join(place.path, "static")
    probe = os.path.join(place.path, "probe.c")
    os.makedirs(folder, exist_ok=True)
    os.chown(folder, place.uid, place.uid)
    with open(probe, "w", encoding="ascii") as file:
        file.write(_PROBE)
    os.chown(probe, place.uid, place.uid)
    said = ""
    for behind in _BEHIND_LIBELF:
        libraries = ["-Wl,--whole-archive", library, "-Wl,--no-whole-archive", *behind]
        argv = ["gcc", "-static", probe, "-o", os.path.join(folder, "probe"), *libraries]
        done = place.run(argv, doing="probing for a static libelf", check=False)
        if done.rc == 0:
            with open(os.path.join(folder, "libelf.a"), "w", encoding="utf-8") as file:
                file.write(f"GROUP ( {library} {' '.join(behind)} )\n")
            return ""
        undefined = [line for line in done.stderr.splitlines() if "undefined reference" in line]
        # The last try with undefined symbols says most; a later one may only say that liblzma is not there.
        said = undefined[0] if undefined else said or (done.stderr.splitlines() or ["the linker said nothing"])[-1]
    symbol = said.split("undefined reference to ")[-1].strip("`'\"") if "undefined reference" in said else said
    return f"its libelf.a cannot be linked by itself (it refers to {symbol}, which no static library here has)"
