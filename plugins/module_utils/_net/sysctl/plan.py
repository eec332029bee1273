# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what is to what is wanted: the switches with all that the kernel sets along, the file, and the way back.

With the file the saved values outlive the boot, because the file brings the switch back after it; without it they are
gone with the boot, and so is what was set.
"""

from __future__ import annotations

import base64
import os
import typing as t

from ..._core import files
from ..._core.backup import KeepFile
from ..._core.errors import LabError, Refused
from ..._core.own_files import RemoveFile, RestoreFile, file_key
from ..._core.plan import Note, Plan, Step, make, release, save
from .kinds import key_of
from .state import DIR_KEY, FILE, FOLDER, HEAD, State, Want
from .steps import ConfStep, ForgetSaved, SysctlStep
from .switches import IPV4, IPV6, Values, after_write, family, is_on


def plan_present(want: Want, now: State) -> Plan:
    """The switches as asked for. Raises LabError (no IPv6 in this kernel) and Refused."""
    steps: list[Step] = []
    values = now.values
    asked = {IPV4: want.ipv4, IPV6: want.ipv6}
    wanted = {name: on for name, on in asked.items() if on is not None}
    for name, on in wanted.items():
        if name not in values:
            raise LabError(f"{name} cannot be set: this kernel runs without that protocol.", "Leave it out.")
        if is_on(values[name]) == on:
            continue
        if name == IPV6 and on and now.purged and not want.force:
            raise Refused(
                f"IPv6 forwarding would make the kernel drop the default route of {', '.join(now.purged)}, which "
                "came from a router advertisement, and with it perhaps the session that this host is managed by.",
                "Set net.ipv6.conf.INTERFACE.accept_ra to 2 first, or set force: true.",
            )
        after = after_write(values, name, "1" if on else "0")
        was = family(values, name)
        steps.append(SysctlStep(want.netns, name, after[name], tuple(was.items()), _noted(want, now, was, after)))
        values = after
    content = now.file
    if want.persists:
        lines = _parse(now.file) if _written_by_us(now) else {}
        lines.update({name: "1" if on else "0" for name, on in wanted.items()})
        content = HEAD + "".join(f"{name} = {value}\n" for name, value in sorted(lines.items()))
        if content != now.file or not now.file_ours:
            steps += _file_steps(want, now, values, content)
    return Plan(_show(now.values, now.file, want.netns), _show(values, content, want.netns), tuple(steps))


def _noted(want: Want, now: State, was: Values, after: Values) -> tuple[Note, ...]:
    """What the journal holds of each value that may change; what the topology saved and does not change stays its."""
    lasting = want.persists or now.file_ours
    notes: list[Note] = []
    for name, before in was.items():
        saved = now.saved.get(name)
        if saved is None or saved.ours or before != after[name]:
            key = key_of(want.netns, name)
            notes += [make(key, after[name], lasting=lasting), save(key, before, after[name], lasting=lasting)]
    return tuple(notes)


def _written_by_us(now: State) -> bool:
    """Whether the file is ours, be it with lines that somebody has added."""
    return now.file is not None and (now.file_ours or now.file.startswith(HEAD))


def _file_steps(want: Want, now: State, values: Values, content: str) -> list[Step]:
    """Write the file, in the place of somebody's that may be there. Raises Refused for what is no file."""
    if now.odd:
        raise Refused(
            f"{FILE} is there and is a {now.odd}, which is not replaced.",
            "Move it away, or set persist: false, and the switches are as the host has them after the next boot.",
        )
    notes: list[Note] = []
    # Values that an earlier run saved without the file have to outlive the boot from now on.
    for name, saved in now.saved.items():
        if saved.ours and not saved.lasting and name in values:
            key, value = key_of(want.netns, name), values[name]
            notes += [make(key, value, lasting=True), save(key, saved.before, value, lasting=True)]
    raw = content.encode("utf-8", "surrogateescape")
    theirs = None if _written_by_us(now) else now.file_theirs
    noted_of = {"sha256": files.digest(raw)}
    step = ConfStep(path=FILE, content=raw, value=noted_of, before=theirs, noted=tuple(notes))
    if now.folder:
        return [step]
    from ..._bpf.pin.steps import MakeFolder  # every distribution has it

    return [MakeFolder(FOLDER, lasting=True), step]


def plan_restored(want: Want, now: State) -> Plan:
    """What the journal holds, put back where it is as ip_forward has left it; see kinds.py on what is whose."""
    target: Values = {}
    kept: Values = {}
    forget: list[str] = []
    warnings: list[str] = []
    for name, saved in now.saved.items():
        value = now.values.get(name)
        if value is None:
            forget.append(name)
        elif value == saved.before or (saved.ours and value in saved.wrote):
            target[name] = saved.before
        else:
            kept[name] = value
            if value not in saved.wrote:
                forget.append(name)
                warnings.append(f"{_at(name, want.netns)} is {value} by now, set by somebody else: it stays so.")
    steps, values, done = _back(want.netns, now, target, kept)
    forget += [name for name in target if name not in done]
    keys = [key_of(want.netns, name) for name in forget]
    content, more, said = _file_back(now)
    steps += more
    if keys:
        steps.append(ForgetSaved(want.netns, tuple(keys)))
    before, after = _show(now.values, now.file, want.netns), _show(values, content, want.netns)
    return Plan(before, after, tuple(steps), (*warnings, *said))


def _back(netns: str, now: State, target: Values, kept: Values) -> tuple[list[Step], Values, set[str]]:
    """The steps that put back what differs from ``target``, the values then, and the names whose entries they end."""
    steps: list[Step] = []
    values, done = now.values, set()
    # The two switches first, for they set the others.
    for switch in (name for name in (IPV4, IPV6) if name in target and values[name] != target[name]):
        after = after_write(values, switch, target[switch])
        was = family(values, switch)
        notes: list[Note] = []
        for name in was:
            if name in target and after[name] == target[name]:
                notes.append(release(key_of(netns, name)))
                done.add(name)
            elif name in target:  # for the moment it is as the kernel sets it, which is our doing too
                key, lasting = key_of(netns, name), now.saved[name].lasting
                notes.append(make(key, after[name], lasting=lasting))
                notes.append(save(key, target[name], after[name], lasting=lasting))
        steps.append(SysctlStep(netns, switch, target[switch], tuple(was.items()), tuple(notes), back=True))
        values = after
    for name, value in sorted({**kept, **target}.items()):
        if values[name] != value:
            notes = [release(key_of(netns, name))] if name in target else []
            steps.append(SysctlStep(netns, name, value, ((name, values[name]),), tuple(notes), back=True))
            done.add(name)
            values = {**values, name: value}
    return steps, values, done


def _file_back(now: State) -> tuple[t.Optional[str], list[Step], list[str]]:
    """What is in the file then, the steps to it, and what there is to say."""
    steps: list[Step] = []
    said: list[str] = []
    content, before = now.file, now.file_before
    if before is not None:
        content = os.fsdecode(base64.b64decode(before["content"]))
        if now.file_theirs is not None and now.file_theirs["sha256"] == before["sha256"]:
            steps.append(ForgetSaved("", (file_key(FILE),)))
        else:
            # Somebody's by now, and there is another one of somebody's to put back: neither is lost.
            steps += [KeepFile(FILE)] if now.file_theirs is not None else []
            steps.append(RestoreFile(FILE, before))
    elif now.file_ours:
        content = None
        steps.append(RemoveFile(FILE))
    elif now.file_noted:
        steps.append(ForgetSaved("", (file_key(FILE),)))
    if content is not None and before is None and (now.file_noted or _written_by_us(now)):
        said.append(f"{FILE} is not as this module has written it: it stays.")
    if now.folder_ours:
        if now.folder and content is None and not now.neighbours:
            from ..._bpf.pin.steps import RemoveFolder

            steps.append(RemoveFolder(FOLDER))
        else:
            steps.append(ForgetSaved("", (DIR_KEY,)))
    return content, steps, said


def _at(name: str, netns: str) -> str:
    return f"{name} in namespace {netns}" if netns else name


def _parse(content: t.Optional[str]) -> Values:
    """The settings in a file of sysctl.d(5)."""
    lines = [line.strip() for line in (content or "").splitlines()]
    pairs = [line.partition("=") for line in lines if "=" in line and not line.startswith(("#", ";"))]
    return {name.strip(): value.strip() for name, _sign, value in pairs}


def _show(values: Values, content: t.Optional[str], netns: str) -> dict[str, t.Any]:
    return {"sysctl": values} if netns else {"sysctl": values, FILE: content}
