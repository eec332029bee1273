# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The toolchain on hosts with Debian 12 and 13 and Ubuntu 22.04 and 24.04, with stand-ins for the servers it is from.

Run with ``pytest tests/toolchain`` as root; nothing on this machine is changed. EBPF_LAB_TOOLCHAIN_RUN names hosts
that are up already (tests/hosts/hosts.py up --name NAME --image d12=debian12 …) and are left up.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import pathlib
import shlex
import socket
import subprocess
import sys
import tarfile
import time
import typing as t

import ansible
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(pathlib.Path(__file__).parent))

import stand_ins  # noqa: E402, I001 - first: it finds hosts
import hosts  # noqa: E402

_spec = importlib.util.spec_from_file_location("kernel_conftest", ROOT / "tests/kernel/conftest.py")
assert _spec is not None and _spec.loader is not None
kernel_conftest = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(kernel_conftest)

IMAGES = {"d12": "debian12", "d13": "debian13", "u22": "ubuntu2204", "u24": "ubuntu2404"}
ON_HOST = "/opt/ebpf.lab-tests"


class Host:
    """One test host: commands by ssh, modules as Ansible runs them, by the four runs."""

    def __init__(self, fleet: hosts.Run, name: str, folder: pathlib.Path) -> None:
        self.fleet = fleet
        self.name = name
        python = folder / f"python-{name}"
        remote = ["sh", "-c", 'umask 077; exec "$@"', "sh"]  # as careful people set it for root
        remote += ["env", f"PYTHONPATH={ON_HOST}", "PYTHONDONTWRITEBYTECODE=1", "python3"]
        argv = fleet.ssh(name)
        python.write_text(
            f"#!{sys.executable}\nimport os, shlex, sys\n"
            f"os.execvp({argv[0]!r}, {argv!r} + [shlex.join({remote!r} + sys.argv[1:])])\n",
            encoding="utf-8",
        )
        python.chmod(0o755)
        self.module = kernel_conftest.RunModule(ROOT)
        self.module.python = str(python)

    def sh(self, script: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a line of shell on the host."""
        done = subprocess.run(self.fleet.ssh(self.name, script), capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, (
            f"{self.name}: {script}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done

    def put(self, path: str, content: str) -> None:
        """Write a file on the host."""
        argv = self.fleet.ssh(self.name, f"cat > {shlex.quote(path)}")
        subprocess.run(argv, input=content, text=True, check=True)

    @contextlib.contextmanager
    def without_archives(self) -> t.Iterator[None]:
        """Every archive that apt knows is at a port where nobody listens, until the block ends."""
        self.sh(
            "cd /etc/apt && cp sources.list sources.list.kept && sed -i s,//[^/]*/,//127.0.0.1:9/,g sources.list"
            " && cp -a /var/lib/apt/lists /var/lib/apt/lists.kept && rm -rf /var/lib/apt/lists/*_*"
        )
        try:
            yield
        finally:
            self.sh(
                "mv /etc/apt/sources.list.kept /etc/apt/sources.list"
                " && rm -rf /var/lib/apt/lists && mv /var/lib/apt/lists.kept /var/lib/apt/lists"
            )

    def residue(self) -> str:
        """All that a tool may leave behind: its files and ours, by path, type and content."""
        places = "/usr/local /etc/profile.d /usr/include/iproute2 /usr/sbin/ip /var/lib/ebpf.lab /var/cache/ebpf.lab"
        listing = f"find {places} -not -type d -printf '%p %y %m %U %l ' -exec md5sum -- {{}} ';' 2>/dev/null"
        folders = f"find {places} -type d -printf '%p %m %U\\n' 2>/dev/null"
        return self.sh(f"({listing}; {folders}) | grep -v -e __pycache__ | sort").stdout


@contextlib.contextmanager
def _server(fleet: hosts.Run, port: int, *argv: str, cwd: pathlib.Path) -> t.Iterator[None]:
    """A server in the hosts' network until the block ends."""
    with subprocess.Popen(fleet.enter(*argv), cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        probe = f"import socket; socket.create_connection(({hosts.GATEWAY!r}, {port}), 1)"
        try:
            for _try in range(100):
                if subprocess.run(fleet.enter(sys.executable, "-c", probe), capture_output=True).returncode == 0:
                    break
                assert process.poll() is None, f"{argv} ended at once"
                time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait()


def _to_host(fleet: hosts.Run, name: str) -> None:
    """The collection and Ansible's module_utils, as AnsiballZ would bring them, once for all calls."""
    core = pathlib.Path(ansible.__file__).parent
    argv = fleet.ssh(name, f"mkdir -p {ON_HOST} && tar -xf - -C {ON_HOST}")
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        with tarfile.open(fileobj=process.stdin, mode="w|") as tar:
            for part in ("__init__.py", "release.py", "module_utils", "_internal", "_vendor"):
                tar.add(core / part, f"ansible/{part}", filter=_no_caches)
            tar.add(ROOT / "plugins", "ansible_collections/ebpf/lab/plugins", filter=_no_caches)
        process.stdin.close()
        assert process.wait() == 0


def _no_caches(member: tarfile.TarInfo) -> t.Optional[tarfile.TarInfo]:
    return None if "__pycache__" in member.name else member


@pytest.fixture(scope="session")
def fleet() -> t.Iterator[hosts.Run]:
    """One host of each release, up for the whole session."""
    name = os.environ.get("EBPF_LAB_TOOLCHAIN_RUN")
    with contextlib.ExitStack() as stack:
        run = hosts.load(name) if name else stack.enter_context(hosts.running([f"{h}={i}" for h, i in IMAGES.items()]))
        for host in run.hosts:
            _to_host(run, host)
        yield run


@pytest.fixture(scope="session")
def servers(fleet: hosts.Run) -> t.Iterator[pathlib.Path]:
    """http and git servers in the hosts' network; yields the folder of the git repositories."""
    stand_ins.pyroute2_index(*stand_ins.PYROUTE2)
    archives = [stand_ins.go_archive(version) for version in stand_ins.GO]
    repositories = stand_ins.CACHE / "git"
    kernel = stand_ins.kernel_tree(fleet, "d12")
    stand_ins.repository(repositories / "linux", kernel, "v6.1")
    stand_ins.iproute2_repository(repositories / "iproute2")
    libbpf = stand_ins.libbpf_repository(repositories / "libbpf", kernel)
    stand_ins.mirror(repositories / "bpftool", kernel, libbpf, f"{stand_ins.GIT_URL}/libbpf")
    www = stand_ins.CACHE / "www"
    daemon = ["git", "daemon", "--export-all", "--reuseaddr", f"--base-path={repositories}", "--port=9418"]
    daemon.append(f"--listen={hosts.GATEWAY}")
    dying = str(pathlib.Path(__file__).with_name("dying_server.py"))
    with contextlib.ExitStack() as stack:
        http = [sys.executable, "-m", "http.server", "--bind", hosts.GATEWAY, "8931"]
        stack.enter_context(_server(fleet, 8931, *http, cwd=www))
        died = [sys.executable, dying, hosts.GATEWAY, "8932", str(archives[0])]
        stack.enter_context(_server(fleet, 8932, *died, cwd=www))
        stack.enter_context(_server(fleet, 9418, *daemon, cwd=repositories))
        yield repositories


class Play:
    """Runs a role on hosts with ansible-playbook and returns what it did on each, and its output."""

    def __init__(self, fleet: hosts.Run, folder: pathlib.Path) -> None:
        self.fleet = fleet
        self.folder = folder

    def __call__(self, role: str, *options: str, fails: bool = False, **variables: t.Any) -> dict[str, dict[str, int]]:
        """Returns Ansible's own counts of each host: ok, changed, failures, …"""
        environment = {"PIP_INDEX_URL": f"{stand_ins.HTTP}/simple", "PIP_TRUSTED_HOST": hosts.GATEWAY}
        content = [{"hosts": "all", "gather_facts": False, "environment": environment, "roles": [f"ebpf.lab.{role}"]}]
        playbook = self.folder / f"{role}.json"
        playbook.write_text(json.dumps(content), encoding="utf-8")
        argv = ["ansible-playbook", "-i", str(self.fleet.inventory), "--extra-vars", json.dumps(variables), *options]
        return self.run([*argv, str(playbook)], fails)

    def lab(self, word: str, host: str, *options: str, fails: bool = False, **variables: t.Any) -> dict[str, int]:
        """``./lab WORD`` on one host."""
        argv = [str(ROOT / "lab"), word, "-i", str(self.fleet.inventory), "--limit", host, *options]
        return self.run([*argv, "--extra-vars", json.dumps(variables)], fails)[host]

    def task(
        self, host: str, module: str, *flags: str, fails: bool = False, variables: t.Any = None, **options: t.Any
    ) -> dict[str, int]:
        """One task on one host; its output is in ``output``."""
        playbook = self.folder / "task.json"
        content = [{"hosts": host, "gather_facts": False, "tasks": [{f"ebpf.lab.{module}": options}]}]
        playbook.write_text(json.dumps(content), encoding="utf-8")
        argv = ["ansible-playbook", "-i", str(self.fleet.inventory), "--extra-vars", json.dumps(variables or {})]
        return self.run([*argv, *flags, str(playbook)], fails)[host]

    def run(self, argv: list[str], fails: bool = False) -> dict[str, dict[str, int]]:
        """Runs a command line that ends with Ansible's recap."""
        settings = {"ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default", "ANSIBLE_FORKS": "8"}
        done = subprocess.run(argv, env={**os.environ, **settings}, capture_output=True, text=True, check=False)
        self.output = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, self.output
        counts = {}
        for line in done.stdout.partition("PLAY RECAP")[2].splitlines()[1:]:
            name, colon, rest = line.partition(":")
            if colon:
                counts[name.strip()] = {key: int(value) for key, value in (pair.split("=") for pair in rest.split())}
        assert counts, self.output
        return counts

    def four_runs(self, role: str, *options: str, **variables: t.Any) -> None:
        """Check → apply → again → again in check mode, with the counts that those must have."""
        predicted = self(role, "--check", *options, **variables)
        applied = self(role, *options, **variables)
        changed = {name: count["changed"] for name, count in applied.items()}
        assert {name: count["changed"] for name, count in predicted.items()} == changed, self.output
        assert all(changed.values()), f"{role} changed nothing somewhere: {changed}"
        for again in ((), ("--check",)):
            counts = self(role, *again, *options, **variables)
            assert not any(count["changed"] for count in counts.values()), self.output


@pytest.fixture(scope="session")
def play(fleet: hosts.Run, tmp_path_factory: pytest.TempPathFactory) -> Play:
    """``play("bpftool", bpftool_source="kernel")``."""
    return Play(fleet, tmp_path_factory.mktemp("plays"))


@dataclasses.dataclass(frozen=True)
class FirstDay:
    """A bare machine and one with the lab's tools, as they are before anything was done to them."""

    bare: Host
    tools: Host
    play: Play


@pytest.fixture(scope="session")
def first_day(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[FirstDay]:
    """Hosts of their own: what is tried on them is wrong on purpose."""
    wanted = ["bare=debian12", "tools=debian12-tools"]
    with hosts.running(wanted, f"first-day-{os.getpid()}") as run:
        folder = tmp_path_factory.mktemp("first-day")
        for name in run.hosts:
            _to_host(run, name)
        yield FirstDay(Host(run, "bare", folder), Host(run, "tools", folder), Play(run, folder))


@pytest.fixture(scope="session")
def prepared(fleet: hosts.Run, servers: pathlib.Path, play: Play) -> dict[str, t.Any]:
    """All hosts after the role prerequisites, which is proven on the way."""
    bare = {name: _history(fleet, name) for name in fleet.hosts}
    fresh = "EBPF_LAB_TOOLCHAIN_RUN" not in os.environ
    if fresh:
        play.four_runs("prerequisites")
    else:
        play("prerequisites")
    return {"fresh": fresh, "before": bare, "after": {name: _history(fleet, name) for name in fleet.hosts}}


def _history(fleet: hosts.Run, name: str) -> int:
    """How many transactions apt has made."""
    argv = fleet.ssh(name, "cat /var/log/apt/history.log 2>/dev/null | grep -c ^Start-Date || true")
    return int(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)


@pytest.fixture(scope="session")
def on(prepared: t.Any, fleet: hosts.Run, tmp_path_factory: pytest.TempPathFactory) -> t.Callable[[str], Host]:
    """``on("d12")`` is that host, with its packages."""
    folder = tmp_path_factory.mktemp("hosts")
    made = {name: Host(fleet, name, folder) for name in fleet.hosts}
    return made.__getitem__


def pytest_sessionstart() -> None:
    """Say at once what is missing: without root there are no hosts."""
    if os.geteuid() != 0:
        pytest.exit("tests/toolchain boots test hosts, which needs root; run it with sudo.", 3)
    socket.setdefaulttimeout(120)
