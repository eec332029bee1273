# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ELF files hold, read by pyelftools: a BPF object its programs and maps, any binary how it is linked."""

from __future__ import annotations

import os
import typing as t
from dataclasses import asdict, dataclass

from .._core import files, interpreter
from .._core.errors import LabError
from .btf import Btf, MapDefinition, map_definitions

EM_BPF = ("EM_BPF", 247)  # Ubuntu 22.04's pyelftools has no name for the number
SHF_EXECINSTR = 0x4


@dataclass(frozen=True)
class ProgramDefinition:
    """A program in an object: its function's full name, its section and its length in instructions."""

    name: str
    section: str
    instructions: int


@dataclass(frozen=True)
class ObjectInfo:
    """What an object file holds. ``sections`` are those with code or data of the program, in the file's order."""

    sections: tuple[str, ...]
    programs: tuple[ProgramDefinition, ...]
    maps: tuple[MapDefinition, ...]
    licence: str

    def as_dict(self) -> dict[str, t.Any]:
        """Plain JSON types, for return values and the journal."""
        return {
            "sections": list(self.sections),
            "programs": [asdict(program) for program in self.programs],
            "maps": [asdict(entry) for entry in self.maps],
            "licence": self.licence,
        }

    @classmethod
    def from_dict(cls, value: t.Mapping[str, t.Any]) -> ObjectInfo:
        """The inverse of ``as_dict``."""
        return cls(
            tuple(value["sections"]),
            tuple(ProgramDefinition(**program) for program in value["programs"]),
            tuple(MapDefinition(**entry) for entry in value["maps"]),
            value["licence"],
        )


def read_object(path: str) -> ObjectInfo:
    """Read an object file. Raises LabError when it is missing, no BPF object, or pyelftools does not work."""
    try:
        # Imported here: a run without a change has no object to read.
        from elftools.common.exceptions import ELFError
        from elftools.elf.elffile import ELFFile
        from elftools.elf.sections import SymbolTableSection
    except ImportError:
        interpreter.require(["elftools"])
        raise
    try:
        with open(path, "rb") as file:
            elf = ELFFile(file)
            if elf["e_machine"] not in EM_BPF:
                raise LabError(
                    f"{path} is an ELF file for {elf['e_machine']}, not for BPF.",
                    "Compile it with clang -target bpf, for example by ebpf.lab.bpf_object.",
                )
            sections = list(elf.iter_sections())
            code = {
                number: section.name
                for number, section in enumerate(sections)
                if section["sh_type"] == "SHT_PROGBITS" and section["sh_flags"] & SHF_EXECINSTR and section["sh_size"]
            }
            # Functions in .text are called by programs and are none themselves: they said no SEC().
            entries = {number: name for number, name in code.items() if name != ".text"}
            programs, legacy = [], []
            for table in sections:
                if not isinstance(table, SymbolTableSection):
                    continue
                for symbol in table.iter_symbols():
                    where = symbol["st_shndx"]
                    if not isinstance(where, int):
                        continue
                    if symbol["st_info"]["type"] == "STT_FUNC" and where in entries:
                        programs.append(ProgramDefinition(symbol.name, entries[where], symbol["st_size"] // 8))
                    elif sections[where].name == "maps" and symbol["st_info"]["type"] == "STT_OBJECT":
                        legacy.append(MapDefinition(symbol.name, legacy=True))
            licence = elf.get_section_by_name("license")
            btf = elf.get_section_by_name(".BTF")
            return ObjectInfo(
                sections=tuple(
                    section.name
                    for section in sections
                    if section["sh_type"] in ("SHT_PROGBITS", "SHT_NOBITS")
                    and section["sh_size"]
                    and not section.name.startswith((".debug", ".BTF"))
                ),
                programs=tuple(programs),
                maps=tuple((map_definitions(Btf(btf.data())) if btf is not None else []) + legacy),
                licence=os.fsdecode(licence.data().split(b"\0")[0]) if licence is not None else "",
            )
    except OSError as error:
        raise LabError(f"The BPF object {path} cannot be read: {error.strerror}.", "Compile it first.") from error
    except (ELFError, UnicodeDecodeError) as error:
        raise LabError(
            f"{path} is not an ELF object file: {error}.",
            "Compile it with clang -target bpf, for example by ebpf.lab.bpf_object.",
        ) from error


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
    try:
        from elftools.common.exceptions import ELFError
        from elftools.elf.dynamic import DynamicSegment
        from elftools.elf.elffile import ELFFile
        from elftools.elf.segments import InterpSegment
    except ImportError:
        interpreter.require(["elftools"])
        raise
    try:
        with open(path, "rb") as file:
            elf = ELFFile(file)
            starter, needed = "", list[str]()
            for segment in elf.iter_segments():
                if isinstance(segment, InterpSegment):
                    starter = segment.get_interp_name()
                elif isinstance(segment, DynamicSegment):
                    tags: t.Any = segment.iter_tags("DT_NEEDED")
                    needed += [tag.needed for tag in tags]
            names: t.Any = elf.get_section_by_name(".symtab")
            return Linkage(elf["e_machine"], starter, tuple(needed), names is None)
    except OSError as error:
        raise files.failed(f"read {path}", error) from error
    except ELFError as error:
        raise LabError(f"{path} is not an ELF binary: {error}.") from error
