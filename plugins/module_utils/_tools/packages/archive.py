# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a package archive, from what apt says of it; and asking, without a change, whether it answers."""

from __future__ import annotations

import os
import re
import tempfile
import typing as t
from dataclasses import dataclass

from ..._core.errors import Completed, LabError

if t.TYPE_CHECKING:
    from ..._core.command import Runner

HELPER = "/usr/lib/apt/apt-helper"
PROBE_SECONDS = 5
_PROBED = 6  # archives; a machine has two or three

# What apt says of an archive, and what kind of trouble that is: "" where its reason tells.
_SAYINGS = (
    ("", re.compile(r"Release file for (?P<uri>\S+) (?P<why>is (?:not valid yet|expired) .+?\))")),
    ("signature", re.compile(r"(?:GPG error|signature verification failed): (?P<uri>\S+)[^:]*: (?P<why>.+)")),
    ("", re.compile(r"Failed to fetch (?P<uri>\S+)\s+(?P<why>.+)")),
    ("signature", re.compile(r"The repository '(?P<uri>\S+)[^']*' (?P<why>is (?:not|no longer) signed)")),
    ("disc", re.compile(r"The repository '(?P<uri>cdrom:[^']*\])[^']*' (?P<why>.+)")),
    ("answer", re.compile(r"The repository '(?P<uri>\S+)[^']*' (?P<why>.+)")),
)
_LINE = re.compile(r"^(?:E|W|Error|Warning): ?(.*)$")
_FAILED = re.compile(r"^Err:\d+ ((?!cdrom:)\S+) .*\n +(.+)$", re.MULTILINE)  # on the standard output, for each file

# The first that fits apt's reason; none does for an archive that cannot be reached.
_REASONS = (
    ("clock", re.compile(r"is not valid yet")),
    ("expired", re.compile(r"is expired")),
    ("signature", re.compile(r"NO_PUBKEY|KEYSIG|BADSIG|signature|public key|signed", re.IGNORECASE)),
    ("certificate", re.compile(r"certificate|SSL|TLS|gnutls", re.IGNORECASE)),
    ("proxy", re.compile(r"\b407\b|proxy", re.IGNORECASE)),
    ("answer", re.compile(r"^[45]\d\d\b")),
    ("content", re.compile(r"Hash Sum mismatch|unexpected size|Mirror sync", re.IGNORECASE)),
)
_WEAK = ("unreachable", "answer")  # another line may tell more


@dataclass(frozen=True)
class Problem:
    """``archive`` is its URI up to the release, ``why`` apt's own words."""

    kind: str
    archive: str
    why: str


def problems(done: Completed, proxies: t.Optional[t.Mapping[str, str]] = None) -> list[Problem]:
    """The archives that apt complains of, each once, by its most telling line; ``proxies`` are apt's, by scheme."""
    found: dict[str, Problem] = {}
    lines = [match[1] for match in map(_LINE.match, done.stderr.splitlines()) if match]
    # What could not be fetched is not among the errors when there are others.
    lines += [f"Failed to fetch {uri} {why}" for uri, why in _FAILED.findall(done.stdout)]
    for line in lines:
        kind, hit = next(((kind, hit) for kind, saying in _SAYINGS if (hit := saying.search(line))), ("", None))
        if hit is None:
            continue
        why, archive = hit["why"].strip().rstrip(".:"), archive_of(hit["uri"])
        kind = kind or next((kind for kind, reason in _REASONS if reason.search(why)), "unreachable")
        proxy = (proxies or {}).get(archive.partition(":")[0], "")
        if kind == "unreachable" and proxy:
            kind, why = "proxy", f"{why} (apt's proxy is {proxy})"
        if archive not in found or (found[archive].kind in _WEAK and kind not in _WEAK):
            found[archive] = Problem(kind, archive, why)
    return sorted(found.values(), key=lambda problem: problem.kind == "disc")


def archive_of(uri: str) -> str:
    """The archive that a file is of, without a password in it."""
    base = re.split(r"/(?:dists|pool)/", uri, maxsplit=1)[0].rstrip("/")
    return re.sub(r"://[^/@]*@", "://", base)


_SENTENCES = {
    "unreachable": (
        "The archive {archive} cannot be reached: {why}.",
        "Check this machine's network and name server, and what /etc/apt/sources.list and sources.list.d name.",
    ),
    "proxy": (
        "The archive {archive} cannot be reached through the proxy: {why}.",
        "Check Acquire::http::Proxy in /etc/apt/apt.conf.d (apt-config dump shows it) and http_proxy.",
    ),
    "answer": (
        "The archive {archive} does not have what apt asks it for: {why}.",
        "Check the release and the address in /etc/apt/sources.list and sources.list.d: old releases move elsewhere.",
    ),
    "signature": (
        "The archive {archive} is not signed by a key that this machine trusts: {why}.",
        "Install the archive's present keys (debian-archive-keyring or ubuntu-keyring), or name them by signed-by.",
    ),
    "clock": (
        "The archive {archive} is of a later time than this machine's clock: its index {why}.",
        "Set the clock, for example with timedatectl set-ntp true.",
    ),
    "expired": (
        "The archive {archive} is out of date for this machine's clock: its index {why}.",
        "Check the clock (timedatectl); if it is right, use an archive that is still kept up.",
    ),
    "certificate": (
        "The certificate of the archive {archive} is not accepted: {why}.",
        "Check the clock, the package ca-certificates, and whether a proxy stands between.",
    ),
    "content": (
        "The archive {archive} gives files that are not those of its index: {why}.",
        "It is just being updated, or a proxy keeps old files: try again in some minutes.",
    ),
    "disc": (
        "The archive {archive} is a disc that is not in the drive: {why}.",
        "Take the line with cdrom: out of /etc/apt/sources.list and name an archive of the network there.",
    ),
}


def sentences(found: t.Sequence[Problem]) -> tuple[str, str]:
    """What is wrong and what to do: of each kind one sentence, with all archives that it is about."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for problem in found:
        kinds.setdefault((problem.kind, problem.why), []).append(problem.archive)
    what = [_SENTENCES[kind][0].format(archive=" and ".join(of), why=why) for (kind, why), of in kinds.items()]
    cures = dict.fromkeys(_SENTENCES[kind][1] for kind, _why in kinds)
    return " ".join(what[:3]), " ".join(cures)


class ArchiveFailed(LabError):
    """Packages that are to come from an archive do not; ``archives`` says of each what is wrong."""

    def __init__(self, found: t.Sequence[Problem], doing: str = "") -> None:
        what, cure = sentences(found)
        super().__init__(
            f"{doing}: {what}" if doing else what,
            cure,
            archives=[{"archive": one.archive, "kind": one.kind, "why": one.why} for one in found],
        )


def proxies(runner: Runner) -> dict[str, str]:
    """The proxies of apt, by scheme; without a password."""
    said = runner.run(["apt-config", "dump", "--format", "%f=%v%n", "Acquire"], check=False).stdout
    set_to = dict(line.split("=", 1) for line in said.lower().splitlines() if "=" in line)
    found: dict[str, str] = {}
    for scheme in ("http", "https"):
        value = set_to.get(f"acquire::{scheme}::proxy") or os.environ.get(f"{scheme}_proxy") or found.get("http", "")
        found[scheme] = "" if value == "direct" else re.sub(r"://[^/@]*@", "://", value)
    return found


def indexes(runner: Runner) -> list[str]:
    """The files that apt would ask for first, one of each release of each archive. Reads, and takes no lock."""
    said = runner.run(["apt-get", "update", "--print-uris"], check=False).stdout
    uris = re.findall(r"^'([^']+)'", said, re.MULTILINE)
    return list(dict.fromkeys(uri for uri in uris if uri.endswith(("/InRelease", "/Release"))))


def archives(runner: Runner) -> list[str]:
    """The archives that this machine's apt knows."""
    return list(dict.fromkeys(archive_of(uri) for uri in indexes(runner)))


def probe(runner: Runner) -> tuple[list[str], list[Problem]]:
    """The archives, and what is wrong with those that do not answer.

    apt's own helper asks, so that its proxies, passwords and certificates count; it fetches one small file of each
    archive to a folder that is gone afterwards.
    """
    firsts: dict[str, str] = {}
    for uri in indexes(runner):
        firsts.setdefault(archive_of(uri), uri)
    uris = [uri for uri in firsts.values() if uri.startswith(("http:", "https:"))][:_PROBED]
    if not uris or not os.access(HELPER, os.X_OK):
        return list(firsts), []
    limits = [f"Acquire::{scheme}::Timeout={PROBE_SECONDS}" for scheme in ("http", "https")]
    options = [word for limit in ("Acquire::Retries=0", *limits) for word in ("-o", limit)]
    with tempfile.TemporaryDirectory(prefix="ebpf.lab-") as folder:
        wanted = [word for number, uri in enumerate(uris) for word in (uri, os.path.join(folder, str(number)), "")]
        argv = [HELPER, *options, "download-file", *wanted[:-1]]
        try:
            done = runner.run(argv, check=False, timeout=4 * PROBE_SECONDS)
        except LabError:  # out of time
            why = f"no answer in {4 * PROBE_SECONDS} seconds"
            return list(firsts), [Problem("unreachable", archive_of(uri), why) for uri in uris]
    found = problems(done, proxies(runner))
    # A flat or old archive may have no InRelease: it has answered.
    return list(firsts), [one for one in found if not (one.kind == "answer" and one.why.startswith("404"))]
