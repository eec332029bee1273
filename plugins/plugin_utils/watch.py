# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""While a module runs for long, show the lines that it writes about what it is doing."""

from __future__ import annotations

import secrets
import threading

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ..module_utils._lab.grading.plain import visible

QUIET_SECONDS = 5.0  # a run that is over by then needs no progress lines, and pays nothing for them
POLL_SECONDS = 2.0
LINE = 500  # characters

# Waits on the host for a line after the ones that were shown, ten seconds at the most: news come at once, and a look
# that costs a process on either side is made only when there are any.
_NEWS = (
    'f={path}; i=0; [ -e "$f" ] || exit 0; '
    'while [ "$(wc -l 2>/dev/null <"$f" || echo {many})" -le {shown} ] && [ $i -lt 50 ]; '
    "do sleep 0.2; i=$((i+1)); done; "
    'tail -n +{next} "$f" 2>/dev/null'
)


class Watch:
    """A context manager; ``token`` is what the module's option ``progress`` has to be.

    The first look is made after ``quiet`` seconds, each further one ``poll`` seconds after the one before.
    """

    def __init__(
        self, action: ActionBase, name: str, show: bool = True, quiet: float = QUIET_SECONDS, poll: float = POLL_SECONDS
    ) -> None:
        # In check mode nothing is done that could be told, and nothing is written on the host, not even how far it is.
        self.token = secrets.token_hex(8) if show and not action._task.check_mode else ""
        self._action = action
        self._name = name
        self._quiet = quiet
        self._poll = poll
        self._over = threading.Event()
        self._shown = 0
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watch:
        if self.token:
            self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        if self.token:
            self._thread.join(timeout=10)

    def _watch(self) -> None:
        wait = self._quiet
        path = f"/run/ebpf.lab-{self.token}.progress"
        while not self._over.wait(wait):
            wait = self._poll
            command = _NEWS.format(path=path, many=10**9, shown=self._shown, next=self._shown + 1)
            try:
                code, out, _err = self._action._connection.exec_command(command, sudoable=False)
            except Exception as error:  # the run itself will say what is wrong with the connection
                _display.debug(f"no progress from {self._name}: {error}")
                return
            lines = out.decode(errors="replace").splitlines() if code == 0 else []
            for line in lines:
                _display.display(f"  {self._name}: {visible(line, LINE)}")
            self._shown += len(lines)


_display = Display()
