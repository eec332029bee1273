#!/usr/bin/env python3
# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test hosts: machines with systemd, sshd and Python, booted in a second from a cached image, thrown away afterwards.

    tests/hosts/hosts.py up --image debian12 --count 2 --image ubuntu2404 --inventory /tmp/hosts.json
    ansible all -i /tmp/hosts.json -m ping
    ssh -F /run/ebpf.lab-tests/default/ssh_config debian12-1
    tests/hosts/hosts.py enter -- python3 -m http.server    # runs in the hosts' network, which they reach at 10.213.0.1
    tests/hosts/hosts.py list
    tests/hosts/hosts.py down

From Python: ``with hosts.running(["debian12", "debian12"]) as run: run.inventory``. The hosts live in a network
of their own; from there they reach this machine's apt archives and nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import typing as t
import urllib.parse

import images

STATE = pathlib.Path("/run/ebpf.lab-tests")
NET = "10.213.0."
GATEWAY = NET + "1"
HOSTNAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
NEEDED = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "ssh": "openssh-client",
    "nc.openbsd": "netcat-openbsd",
    "nsenter": "util-linux",
    "ip": "iproute2",
}


class HostsError(Exception):
    """The hosts cannot be had; the message says why in one sentence."""


@dataclasses.dataclass(frozen=True)
class Run:
    """Hosts that are up. ``pid`` is a process in their network namespace, ``inventory`` a file for ``ansible -i``."""

    name: str
    pid: int
    hosts: dict[str, str]
    inventory: pathlib.Path
    ssh_config: pathlib.Path

    def enter(self, *argv: str) -> list[str]:
        """The command line that runs ``argv`` on this machine but in the hosts' network."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--", *argv]

    def ssh(self, host: str, *argv: str) -> list[str]:
        """The command line that runs ``argv`` on a host."""
        return ["ssh", "-F", str(self.ssh_config), host, *argv]


def _expand(wanted: t.Sequence[str]) -> list[tuple[str, str]]:
    """Name each host: a=debian12 says its name, debian12 twice become debian12-1 and debian12-2."""
    seen: dict[str, int] = {}
    named = []
    for item in wanted:
        name, _equals, image = item.rpartition("=")
        seen[image] = seen.get(image, 0) + 1
        named.append((name or f"{image}-{seen[image]}", image))
    names = [name for name, _image in named]
    for name in names:
        if not HOSTNAME.fullmatch(name) or names.count(name) > 1:
            raise HostsError(f"{name!r} cannot name a host: 1 to 63 of a-z, 0-9 and -, each name once.")
    return named


def _registries() -> list[tuple[str, int]]:
    """Host and port of each archive and proxy in this machine's apt configuration."""
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    )
    proxies = subprocess.run(
        ["apt-config", "dump", "Acquire::http::Proxy", "Acquire::https::Proxy"],
        capture_output=True,
        text=True,
        check=False,
    )
    uris = done.stdout.split() + [part.strip('";') for part in proxies.stdout.split()]
    found = set()
    for uri in uris:
        parsed = urllib.parse.urlsplit(uri)
        if parsed.scheme in ("http", "https") and parsed.hostname:
            found.add((parsed.hostname, parsed.port or {"http": 80, "https": 443}[parsed.scheme]))
    return sorted(found)


def _relays(extra: t.Sequence[str]) -> list[dict[str, t.Any]]:
    """One address of the bridge for each outside host, so that every port of it can be had unchanged."""
    pairs = _registries()
    for item in extra:
        host, _colon, port = item.rpartition(":")
        if not host or not port.isdigit():
            raise HostsError(f"--relay {item!r} is not HOST:PORT.")
        pairs.append((host, int(port)))
    addresses = {host: f"{NET}{2 + index}" for index, host in enumerate(sorted({host for host, _port in pairs}))}
    return [{"host": host, "port": port, "address": addresses[host]} for host, port in dict.fromkeys(pairs)]


def _check() -> None:
    if os.geteuid() != 0:
        raise HostsError("Test hosts need root, because they are made of namespaces and mounts; run it with sudo.")
    missing = sorted({package for tool, package in NEEDED.items() if shutil.which(tool) is None})
    if missing:
        raise HostsError(f"Missing packages: apt-get install {' '.join(missing)}.")


def _ssh_files(where: pathlib.Path, hosts: dict[str, str], roots: t.Iterable[pathlib.Path]) -> str:
    """Make the run's key and what ssh needs to find the hosts; returns the public key."""
    key = where / "id_ed25519"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ebpf.lab test hosts", "-f", str(key)], check=True
    )
    known = {(root / "etc/ssh/ssh_host_ed25519_key.pub").read_text(encoding="utf-8").split()[1] for root in roots}
    (where / "known_hosts").write_text("".join(f"* ssh-ed25519 {blob}\n" for blob in sorted(known)), encoding="utf-8")
    lines = [
        "Host *",
        "  User root",
        f"  IdentityFile {key}",
        "  IdentitiesOnly yes",
        "  HostKeyAlgorithms ssh-ed25519",
        f"  UserKnownHostsFile {where}/known_hosts",
        "  GlobalKnownHostsFile /dev/null",
        "  StrictHostKeyChecking yes",
        "  LogLevel ERROR",
        "  ProxyUseFdpass yes",
        f"  ProxyCommand sh -c 'exec nsenter --net=/proc/$(cat {where}/pid)/ns/net nc.openbsd -F %h %p'",
    ]
    for name, address in hosts.items():
        lines += [f"Host {name}", f"  HostName {address}"]
    (where / "ssh_config").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return (key.with_suffix(".pub")).read_text(encoding="utf-8")


def _inventory(where: pathlib.Path, hosts: dict[str, str], named: list[tuple[str, str]]) -> str:
    groups: dict[str, t.Any] = {}
    for name, image in named:
        groups.setdefault("image_" + image.replace("-", "_"), {"hosts": {}})["hosts"][name] = {}
    content = {
        "all": {
            "hosts": {name: {"ansible_host": address} for name, address in hosts.items()},
            "vars": {
                "ansible_user": "root",
                "ansible_python_interpreter": "/usr/bin/python3",
                "ansible_ssh_common_args": f"-F {where}/ssh_config",
                "ansible_pipelining": True,
                # Every run gives its hosts the same addresses; a shared connection has to belong to one run.
                "ansible_control_path": f"{where}/%%C",
            },
            "children": groups,
        }
    }
    return json.dumps(content, indent=2) + "\n"


def up(
    wanted: t.Sequence[str],
    name: str = "default",
    inventory: t.Optional[pathlib.Path] = None,
    relays: t.Sequence[str] = (),
    watch: t.Optional[int] = None,
    timeout: float = 120,
) -> Run:
    """Boot a host for each image named in ``wanted``; they stay until ``down`` or until the process ``watch`` ends."""
    _check()
    named = _expand(wanted)
    where = STATE / name
    if (where / "pid").exists() and _alive(where):
        raise HostsError(f"Test hosts of the name {name!r} are up already; end them with: hosts.py down --name {name}.")
    shutil.rmtree(where, ignore_errors=True)
    where.mkdir(parents=True, mode=0o700)
    roots = {image: images.build(image) for _host, image in named}
    hosts = {host: f"{NET}{20 + index}" for index, (host, _image) in enumerate(named)}
    public = _ssh_files(where, hosts, roots.values())
    entries = _relays(relays)
    names = "".join(f"{entry['address']} {entry['host']}\n" for entry in entries)
    names += "".join(f"{address} {host}\n" for host, address in hosts.items())
    # From 20 up, because the relays need descriptor 3 for their socket.
    outside = _high(os.open("/proc/self/ns/net", os.O_RDONLY))
    watch_fd = _high(os.pidfd_open(watch)) if watch else None
    plan = {
        "run": name,
        "gateway": GATEWAY,
        "relays": entries,
        "outside_fd": outside,
        "watch_fd": watch_fd,
        "timeout": timeout,
        "files": {"/root/.ssh/authorized_keys": public, "/etc/hosts": f"127.0.0.1 localhost\n::1 localhost\n{names}"},
        "hosts": [
            {
                "name": host,
                "image": str(roots[image]),
                "address": hosts[host],
                "log": str(where / f"{host}.log"),
                "scratch": str(images.CACHE / "scratch" / f"{name}-{os.getpid()}" / host),
                "files": {
                    "/etc/test-host.env": f"ADDRESS={hosts[host]}/24\nGATEWAY={GATEWAY}\n",
                    "/etc/hostname": host + "\n",
                },
            }
            for host, image in named
        ],
    }
    (where / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    kept = tuple(fd for fd in (outside, watch_fd) if fd is not None)
    with (where / "keeper.log").open("w", encoding="utf-8") as log:
        keeper = subprocess.Popen(
            [
                "unshare",
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "--propagation",
                "private",
                sys.executable,
                str(pathlib.Path(__file__).with_name("keeper.py")),
                str(where / "plan.json"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            pass_fds=kept,
            start_new_session=True,
        )
    (where / "pid").write_text(f"{keeper.pid}\n", encoding="utf-8")
    for fd in kept:
        os.close(fd)
    assert keeper.stdout is not None
    answer = json.loads(keeper.stdout.readline() or '{"error": "the keeper ended without a word"}')
    if "error" in answer:
        keeper.wait()
        detail = (where / "keeper.log").read_text(encoding="utf-8")[-1000:]
        raise HostsError(f"The test hosts did not come up: {answer['error']} {detail}".strip())
    file = inventory or where / "hosts.json"
    file.write_text(_inventory(where, hosts, named), encoding="utf-8")
    return Run(name, keeper.pid, hosts, file, where / "ssh_config")


def _high(fd: int) -> int:
    high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20)
    os.close(fd)
    return high


def _alive(where: pathlib.Path) -> bool:
    """Whether the keeper of a run still is the process that was started: pids are given out again."""
    try:
        pid = int((where / "pid").read_text(encoding="utf-8"))
        return str(where / "plan.json") in pathlib.Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").split("\0")
    except (OSError, ValueError):
        return False


def down(name: str = "default") -> bool:
    """End a run and remove what it left; False when there was none."""
    where = STATE / name
    found = _alive(where)
    if found:
        pid = int((where / "pid").read_text(encoding="utf-8"))
        # unshare itself ignores the signal; its only child is the keeper, which powers the hosts off.
        for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split():
            os.kill(int(child), signal.SIGTERM)
        deadline = time.monotonic() + 40
        while _alive(where) and time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            time.sleep(0.05)
        if _alive(where):
            raise HostsError(f"The keeper of {name!r} (pid {pid}) did not end within 40 s; see {where}.")
    for scratch in (images.CACHE / "scratch").glob(f"{name}-*"):
        shutil.rmtree(scratch, ignore_errors=True)
    shutil.rmtree(where, ignore_errors=True)
    return found


def load(name: str = "default") -> Run:
    """The run of that name, for a process that did not start it."""
    where = STATE / name
    if not _alive(where):
        raise HostsError(f"No test hosts of the name {name!r} are up.")
    plan = json.loads((where / "plan.json").read_text(encoding="utf-8"))
    pid = int((where / "pid").read_text(encoding="utf-8"))
    return Run(
        name, pid, {host["name"]: host["address"] for host in plan["hosts"]}, where / "hosts.json", where / "ssh_config"
    )


@contextlib.contextmanager
def running(wanted: t.Sequence[str], name: str = "", relays: t.Sequence[str] = ()) -> t.Iterator[Run]:
    """Hosts for the length of a ``with`` block; they also end when this process dies."""
    name = name or f"pid{os.getpid()}"
    try:
        yield up(wanted, name=name, relays=relays, watch=os.getpid())
    finally:
        down(name)


class _Images(argparse.Action):
    """``--count`` belongs to the ``--image`` before it."""

    def __call__(
        self, parser: argparse.ArgumentParser, space: argparse.Namespace, values: t.Any, option: t.Optional[str] = None
    ) -> None:
        if option == "--image":
            space.wanted = [*space.wanted, values]
        elif not space.wanted or not values.isdigit() or int(values) < 1:
            parser.error("--count takes a number from 1 and stands after the --image that it counts")
        else:
            space.wanted = space.wanted + [space.wanted[-1]] * (int(values) - 1)


def _command(args: argparse.Namespace) -> list[str]:
    """What follows the options, without the -- that sets it apart; a shell when nothing does."""
    command: list[str] = args.command
    return (command[1:] if command[:1] == ["--"] else command) or ["sh"]


def main(argv: t.Optional[t.Sequence[str]] = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Test hosts for ebpf.lab.", epilog=f"Images: {', '.join(images.IMAGES)}."
    )
    words = parser.add_subparsers(dest="word", required=True)
    start = words.add_parser("up", help="boot hosts")
    start.add_argument(
        "--image", action=_Images, dest="wanted", default=[], help="an image, or NAME=IMAGE; may be given several times"
    )
    start.add_argument("--count", action=_Images, dest="wanted", help="how many of the image before it")
    start.add_argument("--inventory", type=pathlib.Path, help="where to write the inventory (default: beside the run)")
    start.add_argument("--relay", action="append", default=[], metavar="HOST:PORT", help="let the hosts reach this too")
    start.add_argument("--watch", type=int, metavar="PID", help="end the hosts when this process ends")
    change = words.add_parser(
        "chroot", help="run a command in a throwaway copy of an image, with this repository in it"
    )
    change.add_argument("image")
    change.add_argument("command", nargs=argparse.REMAINDER)
    for each in (
        start,
        words.add_parser("down", help="end the hosts of a run"),
        words.add_parser("enter", help="run a command here, in the hosts' network"),
    ):
        each.add_argument("--name", default="default", help="the run's name")
        if each.prog.endswith("enter"):
            each.add_argument("command", nargs=argparse.REMAINDER)
    words.add_parser("list", help="what is up")
    words.add_parser("build", help="build images, or find them in the cache").add_argument("images", nargs="+")
    args = parser.parse_args(argv)
    try:
        if args.word == "up":
            if not args.wanted:
                parser.error("up needs at least one --image")
            run = up(args.wanted, args.name, args.inventory, args.relay, args.watch)
            print(f"{', '.join(run.hosts)}: up; ansible -i {run.inventory}, ssh -F {run.ssh_config} HOST")
        elif args.word == "down":
            print("down" if down(args.name) else f"no test hosts of the name {args.name} were up")
        elif args.word == "enter":
            argv_in = load(args.name).enter(*_command(args))
            os.execvp(argv_in[0], argv_in)
        elif args.word == "chroot":
            argv_in = images.chroot_argv(args.image, pathlib.Path(__file__).resolve().parents[2], _command(args))
            os.execvp(argv_in[0], argv_in)
        elif args.word == "build":
            for image in args.images:
                print(images.build(image))
        else:
            for where in sorted(STATE.glob("*/")):
                print(f"{where.name}: {', '.join(load(where.name).hosts) if _alive(where) else 'ended'}")
    except (HostsError, images.ImageError) as error:
        print(f"hosts.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
