# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at an object and at what is pinned of it: a few bpf system calls, no process."""

from __future__ import annotations

import os
import typing as t

from ..._core.errors import BadInput, LabError
from ..._core.files import sha256_of
from ..._core.host import Host
from ..._core.own_files import is_plain
from ..object.observe import info_of
from ..pin import folders
from ..pin.pins import KEPT, folders_in, pins_in
from .state import ProgramState, Want


def observe(host: Host, want: Want) -> ProgramState:
    """Raises BadInput where a folder is to be and something else is, Refused for what another mount hides."""
    for option, path in (("pin_path", want.pin_path), ("map_pin_path", want.maps)):
        if os.path.lexists(path) and not os.path.isdir(path):
            raise BadInput(option, path, "is a pin or a file", f"name the folder, such as {os.path.dirname(path)}")
    claimed = {
        path
        for path, value in _noted(host, "claimed")
        if value.get("folder") == want.pin_path and (not want.object or value.get("object") == want.object)
    }
    around = dict.fromkeys([want.pin_path, want.maps, KEPT, *sorted(map(os.path.dirname, claimed))])
    if not want.present:
        around.update(dict.fromkeys(folders.on_bpffs(host)))
    seen = folders.look(host, *around)
    digest = sha256_of(want.object) if want.present else None
    info, unreadable = None, None
    if digest is not None:
        try:
            info = info_of(host, want.object, digest)
        except LabError as error:  # of no matter when it is compiled anew
            unreadable = error
    programs = pins_in(host, want.pin_path)
    return ProgramState(
        digest=digest,
        info=info,
        folders=seen,
        programs=programs,
        maps=programs if want.maps == want.pin_path else pins_in(host, want.maps),
        claimed=frozenset(claimed),
        saved={path: value for path, value in _noted(host, "saved") if value.get("folder") == want.pin_path},
        unreadable=unreadable,
        inside=frozenset(path for folder in (want.pin_path, want.maps) for path in folders_in(folder)),
    )


def _noted(host: Host, part: str) -> t.Iterator[tuple[str, dict[str, t.Any]]]:
    """The pins that are "claimed", or those of others that are "saved", by path, with what is noted of each."""
    for key, entry in host.journal.entries.items():
        path = key[len("pin:") :]
        if key.startswith("pin:") and is_plain(path):
            noted = entry.saved if part == "saved" else (entry.value if entry.claimed else None)
            if isinstance(noted, dict):
                yield path, noted
