# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""./lab and ansible-playbook as people call them: in pipes, with wrong names, in any locale, by any user."""

from __future__ import annotations

import os
import pathlib
import shutil
import stat
import subprocess
import sys
import typing as t

import pytest

from .conftest import PINS, ROOT

FLEET = "all: {hosts: {s01: {ansible_connection: local, ansible_python_interpreter: /usr/bin/python3}}}\n"
USER = 65534
# Somebody who may read everything, as the interpreter can be in root's home, and write to nothing but what is theirs.
ORDINARY = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
ORDINARY += [f"--{which}=-all,+dac_read_search" for which in ("inh-caps", "ambient-caps", "bounding-set")]
SECONDS = 60  # what hangs, hangs for ever
Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A checkout of its own, with this environment's packages as its .venv, and some inventories."""
    here = tmp_path_factory.mktemp("checkout") / "lab"
    no = shutil.ignore_patterns(".*", "__pycache__", "tests", "docs", "benchmarks", "molecule")
    shutil.copytree(ROOT, here, ignore=no)
    (here / ".venv").mkdir()
    for entry in pathlib.Path(sys.prefix).iterdir():
        if not entry.name.startswith(".requirements"):
            (here / ".venv" / entry.name).symlink_to(entry)
    stamp = ["sh", "-c", ": >.venv/.requirements.txt.$(cat requirements*.txt | cksum | tr ' ' -)"]
    subprocess.run(stamp, cwd=here, check=True)
    (here / "fleet.yml").write_text(FLEET, encoding="utf-8")
    (here / "empty.yml").write_text("all: {hosts: }\n", encoding="utf-8")
    (here / "broken.yml").write_text("all: [\n", encoding="utf-8")
    return here


def start(here: pathlib.Path, script: str, *wrapper: str, **env: str) -> subprocess.Popen[str]:
    """A line of shell in the checkout. Its exit status is that of the first command of a pipe."""
    # ./lab test has set what ./lab sets; somebody's own shell has not.
    ours = ("PYTHONUNBUFFERED", "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment.update(ANSIBLE_NOCOLOR="1", ANSIBLE_HOME=str(here / ".ansible"), **env)
    argv = [*wrapper, "bash", "-c", f"{script}; exit ${{PIPESTATUS[0]}}"]
    return subprocess.Popen(
        argv, cwd=here, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finish(process: subprocess.Popen[str]) -> Done:
    """Wait for it, and see that it left nobody behind."""
    try:
        output, _none = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        for pid in running():
            os.kill(pid, 9)
        process.communicate()
        pytest.fail(f"hangs: {process.args!r}")
    return subprocess.CompletedProcess(process.args, process.returncode, output)


def running() -> list[int]:
    """Whoever has to do with a playbook; the test has a pid namespace of its own."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            argv = path.read_bytes()
        except OSError:
            continue
        if b"ebpf.lab." in argv and b"pytest" not in argv:
            found.append(int(path.parent.name))
    return found


@pytest.fixture(scope="module")
def up(checkout: pathlib.Path) -> t.Iterator[Done]:
    """A lab that was brought up with a narrow umask and with nobody reading a word of it."""
    run = "./lab up --stage hello --extra-vars lab=xdp_hello -vvv 2>&1 | true"
    yield finish(start(checkout, f"umask 077; PYTHONUNBUFFERED=1 {run}", LC_ALL="C"))
    down = finish(start(checkout, "./lab down 2>&1 >&- | true"))
    assert down.returncode == 0 and not os.path.exists(PINS), down.stdout


@pytest.mark.case("K9")
def test_what_changes_goes_on_when_nobody_reads(up: Done) -> None:
    assert up.returncode == 0, up.stdout
    assert os.path.exists(f"{PINS}/xdp_allow") and not running()


@pytest.mark.case("K9")
@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("./lab verify --extra-vars lab=xdp_hello | head -n 3", 141),
        ("ansible-playbook -i fleet.yml ebpf.lab.preflight -vvv 2>&1 | head -n 1", 141),
        ("./lab report --extra-vars lab=none | head -n 1", 2),
        ("./lab preflight >/dev/full", 0),
    ],
)
def test_what_reads_ends_when_nobody_reads(checkout: pathlib.Path, up: Done, script: str, status: int) -> None:
    done = finish(start(checkout, script))
    assert done.returncode == status, done.stdout
    assert ("No space left on device. The run goes on." in done.stdout) == ("full" in script)
    assert "Broken pipe" not in done.stdout and "Traceback" not in done.stdout
    assert not running()


@pytest.mark.case("R13")
def test_modes_do_not_depend_on_the_umask(up: Done) -> None:
    wrong = []
    for top in ("/usr/local/src/ebpf.lab", "/run/netns"):
        for folder, _folders, files in os.walk(top):
            # The sticky bit is the mark of a folder that the lab made.
            wrong += [f"{folder} {mode(folder):o}"] if mode(folder) & 0o777 != 0o755 else []
            names = [os.path.join(folder, name) for name in files]
            wrong += [f"{name} {mode(name):o}" for name in names if mode(name) not in (0o644, 0o444)]
    assert not wrong
    assert os.listdir("/usr/local/src/ebpf.lab/xdp_hello")
    assert mode("/etc/sysctl.d/60-ebpf-lab.conf") == 0o644
    assert mode("/var/lib/ebpf.lab") == 0o700 and mode("/var/lib/ebpf.lab/journal.jsonl") == 0o600


def mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


WRONG_NAMES = {
    "./lab up -i broken.yml": "inventory source",
    "./lab up -i fleet.yml -i missing.yml --list-hosts": "inventory source",
    "./lab reset --extra-vars lab_hosts=nobody": "matches nobody, so nothing was done.",
    "./lab down --tags foo": "No task is chosen by --tags foo, so nothing was done.",
    "ansible-playbook -i fleet.yml -i missing.yml ebpf.lab.provision": "There is no inventory",
    "ansible-playbook -i empty.yml ebpf.lab.teardown": "No machine in",
}


@pytest.fixture(scope="module")
def mistaken(checkout: pathlib.Path, up: Done) -> dict[str, Done]:
    """All of them at a time."""
    processes = {script: start(checkout, script) for script in WRONG_NAMES}
    return {script: finish(process) for script, process in processes.items()}


@pytest.mark.case("K21")
@pytest.mark.parametrize("script", WRONG_NAMES)
def test_a_run_that_does_nothing_is_an_error(mistaken: dict[str, Done], script: str) -> None:
    done = mistaken[script]
    errors = [line for line in done.stdout.splitlines() if line.startswith("[ERROR]")]
    assert done.returncode == 1, done.stdout
    assert WRONG_NAMES[script] in " ".join(errors) and "ok=1" not in done.stdout, done.stdout


@pytest.mark.case("R14")
@pytest.mark.parametrize("locale", ["LC_ALL=POSIX", "LANG=de_XX.UTF-8"])
def test_any_locale(checkout: pathlib.Path, locale: str) -> None:
    done = finish(start(checkout, f"env -u LANG -u LC_ALL {locale} ./lab report --list-hosts"))
    assert done.returncode == 0 and "hosts (1)" in done.stdout, done.stdout


@pytest.fixture
def shared(checkout: pathlib.Path) -> t.Iterator[pathlib.Path]:
    """A checkout where everybody can go, which pytest's own folders are not for."""
    place = pathlib.Path("/opt/shared")
    shutil.copytree(checkout, place / "lab", symlinks=True)
    (place / "home").mkdir()
    os.chown(place / "home", USER, USER)
    yield place / "lab"
    shutil.rmtree(place)


def as_user(here: pathlib.Path, script: str, home: str = "/opt/shared/home") -> Done:
    return finish(start(here, script, *ORDINARY, HOME=home, XDG_STATE_HOME=""))


# Quick: the machine is one that cannot be graded, which is a result too.
UNGRADED = "{ansible_python_interpreter: /bin/false, ansible_become: false, lab_verify_fail: false}"
VERIFY = f"./lab verify -i fleet.yml --extra-vars '{UNGRADED}'"
REPORT = "ebpf.lab/.ansible/ebpf.lab/reports/lecture2.html"


@pytest.mark.case("R15")
def test_an_ordinary_user_in_roots_checkout(shared: pathlib.Path) -> None:
    (shared / ".ansible").mkdir(exist_ok=True)  # root was first
    local = as_user(shared, "./lab up")
    assert local.returncode == 1 and local.stdout.count("\n") == 1 and "run it with sudo" in local.stdout
    assert as_user(shared, "./lab up --help").stdout.startswith("usage: ansible-playbook")
    verify = as_user(shared, VERIFY)
    assert verify.returncode == 0 and "s01" in verify.stdout, verify.stdout
    report = as_user(shared, "./lab report")
    assert report.returncode == 0 and (shared.parent / "home/.local/state" / REPORT).exists(), report.stdout
    nowhere = as_user(shared, "./lab report", home="/nonexistent")
    assert nowhere.returncode == 1 and nowhere.stdout.count("\n") == 1 and "set XDG_STATE_HOME" in nowhere.stdout


@pytest.mark.case("R15")
def test_what_root_makes_in_somebodys_checkout_is_theirs(shared: pathlib.Path) -> None:
    shutil.rmtree(shared / ".ansible", ignore_errors=True)
    subprocess.run(["chown", "-Rh", f"{USER}:{USER}", str(shared)], check=True)
    sudo = {"SUDO_UID": str(USER), "SUDO_GID": str(USER)}
    by_root = finish(start(shared, f"umask 077; {VERIFY} && ./lab report", **sudo))
    assert by_root.returncode == 0, by_root.stdout
    foreign = [str(path) for path in shared.rglob("*") if path.lstat().st_uid != USER and not path.is_symlink()]
    assert (shared / ".ansible/ebpf.lab/reports/lecture2.html").exists() and not foreign
    assert mode(str(shared / ".ansible/ebpf.lab/results")) == 0o700
    again = as_user(shared, "./lab report")
    assert again.returncode == 0 and not (shared.parent / "home/.local").exists(), again.stdout
