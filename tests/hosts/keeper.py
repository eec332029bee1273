# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that owns a run of test hosts; ``hosts.py up`` starts it in network, mount and pid namespaces of its own.

It makes the bridge, mounts an overlay for each host, boots the hosts with systemd-nspawn, boots them again when they
reboot, and ends them when it is told to or when the process that it watches is gone. Whatever happens to it, the kernel
takes the hosts and their mounts with it, because it is process 1 of their pid namespace.
"""

from __future__ import annotations

import json
import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import typing as t

REBOOT = 133  # what nspawn exits with when the host asked to be booted again
STOP_SECONDS = 10
BRIDGE = "br0"


def run(*argv: str) -> None:
    """Run a command that has to succeed; its own words are the error."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(argv)}: {(done.stderr or done.stdout).strip()}")


def cgroup_root() -> pathlib.Path:
    """Where cgroup v2 is mounted: at the top, or beside the old hierarchies."""
    top = pathlib.Path("/sys/fs/cgroup")
    unified = top / "unified"
    root = unified if (unified / "cgroup.procs").exists() else top
    if not (root / "cgroup.procs").exists():
        raise OSError(f"cgroup v2 is mounted neither at {top} nor at {unified}; systemd in the hosts needs it")
    return root


class Host:
    """One booted machine: its overlay, its cgroup and its nspawn process."""

    def __init__(self, spec: dict[str, str], run_name: str) -> None:
        self.spec = spec
        self.name = spec["name"]
        self.scratch = pathlib.Path(spec["scratch"])
        self.root = self.scratch / "root"
        self.cgroup = cgroup_root() / f"ebpf.lab-tests-{run_name}-{self.name}"
        self.log = pathlib.Path(spec["log"])
        self.stopping = False
        self.process: t.Optional[subprocess.Popen[bytes]] = None
        self.thread = threading.Thread(target=self._loop, daemon=True)

    def prepare(self, files: dict[str, str]) -> None:
        """Mount the overlay and write what makes this host itself."""
        for part in ("upper", "work", "root"):
            (self.scratch / part).mkdir(parents=True)
        run(
            "mount",
            "-t",
            "overlay",
            "overlay",
            str(self.root),
            "-o",
            f"lowerdir={self.spec['image']},upperdir={self.scratch}/upper,workdir={self.scratch}/work",
        )
        for path, text in files.items():
            target = self.root / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if target.parent.name == ".ssh" else 0o755)
            target.write_text(text, encoding="utf-8")
        self.cgroup.mkdir()

    def start(self) -> None:
        """Boot, and keep booting as often as the host reboots."""
        self.thread.start()

    def _loop(self) -> None:
        argv = [
            "systemd-nspawn",
            "--quiet",
            "--boot",
            f"--directory={self.root}",
            f"--machine={self.name}",
            "--register=no",
            "--keep-unit",
            "--capability=all",
            "--system-call-filter=bpf @mount perf_event_open",
            f"--network-bridge={BRIDGE}",
            "--resolv-conf=off",
            "--timezone=off",
            "--link-journal=no",
            "--console=pipe",
        ]
        # The hosts of one run must not share a cgroup: each systemd takes the one it finds for its own.
        enter = 'echo $$ >"$0/cgroup.procs" && exec "$@"'
        env = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        while not self.stopping:
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    ["sh", "-c", enter, str(self.cgroup), *argv],
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            if self.process.wait() != REBOOT:
                return

    def answers(self, deadline: float) -> None:
        """Wait until sshd sends its banner."""
        while time.monotonic() < deadline:
            try:
                with socket.create_connection((self.spec["address"], 22), timeout=1) as conn:
                    if conn.recv(4) == b"SSH-":
                        return
            except OSError:
                pass
            if not self.thread.is_alive():
                break
            time.sleep(0.05)
        tail = self.log.read_text(encoding="utf-8", errors="replace")[-1500:]
        raise OSError(f"{self.name} did not start its sshd; the end of {self.log} is:\n{tail}")

    def stop(self) -> None:
        """Ask nspawn to power the host off; the second signal does not wait."""
        self.stopping = True
        if self.process and self.process.poll() is None:
            self.process.terminate()

    def gone(self, deadline: float) -> None:
        """Wait for the power-off, then remove the cgroups that nspawn leaves behind."""
        if self.process:
            self.thread.join(max(0.1, deadline - time.monotonic()))
            self.process.terminate()
            self.thread.join(5)
        # kill -9 by cgroup reaches what is left of the host, and a cgroup with a process cannot be removed.
        kill = self.cgroup / "cgroup.kill"
        if self.thread.is_alive() and kill.exists():
            kill.write_text("1", encoding="utf-8")
            self.thread.join(5)
        for _attempt in range(50):
            if remove_cgroup(self.cgroup):
                break
            time.sleep(0.1)


def remove_cgroup(top: pathlib.Path) -> bool:
    """Remove a cgroup and those below it; False while something still lives in one."""
    if not top.exists():
        return True
    try:
        for path, _dirs, _files in os.walk(top, topdown=False):
            os.rmdir(path)
    except OSError:
        return False
    return True


def relay(listen: str, port: int, target: str, outside: int) -> subprocess.Popen[bytes]:
    """Hand connections that arrive in the hosts' network to ``target`` (host:port) as this machine reaches it."""
    with socket.create_server((listen, port), backlog=64) as sock:
        # systemd-socket-proxyd finds its socket at descriptor 3; the socket stays in the namespace that it was made in.
        script = (
            "export LISTEN_FDS=1 LISTEN_PID=$$; "
            'exec nsenter "--net=/proc/self/fd/$1" /lib/systemd/systemd-socket-proxyd "$2"'
        )

        def third() -> None:
            os.dup2(sock.fileno(), 3, inheritable=True)

        return subprocess.Popen(
            ["sh", "-c", script, "relay", str(outside), target],
            pass_fds=(outside, 3),
            preexec_fn=third,
            stdin=subprocess.DEVNULL,
        )


def network(gateway: str, plan: dict[str, t.Any], outside: int) -> None:
    """The hosts' bridge, with an address for each registry that they may reach."""
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "address", "add", f"{gateway}/24", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    for entry in plan["relays"]:
        run("ip", "address", "replace", f"{entry['address']}/24", "dev", BRIDGE)
        relay(entry["address"], entry["port"], f"{entry['host']}:{entry['port']}", outside)


def main() -> int:
    """Read the run's plan, bring it up, say so in one line on stdout, and wait for the end."""
    plan = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
    end_read, end_write = os.pipe()

    def ask_to_end(*_args: t.Any) -> None:
        os.write(end_write, b".")

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, ask_to_end)
    hosts: list[Host] = []
    ready = False
    try:
        pathlib.Path("/run/systemd/nspawn").mkdir(parents=True, exist_ok=True)
        run("mount", "-t", "tmpfs", "tmpfs", "/run/systemd/nspawn")
        network(plan["gateway"], plan, plan["outside_fd"])
        for spec in plan["hosts"]:
            host = Host(spec, plan["run"])
            hosts.append(host)
            host.prepare({**plan["files"], **spec["files"]})
            host.start()
        deadline = time.monotonic() + plan["timeout"]
        for host in hosts:
            host.answers(deadline)
        ready = True
        print(json.dumps({"ready": True}), flush=True)
        watched = [end_read] + ([plan["watch_fd"]] if plan["watch_fd"] is not None else [])
        select.select(watched, [], [])
    except OSError as error:
        print(json.dumps({"error": str(error)}), flush=True)
    finally:
        for host in hosts:
            host.stop()
        deadline = time.monotonic() + STOP_SECONDS
        for host in hosts:
            host.gone(deadline)
            subprocess.run(["umount", "--lazy", str(host.root)], capture_output=True, check=False)
            shutil.rmtree(host.scratch, ignore_errors=True)
    return 0 if ready else 1


if __name__ == "__main__":
    sys.exit(main())
