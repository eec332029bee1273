# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is of bpftool on a host, and what a build of it would be made from."""

from __future__ import annotations

import platform
import typing as t
from dataclasses import asdict, dataclass, field

from ..._kernel.bpftool import Answer
from ..install.content import digest_of
from ..install.state import Installed
from ..sources.source import Wanted

TOOL = "bpftool"
# The part of a kernel tree that bpftool is made of (its Makefiles refer to the rest only for documentation).
KERNEL = Wanted(
    "tools/bpf/bpftool/Makefile",
    ("tools/bpf", "tools/lib", "tools/build", "tools/scripts", "tools/include", "tools/arch", "kernel/bpf", "scripts"),
    "the Linux kernel",
)
# The standalone repository, with libbpf beside it as a submodule.
MIRROR = Wanted("src/Makefile", (), "bpftool's mirror on its own")
BTF = "/sys/kernel/btf/vmlinux"


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
        return digest_of({**asdict(self), "machine": platform.machine()})


@dataclass(frozen=True)
class BpftoolState:
    """``installed`` is what we placed, ``here`` what answers at its path, ``package`` the distribution's.

    ``packages`` is what would have to be installed, and what of it is, for the running ``kernel``; ``recipe`` what a
    build would be made from. ``size`` is that of the best one in bytes. ``fresh_root``: there is no directory to build
    in yet.
    """

    here: Answer
    package: Answer
    installed: Installed
    kernel: str = ""
    size: int = 0
    fresh_root: bool = False
    versioned: tuple[Answer, ...] = ()
    packages: tuple[str, ...] = ()
    of_packages: t.Mapping[str, str] = field(default_factory=dict)
    own_kernel: bool = False
    recipe: t.Optional[Recipe] = None

    @property
    def best(self) -> Answer:
        """The one that a shell would start: ours is in front on the path."""
        return self.here if self.here.works or not self.package.works else self.package
