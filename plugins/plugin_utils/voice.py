# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one hook on what Ansible writes on the control node: output that nobody takes hangs no run and ends none.

Ansible itself waits for ever when its reader goes away (``| head``): a worker's lines are written by the thread that
also receives the results, and a failing write ends that thread. The hook writes on behalf of the main process alone;
in a worker, a fork of it, the text goes the way to the main process that it always went.

``./lab`` starts ansible-playbook by this file, so that the hook is there before Ansible's first word; for everybody
else the callback plugin beside the playbooks installs it.
"""

from __future__ import annotations

import errno
import os
import sys
import typing as t

from ansible.utils.display import Display

MARK = "_ebpf_lab_voice"  # on the Display, which there is one of, whichever way this file was imported


class Voice:
    """Writes what the main process displays. ``cut`` once the reader of the standard output has gone."""

    def __init__(self, display: Display) -> None:
        self.cut = False
        self._core = display.display
        self._display = display

    def display(
        self, msg: str, color: t.Optional[str] = None, stderr: bool = False, *args: t.Any, **more: t.Any
    ) -> None:
        """As Display.display, and written at once: nobody outside of here would cope with a write that fails later."""
        if self._display._final_q:  # a worker: the main process writes
            self._core(msg, color, stderr, *args, **more)
            return
        stream = sys.stderr if stderr else sys.stdout
        try:
            with self._display._lock:  # nothing is forked while it is held, so no fork inherits a stream half written
                self._core(msg, color, stderr, *args, **more)
                stream.flush()
        except OSError as error:
            hush(stream)
            gone = error.errno == errno.EPIPE
            self.cut = self.cut or (gone and not stderr)
            if not gone and not stderr:  # who closes a pipe knows it, who fills a disk does not
                self.display(f"The output cannot be written any more: {error.strerror}. The run goes on.", "red", True)


def hush(stream: t.TextIO) -> None:
    """Let all further output of a stream, and what it still holds, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno(), inheritable=False)
    os.close(nowhere)


def install() -> Voice:
    """The hook of this process, put in place by the first who asks."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed before Python started
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    display = Display()
    voice: t.Optional[Voice] = getattr(display, MARK, None)
    if voice is None:
        voice = Voice(display)
        setattr(display, MARK, voice)
        display.display = voice.display
    return voice


def main() -> None:
    """The command ansible-playbook, with the hook from its first word on."""
    from ansible.cli.playbook import main as playbook  # it refuses to be imported in a locale without UTF-8

    sys.argv[0] = os.path.join(os.path.dirname(sys.executable), "ansible-playbook")  # others are looked for beside it
    install()
    try:
        playbook()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                hush(stream)


if __name__ == "__main__":
    main()
