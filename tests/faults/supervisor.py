# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stops a program before each system call that changes something, and decides what becomes of the call.

The program needs no hook and no debugger: a seccomp filter hands those calls of it, of its threads and of its children
to us (seccomp_unotify(2)). A call is named by what it is about, with random names made equal, and numbered among those
of the same name, so that the same point is met again in another run. While ``decide`` thinks, the program stands still:
it may let the call be made, answer it with an error, or kill the program before it is made.

    python supervisor.py launch FOLDER COMMAND...     the program's side: puts on the filter, then becomes COMMAND
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import errno
import fcntl
import os
import pathlib
import platform
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import time
import typing as t
from dataclasses import dataclass, field

NUMBERS = {
    "x86_64": {
        **{"write": 1, "open": 2, "pwrite64": 18, "writev": 20, "sendfile": 40, "sendto": 44, "sendmsg": 46},
        **{"setsockopt": 54, "execve": 59, "fsync": 74, "fdatasync": 75, "truncate": 76, "ftruncate": 77},
        **{"rename": 82, "mkdir": 83, "rmdir": 84, "creat": 85, "link": 86, "unlink": 87, "symlink": 88, "chmod": 90},
        **{"fchmod": 91, "chown": 92, "fchown": 93, "lchown": 94, "mknod": 133, "mount": 165, "umount2": 166},
        **{"setxattr": 188, "openat": 257, "mkdirat": 258, "mknodat": 259, "fchownat": 260, "unlinkat": 263},
        **{"renameat": 264, "linkat": 265, "symlinkat": 266, "fchmodat": 268, "unshare": 272, "utimensat": 280},
        **{"fallocate": 285, "renameat2": 316, "bpf": 321, "copy_file_range": 326, "move_mount": 429, "openat2": 437},
        **{"ioctl": 16, "connect": 42, "utime": 132, "pivot_root": 155, "sethostname": 170, "init_module": 175},
        **{"delete_module": 176, "lsetxattr": 189, "fsetxattr": 190, "removexattr": 197, "utimes": 235, "splice": 275},
        **{"pwritev": 296, "sendmmsg": 307, "finit_module": 313, "io_uring_setup": 425, "fsmount": 432},
        **{"fchmodat2": 452},
    },
    "aarch64": {
        **{"unlinkat": 35, "symlinkat": 36, "linkat": 37, "renameat": 38, "umount2": 39, "mount": 40, "truncate": 45},
        **{"ftruncate": 46, "fallocate": 47, "fchmod": 52, "fchmodat": 53, "fchownat": 54, "fchown": 55, "openat": 56},
        **{"mknodat": 33, "mkdirat": 34, "write": 64, "writev": 66, "pwrite64": 68, "sendfile": 71, "fsync": 82},
        **{"fdatasync": 83, "utimensat": 88, "unshare": 97, "sendto": 206, "setsockopt": 208, "sendmsg": 211},
        **{"execve": 221, "renameat2": 276, "bpf": 280, "copy_file_range": 285, "move_mount": 429, "openat2": 437},
        **{"setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "removexattr": 14, "ioctl": 29, "pivot_root": 41},
        **{"pwritev": 70, "splice": 76, "init_module": 105, "delete_module": 106, "sethostname": 161, "connect": 203},
        **{"sendmmsg": 269, "finit_module": 273, "io_uring_setup": 425, "fsmount": 432, "fchmodat2": 452},
    },
}
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
SECCOMP = {"x86_64": 317, "aarch64": 277}
PIDFD_SEND_SIGNAL, PIDFD_GETFD = 424, 438  # the same everywhere
FILTER_FLAGS = (1 << 3) | (1 << 5)  # NEW_LISTENER | WAIT_KILLABLE_RECV: a call that waits for us can be killed
NOTIF_RECV, NOTIF_SEND, CONTINUE = 0xC0502100, 0xC0182101, 1
ALLOW, USER_NOTIF = 0x7FFF0000, 0x7FC00000
LISTENER = 199  # the number of the listener in the program itself
OPEN_CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# linux/netfilter_ipv4/ip_tables.h and netfilter_bridge/ebtables.h: how the legacy tools hand over tables and counters.
SOCKET_OPTIONS = {64: "replace a table of iptables-legacy", 65: "set counters of iptables-legacy", 128: "set ebtables"}
SET_IOCTLS = {  # linux/sockios.h, linux/if_tun.h
    **{0x890B: "SIOCADDRT", 0x890C: "SIOCDELRT", 0x8914: "SIOCSIFFLAGS", 0x8916: "SIOCSIFADDR", 0x8922: "SIOCSIFMTU"},
    **{0x8923: "SIOCSIFNAME", 0x8924: "SIOCSIFHWADDR", 0x8943: "SIOCSIFTXQLEN", 0x8953: "SIOCDARP", 0x8955: "SIOCSARP"},
    **{0x89A0: "SIOCBRADDBR", 0x89A1: "SIOCBRDELBR", 0x89A2: "SIOCBRADDIF", 0x89A3: "SIOCBRDELIF"},
    **{0x400454CA: "TUNSETIFF", 0x400454CB: "TUNSETPERSIST"},
}

# Which arguments are paths: (the number of the folder's descriptor or None, the number of the path).
PATHS: dict[str, list[tuple[t.Optional[int], int]]] = {
    **{name: [(None, 0)] for name in "open creat truncate mkdir rmdir unlink chmod chown lchown mknod umount2".split()},
    **{name: [(None, 0)] for name in "utime utimes lsetxattr removexattr".split()},
    **{name: [(None, 0), (None, 1)] for name in ("rename", "link")},
    **{name: [(0, 1)] for name in "openat openat2 mkdirat mknodat fchownat unlinkat fchmodat fchmodat2".split()},
    **{"utimensat": [(0, 1)], "pivot_root": [(None, 1)]},
    **{name: [(0, 1), (2, 3)] for name in ("renameat", "renameat2", "linkat", "move_mount")},
    **{"symlink": [(None, 1)], "symlinkat": [(1, 2)], "mount": [(None, 1)], "setxattr": [(None, 0)]},
}
# Which argument is the descriptor of the file that is changed.
FILES = {
    **dict.fromkeys("write pwrite64 writev fsync fdatasync ftruncate fchmod fchown fallocate sendfile".split(), 0),
    **{"pwritev": 0, "fsetxattr": 0, "copy_file_range": 2, "splice": 2},
}
BPF = {
    **{0: "MAP_CREATE", 2: "MAP_UPDATE_ELEM", 3: "MAP_DELETE_ELEM", 5: "PROG_LOAD", 6: "OBJ_PIN", 8: "PROG_ATTACH"},
    **{9: "PROG_DETACH", 21: "MAP_LOOKUP_AND_DELETE_ELEM", 22: "MAP_FREEZE", 25: "MAP_LOOKUP_AND_DELETE_BATCH"},
    **{26: "MAP_UPDATE_BATCH", 27: "MAP_DELETE_BATCH", 28: "LINK_CREATE", 29: "LINK_UPDATE", 34: "LINK_DETACH"},
}
# What ends with the program that does it, or changes nothing but what a packet would change.
BPF_BRIEFLY = {10: "PROG_TEST_RUN", 17: "RAW_TRACEPOINT_OPEN", 18: "BTF_LOAD", 32: "ENABLE_STATS"}
OUTRIGHT = ("sethostname", "init_module", "finit_module", "delete_module", "fsmount", "io_uring_setup")
LEVELS = (0, 41)  # SOL_IP, SOL_IPV6
NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12
# What says no batch and is no question: conntrack's new and delete, and questions that set counters to zero.
NETFILTER = {(1, 0): "NEWCT", (1, 2): "DELCT", (1, 3): "ZEROCT", (10, 21): "RESETOBJ", (10, 25): "RESETRULE"}
ROUTE = {4: "LINK", 5: "ADDR", 6: "ROUTE", 7: "NEIGH", 8: "RULE", 9: "QDISC", 10: "TCLASS", 11: "TFILTER", 22: "NSID"}

# Names that are drawn at random, and numbers that are new each time.
RANDOM = [
    (re.compile(r"^/proc/(self|thread-self|\d+)(/task/\d+)?/"), "/proc/self/"),
    (re.compile(r"(?<=[-.])[a-z0-9_]{8}(?=[./]|$)"), "*"),  # Python's tempfile
    (re.compile(r"(?<=tmp)[a-z0-9_]{8}(?=[./]|$)"), "*"),
    (re.compile(r"-[0-9a-f]{6}(?=\.)"), "-*"),  # clang's
    (re.compile(r"(?<=/(?:cc|st))[a-zA-Z0-9]{6}(?=\.|$)"), "*"),  # gcc's and strip's
    (re.compile(r"(/var/(?:lib|cache)/apt/.*\.)[a-zA-Z0-9]{6}$"), r"\1*"),
    (re.compile(r"(?<=/ebpf_lab_kept/)(program|map|link)_\d+"), r"\1_*"),  # the kernel's ids
    (re.compile(r"\d{6,}"), "*"),  # clocks
    (re.compile(r"\*_\d+"), "*"),
    (re.compile(r"(?<=[~.])\d{4}-?\d\d-?\d\d[-T]?\d\d:?\d\d:?\d\d"), "*"),
]

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Point:
    """The ``number``-th call of this name in a run, from 1."""

    name: str
    number: int

    def __str__(self) -> str:
        return f"{self.name} #{self.number}"


@dataclass(frozen=True)
class Call(Point):
    """A call that waits for an answer. ``main``: the program itself makes it, not one of its children.

    ``path`` is what it is about as it was given, with what is random in it.
    """

    pid: int
    main: bool
    path: str = ""


@dataclass(frozen=True)
class Answer:
    """What becomes of a call: it is made; it fails with ``error``; it is not made, for ``kill`` is "alone" or "group".

    Alone is the program itself; its children live on and end by themselves.
    """

    error: int = 0
    kill: str = ""


GO_ON = Answer()
# These change nothing that stays by itself, so they are no points, but ``decide`` is asked: a program is started, a
# packet is sent, something is loaded or made that is gone with the program.
PASSING = RUNS, SENDS, BRIEFLY = "run ", "send ", "briefly "
Decide = t.Callable[[Call], Answer]


@dataclass
class Run:
    """What came of a run. ``hit`` are the calls that were not simply made, ``rc`` is as subprocess has it.

    ``programs`` are the paths of those that it started, also where there is none.
    """

    rc: int = 0
    stdout: str = ""
    stderr: str = ""
    points: list[Point] = field(default_factory=list)
    hit: list[Point] = field(default_factory=list)
    programs: list[str] = field(default_factory=list)
    seconds: float = 0.0


class CannotSupervise(Exception):
    """This machine or this moment does not allow it; a test that sees it has failed."""


# --- the program's side


def _program() -> bytes:
    """The filter: the calls in NUMBERS are handed over, those that can be told by a number only when they change."""
    code: list[tuple[int, int, int, int]] = []
    # BPF_LD|W|ABS, BPF_JMP|JEQ|K, JMP|JGE|K, JMP|JSET|K, BPF_RET|K
    load, equal, at_least, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    numbers = NUMBERS[platform.machine()]
    conditions = {
        "open": (1, any_bit, OPEN_CHANGES),
        "openat": (2, any_bit, OPEN_CHANGES),
        "setsockopt": (2, at_least, min(SOCKET_OPTIONS)),
        "ioctl": (1, at_least, min(SET_IOCTLS)),
        "write": (0, at_least, 3),  # what is said to others is no change
    }
    code += [(load, 0, 0, 4), (equal, 1, 0, AUDIT_ARCH[platform.machine()]), (give, 0, 0, ALLOW), (load, 0, 0, 0)]
    for name, number in numbers.items():
        if name in conditions:
            argument, operation, value = conditions[name]
            code += [(equal, 0, 4, number), (load, 0, 0, 16 + 8 * argument), (operation, 0, 1, value)]
            code += [(give, 0, 0, USER_NOTIF), (give, 0, 0, ALLOW)]
        else:
            code += [(equal, 0, 1, number), (give, 0, 0, USER_NOTIF)]
    code.append((give, 0, 0, ALLOW))
    return b"".join(struct.pack("=HBBI", *line) for line in code)


def launch(folder: str, argv: t.Sequence[str]) -> t.NoReturn:
    """Say who we are in ``folder``, put the filter on, become ``argv``: its execve already waits for the supervisor."""
    os.setpgid(0, 0)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and what is ignored is inherited
        signal.signal(number, signal.SIG_DFL)
    name = os.path.join(folder, "pid")
    with open(f"{name}.new", "w", encoding="ascii") as file:
        file.write(str(os.getpid()))
    os.rename(f"{name}.new", name)
    program = _program()
    buffer = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    pointer = ctypes.create_string_buffer(head, len(head))
    handle = _libc.syscall(SECCOMP[platform.machine()], 1, FILTER_FLAGS, pointer)
    if handle < 0:
        os._exit(198)
    os.dup2(handle, LISTENER, inheritable=False)
    os.close(handle)
    os.execvp(argv[0], list(argv))


def launched(folder: str, argv: t.Sequence[str]) -> list[str]:
    """The command line that starts ``argv`` under a filter; ``Supervisor.attach(folder)`` has to follow."""
    return ["/usr/bin/python3", "-SEI", os.path.abspath(__file__), "launch", folder, *argv]


# --- the supervisor's side


class Supervisor:
    """Supervises one program and all that it starts, from ``attach`` until all of them have ended."""

    def __init__(self, decide: Decide = lambda call: GO_ON) -> None:
        self.decide = decide
        self.run = Run()
        self.pid = 0
        self._pidfd = -1
        self._listener = -1
        self._counts: collections.Counter[str] = collections.Counter()
        self._started = False
        self._groups: dict[int, int] = {}
        # How many writes a file takes depends on its length: those in a row are one point.
        self._writing: t.Optional[tuple[int, str]] = None

    def attach(self, folder: str, patience: float = 20.0) -> None:
        """Take the listener of the program that was launched with ``folder``. Raises CannotSupervise."""
        name = os.path.join(folder, "pid")
        deadline = time.monotonic() + patience
        while self._listener < 0:
            if time.monotonic() > deadline:
                raise CannotSupervise(f"no program came under supervision by {folder} within {patience:g} s")
            with contextlib.suppress(FileNotFoundError):
                if not self.pid:
                    with open(name, encoding="ascii") as file:
                        self.pid = int(file.read())
                    self._pidfd = os.pidfd_open(self.pid)
                if "seccomp notify" in os.readlink(f"/proc/{self.pid}/fd/{LISTENER}"):
                    self._listener = _libc.syscall(PIDFD_GETFD, self._pidfd, LISTENER, 0)
                    continue
            if self.pid and not os.path.exists(f"/proc/{self.pid}"):
                raise CannotSupervise("the program ended before its filter was in place: Linux 5.19 or later is needed")
            time.sleep(0.001)

    def serve(self, deadline: float, kill_at: t.Optional[tuple[float, str]] = None) -> None:
        """Answer until the last of them has ended. ``kill_at``: a moment, and whom. Raises CannotSupervise."""
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        try:
            while True:
                now = time.monotonic()
                if now > deadline:
                    self.kill("group")
                    raise CannotSupervise("the program and its children did not end in time")
                if kill_at is not None and now >= kill_at[0]:
                    if not self.ended():
                        self.run.hit.append(Point("at a random time", 1))
                        self.kill(kill_at[1])
                    kill_at = None
                until = min(deadline, kill_at[0]) if kill_at is not None else deadline
                events = poll.poll(max(0, min(1000, (until - now) * 1000)))
                if events and events[0][1] & select.POLLIN:
                    self._answer_one()
                elif events:  # POLLHUP
                    return
        finally:
            os.close(self._listener)
            os.close(self._pidfd)

    def ended(self) -> bool:
        """Whether the program itself has ended."""
        return bool(select.select([self._pidfd], [], [], 0)[0])

    def kill(self, whom: str) -> None:
        """SIGKILL for the program, or for its process group and what it has started in groups of their own."""
        if not self.pid:
            return
        with contextlib.suppress(ProcessLookupError):
            if whom == "group":
                os.killpg(self.pid, signal.SIGKILL)
            else:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        for pid in self._started_by(self.pid) if whom == "group" else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _started_by(self, pid: int) -> list[int]:
        """Those of the processes that have come by here which still are under the filter, but for ``pid``."""
        found = []
        for other in {*self._groups.values()} - {pid}:
            with contextlib.suppress(OSError):
                status = pathlib.Path(f"/proc/{other}/status").read_text(encoding="utf-8", errors="replace")
                if re.search(r"^Seccomp:\s*2", status, re.MULTILINE):
                    found.append(other)
        return found

    def _answer_one(self) -> None:
        notice = bytearray(80)
        try:
            fcntl.ioctl(self._listener, NOTIF_RECV, notice)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR):  # the one who called was killed
                return
            raise
        ident, tid, _flags, number, _arch, _ip, *arguments = struct.unpack("=QIIiIQ6Q", notice)
        answer = GO_ON
        if self._started:
            with contextlib.suppress(OSError, struct.error):  # killed in the meantime: there is nothing to read
                if NAMES[number] == "execve":
                    self.run.programs.append(_path(tid, arguments, None, arguments[0]))
                    answer = self.decide(Call(RUNS + self.run.programs[-1], 0, tid, False, self.run.programs[-1]))
                name, path = describe(number, arguments, tid)
                if name.startswith((SENDS, BRIEFLY)):
                    answer = self.decide(Call(name, 0, tid, False, path))
                    name = ""
                elif name and (tid, name) != self._writing:
                    answer = self._judge(name, tid, path)
                self._writing = (tid, name) if name.startswith("write") else None
        self._started = True
        with contextlib.suppress(OSError):
            self._group_of(tid)
        if answer.kill and self._killed_with(answer.kill, tid):
            return
        reply = struct.pack("=QqiI", ident, 0, -answer.error, 0 if answer.error else CONTINUE)
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._listener, NOTIF_SEND, bytearray(reply))

    def _judge(self, name: str, tid: int, path: str) -> Answer:
        self._counts[name] += 1
        point = Point(name, self._counts[name])
        self.run.points.append(point)
        answer = self.decide(Call(name, point.number, tid, self._group_of(tid) == self.pid, path))
        if answer != GO_ON:
            self.run.hit.append(point)
        return answer

    def _killed_with(self, whom: str, tid: int) -> bool:
        """Kill; whether the one who makes this call is among them, so that nobody waits for an answer."""
        with contextlib.suppress(ProcessLookupError):
            among = whom == "group" or self._group_of(tid) == self.pid
            self.kill(whom)
            return among
        return True

    def _group_of(self, tid: int) -> int:
        """The process that a thread belongs to."""
        if tid not in self._groups:
            with open(f"/proc/{tid}/status", encoding="utf-8", errors="replace") as file:
                self._groups[tid] = int(re.findall(r"^Tgid:\s*(\d+)", file.read(), re.MULTILINE)[0])
        return self._groups[tid]


def supervise(
    argv: t.Sequence[str],
    decide: Decide = lambda call: GO_ON,
    *,
    folder: str,
    stdin: str = "",
    env: t.Optional[t.Mapping[str, str]] = None,
    cwd: t.Optional[str] = None,
    timeout: float = 120.0,
    kill_after: t.Optional[tuple[float, str]] = None,
) -> Run:
    """Run ``argv`` under supervision, until it and its children have ended. ``folder`` is an empty one, for our use.

    ``kill_after``: seconds, and "alone" or "group". Raises CannotSupervise.
    """
    os.makedirs(folder, exist_ok=True)
    for name in os.listdir(folder):
        os.unlink(os.path.join(folder, name))
    paths = {name: os.path.join(folder, name) for name in ("in", "out", "err")}
    with open(paths["in"], "w", encoding="utf-8") as file:
        file.write(stdin)
    supervisor = Supervisor(decide)
    start = time.monotonic()
    with open(paths["in"], "rb") as given, open(paths["out"], "wb") as out, open(paths["err"], "wb") as err:
        process = subprocess.Popen(launched(folder, argv), stdin=given, stdout=out, stderr=err, env=env, cwd=cwd)
    try:
        supervisor.attach(folder)
        start = time.monotonic()
        moment = None if kill_after is None else (start + kill_after[0], kill_after[1])
        supervisor.serve(start + timeout, moment)
    except BaseException:
        supervisor.kill("group")
        raise
    finally:
        if process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
        if process.poll() is None:
            process.kill()
            process.wait()
    run = supervisor.run
    run.rc, run.seconds = process.returncode, time.monotonic() - start
    for name in ("out", "err"):
        with open(paths[name], encoding="utf-8", errors="replace") as file:
            setattr(run, f"std{name}", file.read())
    return run


def at(name: str, number: int, answer: Answer) -> Decide:
    """Answers this one call so, and lets all others be made."""

    def decide(call: Call) -> Answer:
        return answer if (call.name, call.number) == (name, number) else GO_ON

    return decide


# --- what a call is about


def describe(number: int, arguments: t.Sequence[int], tid: int) -> tuple[str, str]:
    """The name of a call and the path that it is about; "" for one that changes nothing that is of interest."""
    call = NAMES[number]
    if call in PATHS:
        paths = [_path(tid, arguments, folder, arguments[path]) for folder, path in PATHS[call]]
        name = {"openat": "open", "openat2": "open", "creat": "open", "renameat": "rename", "renameat2": "rename"}
        return _about(name.get(call, call.removesuffix("at")), paths)
    if call in FILES:
        path = os.readlink(f"/proc/{tid}/fd/{arguments[FILES[call]]}")
        if path.startswith("socket:") and call.startswith(("write", "sendfile", "splice")):
            return _sends(_socket(tid, arguments[FILES[call]])), ""
        name = {"pwrite64": "write", "writev": "write", "pwritev": "write", "fsetxattr": "setxattr"}
        return _about(name.get(call, call), [path])
    if call == "bpf":
        return _bpf(arguments, tid), ""
    if call in ("sendto", "sendmsg", "sendmmsg"):
        kind = _socket(tid, arguments[0])
        return (_netlink(kind[2], call, arguments, tid) if kind[0] == socket.AF_NETLINK else _sends(kind)), ""
    if call == "connect":
        kind = _socket(tid, arguments[0])
        return (_sends(kind) if kind[1] == socket.SOCK_STREAM else ""), ""
    if call == "unshare":
        return (f"unshare {arguments[0]:#x}" if arguments[0] & 0x40000000 else ""), ""
    if call == "setsockopt":
        return (SOCKET_OPTIONS.get(arguments[2], "") if arguments[1] in LEVELS else ""), ""
    if call == "ioctl":
        request = SET_IOCTLS.get(arguments[1] & 0xFFFFFFFF, "")
        return (f"ioctl {request}" if request else ""), ""
    return (call if call in OUTRIGHT else ""), ""


def _socket(tid: int, handle: int) -> tuple[int, int, int]:
    """A socket's family, type and protocol; zeros for what is none."""
    if not os.readlink(f"/proc/{tid}/fd/{handle}").startswith("socket:"):
        return 0, 0, 0
    try:
        with socket.socket(fileno=_duplicate(tid, handle)) as other:
            return int(other.family), int(other.type), other.proto
    except OSError:
        return 0, 0, 0


def _sends(kind: tuple[int, int, int]) -> str:
    """A packet, or the first one of a connection; "" for what stays in the machine."""
    families = {int(socket.AF_INET): "IPv4", int(socket.AF_INET6): "IPv6", int(socket.AF_PACKET): "Ethernet"}
    return f"{SENDS}{families[kind[0]]}" if kind[0] in families else ""


def _about(call: str, paths: t.Sequence[str]) -> tuple[str, str]:
    """What is no file of the machine, and a program's notes about itself, are of no interest."""
    path = normal(paths[-1])
    if not path.startswith("/") or path.startswith(("/dev/null", "/dev/tty", "/dev/pts", "/proc/self/", "/memfd:")):
        return "", ""
    return f"{call} {' '.join(map(normal, paths))}", paths[-1]


def normal(path: str) -> str:
    """A path with what is random in it made equal."""
    for pattern, replacement in RANDOM:
        path = pattern.sub(replacement, path)
    return path.removesuffix(" (deleted)")


def _read(tid: int, address: int, size: int) -> bytes:
    handle = os.open(f"/proc/{tid}/mem", os.O_RDONLY)
    try:
        return os.pread(handle, size, address)
    finally:
        os.close(handle)


def _path(tid: int, arguments: t.Sequence[int], folder: t.Optional[int], address: int) -> str:
    """A path argument as an absolute path."""
    if not address:  # the call is about the descriptor itself
        return os.readlink(f"/proc/{tid}/fd/{arguments[folder]}") if folder is not None else "-"
    room = 4096 - address % 4096
    text = _read(tid, address, room)
    if b"\0" not in text:
        text += _read(tid, address + room, 4096)
    path = os.fsdecode(text.partition(b"\0")[0])
    if path.startswith("/"):
        return path
    handle = -100 if folder is None else ctypes.c_int(arguments[folder] & 0xFFFFFFFF).value
    base = os.readlink(f"/proc/{tid}/cwd" if handle == -100 else f"/proc/{tid}/fd/{handle}")
    return os.path.normpath(os.path.join(base, path))


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode(errors="replace")


def _bpf(arguments: t.Sequence[int], tid: int) -> str:
    command, size = BPF.get(arguments[0], ""), min(arguments[2], 128)
    if not command:
        command = BPF_BRIEFLY.get(arguments[0], "")
        return f"{BRIEFLY}bpf {command}" if command else ""
    attributes = _read(tid, arguments[1], size).ljust(128, b"\0")
    if command in ("MAP_CREATE", "PROG_LOAD"):
        offset = 28 if command == "MAP_CREATE" else 48
        name = _text(attributes[offset : offset + 16])
        # libbpf first asks the kernel what it can do, by loading and making things that it throws away.
        probe = not name or name.startswith("libbpf_") or name in ("test", "det_arg_ctx", "global_data")
        return f"{BRIEFLY if probe else ''}bpf {command} {name}".rstrip()
    if command == "OBJ_PIN":
        (address,) = struct.unpack_from("=Q", attributes)
        return f"bpf {command} {normal(_path(tid, arguments, None, address))}"
    return f"bpf {command}"


def _netlink(protocol: int, call: str, arguments: t.Sequence[int], tid: int) -> str:
    """A request over netlink by what it asks for; "" for one that only reads."""
    if call == "sendto":
        data = _read(tid, arguments[1], min(arguments[2], 1 << 20))
    else:  # of sendmmsg the first one
        vectors, count = struct.unpack_from("@PN", _read(tid, arguments[1], 56), 16)
        parts = struct.iter_unpack("@PN", _read(tid, vectors, 16 * min(count, 1024)))
        data = b"".join(_read(tid, address, length) for address, length in parts if length)
    kinds = list(_kinds(data))
    # Two that change nothing: a batch without anything in it, and ip's question whether the kernel knows NEWLINK.
    empty = set(kinds) <= {16, 17} if protocol == NETLINK_NETFILTER else data[16:] == bytes(16)
    if empty and protocol in (NETLINK_NETFILTER, NETLINK_ROUTE):
        return ""
    names = list(filter(None, (_message(protocol, kind) for kind in kinds)))
    if not names:
        return ""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"netlink {names[0]}{more}"


def _kinds(data: bytes) -> t.Iterator[int]:
    """The types of the messages in a datagram."""
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        yield kind
        if length < 16:
            return
        data = data[(length + 3) & ~3 :]


def _message(protocol: int, kind: int) -> str:
    if protocol == NETLINK_ROUTE and kind >= 16 and kind % 4 != 2:  # types come in fours: new, delete, get, set
        return f"{('NEW', 'DEL', '', 'SET')[kind % 4]}{ROUTE.get(kind // 4, kind // 4)}"
    # A change of nftables comes as a batch, which a message of type 16 opens; all else there are questions.
    if protocol == NETLINK_NETFILTER and kind == 16:
        return "batch of nftables"
    if protocol == NETLINK_NETFILTER:
        return NETFILTER.get((kind >> 8, kind & 0xFF), "")
    return ""


def _duplicate(tid: int, handle: int) -> int:
    """The descriptor ``handle`` of a thread's process, as one of ours."""
    with open(f"/proc/{tid}/status", encoding="utf-8", errors="replace") as file:
        group = int(re.findall(r"^Tgid:\s*(\d+)", file.read(), re.MULTILINE)[0])
    pidfd = os.pidfd_open(group)
    try:
        copy = int(_libc.syscall(PIDFD_GETFD, pidfd, handle, 0))
        if copy < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
        return copy
    finally:
        os.close(pidfd)


NAMES = {number: name for name, number in NUMBERS.get(platform.machine(), {}).items()}

if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[1] != "launch":
        sys.exit("usage: supervisor.py launch FOLDER COMMAND...")
    launch(sys.argv[2], sys.argv[3:])
