# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines behind ssh on this one, and what a command costs on both sides of the connection.

A machine is a private copy of this one (tests/isolate) with a port on 127.0.0.1. We accept the connections ourselves
and start ``sshd -i`` for each, inside the machine. So every process of a measured command is a child of ours in the
end: sshd's because we start them, those that leave their parents (ssh's shared connection) because we are their
subreaper. We wait for each with wait4(2), which tells the exact CPU time of a process and of all that it waited for.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import threading
import time
import typing as t
from dataclasses import dataclass, field

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
READY = "up"
LEAVE_SECONDS = 20.0

SSHD_CONFIG = """
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
PermitRootLogin prohibit-password
MaxStartups 200
"""
SSH_ARGS = (
    "-C -o ControlMaster=auto -o ControlPersist=60s "  # as Ansible has it by default
    "-F /dev/null -i {folder}/user -o UserKnownHostsFile={folder}/known -o StrictHostKeyChecking=no -o LogLevel=ERROR"
)


@dataclass
class Machine:
    """A private copy of this machine. ``inside`` is a process in its namespaces, ``ends`` what keeps it alive."""

    name: str
    port: int
    inside: int
    ends: subprocess.Popen[str]
    listener: socket.socket

    def enter(self, *argv: str) -> list[str]:
        """The command that runs ``argv`` in the machine, not over ssh."""
        return ["nsenter", f"--target={self.inside}", "--net", "--mount", "--pid", "--uts", "--ipc", "--wd=/", *argv]

    def output(self, *argv: str) -> str:
        """What a command in the machine prints; it has to succeed."""
        return subprocess.run(self.enter(*argv), check=True, stdout=subprocess.PIPE, text=True).stdout


@dataclass(frozen=True)
class Cost:
    """Seconds. ``control`` and ``target`` are CPU time of the two sides, user and system, children included."""

    wall: float
    control: float
    target: float
    output: str = field(repr=False, default="")

    @property
    def cpu(self) -> float:
        """Both sides."""
        return self.control + self.target


class Fleet:
    """Machines, the keys to them, and the environment for the commands of the control side. A context manager."""

    def __init__(self, names: t.Sequence[str]) -> None:
        if os.geteuid() != 0:
            raise SystemExit("benchmarks: needs root, because it makes machines; run it with sudo.")
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._stack = contextlib.ExitStack()
        # A short path: that of a socket may be no longer than 107 bytes (unix(7)).
        self.folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="lab-bench.", dir="/tmp"))
        self._sessions: set[int] = set()  # pids of sshd
        self._spawning = threading.Lock()
        for key in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{self.folder}/{key}"], check=True)
        pathlib.Path(self.folder, "sshd_config").write_text(SSHD_CONFIG.format(folder=self.folder), encoding="utf-8")
        pathlib.Path(self.folder, "ansible.cfg").touch()
        self.ssh_args = SSH_ARGS.format(folder=self.folder)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "SSH_"))},
            "ANSIBLE_COLLECTIONS_PATH": os.environ.get(
                "ANSIBLE_COLLECTIONS_PATH", str(ROOT / ".ansible" / "collections")
            ),
            "ANSIBLE_CONFIG": f"{self.folder}/ansible.cfg",
            "ANSIBLE_FORKS": "25",
            "ANSIBLE_HOME": f"{self.folder}/ansible",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_SSH_ARGS": self.ssh_args,
            "ANSIBLE_SSH_CONTROL_PATH_DIR": f"{self.folder}/cp",
            "PYTHONDONTWRITEBYTECODE": "",
        }
        self.machines = {name: self._machine(name) for name in names}
        hosts = {
            name: {"ansible_host": "127.0.0.1", "ansible_port": machine.port, "ansible_user": "root",
                   "ansible_python_interpreter": "/usr/bin/python3"}
            for name, machine in self.machines.items()
        }  # fmt: skip
        self.inventory = f"{self.folder}/inventory.json"
        pathlib.Path(self.inventory).write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_exc: object) -> None:
        for machine in self.machines.values():
            machine.listener.close()
            machine.ends.stdin.close()  # type: ignore[union-attr]  # its first process reads this to the end
            machine.ends.wait(timeout=LEAVE_SECONDS)
        self._stack.close()

    def _machine(self, name: str) -> Machine:
        ends = subprocess.Popen(
            [str(ROOT / "tests" / "isolate"), "sh", "-c", f"echo {READY}; exec cat >/dev/null"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if ends.stdout.readline().strip() != READY:  # type: ignore[union-attr]
            raise SystemExit("benchmarks: tests/isolate did not start; its message is above.")
        inside = int(pathlib.Path(f"/proc/{ends.pid}/task/{ends.pid}/children").read_text(encoding="ascii").split()[0])
        listener = socket.create_server(("127.0.0.1", 0), backlog=50)
        machine = Machine(name, listener.getsockname()[1], inside, ends, listener)
        threading.Thread(target=self._serve, args=(machine,), daemon=True).start()
        return machine

    def _serve(self, machine: Machine) -> None:
        argv = machine.enter("/usr/sbin/sshd", "-i", "-f", f"{self.folder}/sshd_config")
        while True:
            try:
                connection, _address = machine.listener.accept()
            except OSError:  # closed: the fleet is leaving
                return
            with connection, self._spawning:
                ends = [(os.POSIX_SPAWN_DUP2, connection.fileno(), number) for number in (0, 1)]
                self._sessions.add(os.posix_spawnp(argv[0], argv, os.environ, file_actions=ends))

    def run(self, argv: t.Sequence[str]) -> Cost:
        """Run a command of the control side from no open connection to none; it has to succeed."""
        with tempfile.TemporaryFile(dir=self.folder) as output:
            actions = [(os.POSIX_SPAWN_DUP2, output.fileno(), number) for number in (1, 2)]
            start = time.perf_counter()
            pid = os.posix_spawnp(argv[0], list(argv), self.environment, file_actions=actions)
            _pid, status, used = os.wait4(pid, 0)
            wall = time.perf_counter() - start
            control, target = self._end_connections()
            output.seek(0)
            text = output.read().decode(errors="replace")
        if status:
            raise SystemExit(f"benchmarks: {' '.join(argv)} failed:\n{text}")
        return Cost(wall, control + used.ru_utime + used.ru_stime, target, text)

    def _end_connections(self) -> tuple[float, float]:
        """Ask all that is left of a command to end, and wait for it: CPU seconds of the two sides."""
        control = target = 0.0
        deadline = time.monotonic() + LEAVE_SECONDS
        keep = {machine.ends.pid for machine in self.machines.values()}
        asked: set[int] = set()
        while left := _children() - keep:
            for pid in left - self._sessions - asked:
                os.kill(pid, signal.SIGTERM)  # the shared connection; sshd ends with it
                asked.add(pid)
            for pid in left:
                done, _status, used = os.wait4(pid, os.WNOHANG)
                if done and pid in self._sessions:
                    self._sessions.remove(pid)
                    target += used.ru_utime + used.ru_stime
                elif done:
                    control += used.ru_utime + used.ru_stime
            if time.monotonic() > deadline:
                raise SystemExit(f"benchmarks: processes {sorted(left)} did not end.")
            time.sleep(0.005)
        return control, target


def _children() -> set[int]:
    found: set[int] = set()
    for task in pathlib.Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found |= {int(pid) for pid in (task / "children").read_text(encoding="ascii").split()}
    return found
