# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python that runs us: whether it has the libraries that a change needs, and going on under one that has them.

A distribution's packages are /usr/bin/python3's. Another Python may be the one that Ansible found first or was told of:
one in /usr/local, an environment of its own. A library is there when it imports; that a package is installed says
nothing of this Python.
"""

from __future__ import annotations

import contextlib
import glob
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import typing as t
from dataclasses import dataclass

from ansible.module_utils import basic

from .._python import OLDEST
from .errors import LabError, LibraryBroken, Missing


@dataclass(frozen=True)
class Need:
    """A library: what of it we import, its name in the Python index, its package, the oldest version that will do."""

    module: str
    distribution: str
    package: str
    oldest: tuple[int, ...] = ()


LIBRARIES: dict[str, Need] = {
    "pyroute2": Need("pyroute2.netlink.rtnl.ifinfmsg", "pyroute2", "python3-pyroute2", (0, 7, 2)),
    "elftools": Need("elftools.elf.elffile", "pyelftools", "python3-pyelftools"),
}
SYSTEM = ("/usr/bin/python3", "/usr/libexec/platform-python", "/usr/bin/python3.[0-9]*", "/usr/local/bin/python3")
_HANDED = b"ebpf.lab arguments at "

# Runs in another Python, of any version; its first argument is what to import.
_PROBE = """
import json, sys
def look(name, module, distribution):
    try:
        __import__(module)
    except ImportError as error:
        missing = getattr(error, "name", None)
        return None if missing == name else "%s: %s" % (type(error).__name__, error)
    except Exception as error:
        return "%s: %s" % (type(error).__name__, error)
    try:
        from importlib.metadata import version
        return [version(distribution)]
    except Exception:
        return [""]
names = json.loads(sys.argv[1])
found = {"python": list(sys.version_info[:2])}
for name in names:
    found[name] = look(name, *names[name])
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Library:
    """A library in one Python: its version ("": it does not tell), or why it cannot be had there.

    ``broken``: it is there, and importing it fails.
    """

    name: str
    python: str
    version: str = ""
    why: str = ""
    broken: bool = False

    @property
    def works(self) -> bool:
        """Whether it imports and is new enough."""
        return not self.why


def lacking(names: t.Iterable[str]) -> list[str]:
    """Those that this Python cannot find. Looks for files alone: importing costs what a re-run need not pay."""
    found = []
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:  # a folder without __init__ is what is left of one
            found.append(name)
    return found


def here(name: str) -> Library:
    """A library in this Python, by importing it."""
    if lacking([name]):
        return Library(name, sys.executable, why="it is not installed")
    try:
        importlib.import_module(LIBRARIES[name].module)
    except Exception as error:  # whatever a damaged file or a library of another Python raises
        return Library(name, sys.executable, why=f"{type(error).__name__}: {error}", broken=True)
    from importlib import metadata  # late, as all that a run without a change does not need

    version = ""
    with contextlib.suppress(metadata.PackageNotFoundError):
        version = metadata.version(LIBRARIES[name].distribution) or ""
    return _judged(name, sys.executable, version)


def elsewhere(names: t.Sequence[str]) -> list[list[Library]]:
    """The libraries in each other Python of this machine that is new enough for us; the system's own one first."""
    paths = [path for pattern in SYSTEM for path in sorted(glob.glob(pattern), reverse=True)]
    seen = {sys.executable}
    if sys.prefix == sys.base_prefix:
        seen.add(os.path.realpath(sys.executable))
    found = []
    for path in paths:
        real = os.path.realpath(path)
        if path in seen or real in seen or not os.access(path, os.X_OK):
            continue
        seen |= {path, real}
        libraries = _ask(path, names)
        if libraries:
            found.append(libraries)
    return found


def _ask(python: str, names: t.Sequence[str]) -> list[Library]:
    wanted = json.dumps({name: [LIBRARIES[name].module, LIBRARIES[name].distribution] for name in names})
    try:
        done = subprocess.run(
            [python, "-c", _PROBE, wanted], capture_output=True, stdin=subprocess.DEVNULL, timeout=20, check=False
        )
        answer = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return []
    if tuple(answer["python"]) < OLDEST:
        return []
    found = []
    for name in names:
        said = answer[name]
        if isinstance(said, list):
            found.append(_judged(name, python, said[0]))
        else:
            found.append(Library(name, python, why=said or "it is not installed", broken=said is not None))
    return found


def _judged(name: str, python: str, version: str) -> Library:
    oldest = LIBRARIES[name].oldest
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if numbers and oldest and numbers < oldest:
        wanted = ".".join(map(str, oldest))
        return Library(name, python, version, why=f"{version} is too old, it has to be {wanted} or newer")
    return Library(name, python, version)


def as_used(names: t.Sequence[str]) -> list[Library]:
    """The libraries in the Python that will run us: this one, unless only another one has them."""
    found = list(map(here, names))
    bad = [library.name for library in found if not library.works]
    if not bad:
        return found
    others = {one.name: one for libraries in elsewhere(bad) if all(one.works for one in libraries) for one in libraries}
    return [others.get(library.name, library) if not library.works else library for library in found]


def require(names: t.Iterable[str]) -> None:
    """Return when this Python imports all of them.

    Raises Missing, naming another Python that has them all where there is one, and LibraryBroken for one that is
    there and does not work, which no package can cure.
    """
    bad = [library for library in map(here, names) if not library.works]
    if bad:
        raise trouble(bad)


def trouble(bad: t.Sequence[Library]) -> LabError:
    """What to tell of libraries that do not work in this Python."""
    names = [library.name for library in bad]
    others = elsewhere(names)
    fit = next((found[0].python for found in others if all(library.works for library in found)), "")
    if fit:
        return Missing(
            f"{sys.executable} lacks what the lab needs: {', '.join(names)}.",
            f"{fit} has it: set ansible_python_interpreter to {fit}.",
            names,
            python=fit,
        )
    broken = next((library for found in (bad, *others) for library in found if library.broken), None)
    if broken is not None:
        return LibraryBroken(
            f"The Python library {broken.name} is there and {broken.python} cannot import it: {broken.why}.",
            f"Install it anew, for example with apt-get install --reinstall {LIBRARIES[broken.name].package}, "
            "or set ansible_python_interpreter to a Python that has it.",
            library=broken.name,
        )
    shown = ", ".join(f"{one.name} ({one.why})" if one.version else one.name for one in bad)
    return Missing(
        f"This host lacks what the lab needs: {shown}.", "Install it with the role ebpf.lab.prerequisites.", names
    )


def go_on_elsewhere(error: Missing) -> None:
    """Run this module anew under the Python that has what is missing, and end with its answer; return when none is.

    ansible-core's own way, which keeps check mode and all else: the arguments are the same bytes. It writes them into
    a pipe that nobody reads yet, so that more than a pipe holds would wait for ever: they are handed over in memory.
    """
    from ansible.module_utils.common import respawn

    main = sys.modules["__main__"]
    if not error.python or respawn.has_respawned() or not hasattr(main, "_module_fqn"):
        return
    memory = os.memfd_create("ebpf.lab")
    with open(memory, "wb") as file:
        file.write(basic._ANSIBLE_ARGS)
        file.flush()
        basic._ANSIBLE_ARGS = _HANDED + f"/proc/{os.getpid()}/fd/{memory}".encode()
        respawn.respawn_module(error.python)


def take_over() -> None:
    """In a module that was started anew: the arguments that were handed over."""
    if (basic._ANSIBLE_ARGS or b"").startswith(_HANDED):
        with open(basic._ANSIBLE_ARGS[len(_HANDED) :].decode(), "rb") as file:
            basic._ANSIBLE_ARGS = file.read()
