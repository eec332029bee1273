# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The forwarding switches as one resource: at run time, over a reboot, and back.

Journal keys: ``sysctl:NETNS:NAME`` for each value that changes, also of those that the kernel changes along, and
``file:PATH`` for the file below /etc/sysctl.d. With the file the saved values outlive the boot, because the file
brings the switch back after it; without it they are gone with the boot, and so is what was set.
"""

from __future__ import annotations

import contextlib
import os
import typing as t
from dataclasses import dataclass, field

from ..._core import files
from ..._core.errors import BadInput, LabError, Refused
from ..._core.host import Host
from ..._core.plan import Note, Plan, Step
from ..._kernel import netns as namespaces
from .steps import IPV4, IPV6, REDIRECTS, SysctlStep, Values, after_write, forwarding, is_on, ra_default_routes

FILE = "/etc/sysctl.d/60-ebpf-lab.conf"
HEAD = "# Written by ebpf.lab, and removed when its lab is taken down (ebpf.lab.ip_forward with state: restored).\n"
SWITCHES = {"ipv4": IPV4, "ipv6": IPV6}


@dataclass(frozen=True)
class State:
    """What was observed. ``saved`` is the journal's, by sysctl; ``file`` the content of our file, None without one.

    ``file_before`` is what was in its place before us, ``file_ours`` whether we wrote it; ``folder`` and
    ``folder_ours`` the same of /etc/sysctl.d. ``purged`` are interfaces whose default route IPv6 forwarding takes
    away. ``gone`` says that the namespace is not there any more.
    """

    values: Values
    saved: t.Mapping[str, str] = field(default_factory=dict)
    file: t.Optional[str] = None
    file_before: t.Optional[str] = None
    file_ours: bool = False
    folder: bool = True
    folder_ours: bool = False
    purged: tuple[str, ...] = ()
    gone: bool = False


@dataclass(frozen=True)
class ForwardResource:
    """Forwarding on, off, or (None) as it is. ``persist`` None means: yes on the host itself, no in a namespace."""

    ipv4: t.Optional[bool] = None
    ipv6: t.Optional[bool] = None
    netns: str = ""
    persist: t.Optional[bool] = None
    force: bool = False
    state: str = "present"

    def __post_init__(self) -> None:
        """Raises BadInput."""
        asked = self.ipv4 is not None or self.ipv6 is not None
        if self.state == "present" and not asked:
            raise BadInput("ipv4", None, "asks for nothing, and so does ipv6", "give one of them as true or false")
        if self.state == "restored" and asked:
            raise BadInput("state", self.state, "puts back all that was changed, with no ipv4, ipv6", "leave them out")
        if self.persist and self.netns:
            raise BadInput("persist", True, f"is not possible in the namespace {self.netns}", "leave it out")

    @property
    def persists(self) -> bool:
        """Whether the file below /etc/sysctl.d is written."""
        return not self.netns if self.persist is None else self.persist

    def observe(self, host: Host) -> State:
        """Read the switches, the file and the journal. Raises LabError for a namespace that does not exist."""
        prefix = f"sysctl:{self.netns}:"
        saved = {
            key[len(prefix) :]: entry.saved
            for key, entry in host.journal.entries.items()
            if entry.has_saved and key.startswith(prefix) and is_ours(key[len(prefix) :])
        }
        if self.netns and namespaces.kind(self.netns) != "present":
            if self.state != "restored":
                raise namespaces.missing(self.netns)
            return State({}, saved, gone=True)
        values, purged = namespaces.in_netns(self.netns, lambda: (forwarding(), ra_default_routes()))
        if self.netns:
            return State(values, saved, purged=purged)
        content = files.read(FILE, follow=True)
        before, ours = host.journal.saved(f"file:{FILE}"), host.journal.claimed(f"file:{FILE}")
        return State(
            values,
            saved,
            file=None if content is None else os.fsdecode(content),
            file_before=before.saved if before else None,
            file_ours=ours is not None,
            folder=os.path.isdir(os.path.dirname(FILE)),
            folder_ours=host.journal.claimed(f"file:{os.path.dirname(FILE)}") is not None,
            purged=purged,
        )

    def plan(self, now: State) -> Plan:
        """From the observed values to the wanted ones. Raises LabError (no IPv6 in this kernel) and Refused."""
        return self._plan_restored(now) if self.state == "restored" else self._plan_present(now)

    def facts(self, host: Host, now: State) -> dict[str, t.Any]:
        """``ipv4`` and ``ipv6`` (None where the kernel has it not), and ``persisted``, the file or None."""
        on = {name: is_on(now.values[key]) if key in now.values else None for name, key in SWITCHES.items()}
        return {**on, "persisted": FILE if now.file is not None and now.file_ours else None}

    def _plan_present(self, now: State) -> Plan:
        steps: list[Step] = []
        values = now.values
        asked = {IPV4: self.ipv4, IPV6: self.ipv6}
        wanted = {name: on for name, on in asked.items() if on is not None}
        for name, on in wanted.items():
            if name not in values:
                raise LabError(f"{name} cannot be set: this kernel runs without that protocol.", "Leave it out.")
            if is_on(values[name]) == on:
                continue
            if name == IPV6 and on and now.purged and not self.force:
                raise Refused(
                    f"IPv6 forwarding would make the kernel drop the default route of {', '.join(now.purged)}, which "
                    "came from a router advertisement, and with it perhaps the session that this host is managed by.",
                    "Set net.ipv6.conf.INTERFACE.accept_ra to 2 first, or set force: true.",
                )
            after = after_write(values, name, "1" if on else "0")
            was = _family(values, name)
            notes = tuple(Note("save", f"sysctl:{self.netns}:{n}", v, volatile=not self.persists) for n, v in was)
            steps.append(SysctlStep(self.netns, name, after[name], was, notes))
            values = after
        content = now.file
        if self.persists:
            lines = _parse(now.file) if now.file_ours else {}
            lines.update({name: "1" if on else "0" for name, on in wanted.items()})
            content = HEAD + "".join(f"{name} = {value}\n" for name, value in sorted(lines.items()))
            if content != now.file:
                steps.append(FileStep(FILE, content, now.file, self._file_notes(now), not now.folder))
        return Plan(_show(now.values, now.file, self.netns), _show(values, content, self.netns), tuple(steps))

    def _file_notes(self, now: State) -> tuple[Note, ...]:
        key = f"file:{FILE}"
        notes = [Note("claim", key, None, volatile=False)]
        if now.file is not None and not now.file_ours:
            notes.insert(0, Note("save", key, now.file, volatile=False))
        if not now.folder:
            notes.append(Note("claim", f"file:{os.path.dirname(FILE)}", None, volatile=False))
        # Values that an earlier run saved without the file have to outlive the boot from now on.
        notes += [Note("claim", f"sysctl:{self.netns}:{name}", None, volatile=False) for name in now.saved]
        return tuple(notes)

    def _plan_restored(self, now: State) -> Plan:
        release = [Note("release", f"sysctl:{self.netns}:{name}") for name in now.saved]
        steps: list[Step] = []
        values = now.values
        # The two switches first, for they set the others.
        for name in sorted(now.saved, key=lambda name: (name not in (IPV4, IPV6), name)):
            if name in values and values[name] != now.saved[name]:
                after = after_write(values, name, now.saved[name])
                was = _family(values, name) if name in (IPV4, IPV6) else ((name, values[name]),)
                steps.append(SysctlStep(self.netns, name, now.saved[name], was))
                values = after
        content = now.file
        if now.file_ours:
            content = now.file_before
            release += [Note("release", f"file:{FILE}")]
            if now.folder_ours:
                release += [Note("release", f"file:{os.path.dirname(FILE)}")]
            if content != now.file:
                steps.append(FileStep(FILE, content, now.file, own_folder=now.folder_ours))
        if release:
            steps.append(Forget(self.netns, tuple(release)))
        return Plan(_show(now.values, now.file, self.netns), _show(values, content, self.netns), tuple(steps))


@dataclass(frozen=True)
class FileStep(Step):
    """Write a small file, or remove it (``content`` None). ``was`` is what is in it now, None without a file.

    ``own_folder``: we made, or make, the folder that it is in, so the folder goes with it.
    """

    path: str
    content: t.Optional[str]
    was: t.Optional[str]
    kept_notes: tuple[Note, ...] = ()
    own_folder: bool = False

    def title(self) -> str:
        """For example "write /etc/sysctl.d/60-ebpf-lab.conf"."""
        return f"{'remove' if self.content is None else 'write'} {self.path}"

    def apply(self, host: Host) -> None:
        """Put it in place in one rename. Raises LabError."""
        folder = os.path.dirname(self.path)
        try:
            if self.content is None:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.path)
                if self.own_folder and not os.listdir(folder):
                    os.rmdir(folder)
                return
            os.makedirs(folder, mode=0o755, exist_ok=True)
        except OSError as error:
            raise files.failed(self.title(), error) from error
        files.write(self.path, os.fsencode(self.content), durable=True)

    def inverse(self) -> tuple[Step, ...]:
        """What was in it."""
        return (FileStep(self.path, self.was, self.content, own_folder=self.own_folder),)

    def notes(self) -> tuple[Note, ...]:
        """What the planner wants kept or forgotten."""
        return self.kept_notes


@dataclass(frozen=True)
class Forget(Step):
    """Nothing but the journal's release of what has been put back."""

    netns: str
    kept_notes: tuple[Note, ...]

    def title(self) -> str:
        """A few words."""
        return "forget the saved forwarding settings" + (f" of namespace {self.netns}" if self.netns else "")

    def apply(self, host: Host) -> None:
        """The journal is written by converge."""

    def notes(self) -> tuple[Note, ...]:
        """The releases."""
        return self.kept_notes


def is_ours(name: str) -> bool:
    """Whether a sysctl is one of those that the forwarding switches change."""
    return name in (IPV4, IPV6, REDIRECTS) or name.endswith(".forwarding")


def _family(values: Values, switch: str) -> tuple[tuple[str, str], ...]:
    """The switch and all that the kernel sets along with it, now or on the way back: what is right may change then."""
    return ((switch, values[switch]), *((n, v) for n, v in values.items() if n != switch and n[:8] == switch[:8]))


def _parse(content: t.Optional[str]) -> Values:
    """The settings in a file of sysctl.d(5)."""
    lines = [line.strip() for line in (content or "").splitlines()]
    pairs = [line.partition("=") for line in lines if "=" in line and not line.startswith(("#", ";"))]
    return {name.strip(): value.strip() for name, _sign, value in pairs}


def _show(values: Values, content: t.Optional[str], netns: str) -> dict[str, t.Any]:
    return {"sysctl": values} if netns else {"sysctl": values, FILE: content}


def desired(params: t.Mapping[str, t.Any]) -> ForwardResource:
    """The resource that a module's parameters ask for. Raises BadInput."""
    return ForwardResource(
        ipv4=params.get("ipv4"),
        ipv6=params.get("ipv6"),
        netns=params.get("netns") or "",
        persist=params.get("persist"),
        force=bool(params.get("force")),
        state=params.get("state") or "present",
    )
