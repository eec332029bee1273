# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be done so that a tool's files are as offered, or gone, with what they replaced put back."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, field

from ..._bpf.pin.folders import emptying, making
from ..._core.errors import LabError
from ..._core.plan import Coming, Forget, Step, forecast
from .content import Content
from .state import PLACED, TOOL, Installed, Record, refusal
from .steps import KeepAside, PlaceFile, PutBack, RecordTool, RemoveAside, RemoveFile


@dataclass(frozen=True)
class Item:
    """A file that is to be at ``path``: staged at ``source``, or with ``text`` in it, or the link of ``content``."""

    path: str
    content: Content
    source: str = ""
    text: str = ""


@dataclass(frozen=True)
class Offer:
    """All files of a tool, and what to say about it."""

    items: tuple[Item, ...]
    about: t.Mapping[str, t.Any] = field(default_factory=dict)


def installing(now: Installed, offer: Offer, key: str, overwrite: bool) -> tuple[Step, ...]:
    """The steps from what is to what is offered. Raises Refused for foreign files that may not be replaced."""
    tool = now.tool
    wanted = {item.path: item for item in offer.items}
    foreign = [path for path in wanted if now.is_foreign(path)]
    blocked = [path for path in wanted if path in now.seen and now.seen[path].other]
    if blocked:
        what = now.seen[blocked[0]].other
        raise LabError(f"{blocked[0]} is in the way: it is a {what}.", "Move it away, then run again.")
    if foreign and not overwrite:
        raise refusal(foreign)
    places = tuple(sorted({os.path.dirname(path) for path in wanted}))
    before = now.record.folders if now.record is not None else ()
    steps: list[Step] = [RecordTool(tool, Record(folders=tuple(sorted({*places, *before}))))]
    for place in places:
        steps += making(place, now.folders, forecast(steps), lasting=True)
    for path in foreign:
        if now.asides.get(path) != now.seen[path]:
            steps += _taking(now, path) if path in now.asides else ()
            steps.append(KeepAside(tool, path, now.seen[path]))
    for path, item in wanted.items():
        instead = now.seen.get(path)
        if path in foreign or not instead == now.files.get(path) == item.content:
            theirs = path in foreign
            steps.append(PlaceFile(tool, path, item.content, item.source, item.text, False, instead, theirs))
    for path in dict.fromkeys((*now.files, *now.asides)):
        if path not in wanted:
            steps += _taking(now, path)
    steps += _emptying(now, steps, wanted)
    steps.append(RecordTool(tool, Record(key, offer.about, places)))
    return tuple(steps)


def removing(now: Installed) -> tuple[Step, ...]:
    """The steps that take away all that is noted of the tool."""
    steps: list[Step] = []
    for path in dict.fromkeys((*now.files, *now.asides)):
        steps += _taking(now, path)
    steps += _emptying(now, steps)
    return (*steps, Forget(f"{TOOL}{now.tool}"))


def _taking(now: Installed, path: str) -> tuple[Step, ...]:
    """The steps that take one file away; what somebody has changed since is his."""
    ours, theirs, seen = now.files.get(path), now.asides.get(path), now.seen.get(path)
    forget = (Forget(f"{PLACED}{path}"),) if ours is not None else ()
    if theirs is None:
        return (RemoveFile(now.tool, path, ours),) if ours is not None and seen == ours else forget
    away = RemoveAside(now.tool, path, theirs)
    if seen == theirs and seen != ours:
        return (*forget, away)
    return (PutBack(now.tool, path, theirs, ours), away)


def _emptying(now: Installed, steps: t.Sequence[Step], wanted: t.Collection[str] = ()) -> list[Step]:
    """The steps that remove the folders that are empty after ``steps``, inner ones first; ``wanted`` are in some."""
    gone = {step.path for step in steps if isinstance(step, RemoveFile)}
    found: list[Step] = []
    listed = now.record.folders if now.record is not None else ()
    places = {*listed, *map(os.path.dirname, (*now.files, *now.asides))}
    filled = {f"file:{path}": Coming("made") for path in wanted}
    for place in sorted(places, key=lambda place: -place.count("/")):
        found += emptying(place, now.folders, gone, {**forecast([*steps, *found]), **filled})
    return found
