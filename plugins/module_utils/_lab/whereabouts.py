# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which stage a host was brought to, by its journal. A decision, not an object: a reboot does not take it away."""

from __future__ import annotations

from dataclasses import dataclass

from .._core.errors import LabError
from .._core.host import Host
from .._core.plan import Done, Learned, Note, Step, make, release


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

    def apply(self, host: Host, learned: Learned) -> Done:
        return Done()

    def notes(self, learned: Learned) -> tuple[Note, ...]:
        key = f"lab:{self.lab}"
        if not self.stage:
            return (release(key),)
        return (make(key, {"stage": self.stage, "boot": self.boot}, lasting=True),)


def whereabouts(host: Host) -> dict[str, At]:
    """The stage of each lab on this host. Raises LabError for a journal that no lab has written."""
    found = {}
    for key, entry in host.journal.claims("lab:").items():
        value = entry.value
        if not (isinstance(value, dict) and all(isinstance(value.get(name), str) for name in ("stage", "boot"))):
            raise LabError(f"The journal {host.journal.path} says of {key} what no lab has written.", "Restore it.")
        found[key[len("lab:") :]] = At(value["stage"], value["boot"] != host.journal.boot)
    return found
