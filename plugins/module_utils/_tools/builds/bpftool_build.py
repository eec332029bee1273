# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build bpftool from a tree, in a workshop: the flags that this tree and this host's libraries need, and the proof."""

from __future__ import annotations

import os
import platform
import time
import typing as t
from dataclasses import asdict, dataclass

from ..._core.errors import LabError
from ..._core.plan import Step
from .. import elf
from ..sources.source import AnySource, Wanted
from . import receipt
from .place import Staged, offer
from .workshop import ROOT, Workshop, drop_workshop, workshop

if t.TYPE_CHECKING:
    from ..._core.command import Runner
    from ..._core.host import Host

TOOL = "bpftool"
# The part of a kernel tree that bpftool is made of (its Makefiles refer to the rest only for documentation).
KERNEL = Wanted(
    "tools/bpf/bpftool/Makefile",
    ("tools/bpf", "tools/lib", "tools/build", "tools/scripts", "tools/include", "tools/arch", "kernel/bpf", "scripts"),
    "the Linux kernel",
)
# The standalone repository, with libbpf beside it as a submodule.
MIRROR = Wanted("src/Makefile", (), "bpftool's mirror on its own")
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
BTF = "/sys/kernel/btf/vmlinux"
_EM = {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64", "ppc64le": "EM_PPC64", "s390x": "EM_S390", "riscv64": "EM_RISCV"}


def compiler(runner: Runner) -> str:
    """What compiles here, in a line; another answer means another build. Raises ToolMissing."""
    lines = [runner.run(["gcc", "--version"]).stdout.splitlines()[0]]
    if runner.which("clang"):
        lines.append(runner.run(["clang", "--version"]).stdout.splitlines()[0])
    return "; ".join(lines)


@dataclass(frozen=True)
class Recipe:
    """All that a build is made from: equal recipes give equal binaries."""

    tree: str
    identity: tuple[tuple[str, str], ...]
    compiler: str
    static: str
    skeletons: bool

    @property
    def key(self) -> str:
        """The recipe's digest."""
        return receipt.digest_of({**asdict(self), "machine": platform.machine()})


@dataclass(frozen=True)
class BuildBpftool(Step):
    """Fetch ``source``, build it and put the binary ready for Place."""

    source: AnySource
    wanted: Wanted
    recipe: Recipe
    prefix: str
    jobs: int
    root: str = ROOT

    def title(self) -> str:
        """See Step."""
        origin = ", ".join(f"{name} {value}" for name, value in self.recipe.identity)
        return f"build bpftool from {self.wanted.what}, {origin}"

    def apply(self, host: Host) -> None:
        """See Step."""
        shop = workshop(host, TOOL, self.root)
        start = time.monotonic()
        self.source.fetch(host, shop, self.wanted)
        fetched = time.monotonic()
        static, why_not, binary, flags = self._build(shop)
        shop.run(["strip", binary], doing="stripping bpftool")
        linked = elf.linkage(binary)
        prove(linked, static)
        about = {
            "source": {**asdict(self.source), **dict(self.recipe.identity)},
            "compiler": self.recipe.compiler,
            "flags": list(flags),
            "static": linked.static,
            "not_static_because": why_not,
            "fetch_seconds": round(fetched - start, 1),
            "build_seconds": round(time.monotonic() - fetched, 1),
        }
        stage(host, shop, binary, self.prefix, about)

    def undo(self, host: Host) -> None:
        """See Step."""
        drop_workshop(host, TOOL)

    def _build(self, shop: Workshop) -> tuple[bool, str, str, tuple[str, ...]]:
        """Compile; returns (static, why it is not, the binary, the flags)."""
        folder = os.path.join(shop.src, _MAKE_DIR[self.wanted])
        flags = [f"-j{self.jobs}", f"OUTPUT={shop.out}/"]
        if self.recipe.skeletons:
            # Their own probe compiles for BPF without the multiarch include path, and so finds nothing on Debian.
            flags.append("feature-clang-bpf-co-re=1")
        static, why_not = False, ""
        if self.recipe.static != "no":
            why_not = static_libelf(shop)
            static = not why_not
            if why_not and self.recipe.static == "required":
                raise LabError(
                    f"bpftool cannot be linked statically on this host: {why_not}.",
                    "static: preferred builds it with shared libraries here; what was installed before is untouched.",
                )
        if static:
            flags += [f"EXTRA_LDFLAGS=-static -L{shop.path}/static", *_NO_DISASSEMBLER, "SKIP_CRYPTO=1"]
            flags += [] if _archive(shop, "libcap") else ["feature-libcap=0"]
        elif not os.path.exists("/usr/include/openssl/evp.h"):
            flags.append("SKIP_CRYPTO=1")
        shop.run(["make", "-C", folder, *flags], doing="building bpftool")
        binary = os.path.join(shop.out, "bpftool")
        if not os.path.exists(binary):
            raise LabError("Building bpftool: make succeeded, and there is no bpftool.", "Is this tree a bpftool's?")
        return static, why_not, binary, tuple(flag for flag in flags if not flag.startswith(("-j", "OUTPUT=")))


@dataclass(frozen=True)
class TakeBinary(Step):
    """Put a binary that another host built ready for Place, once its checksum is proven."""

    path: str
    checksum: str
    prefix: str
    static: str
    root: str = ROOT

    def title(self) -> str:
        """See Step."""
        return f"take bpftool from {self.path} ({self.checksum[:19]}…)"

    def apply(self, host: Host) -> None:
        """See Step."""
        shop = workshop(host, TOOL, self.root)
        binary = os.path.join(shop.out, "bpftool")
        try:
            # Copied first and proven then: the file may be swapped between two looks at it.
            with open(self.path, "rb") as source, open(binary, "wb") as target:
                target.write(source.read())
        except OSError as error:
            raise LabError(f"{self.path}: {error.strerror}.") from error
        found = f"sha256:{receipt.sha256(binary)}"
        if found != self.checksum:
            raise LabError(
                f"{self.path} has the checksum {found}, not {self.checksum}.",
                "It is not the binary that the building host made; nothing was changed.",
            )
        os.chmod(binary, 0o755)
        os.chown(binary, shop.uid, shop.uid)
        linked = elf.linkage(binary)
        prove(linked, self.static == "required")
        stage(host, shop, binary, self.prefix, {"source": {"binary": self.checksum}, "static": linked.static})

    def undo(self, host: Host) -> None:
        """See Step."""
        drop_workshop(host, TOOL)


def prove(linked: elf.Linkage, static: bool) -> None:
    """Raise LabError when a binary is not what it should be, by its own ELF headers."""
    wanted = _EM.get(platform.machine(), linked.machine)
    if linked.machine != wanted:
        raise LabError(f"The bpftool is for {linked.machine}, and this host is {wanted}.")
    if static and not linked.static:
        needs = ", ".join(linked.needed) or linked.interpreter
        raise LabError(f"The bpftool is not linked statically: it needs {needs}.")


def stage(host: Host, shop: Workshop, binary: str, prefix: str, about: dict[str, t.Any]) -> None:
    """Prove that the binary answers on this kernel and hand it on."""
    shop.run([binary, "version"], doing="starting the new bpftool", timeout=20)
    target = os.path.join(shop.stage, prefix.lstrip("/"), "sbin", "bpftool")
    os.makedirs(os.path.dirname(target))
    os.rename(binary, target)
    offer(host, TOOL, Staged(shop.stage, about))


def _archive(shop: Workshop, name: str) -> str:
    """The path of a static library, "" when it is not installed (gcc then only repeats the name)."""
    found = shop.run(["gcc", f"-print-file-name={name}.a"], doing=f"looking for {name}.a").stdout.strip()
    return found if "/" in found else ""


def static_libelf(shop: Workshop) -> str:
    """Make ``static/libelf.a``, a linker script that names libelf with all it needs; returns why it cannot be.

    bpftool's Makefile links ``-lelf -lz`` in this order, which is too little where libelf.a wants zstd. With this
    script in front of the library path, no Makefile is edited and the bootstrap binary links as well.
    """
    library = _archive(shop, "libelf")
    if not library:
        return "there is no libelf.a (the package libelf-dev brings it)"
    if not _archive(shop, "libz"):
        return "there is no libz.a (the package zlib1g-dev brings it)"
    folder = os.path.join(shop.path, "static")
    probe = os.path.join(shop.path, "probe.c")
    os.makedirs(folder, exist_ok=True)
    os.chown(folder, shop.uid, shop.uid)
    with open(probe, "w", encoding="ascii") as file:
        file.write(_PROBE)
    os.chown(probe, shop.uid, shop.uid)
    said = ""
    for behind in _BEHIND_LIBELF:
        libraries = ["-Wl,--whole-archive", library, "-Wl,--no-whole-archive", *behind]
        argv = ["gcc", "-static", probe, "-o", os.path.join(folder, "probe"), *libraries]
        done = shop.run(argv, doing="probing for a static libelf", check=False)
        if done.rc == 0:
            with open(os.path.join(folder, "libelf.a"), "w", encoding="utf-8") as file:
                file.write(f"GROUP ( {library} {' '.join(behind)} )\n")
            return ""
        undefined = [line for line in done.stderr.splitlines() if "undefined reference" in line]
        # The last try with undefined symbols says most; a later one may only say that liblzma is not there.
        said = undefined[0] if undefined else said or (done.stderr.splitlines() or ["the linker said nothing"])[-1]
    symbol = said.split("undefined reference to ")[-1].strip("`'\"") if "undefined reference" in said else said
    return f"its libelf.a cannot be linked by itself (it refers to {symbol}, which no static library here has)"
