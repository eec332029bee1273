# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run other programs: argument lists, a fixed locale, a deadline, and errors that carry what the program said."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import typing as t

from .errors import CommandFailed, Completed, LabError, ToolMissing

# sbin is not on the PATH of a login without root's profile, and ip, bpftool and iptables live there.
SEARCH = os.pathsep.join(["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"])

# Which package brings which tool, for the sentence that says it is missing (Debian's and Ubuntu's names).
PACKAGES = {
    "bpftool": "bpftool",
    "clang": "clang",
    "llc": "llvm",
    "llvm-objdump": "llvm",
    "ip": "iproute2",
    "tc": "iproute2",
    "ping": "iputils-ping",
    "iptables": "iptables",
}


class Runner:
    """Runs programs. Wrappers of a tool take one as their argument, so that a test can give them another."""

    def which(self, tool: str) -> t.Optional[str]:
        """The absolute path of ``tool``, or None. System folders first: a student's PATH must not choose for root."""
        return shutil.which(tool, path=SEARCH)

    def run(
        self,
        argv: t.Sequence[str],
        *,
        check: bool = True,
        stdin: t.Optional[str] = None,
        timeout: float = 60.0,
        cwd: t.Optional[str] = None,
        env: t.Optional[t.Mapping[str, str]] = None,
        doing: str = "",
        pass_fds: t.Sequence[int] = (),
    ) -> Completed:
        """Run ``argv`` and wait for it, ``timeout`` seconds at the most.

        ``doing`` says in a few words what it is for and opens the error's sentence; ``pass_fds`` are file descriptors
        that it gets. Raises ToolMissing, CommandFailed (a non-zero exit while ``check``), LabError (out of time).
        """
        tool = argv[0]
        path = tool if os.path.isabs(tool) else self.which(tool)
        if path is None or not os.access(path, os.X_OK):
            raise ToolMissing(tool, PACKAGES.get(os.path.basename(tool), ""))
        environment = {**os.environ, "PATH": SEARCH, "LC_ALL": "C", **(env or {})}
        with subprocess.Popen(
            [path, *argv[1:]],
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=environment,
            pass_fds=pass_fds,
            start_new_session=True,
        ) as process:
            try:
                out, err = process.communicate(None if stdin is None else os.fsencode(stdin), timeout)
            except BaseException as error:
                # What it has started itself ends too: it would work on, and who holds the pipes would be waited for.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                raise LabError(
                    f"{doing or tool}: {tool} was not done after {timeout:g} seconds and was stopped.", argv=list(argv)
                ) from error
        done = Completed(tuple(argv), process.returncode, os.fsdecode(out), os.fsdecode(err))
        if check and done.rc != 0:
            raise CommandFailed(done, doing)
        return done
