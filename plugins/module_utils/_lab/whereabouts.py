# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which stage a host was brought to, by its journal. A decision, not an object: a reboot does not take it away."""

from __future__ import annotations

from dataclasses import dataclass

from .._core.host import Host
from .._core.plan import Note, Step


@dataclass(frozen=True)
class At:
    """The stage that a lab on this host was brought to. ``rebooted``: since then, so nothing volatile of it is left."""

    stage: str
    rebooted: bool = False

    def __str__(self) -> str:
        return f"{self.stage} (rebooted since)" if self.rebooted else self.stage


@dataclass(frozen=True)
class SetStage(Step):
    """Note in the journal which stage the host is at, in the boot of that id; "" for none."""

    lab: str
    stage: str
    boot: str = ""
    rebooted: bool = False  # since the note before

    def title(self) -> str:
        where = f"at the stage {self.stage}" if self.stage else "gone"
        return f"note that the lab {self.lab} is {where}" + (", after a reboot" if self.rebooted else "")

    def apply(self, host: Host) -> None:
        pass

    def notes(self) -> tuple[Note, ...]:
        key = f"lab:{self.lab}"
        if not self.stage:
            return (Note("release", key),)
        return (Note("claim", key, {"stage": self.stage, "boot": self.boot}, volatile=False),)


def whereabouts(host: Host) -> dict[str, At]:
    """The stage of each lab on this host."""
    found = {}
    for key, entry in host.journal.claims("lab:").items():
        boot = entry.value.get("boot", entry.boot)  # one that names none is a volatile entry of this boot
        found[key[len("lab:") :]] = At(str(entry.value["stage"]), boot != host.journal.boot)
    return found
