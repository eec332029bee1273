# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Network namespaces by name: look, make, remove, and run a function inside one.

A name is a mount in /run/netns, and may stand for any namespace, this host's own included: ``ip netns attach NAME 1``
does that. A name that does is never entered, because what is meant for the lab would change the host.

Only the network namespace is entered. ``ip netns exec`` also makes a mount namespace and mounts a new /sys, in which
the pins of the real bpffs cannot be seen (ip-netns(8)); a thread that calls setns(2) keeps all mounts.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import os
import resource
import stat
import threading
import typing as t

from .._core import mounts
from .._core.errors import KernelRefused, LabError
from .._core.files import failed

FOLDER = "/run/netns"
CLONE_NEWNET = 0x40000000
MS_BIND, MS_REC, MS_SHARED = 0x1000, 0x4000, 0x100000
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8
NS_GET_NSTYPE = 0xB703  # ioctl_nsfs(2): the CLONE_NEW* constant of the namespace behind a descriptor

Identity = tuple[int, int]  # device and inode: two names with the same one stand for the same namespace

_libc = ctypes.CDLL(None, use_errno=True)
Result = t.TypeVar("Result")


def path_of(netns: str) -> str:
    """The file that stands for a namespace: below /run/netns for a name, itself for a path, ours for ""."""
    if not netns:
        return "/proc/thread-self/ns/net"
    return netns if netns.startswith("/") else os.path.join(FOLDER, netns)


def _call(function: str, *arguments: t.Any, doing: str) -> None:
    if getattr(_libc, function)(*arguments) != 0:
        raise KernelRefused(doing, ctypes.get_errno())


def identity(netns: str) -> t.Optional[Identity]:
    """What tells a namespace from all others, None when there is none."""
    try:
        found = os.stat(path_of(netns))
    except (OSError, ValueError):  # or no path at all
        return None
    return (found.st_dev, found.st_ino)


def is_own(netns: str) -> bool:
    """Whether ``netns`` is the namespace that this process runs in."""
    return not netns or identity(netns) == identity("/proc/self/ns/net")


@functools.cache
def _of_the_host() -> frozenset[t.Optional[Identity]]:
    """This process's own namespace, and that of the first process of all."""
    return frozenset({identity("/proc/self/ns/net"), identity("/proc/1/ns/net")})


def _is_hosts(handle: int) -> bool:
    found = os.fstat(handle)
    return (found.st_dev, found.st_ino) in _of_the_host()


def _is_name(netns: str) -> bool:
    """Whether a namespace is given by a name, or by the path of one. Other paths say themselves what they are."""
    if not netns.startswith("/"):
        return bool(netns)
    return os.path.realpath(os.path.dirname(netns)) == os.path.realpath(FOLDER)


def lie(netns: str) -> LabError:
    """The failure for a name that stands for the host's own namespace."""
    name = os.path.basename(netns)
    return LabError(
        f"netns: the name {name} in {FOLDER} stands for this host's own network namespace, and not for one of the "
        "lab's, so nothing is done in it.",
        f"Take the name away with 'ip netns del {name}', which leaves the host's network as it is.",
    )


def missing(netns: str) -> LabError:
    """Why a namespace that is needed cannot be worked in: its name lies, or there is none."""
    if kind(netns) == "own":
        return lie(netns)
    return LabError(f"netns: there is no network namespace {netns!r} on this host.", "Make it first.")


def opened(netns: str) -> int:
    """A descriptor of a namespace, for the caller to close. Raises KernelRefused, and LabError for a name that lies."""
    try:
        handle = os.open(path_of(netns), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise KernelRefused(f"enter the network namespace {netns}", error.errno or 0) from error
    if _is_name(netns) and _is_hosts(handle):
        os.close(handle)
        raise lie(netns)
    return handle


def in_netns(netns: str, function: t.Callable[[], Result]) -> Result:
    """Run ``function`` in a namespace and return what it returns; the caller's own thread never leaves its own.

    Sockets, /proc/sys/net and child processes that it opens belong to that namespace. Raises KernelRefused when the
    namespace cannot be entered, LabError when its name stands for the host's own, and whatever the function raises.
    """
    if not netns:
        return function()

    def enter() -> None:
        handle = opened(netns)
        try:
            _call("setns", handle, CLONE_NEWNET, doing=f"enter the network namespace {netns}")
        finally:
            os.close(handle)

    def body() -> Result:
        enter()
        return function()

    return _in_thread(body)


def _in_thread(function: t.Callable[[], Result]) -> Result:
    """Run ``function`` in a thread of its own: a namespace belongs to a thread, so it ends with this one."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(function())
        except BaseException as error:  # handed to the caller below
            errors.append(error)

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def kind(name: str) -> str:
    """What bears this name: "present", "absent", "own" (the host's own namespace), or "stray".

    Stray is what is no namespace: the plain file that a killed ``ip netns del`` leaves, or a symlink to nothing.
    """
    try:
        handle = os.open(path_of(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO would wait for a writer
    except OSError:
        return "stray" if os.path.lexists(path_of(name)) else "absent"
    try:
        if fcntl.ioctl(handle, NS_GET_NSTYPE) != CLONE_NEWNET:
            return "stray"
        return "own" if _is_name(name) and _is_hosts(handle) else "present"
    except OSError:
        return "stray"
    finally:
        os.close(handle)


def names() -> list[str]:
    """The namespaces that have a name, sorted; stray files are not among them."""
    try:
        found = sorted(os.listdir(FOLDER))
    except FileNotFoundError:
        return []
    return [name for name in found if kind(name) == "present"]


def folder_is_mount() -> bool:
    """Whether /run/netns is a mount point, as the first ``ip netns add`` of a boot makes it."""
    return mounts.at(FOLDER) is not None


def make_folder() -> bool:
    """Make /run/netns a shared mount, as iproute2 does: namespaces made later show in other mount namespaces too.

    Returns whether the folder was made as well. Raises LabError; then nothing was changed.
    """
    if folder_is_mount():
        raise LabError(f"Somebody else has just mounted {FOLDER}.", "Run again.")
    try:
        os.mkdir(FOLDER, 0o755)
        made = True
    except FileExistsError:
        made = False
    except OSError as error:
        raise failed(f"make {FOLDER}", error) from error
    try:
        flags = ctypes.c_ulong(MS_BIND | MS_REC)
        _call("mount", FOLDER.encode(), FOLDER.encode(), b"none", flags, None, doing=f"bind-mount {FOLDER}")
        flags = ctypes.c_ulong(MS_SHARED | MS_REC)
        _call("mount", b"", FOLDER.encode(), b"none", flags, None, doing=f"share {FOLDER}")
    except KernelRefused:
        remove_folder(made)
        raise
    return made


def remove_folder(made: bool) -> None:
    """Take the mount away, and the folder when it was ``made`` by us. Raises LabError while a name is in it."""
    try:
        inside = sorted(os.listdir(FOLDER))
    except FileNotFoundError:
        return
    if inside:
        raise LabError(f"{FOLDER} stays: {inside[0]} is in it.", f"Take that away with 'ip netns del {inside[0]}'.")
    if folder_is_mount():
        _call("umount2", FOLDER.encode(), MNT_DETACH, doing=f"unmount {FOLDER}")
    if made:
        try:
            os.rmdir(FOLDER)
        except OSError as error:
            raise failed(f"remove {FOLDER}", error) from error


def create(wanted: t.Sequence[str], mark: t.Callable[[], None]) -> list[t.Optional[LabError]]:
    """Make namespaces, with their loopback down as the kernel makes it; for each None, or why it is not there.

    ``mark`` is called inside each of them before it has its name. A stray file of the name is taken over: a plain one
    lies below what is mounted on it, anything else is removed.
    """

    def one(name: str) -> t.Optional[LabError]:
        doing = f"make the network namespace {name}"
        path, made = path_of(name), False
        try:
            _call("unshare", CLONE_NEWNET, doing=doing)
            mark()
            made = _make_file(name, doing)
            source = b"/proc/thread-self/ns/net"
            _call("mount", source, os.fsencode(path), b"none", ctypes.c_ulong(MS_BIND), None, doing=doing)
        except LabError as error:
            if made:
                os.unlink(path)
            return error
        return None

    return _in_thread(lambda: [one(name) for name in wanted])


def is_plain(name: str) -> bool:
    """Whether what bears the name is an empty file, as it is made for a namespace to be mounted on."""
    try:
        found = os.lstat(path_of(name))
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and not found.st_size


def _make_file(name: str, doing: str) -> bool:
    """Have a file to mount a namespace on; what a symlink points at is not touched. Returns whether it is new."""
    if kind(name) in ("present", "own"):
        raise KernelRefused(doing, errno.EEXIST, fix="Another namespace has got this name in the meantime; run again.")
    if is_plain(name):
        return False
    if os.path.lexists(path_of(name)):
        remove(name)
    try:
        os.close(os.open(path_of(name), os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o000))
    except OSError as error:
        raise KernelRefused(doing, error.errno or 0) from error
    return True


class Held:
    """Keeps a namespace alive after its name has gone, until ``close``. Raises KernelRefused."""

    def __init__(self, name: str) -> None:
        _raise_file_limit()
        self.name = name
        try:
            self._handle = os.open(path_of(name), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise KernelRefused(f"hold the network namespace {name}", error.errno or 0) from error
        # The inode's number is the namespace's own only as long as it is held.
        self.title = f"network namespace {os.fstat(self._handle).st_ino}"

    def put_back(self) -> None:
        """Give the namespace its name again."""
        doing = f"put back the network namespace {self.name}"
        made = _make_file(self.name, doing)
        path, source = path_of(self.name), f"/proc/self/fd/{self._handle}"
        flags = ctypes.c_ulong(MS_BIND)
        try:
            _call("mount", os.fsencode(source), os.fsencode(path), b"none", flags, None, doing=doing)
        except KernelRefused:
            if made:
                os.unlink(path)
            raise

    def close(self) -> None:
        """Let the namespace go."""
        os.close(self._handle)


@functools.cache
def _raise_file_limit() -> None:
    """A thousand namespaces are more files than a process may open before it asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def make_stray(name: str) -> None:
    """Make the plain file under a name that ``kind`` calls stray; for putting one back. Raises KernelRefused."""
    _make_file(name, f"put back the stray file {name}")


def remove(name: str, keep_file: bool = False) -> None:
    """Remove a name, whatever it stands for. The namespace itself goes when the last that uses it has ended.

    ``keep_file``: the plain file stays that it was mounted on.
    """
    path = path_of(name)
    doing = f"remove the network namespace {name}"
    while True:
        # Several mounts may lie on one another, after somebody bound the name twice; a symlink is none.
        if kind(name) in ("present", "own") and not os.path.islink(path):
            _call("umount2", os.fsencode(path), MNT_DETACH | UMOUNT_NOFOLLOW, doing=doing)
            continue
        if keep_file and is_plain(name):
            return
        try:
            os.unlink(path)
        except OSError as error:
            if error.errno == errno.EBUSY:  # a mount of something that is no namespace
                _call("umount2", os.fsencode(path), MNT_DETACH | UMOUNT_NOFOLLOW, doing=doing)
                continue
            if error.errno != errno.ENOENT:
                raise KernelRefused(doing, error.errno or 0) from error
        return
