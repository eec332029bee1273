# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of ``reachability``."""

from __future__ import annotations

import typing as t

OPTIONS: dict[str, t.Any] = {
    "destination": {"type": "str", "required": True},
    "netns": {"type": "str", "default": ""},
    "source": {"type": "str"},
    "reachable": {"type": "bool", "default": True},
    "max_loss": {"type": "float", "default": 99.9},
    "count": {"type": "int", "default": 3},
    "interval": {"type": "float", "default": 0.2},
    "timeout": {"type": "float", "default": 1.0},
}
