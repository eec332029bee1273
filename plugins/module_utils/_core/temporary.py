# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What only a probe needs is noted while it is there, so that a probe which is killed leaves nothing for good."""

from __future__ import annotations

import contextlib
import typing as t

from .host import Host
from .plan import Key, make, release


@contextlib.contextmanager
def noted(host: Host, key: Key, value: t.Any = None) -> t.Iterator[None]:
    """Within the ``with`` block the journal has ``key``, whose Kind is "temporary"; who opens it holds the lock.

    It stays noted after an error: whether the thing is gone then is for the next run to see.
    """
    host.journal.begin([make(key, value)])
    yield
    host.journal.finish([release(key)], {})
