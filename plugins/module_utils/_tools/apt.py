# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's and Ubuntu's packages: what is installed, what the archive offers, and one transaction to install more."""

from __future__ import annotations

import os
import re
import time
import typing as t
from dataclasses import dataclass

from .._core.command import Runner
from .._core.errors import BadInput, CommandFailed, LabError
from .._core.plan import Step

if t.TYPE_CHECKING:
    from .._core.host import Host

LISTS = "/var/lib/apt/lists"
STAMP = "/var/lib/apt/periodic/update-success-stamp"
DAY = 86400.0
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")  # Debian Policy, section 5.6.1
# apt waits for another apt (unattended-upgrades after boot) in place of failing at once; a changed conffile is kept.
_APT_GET = ("apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Options::=--force-confold")
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
    """Seconds since apt last read the archive's index; None when there is none (a fresh image has an empty folder)."""
    try:
        if not any(name.endswith(("_Packages", "_Packages.lz4", "_Packages.xz")) for name in os.listdir(LISTS)):
            return None
    except FileNotFoundError:
        return None
    times = [os.stat(path).st_mtime for path in (LISTS, STAMP) if os.path.exists(path)]
    return (time.time() if now is None else now) - max(times)


@dataclass(frozen=True)
class InstallPackages(Step):
    """Install ``names`` in one transaction, and those of ``optional`` that the archive has.

    The index is read anew when it is older than ``max_age`` seconds, or when the first try fails (it may be outdated).
    """

    names: tuple[str, ...]
    optional: tuple[str, ...] = ()
    max_age: float = DAY
    recommends: bool = False

    def title(self) -> str:
        """See Step."""
        if not self.optional:
            return f"install the packages {', '.join(self.names)}"
        wished = f"where the archive has them: {', '.join(self.optional)}"
        return f"install the packages {', '.join([*self.names, wished])}"

    def apply(self, host: Host) -> None:
        """See Step. What a transaction installed is not taken back: packages may stay."""
        if os.geteuid() != 0:
            raise LabError("Packages can only be installed by root.", "Run the play with become: true.")
        age = index_age()
        stale = age is None or age > self.max_age
        if stale:
            self._update(host)
        try:
            self._install(host)
        except CommandFailed:
            if stale:
                raise
            self._update(host)
            self._install(host)

    def _update(self, host: Host) -> None:
        host.runner.run([*_APT_GET, "update"], env=_ENV, timeout=900, doing="reading the archive's index")

    def _install(self, host: Host) -> None:
        extra = candidates(host.runner, self.optional)
        flags = [] if self.recommends else ["--no-install-recommends"]
        names = [*self.names, *extra]
        if not names:
            return
        try:
            host.runner.run(
                [*_APT_GET, "install", *flags, "--", *names], env=_ENV, timeout=3600, doing="installing packages"
            )
        except CommandFailed as error:
            why = [line[3:] for line in error.done.stderr.splitlines() if line.startswith("E: ")]
            raise CommandFailed(error.done, "installing packages", " ".join(why[:3])) from error
