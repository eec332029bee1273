# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's and Ubuntu's packages: what is installed, what the archive offers, and one transaction to install more."""

from __future__ import annotations

import contextlib
import math
import os
import re
import threading
import time
import typing as t
from dataclasses import dataclass

from ..._core.command import Runner
from ..._core.errors import BadInput, CommandFailed, Completed, LabError
from ..._core.plan import Done, Learned, Step
from . import archive as apt_archive
from . import lock as apt_lock

if t.TYPE_CHECKING:
    from ..._core.host import Host

LISTS = "/var/lib/apt/lists"
STAMP = "/var/lib/apt/periodic/update-success-stamp"
DAY = 86400.0
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")  # Debian Policy, section 5.6.1
# Locks are waited for here, with a word about who holds one; a changed conffile is kept.
_APT_GET = ("apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=0", "-o", "Dpkg::Options::=--force-confold")
_ERROR = re.compile(r"(?:E|Error): (.*)")
_UNKNOWN = re.compile(
    rf"(?:Unable to locate package |Package '?)({_NAME.pattern})(?=$|' has no installation)", re.MULTILINE
)
# What apt says where a dpkg was interrupted, as by the kill of an earlier run.
_HALF_DONE = re.compile(r"dpkg was interrupted|Unmet dependencies|Sub-process \S*dpkg returned an error")
_STATUS = {"dlstatus": "downloading", "pmstatus": "installing"}
TELL_SECONDS, REMIND_SECONDS = 4.0, 20.0  # between lines; between the same line
_ENV = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l"}


def checked_names(option: str, names: t.Iterable[str]) -> tuple[str, ...]:
    """``names`` in their order, each once. Raises BadInput for what cannot be a package's name."""
    for name in names:
        if not _NAME.fullmatch(name):
            raise BadInput(option, name, "is not the name of a package", "names are like 'libelf-dev', in lower case")
    return tuple(dict.fromkeys(names))


def installed(runner: Runner, names: t.Sequence[str]) -> dict[str, str]:
    """Those of ``names`` that are installed and configured, with their versions."""
    if not names:
        return {}
    form = "${Package}\t${db:Status-Status}\t${Version}\n"
    done = runner.run(["dpkg-query", "-W", f"-f={form}", *names], check=False)  # 1: some name is not known to dpkg
    if done.rc not in (0, 1):
        raise CommandFailed(done, "reading the list of packages")
    rows = (line.split("\t") for line in done.stdout.splitlines())
    return {name: version for name, status, version in rows if status == "installed"}


def candidates(runner: Runner, names: t.Sequence[str]) -> dict[str, str]:
    """Those of ``names`` that apt could install now, with their versions. A virtual package is not among them."""
    if not names:
        return {}
    found: dict[str, str] = {}
    name = ""
    for line in runner.run(["apt-cache", "policy", *names]).stdout.splitlines():
        if not line.startswith(" "):
            name = line.rstrip(":")
        elif line.startswith("  Candidate: ") and not line.endswith("(none)"):
            found[name] = line.split(": ", 1)[1]
    return found


def index_age(now: t.Optional[float] = None) -> t.Optional[float]:
    """Seconds since apt last read the archive's index; None when there is none (a fresh image has an empty folder).

    One that was read in the future, before the clock was set back, is endlessly old: nobody knows its age.
    """
    try:
        if not any(name.endswith(("_Packages", "_Packages.lz4", "_Packages.xz")) for name in os.listdir(LISTS)):
            return None
    except FileNotFoundError:
        return None
    times = [os.stat(path).st_mtime for path in (LISTS, STAMP) if os.path.exists(path)]
    age = (time.time() if now is None else now) - max(times)
    return age if age >= 0 else math.inf


@dataclass(frozen=True)
class InstallPackages(Step):
    """Install ``names`` in one transaction, and those of ``optional`` that the archive has.

    What an interrupted dpkg has left half done is brought to its end first, when it is in the way; nothing is removed.
    The index is read anew when it is older than ``max_age`` seconds, or when the first try fails (it may be outdated).
    Whoever else works with apt is waited for, ``lock_timeout`` seconds altogether.

    It cannot be taken back: what a package's own scripts did is not known, and others may need it by then. So it has
    no undoing and no note; packages stay, after a failure of later steps and after the lab.
    """

    names: tuple[str, ...]
    optional: tuple[str, ...] = ()
    max_age: float = DAY
    recommends: bool = False
    lock_timeout: float = apt_lock.TIMEOUT

    def title(self) -> str:
        if not self.optional:
            return f"install the packages {', '.join(self.names)}"
        wished = f"where the archive has them: {', '.join(self.optional)}"
        return f"install the packages {', '.join([*self.names, wished])}"

    def apply(self, host: Host, learned: Learned) -> Done:
        if os.geteuid() != 0:
            raise LabError("Packages can only be installed by root.", "Run the play with become: true.")
        apt_get = _AptGet(host, apt_lock.Patience(self.lock_timeout, host.progress))
        age = index_age()
        wrong = apt_get.update() if age is None or age > self.max_age else None
        error = self._install(apt_get)
        if error is not None and wrong is None and not _out_of_reach(error):
            wrong = apt_get.update()
            error = self._install(apt_get)
        if error is not None:
            raise _why(host, error, wrong or [])
        for problem in wrong or ():
            host.progress(f"installed, although {problem.archive} was of no help: {problem.why}")
        return Done()

    def _install(self, apt_get: _AptGet) -> t.Optional[Completed]:
        """One transaction; what apt said when it failed."""
        extra = candidates(apt_get.host.runner, self.optional)
        flags = [] if self.recommends else ["--no-install-recommends"]
        names = [*self.names, *extra]
        if not names:
            return None
        done = apt_get.run(["install", *flags, "--", *names], 3600, "installing packages")
        if done.rc != 0 and _HALF_DONE.search(done.stderr):
            apt_get.bring_to_its_end()
            flags += ["--fix-broken", "--no-remove"]
            done = apt_get.run(["install", *flags, "--", *names], 3600, "installing packages")
        return done if done.rc != 0 else None


@dataclass(frozen=True)
class _AptGet:
    """apt-get, which waits for its locks and tells every few seconds how far it is."""

    host: Host
    patience: apt_lock.Patience

    def update(self) -> list[apt_archive.Problem]:
        """Read the archives' index; returns what is wrong with an archive: the others may have all that is needed."""
        self.host.progress("reading the index of the package archives")
        # apt-get update exits with 0 when an archive cannot be reached, unless it is told not to.
        strict = ["-o", "APT::Update::Error-Mode=any", "-o", "Acquire::Retries=1"]
        done = self.run([*strict, "update"], 900, "reading the index of the package archives")
        wrong = apt_archive.problems(done, apt_archive.proxies(self.host.runner)) if done.rc != 0 else []
        if done.rc != 0 and not wrong:
            raise _failed(done, "reading the index of the package archives")
        return wrong

    def bring_to_its_end(self) -> None:
        """Configure what dpkg has unpacked: apt says by itself what it cannot do then."""
        doing = "configuring what was left half done"
        self.host.progress(doing)
        self.patience.until_free()
        argv = ["dpkg", "--force-confold", "--configure", "-a"]
        self.host.runner.run(argv, check=False, env=_ENV, timeout=3600, doing=doing)

    def run(self, arguments: t.Sequence[str], timeout: float, doing: str) -> Completed:
        """One call, again and again while somebody else is faster at taking a lock."""
        while True:
            self.patience.until_free()
            done = self._once(arguments, timeout, doing)
            taken = apt_lock.said(done.stderr) if done.rc != 0 else None
            if taken is None:
                return done
            self.patience.wait_for(taken, 1.0)

    def _once(self, arguments: t.Sequence[str], timeout: float, doing: str) -> Completed:
        read, write = os.pipe()
        watcher = threading.Thread(target=_follow, args=(read, self.host.progress), daemon=True)
        watcher.start()
        try:
            argv = [*_APT_GET, "-o", f"APT::Status-Fd={write}", *arguments]
            return self.host.runner.run(argv, check=False, env=_ENV, timeout=timeout, doing=doing, pass_fds=(write,))
        finally:
            os.close(write)
            watcher.join(timeout=2)  # a daemon that a package has started may hold the other end for ever


def _follow(read: int, tell: t.Callable[[str], None]) -> None:
    """Tell every few seconds what apt says on its status descriptor (KIND:PACKAGE:PERCENT:WORDS, a line each)."""
    told, at = "", time.monotonic()
    with open(read, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            kind, _colon, rest = line.strip().partition(":")
            fields = rest.split(":", 2)
            waited = time.monotonic() - at
            if kind not in _STATUS or len(fields) < 3 or waited < TELL_SECONDS:
                continue
            with contextlib.suppress(ValueError):
                now = f"{_STATUS[kind]}, {float(fields[1]):.0f} %: {fields[2]}"
                if now != told or waited >= REMIND_SECONDS:
                    tell(now)
                    told, at = now, time.monotonic()


def _failed(done: Completed, doing: str) -> CommandFailed:
    why = [match[1] for match in map(_ERROR.match, done.stderr.splitlines()) if match]
    return CommandFailed(done, doing, " ".join(why[:3]))


def _out_of_reach(error: Completed) -> bool:
    """Whether an archive did not answer at all: a fresh index would come from there, too."""
    return any(problem.kind in ("unreachable", "proxy") for problem in apt_archive.problems(error))


def _why(host: Host, error: Completed, wrong: t.Sequence[apt_archive.Problem]) -> LabError:
    """What to tell of an installation that failed: an archive's fault, a name that is in none, or apt's own words."""
    fetching = apt_archive.problems(error, apt_archive.proxies(host.runner))
    if fetching:
        return apt_archive.ArchiveFailed(fetching, "installing packages")
    unknown = list(dict.fromkeys(_UNKNOWN.findall(error.stderr)))
    if not unknown:
        return _failed(error, "installing packages")
    if wrong:
        failed = apt_archive.ArchiveFailed(wrong, f"installing {', '.join(unknown)}")
        failed.details["unknown"] = unknown
        return failed
    known = apt_archive.archives(host.runner)
    if not known:
        return LabError(
            f"installing {', '.join(unknown)}: this machine's apt knows no archive.",
            "Name the distribution's archive in /etc/apt/sources.list.",
            unknown=unknown,
        )
    return LabError(
        f"installing packages: Unable to locate package {', '.join(unknown)}: not in {' or '.join(known)}.",
        "Check the name, and whether the archive's part that has it is named in /etc/apt (Ubuntu: universe).",
        unknown=unknown,
    )
