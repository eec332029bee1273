# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Loaded by Ansible itself beside these playbooks, under any stdout callback: output that nobody reads, runs that do
nothing. It writes nothing to the standard output."""

from __future__ import annotations

import os
import typing as t

from ansible import constants, context
from ansible.errors import ExitCode
from ansible.plugins.callback import CallbackBase
from ansible.utils.display import Display
from ansible_collections.ebpf.lab.plugins.plugin_utils import voice

PLAYBOOKS = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
READS = "_lab_only_reads"  # a variable of a play: it ends when nobody reads its output any more
CUT = 128 + 13  # as a shell says that SIGPIPE ended a command

display = Display()


class CallbackModule(CallbackBase):
    """Thin: what it does is in plugin_utils."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "ebpf_lab_class"

    def __init__(self) -> None:
        super().__init__()
        self._voice = voice.install()
        self._ours = False  # one of our playbooks was called, not one that imports them
        self._reads = False
        self._play: t.Any = None
        self._unmatched = ""  # the pattern of a play that no host matched

    def v2_playbook_on_start(self, playbook: t.Any) -> None:
        """Which playbook this is; an inventory that is not there is refused before anything happens."""
        self._ours = os.path.dirname(os.path.realpath(playbook._file_name)) == PLAYBOOKS
        self._reads = context.CLIARGS["check"] or all(play.vars.get(READS) for play in playbook.get_plays())
        missing = [source for source in _inventories() if "," not in source and not os.path.exists(source)]
        if self._ours and missing:
            _refuse(f"There is no inventory {', '.join(missing)}; -i takes a file, a folder, or hosts with a comma.")

    def v2_playbook_on_play_start(self, play: t.Any) -> None:
        """Its pattern of hosts is known by now."""
        self._play = play

    def v2_playbook_on_no_hosts_matched(self) -> None:
        """Judged at the end, when the other callbacks have had their say."""
        self._unmatched = ",".join(self._play.hosts)

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        """A run that did nothing on any machine was asked for by a wrong name: an error."""
        if not self._ours or stats.processed:
            return
        if self._unmatched:
            where = ", ".join(_inventories()) or "the inventory, since no -i names one,"
            limit = f" within --limit {context.CLIARGS['subset']}" if context.CLIARGS["subset"] else ""
            _refuse(f"No machine in {where} matches {self._unmatched}{limit}, so nothing was done.")
        _refuse(f"No task is chosen by {_chosen()}, so nothing was done.")

    def _end_when_cut(self, *_args: t.Any, **_more: t.Any) -> None:
        """End what only reads; tasks that have begun may come to their end, and Ansible waits ten seconds for that."""
        if self._reads and self._voice.cut:
            raise SystemExit(CUT)

    # Those that the main thread calls: the exit of another thread would end nothing.
    v2_playbook_on_task_start = v2_runner_on_start = v2_runner_on_ok = _end_when_cut
    v2_runner_on_failed = v2_runner_on_skipped = v2_runner_on_unreachable = _end_when_cut


def _inventories() -> list[str]:
    """The sources that the user gave."""
    return [source for source in context.CLIARGS["inventory"] or () if source not in constants.DEFAULT_HOST_LIST]


def _chosen() -> str:
    """The options that choose tasks, as they were given."""
    tags = [tag for tag in context.CLIARGS["tags"] if tag != "all"]
    given = {"--tags": ",".join(tags), "--skip-tags": ",".join(context.CLIARGS["skip_tags"])}
    given["--start-at-task"] = context.CLIARGS["start_at_task"] or ""
    return " ".join(f"{option} {value}" for option, value in given.items() if value) or "the answers to --step"


def _refuse(sentence: str) -> t.NoReturn:
    display.error(sentence)
    raise SystemExit(int(ExitCode.GENERIC_ERROR))
