# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How pins of loaded programs and maps are settled."""

from __future__ import annotations

import typing as t

from ..._core.own_files import COMING
from ..pin.kinds import PinKind


class LoadedKind(PinKind):
    """A pin that is about to be made is told by its id. Later on the place is ours as long as something is pinned
    there: whether it is what we loaded, the plan decides."""

    def is_same(self, noted: t.Any, seen: t.Any) -> bool:
        if not (noted or {}).get(COMING):
            return True
        return super().is_same(noted, seen)

    def identity(self, coming: t.Any, seen: t.Any) -> t.Any:
        return {name: value for name, value in coming.items() if name != COMING}
