# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What observers and steps work with: this host's commands, its network namespaces and its journal."""

from __future__ import annotations

import typing as t

from .command import Runner
from .journal import Journal

if t.TYPE_CHECKING:
    from .._kernel.rtnl.socket import Netlink


class Host:
    """One module call's view of the host. A context manager: it closes the sockets that it opened.

    ``owner`` names the lab on whose behalf the journal is written. ``only_reads``: it is check mode, so nothing is
    probed: no packet is sent, no program is loaded, run or counted.
    """

    def __init__(
        self,
        runner: t.Optional[Runner] = None,
        journal: t.Optional[Journal] = None,
        progress: t.Optional[t.Callable[[str], None]] = None,
        owner: str = "",
        only_reads: bool = False,
    ) -> None:
        self.runner = runner or Runner()
        self.journal = journal or Journal(owner=owner)
        self.only_reads = only_reads
        self._progress = progress
        self._netlinks: dict[str, Netlink] = {}

    def progress(self, line: str) -> None:
        """Tell whoever watches that ``line`` is being done now."""
        if self._progress is not None:
            self._progress(line)

    def netlink(self, netns: str = "") -> Netlink:
        """The rtnetlink socket of a namespace, by name or path; "" is the namespace that the module runs in."""
        # Imported late: pyroute2 takes 0.15 s of CPU, and a module that needs no netlink should not pay it.
        from .._kernel.rtnl.socket import Netlink

        if netns not in self._netlinks:
            self._netlinks[netns] = Netlink(netns)
        return self._netlinks[netns]

    def forget_netlink(self, netns: str) -> None:
        """Close the socket of a namespace that is about to go: an open socket would keep it alive."""
        link = self._netlinks.pop(netns, None)
        if link is not None:
            link.close()

    def forget_indexes(self) -> None:
        """Links were deleted: an interface is another one by now, even where it has the name that it had."""
        for link in self._netlinks.values():
            link.indexes.clear()

    def look_anew(self, reload: bool = True) -> None:
        """Forget what was seen: sockets of namespaces that may be others by now, and (``reload``) the journal."""
        for netns in list(self._netlinks):
            self.forget_netlink(netns)
        if reload:
            self.journal.reload()

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.journal.close()
        for netns in list(self._netlinks):
            self.forget_netlink(netns)
