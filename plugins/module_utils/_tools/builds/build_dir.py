# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A private place to build in: a directory that only an unprivileged user sees, and commands run as that user."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import shutil
import time
import typing as t

from ..._core import files
from ..._core.errors import BadInput, CommandFailed, Completed, LabError

if t.TYPE_CHECKING:
    from ..._core.command import Runner

ROOT = "/var/cache/ebpf.lab"
_NAME = "build-"
_TURNS = 20
# systemd's range for users that exist only while they are needed; nobody is shared with other services.
_UIDS = range(65519, 61184, -1)
# A build's environment is empty but for these: root's MAKEFLAGS must not steer it, a proxy must.
_PASSED = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE")
_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
LOG_LINES = 40


def build_uid() -> int:
    """A user id that no account has."""
    for uid in _UIDS:
        try:
            pwd.getpwuid(uid)
        except KeyError:
            return uid
    raise LabError("Every user id of the range 61184 to 65519 has an account; there is none left to build as.")


def as_nobody(argv: t.Sequence[str], uid: int, home: str = "/nonexistent", **env: str) -> list[str]:
    """``argv`` as a user without any right, in an environment of its own; it ends with whoever started it."""
    passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
    fixed = {"PATH": _PATH, "HOME": home, "TMPDIR": home, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
    variables = {**fixed, **passed, **env}
    ids = [f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    drop = ["--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--pdeathsig=TERM"]
    return ["setpriv", *ids, *drop, "env", "-i", *(f"{name}={value}" for name, value in variables.items()), *argv]


def compiler(runner: Runner) -> str:
    """What compiles here, in a line; another answer means another build. Raises ToolMissing."""
    lines = [runner.run(["gcc", "--version"]).stdout.splitlines()[0]]
    if runner.which("clang"):
        lines.append(runner.run(["clang", "--version"]).stdout.splitlines()[0])
    return "; ".join(lines)


def checked_root(option: str, path: str) -> str:
    """``path`` when it can be where builds are made. Raises BadInput."""
    if not os.path.isabs(path) or os.path.normpath(path) == "/":
        raise BadInput(option, path, "is not a directory to build in", f"give an absolute path, for example {ROOT}")
    return os.path.normpath(path)


class BuildDir:
    """The directory ``ROOT/build-TOOL`` with ``src``, ``out`` and ``stage``; ``make`` makes it, ``remove`` removes it.

    The caller holds the host's lock, so what lies there is left over from a run that was killed, and is removed.
    """

    def __init__(self, runner: Runner, tool: str, root: str = ROOT) -> None:
        self.runner = runner
        self.uid = build_uid()
        self.root = root
        self.path = path_of(tool, root)
        self.src = os.path.join(self.path, "src")
        self.out = os.path.join(self.path, "out")
        self.stage = stage_of(self.path)

    def make(self) -> None:
        """Make it. Raises LabError."""
        remove(self.path)
        try:
            os.makedirs(self.root, mode=0o755, exist_ok=True)
            os.mkdir(self.path, mode=0o700)
            os.chown(self.path, self.uid, self.uid)
            for path in (self.src, self.out, self.stage):
                os.mkdir(path, mode=0o700)
                os.chown(path, self.uid, self.uid)
        except OSError as error:
            raise files.failed(f"make the build directory {self.path}", error) from error

    def run(
        self,
        argv: t.Sequence[str],
        *,
        doing: str,
        cwd: str = "",
        timeout: float = 1800.0,
        check: bool = True,
        **env: str,
    ) -> Completed:
        """Run ``argv`` as the build's user, in ``cwd`` or the source. Raises LabError with the end of its log."""
        # timeout(1) ends the whole process group; subprocess would end make and leave its compilers running.
        limited = ["timeout", "--kill-after=10", f"{timeout:g}", *argv]
        done = self.runner.run(
            as_nobody(limited, self.uid, self.path, **env), cwd=cwd or self.src, timeout=timeout + 30, check=False
        )
        if check and done.rc != 0:
            raise self.failure(Completed(tuple(argv), done.rc, done.stdout, done.stderr), doing, timeout)
        return done

    def failure(self, done: Completed, doing: str, timeout: float = 0.0) -> LabError:
        """The error for a command that failed in here, with its cause where it is known."""
        log = (done.stdout.splitlines() + done.stderr.splitlines())[-LOG_LINES:]
        if "No space left on device" in done.stderr:
            free = shutil.disk_usage(self.path).free // 2**20
            return LabError(
                f"{doing}: the file system of {self.root} is full ({free} MB are free).",
                "Make room there, or give another build_dir; what was installed before is untouched.",
                log=log,
            )
        if done.rc == 124:
            return LabError(f"{doing}: not done after {timeout:g} seconds, and stopped.", log=log)
        error = CommandFailed(done, doing, log=log)
        signs = ("error:", "undefined reference", ": not found")
        telling = [line for line in done.stderr.splitlines() if any(sign in line for sign in signs)]
        if telling:
            error.message = f"{doing}: {os.path.basename(done.argv[0])} failed: {telling[0].strip()}"
        error.fix = "What was installed before is untouched; the end of the log is in the result's log."
        return error

    def own(self, path: str) -> None:
        """Give ``path`` and all below it to the build's user."""
        for folder, _folders, names in os.walk(path):
            os.chown(folder, self.uid, self.uid)
            for name in names:
                os.chown(os.path.join(folder, name), self.uid, self.uid, follow_symlinks=False)


def path_of(tool: str, root: str) -> str:
    """Where ``tool`` is built."""
    return os.path.join(root, f"{_NAME}{tool}")


def stage_of(path: str) -> str:
    """Where in a build directory the tool's files lie as they are to be below ``/``."""
    return os.path.join(path, "stage")


def is_one(path: str) -> bool:
    """Whether a path that was noted is one that ``path_of`` makes: nothing else is removed."""
    plain = os.path.isabs(path) and os.path.normpath(path) == path
    return plain and os.path.basename(path).startswith(_NAME) and os.path.dirname(path) != "/"


def remove(path: str, with_root: bool = False) -> None:
    """Remove a build directory, and the one that it lies in when nothing else is there: ours, or made for it.

    Raises LabError.
    """
    for turn in range(_TURNS):
        try:
            if files.kind(path) == "folder":
                shutil.rmtree(path)
            else:
                files.remove(path)
            break
        except FileNotFoundError:
            continue  # what a killed run had started ends in these moments, and removes its own files
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or turn == _TURNS - 1:
                raise files.failed(f"remove {path}", error) from error
            time.sleep(0.1)
    root = os.path.dirname(path)
    if with_root or root == ROOT:
        with contextlib.suppress(OSError):  # another build, or the user's own files, may be there
            os.rmdir(root)
