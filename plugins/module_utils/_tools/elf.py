# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an ELF file says of itself: its machine, whether it is linked statically, whether it was stripped."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._core.errors import LabError
from .._core.interpreter import require


@dataclass(frozen=True)
class Linkage:
    """``machine`` as ELF names it (EM_X86_64), ``interpreter`` "" when the kernel starts the file by itself."""

    machine: str
    interpreter: str
    needed: tuple[str, ...]
    stripped: bool

    @property
    def static(self) -> bool:
        """No program interpreter and no needed library (a static PIE has a dynamic section, but neither of these)."""
        return not self.interpreter and not self.needed


def linkage(path: str) -> Linkage:
    """Read ``path``. Raises LabError when it is no ELF file, or when pyelftools is not installed."""
    # Imported late: only a build needs it.
    try:
        from elftools.common.exceptions import ELFError
        from elftools.elf.dynamic import DynamicSegment
        from elftools.elf.elffile import ELFFile
        from elftools.elf.segments import InterpSegment
    except ImportError:
        require(["elftools"])
        raise
    try:
        with open(path, "rb") as file:
            elf = ELFFile(file)
            interpreter, needed = "", list[str]()
            for segment in elf.iter_segments():
                if isinstance(segment, InterpSegment):
                    interpreter = segment.get_interp_name()
                elif isinstance(segment, DynamicSegment):
                    tags: t.Any = segment.iter_tags("DT_NEEDED")
                    needed += [tag.needed for tag in tags]
            names: t.Any = elf.get_section_by_name(".symtab")
            return Linkage(elf["e_machine"], interpreter, tuple(needed), names is None)
    except ELFError as error:
        raise LabError(f"{path} is not an ELF binary: {error}.") from error
