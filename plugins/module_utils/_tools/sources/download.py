# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Download a file whole and proven, or not at all."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import re
import typing as t
import urllib.error
import urllib.parse

from ansible.module_utils.urls import open_url

from ..._core.errors import BadInput, LabError

_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}")
_BLOCK = 1 << 20


def checked_checksum(option: str, text: str) -> str:
    """``text`` when it is a checksum as we want them. Raises BadInput."""
    lowered = text.strip().lower()
    if not _CHECKSUM.fullmatch(lowered):
        raise BadInput(option, text, "is not a checksum", "give sha256: and 64 hexadecimal digits")
    return lowered


def checked_url(option: str, url: str, schemes: t.Sequence[str] = ("https", "http")) -> str:
    """``url`` when it has a scheme that we fetch from, and a host. Raises BadInput."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in schemes or not parts.hostname:
        raise BadInput(option, url, "cannot be fetched from", f"give a URL that begins with {', '.join(schemes)}://")
    return url


def download(url: str, path: str, checksum: str, timeout: float = 60.0) -> str:
    """Fetch ``url`` into ``path`` and return its sha256 in hex; the file is only there when it is whole.

    ``checksum`` is ``sha256:…``, or "" when the user turned the proof off. ``timeout`` is for each wait, in seconds.
    Raises LabError: no connection, an answer that is not 200, a connection that died, a wrong checksum, a full disk.
    """
    digest = hashlib.sha256()
    got = 0
    try:
        with open(path, "wb") as file:
            answer = open_url(url, timeout=timeout, http_agent="ebpf.lab")
            expected = answer.headers.get("Content-Length")
            for block in iter(lambda: answer.read(_BLOCK), b""):
                digest.update(block)
                file.write(block)
                got += len(block)
            if expected is not None and got != int(expected):
                raise http.client.IncompleteRead(b"", int(expected) - got)
    except urllib.error.HTTPError as error:
        _forget(path)
        raise LabError(f"Downloading {url}: the server answered {error.code} {error.reason}.") from error
    except http.client.IncompleteRead as error:
        _forget(path)
        raise LabError(
            f"Downloading {url}: the connection ended after {got} bytes, before the file was whole.",
            "Run again; nothing was changed.",
        ) from error
    except OSError as error:  # URLError, a timeout and a reset connection are OSErrors, too
        _forget(path)
        if error.errno == errno.ENOSPC:
            raise LabError(
                f"Downloading {url}: the file system of {os.path.dirname(path)} is full after {got} bytes.",
                "Make room there, then run again; nothing was changed.",
            ) from error
        reason = getattr(error, "reason", None) or error.strerror or error
        raise LabError(f"Downloading {url}: {reason}.", "Nothing was changed.") from error
    found = digest.hexdigest()
    if checksum and checksum != f"sha256:{found}":
        _forget(path)
        raise LabError(
            f"{url} has the checksum sha256:{found}, not {checksum}.",
            "It is not the file that was meant, or it was changed on the way; nothing was changed here.",
        )
    return found


def _forget(path: str) -> None:
    if os.path.exists(path):
        os.unlink(path)
