# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a reader gets to see of machines that lie, fail and warn: playbooks against hosts that answer what we like.

A host's Python is a script that says the answer. Nothing else is changed on this machine, so no isolation is needed.
The tests run under the ansible-core of the Python that runs them; tests/stages.d/25-words does so with two.
"""

from __future__ import annotations

import ast
import json
import os
import pathlib
import re
import subprocess
import sys
import typing as t

import pytest
import yaml
from ansible_collections.ebpf.lab.plugins.plugin_utils.remote import COMMON, DETAILS, returned

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODULES = sorted(
    path.stem for path in (ROOT / "plugins/modules").glob("*.py") if path.stem not in ("report", "results")
)

CLEAR = "\x1b[2J\x1b]0;owned\x07"  # empties the screen, names the terminal's window
TURN = "\u202e"  # what follows reads from right to left
BAD = f"{CLEAR}{TURN}word\x9b31m\u2066\r"


class Room:
    """Hosts by their answers, and playbooks for all of them."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.hosts: dict[str, dict[str, t.Any]] = {}

    def add(self, name: str, script: str) -> None:
        """A host whose Python is this shell script; the module comes on its standard input."""
        path = self.folder / f"{name}.sh"
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        self.hosts[name] = {"ansible_connection": "local", "ansible_python_interpreter": str(path)}

    def liar(self, name: str, answer: t.Any, stderr: str = "", code: int = 0) -> None:
        """A host that answers so: text as it is, else as JSON."""
        said, aside = self.folder / f"{name}.out", self.folder / f"{name}.err"
        said.write_text(answer if isinstance(answer, str) else json.dumps(answer), encoding="utf-8")
        aside.write_text(stderr, encoding="utf-8")
        self.add(name, f'[ -f "$1" ] || cat >/dev/null; cat {said}; cat {aside} >&2; exit {code}')

    def play(
        self, playbook: t.Union[str, list[dict[str, t.Any]]], *options: str, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a playbook of the collection, or tasks."""
        if not isinstance(playbook, str):
            path = self.folder / "play.json"
            play = {"hosts": "all", "gather_facts": False, "ignore_errors": True, "tasks": playbook}
            path.write_text(json.dumps([play]), encoding="utf-8")
            playbook = str(path)
        inventory = self.folder / "hosts.json"
        inventory.write_text(json.dumps({"all": {"hosts": self.hosts}}), encoding="utf-8")
        settings = {
            "ANSIBLE_HOME": str(self.folder / "home"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_FORKS": "8",
            "LC_ALL": "C.UTF-8",
            **env,
        }
        argv = [sys.executable, "-m", "ansible", "playbook", "-i", str(inventory), playbook, *options]
        return subprocess.run(
            argv,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            cwd=self.folder,
            env={**os.environ, **settings},
            check=False,
            timeout=300,
        )


def invisible(text: str) -> set[str]:
    """The characters of an output that a terminal obeys instead of showing."""
    return {char for char in text if not char.isprintable() and char not in "\n\t"}


def sections(output: str) -> dict[str, str]:
    """What was printed for each task, by its name."""
    parts = re.split(r"^TASK \[(.*?)\] \*+$", output, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def event(msg: str, **more: t.Any) -> dict[str, t.Any]:
    """An event as ansible-core sends it over the wire."""
    return {"__ansible_type": "Event", "msg": msg, **more}


def task(module: str, **options: t.Any) -> dict[str, t.Any]:
    """A task of the module's name."""
    if module == "lab":
        options = {"lab": "xdp_hello", "quiet": True, **options}
    return {"name": module, f"ebpf.lab.{module}": options}


ESCAPES = {
    "changed": True,
    "msg": BAD,
    "warnings": [f"plain {BAD}", {"__ansible_type": "WarningSummary", "event": event(f"wrapped {BAD}", help_text=BAD)}],
    "deprecations": [
        {"msg": f"old {BAD}", "version": "9.9", "collection_name": f"a.b{BAD}"},
        {"__ansible_type": "DeprecationSummary", "event": event(f"older {BAD}"), "version": f"9{BAD}"},
    ],
    "exception": {"__ansible_type": "ErrorSummary", "event": event(BAD, formatted_traceback=BAD)},
    "stdout": BAD,
    "stderr": BAD,
    "diff": {"before": BAD, "after": {BAD: BAD}, "before_header": BAD},
    "invocation": {"module_args": {"a": BAD}},
    **{key: [BAD, {BAD: BAD}] for key in ("table", "checks", "steps", "lines", "findings", "programs", "results")},
    **{key: BAD for key in ("lab", "stage", "version", "binary", "goroot", "ip", "reason", "why")},
    "facts": {
        "attachments": [{"program": BAD, "interface": BAD}],
        "traffic": {BAD: {"destination": BAD}},
        "stage": BAD,
    },
    BAD: BAD,
    # What must not come true.
    "ansible_facts": {"lied": "fact", "ansible_lied": "fact"},
    "add_host": {"host_name": "lied-host", "groups": ["lied-group"], "host_vars": {"lied": "var"}},
    "add_group": "lied-group",
    "ansible_stats": {"data": {"lied": 1}, "aggregate": True},
    "_ansible_no_log": True,
    "_ansible_verbose_always": True,
    "_ansible_item_label": BAD,
    "skipped": True,
    "unreachable": True,
    "ansible_job_id": BAD,
    "notify": ["lied"],
}
FAILS = {
    "failed": True,
    "exception": {
        "__ansible_type": "ErrorSummary",
        "event": event(
            f"own sentence {BAD}",
            formatted_traceback=f"Traceback (most recent call last):\n  in {BAD}\nKeyError: own sentence {BAD}\n",
        ),
    },
}


def wrapped(kind: str, msg: str, frames: str = "", **more: t.Any) -> dict[str, t.Any]:
    """A failure as a module's uncaught exception arrives."""
    text = f"Traceback (most recent call last):\n  {frames}\n{kind}: {msg}\n"
    error = {"__ansible_type": "ErrorSummary", "event": event(msg, formatted_traceback=text, **more)}
    return {"failed": True, "exception": error}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[subprocess.CompletedProcess[str]]:
    """Every module on a host that sends all that harms."""
    room = Room(tmp_path_factory.mktemp("every"))
    room.liar("liar", ESCAPES)
    seen = "groups: {{ groups | to_json }}, variable: {{ hostvars['liar']['lied'] is defined }}"
    looks = [
        {"name": "look", "debug": {"msg": seen}},
        {"name": "look again", "debug": {"var": "hostvars['liar'].ansible_facts"}},
    ]
    yield room.play([*map(task, MODULES), *looks], "--diff", "-v")


@pytest.mark.case("K19")
@pytest.mark.parametrize("module", MODULES)
def test_nothing_that_a_terminal_obeys_comes_through(shown: subprocess.CompletedProcess[str], module: str) -> None:
    text = sections(shown.stdout)[module]
    assert "changed: [liar]" in text or "FAILED" in text, text
    assert not invisible(text), text
    assert "\\x1b[2J" in text, text


@pytest.mark.case("K19")
@pytest.mark.case("R11")
def test_a_liar_adds_nothing_and_its_warnings_are_texts(shown: subprocess.CompletedProcess[str]) -> None:
    every = shown.stdout + shown.stderr
    assert not invisible(every), sorted(invisible(every))
    assert "plain \\x1b[2J" in every and "wrapped \\x1b[2J" in every, every
    assert "old \\x1b[2J" in every and "older \\x1b[2J" in every, every
    assert "a value of type" not in every and "Unknown error" not in every, every
    found = sections(shown.stdout)
    assert "lied" not in found["look"] and "variable: False" in found["look"], found["look"]
    assert "lied" not in found["look again"], found["look again"]
    assert re.search(r"^liar .*unreachable=0 .*skipped=0 ", shown.stdout, re.MULTILINE), shown.stdout[-600:]


# Ansible's own lines, about somebody else.
SPOOF = "said\nok: [other] => {}\n\nPLAY RECAP ****\nother  : ok=9 failed=0\n"
# What a machine sends, and what has to be said about it. The key is the host's name.
ANSWERS: dict[str, tuple[t.Any, str]] = {
    "nothing": ("", "The machine said: nothing"),
    "words": (f"not JSON {BAD}", "The machine said: not JSON \\x1b[2J"),
    "list": ([1, 2], "The machine said: [1, 2]"),
    "number": ("5", ""),
    "open": ('{"changed": false', "The machine said: {"),
    "junk": (f'{{"changed": false}}\n{BAD} behind it', "junk after the JSON"),
    "deep": ('{"a":' + "[" * 200000 + "]" * 200000 + "}", ""),
    "nested": ('{"failed": true, "msg": ' + "[" * 400 + "]" * 400 + "}", "(nested too deeply)"),
    "numbers": (
        '{"failed": true, "msg": "numbers", "rc": NaN, "steps": [Infinity, 1e999, ' + "9" * 4000 + "]}",
        "numbers",
    ),
    "types": (
        {
            "changed": {"a": 1},
            "failed": [1],
            "msg": {"a": BAD},
            "warnings": {"a": BAD},
            "deprecations": [5, BAD, None],
            "diff": [7, {"before": [BAD]}],
            "rc": "x",
            "exception": {"a": BAD},
            "invocation": 3,
        },
        '{"a": "\\u001b[2J',
    ),
    "output": ({"changed": False, "stdout": [BAD]}, "cannot be read"),
    "wrapped": (wrapped("KeyError", f"own sentence {BAD}", help_text="Ask."), "KeyError: own sentence \\x1b[2J"),
    "library": (wrapped("ImportError", f"libmnl {BAD} is broken"), "ebpf.lab.prerequisites"),
    "old": (wrapped("TypeError", "no such thing", 'File "/usr/lib/python3.8/runpy.py"'), "ebpf.lab needs 3.9 or later"),
    "silent": ({"failed": True}, "It failed and did not say why."),
    "spoof": (
        {
            "changed": True,
            "warnings": [SPOOF] * 99,
            "diff": {"before_header": SPOOF, "prepared": SPOOF, "after": SPOOF},
        },
        "",
    ),
    "liar": ({"failed": True, "msg": SPOOF, "exception": SPOOF, "deprecations": [{"msg": SPOOF}]}, "\\nok: [other]"),
    "traced": ({"failed": True, "msg": "own words", "exception": "Traceback\n  own frame\nKeyError: 1"}, "own words"),
    "big": (f'{{"failed": true, "msg": "{"x" * 3_000_000}"}}', "(cut: "),
    "long": ({"failed": True, "msg": "long", "steps": ["s" * 99] * 50_000, "verifier_log": {"a": [0] * 9999}}, "long"),
    "flood": ("y" * 3_000_000 + " the end", "the end"),
    "aside": ("y" * 3_000_000, "The machine said: aside"),
}
OWN = ["junk", "types", "wrapped"]  # for a module with an action plugin of its own too


@pytest.fixture(scope="module")
def lies(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[subprocess.CompletedProcess[str]]:
    """One module that has no action plugin of its own and one that has, on every kind of host, with all traces."""
    room = Room(tmp_path_factory.mktemp("lies"))
    for name, (answer, _said) in ANSWERS.items():
        room.liar(name, answer, stderr=f"aside {BAD}" if name in ("types", "aside") else "", code=1)
    some = {**task("lab"), "when": f"inventory_hostname in {OWN}"}
    yield room.play([task("golang", state="absent"), some], "-vvv", "--diff")


@pytest.mark.case("R10")
@pytest.mark.case("K19")
@pytest.mark.parametrize(
    ("module", "host"), [*(("golang", host) for host in ANSWERS), *(("lab", host) for host in OWN)]
)
def test_every_answer_ends_in_a_sentence(lies: subprocess.CompletedProcess[str], module: str, host: str) -> None:
    text = sections(lies.stdout)[module]
    found = re.search(rf"^(fatal|ok|changed): \[{host}\].*? => (.*?^\}})$", text, re.MULTILINE | re.DOTALL)
    assert found, text[-3000:]
    result = json.loads(found[2])
    said = lies.stderr if host == "junk" else result.get("msg", "")
    assert ANSWERS[host][1] in said, result
    assert (found[1] == "fatal") == (module == "lab" or host not in ("junk", "spoof")), result
    assert len(result.get("msg", "")) <= 2000 and len(found[2]) < 2_000_000, result


@pytest.mark.case("R10")
@pytest.mark.case("K19")
def test_traces_are_shown_with_vvv_and_nothing_is_obeyed(lies: subprocess.CompletedProcess[str]) -> None:
    every = lies.stdout + lies.stderr
    assert not invisible(every), sorted(invisible(every))
    assert "    own frame" in lies.stdout and '  File "/usr/lib/python3.8/runpy.py"' in lies.stdout
    assert "Unknown error" not in every and "a value of type" not in every and "dispatch failed" not in every
    assert not re.search(r"^(ok: \[other\]|other  :)", every, re.MULTILINE), every
    assert every.count("said\\nok: [other]") < 60 and "79 more warnings" in every, every


# Machines that did not lie: what befell the module is said in its own words.
ALONE = "exec unshare --mount --net sh -c 'mount -t tmpfs -o {mode} none /var/lib && exec \"$0\" - ' {python}"


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[subprocess.CompletedProcess[str]]:
    """A module that would make a namespace and a link, on machines where it cannot."""
    room = Room(tmp_path_factory.mktemp("broken"))
    room.add("readonly", ALONE.format(mode="ro", python=sys.executable))
    for host, library, kind in (("library", "ctypes", "ImportError"), ("defect", "pyroute2", "RecursionError")):
        folder = room.folder / host / library
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(f"raise {kind}('it is not what it was')\n", encoding="utf-8")
        room.add(host, f"export PYTHONPATH={folder.parent}; {ALONE.format(mode='rw', python=sys.executable)}")
    room.add("missing", 'echo "sh: 1: $0: not found" >&2; exit 127')
    room.add("shim", "echo 'pyenv: python3.13: command not found\n\nNote: See pyenv help global' >&2; exit 127")
    room.add("fails", "cat >/dev/null; echo 'Fatal Python error: init_fs_encoding: no encodings' >&2; exit 1")
    veth = {"name": "ebpfwords0", "peer": {"name": "ebpfwords1"}}
    yield room.play([{"name": "veth", "ebpf.lab.veth": {**veth, "state": "present"}}], "-vvv")


@pytest.mark.case("R10")
@pytest.mark.parametrize(
    ("host", "sentence", "more"),
    [
        ("readonly", "write the journal /var/lib/ebpf.lab/journal.jsonl: Read-only file system.", "see findmnt"),
        ("library", "ImportError: it is not what it was.", "ebpf.lab.prerequisites"),
        ("defect", "pyroute2 is there and", "cannot import it: RecursionError: it is not what it was. Install it anew"),
        ("missing", "was not found", "ot found"),
        ("shim", "said: pyenv: python3.13: command not found … Note: See", "Set ansible_python_interpreter to"),
        ("fails", "The machine said: Fatal Python error: init_fs_encoding: no encodings", "ailed"),
    ],
)
def test_what_goes_wrong_on_a_host_is_said(
    broken: subprocess.CompletedProcess[str], host: str, sentence: str, more: str
) -> None:
    found = re.search(rf"^fatal: \[{host}\].*? => (.*?^\}})$", broken.stdout, re.MULTILINE | re.DOTALL)
    assert found, broken.stdout
    msg = json.loads(found[1])["msg"]
    assert sentence in msg and more in msg, msg
    if "Error" in sentence[:20]:
        assert re.search(rf"^  Traceback.*?^  {re.escape(sentence[:-1])}$", broken.stdout, re.M | re.S), broken.stdout


NO_FACTS = {"list": [1, 2], "null": None, "empty": {}}


@pytest.mark.case("K20")
@pytest.mark.parametrize("playbook", ["provision", "reset", "verify", "teardown"])
def test_a_host_that_sends_no_facts_has_not_been_proved(tmp_path: pathlib.Path, playbook: str) -> None:
    room = Room(tmp_path)
    room.liar("without", {"changed": False})
    room.liar("lacks", {"changed": False, "missing": ["clang"]})
    for name, facts in NO_FACTS.items() if playbook == "provision" else ():
        room.liar(name, {"changed": False, "facts": facts})
    done = room.play(f"ebpf.lab.{playbook}", "-e", "lab=xdp_hello")
    every = done.stdout + done.stderr
    if playbook == "teardown":  # there is nothing to be proved
        assert done.returncode == 0, every
        return
    assert done.returncode != 0, every
    for host in room.hosts:
        if playbook == "verify":
            assert re.search(rf"^  {host} .* failed: This machine sent no facts", done.stdout, re.MULTILINE), every
        else:
            assert re.search(rf"^{host} .*failed=1 ", done.stdout, re.MULTILINE), every
    assert "This machine sent no facts about the lab: nothing is proved." in every or playbook == "verify", every


@pytest.mark.case("K19")
@pytest.mark.case("K20")
def test_what_a_host_says_of_itself_is_not_believed(tmp_path: pathlib.Path) -> None:
    """A machine without tools is asked for its release: no answer steers the run or reaches the terminal as it is."""
    room = Room(tmp_path)
    lacks = {"changed": False, "missing": ["clang"], "warnings": [BAD], "ansible_facts": {"distribution": BAD}}
    debian = {"distribution": "debian", "version": "12"}
    said = {
        "silent": ({}, "did not tell its release"),
        "types": ({"system": [1], "tools": "x"}, "did not tell its release"),
        "terminal": ({"system": {"distribution": BAD, "version": BAD}, "tools": {}}, "is not a release"),
        "version": ({"system": {**debian, "version": "x"}, "tools": {}}, "Debian x is not a release"),
        "old": ({"system": {**debian, "version": "11"}, "tools": {}}, "Debian 11 is not a release"),
        "good": ({"system": debian, "tools": {}}, "This machine sent no facts"),
    }
    for name, (more, _sentence) in said.items():
        room.liar(name, {**lacks, **more})
    done = room.play("ebpf.lab.provision")
    assert not invisible(done.stdout + done.stderr), sorted(invisible(done.stdout + done.stderr))
    for name, (_more, sentence) in said.items():
        assert re.search(rf"^fatal: \[{name}\].*{sentence}", done.stdout, re.MULTILINE), done.stdout + done.stderr
    done = room.play("ebpf.lab.toolchain")
    for words in ('"msg": "This machine did not tell which tools it has."', " failed=1 "):
        assert done.stdout.count(words) == len(said), done.stdout


@pytest.mark.case("K20")
def test_a_host_that_sends_no_findings_is_not_ready(tmp_path: pathlib.Path) -> None:
    room = Room(tmp_path)
    for name, findings in {"list": [1, 2], "zero": 0}.items():
        room.liar(name, {"changed": False, "ready": True, "lines": [], "findings": findings})
    done = room.play("ebpf.lab.preflight")
    assert len(re.findall(r" failed=1 ", done.stdout)) == len(room.hosts), done.stdout
    assert "This machine sent no findings" in done.stdout + done.stderr


@pytest.mark.case("K19")
def test_a_connection_that_speaks_is_shown_escaped(tmp_path: pathlib.Path) -> None:
    room = Room(tmp_path)
    bad = tmp_path / "bad"
    bad.write_text(BAD, encoding="utf-8")
    ssh = {"ansible_connection": "ssh", "ansible_ssh_transfer_method": "piped"}
    # The second does what it is told, but for removing the files that Ansible left; the third has no room for them.
    told = (
        'for last; do :; done; case $last in *"{pattern}"*) cat {bad}; cat {bad} >&2; exit 1;; esac; exec sh -c "$last"'
    )
    scripts = {
        "refused": f"cat {bad} >&2; exit 255",
        "littered": told.format(pattern="rm -f -r", bad=bad),
        "full": told.format(pattern="mkdir", bad=bad),
    }
    for name, script in scripts.items():
        room.liar(name, {"changed": False})
        room.add(f"{name}-ssh", script)
        room.hosts[name].update(
            ssh, ansible_ssh_executable=str(tmp_path / f"{name}-ssh.sh"), ansible_remote_tmp=str(tmp_path)
        )
        del room.hosts[f"{name}-ssh"]
    done = room.play([task("golang", state="absent")], "-vv", ANSIBLE_PIPELINING="0", ANSIBLE_SSH_RETRIES="0")
    every = done.stdout + done.stderr
    assert not invisible(every), every
    assert re.search(r"^refused .*unreachable=1 ", done.stdout, re.MULTILINE), every
    assert re.search(r"^littered .*ok=1 ", done.stdout, re.MULTILINE) and "temporary files" in every, every
    assert every.count("\\x1b[2J") >= 3, every


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[dict[str, str]]:
    """The ways in which a task can be run, on an honest host and on a liar."""
    room = Room(tmp_path_factory.mktemp("ways"))
    room.hosts["honest"] = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    room.liar("liar", {**ESCAPES, "finished": True, "started": True, "failed": False})
    golang = {"ebpf.lab.golang": {"state": "absent", "prefix": str(room.folder)}}
    defaults = {"module_defaults": {"group/ebpf.lab.all": {"prefix": str(room.folder)}}}
    tasks = [
        {"name": "loop", **golang, "loop": [1, 2]},
        {"name": "async", **golang, "async": 60, "poll": 1},
        {"name": "started", **golang, "async": 60, "poll": 0, "register": "job"},
        {"name": "delegated", **golang, "delegate_to": "liar", "when": "inventory_hostname == 'honest'"},
        {"name": "secret", **golang, "no_log": True},
        {"name": "short", "golang": {"state": "absent"}, "collections": ["ebpf.lab"], "become": True, **defaults},
        {"name": "wrong", "ebpf.lab.golang": {"state": "gone"}},
        {"name": "look", "debug": {"msg": "groups: {{ groups | to_json }}, {{ hostvars['liar']['lied'] is defined }}"}},
        {"name": "look again", "debug": {"var": "hostvars['liar'].ansible_facts"}},
    ]
    settings = {"ANSIBLE_ASYNC_DIR": str(room.folder / "jobs")}
    for host in room.hosts.values():
        host["ansible_async_dir"] = str(room.folder / "jobs")
    done = room.play(tasks, "-v", **settings)
    yield {**sections(done.stdout), "every": done.stdout + done.stderr}


@pytest.mark.case("K19")
def test_a_liar_gains_nothing_in_any_way_of_running_a_task(ways: dict[str, str]) -> None:
    assert not invisible(ways["every"]), ways["every"]
    assert "lied" not in ways["look"] and "False" in ways["look"], ways["look"]
    assert "lied" not in ways["look again"], ways["look again"]


@pytest.mark.parametrize("way", ["loop", "async", "short", "started"])
def test_an_honest_host_is_served_in_every_way(ways: dict[str, str], way: str) -> None:
    text = ways[way]
    result = re.findall(r"^(?:ok|changed): \[honest\] => (?:\(item=\d\) => )?(\{.*\})$", text, re.MULTILINE)
    assert len(result) == (2 if way == "loop" else 1), text
    found = json.loads(result[0])
    if way == "started":
        assert found["started"] and found["ansible_job_id"], found
    else:
        assert found["goroot"] == "" and not found["changed"], found


def test_secrets_stay_secret_and_bad_input_is_named(ways: dict[str, str]) -> None:
    assert "no_log" in ways["secret"] and "goroot" not in ways["secret"], ways["secret"]
    assert "value of state must be one of: present, absent, got: gone" in ways["wrong"], ways["wrong"]


def test_what_a_module_returns_is_let_through() -> None:
    for module in MODULES:
        text = (ROOT / "plugins/modules" / f"{module}.py").read_text(encoding="utf-8")
        documented = re.search(r'RETURN = r"""(.*?)"""', text, re.DOTALL)
        assert documented and returned(module) == set(yaml.safe_load(documented[1])), module
    # A failure's values are the keywords of the exceptions that carry them.
    found = set()
    for path in (ROOT / "plugins/module_utils").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            call = node.exc if isinstance(node, ast.Raise) else node
            raised = call is not node or getattr(getattr(node, "func", None), "attr", "") == "__init__"
            if raised and isinstance(call, ast.Call):
                found |= {keyword.arg for keyword in call.keywords if keyword.arg}
    assert found - {"fix"} <= COMMON | DETAILS, found - COMMON - DETAILS


def test_every_module_that_runs_on_a_host_is_led_to_the_one_function() -> None:
    routing = yaml.safe_load((ROOT / "meta/runtime.yml").read_text(encoding="utf-8"))["plugin_routing"]["modules"]
    own = {path.stem for path in (ROOT / "plugins/action").glob("*.py")} - {"on_host"}
    assert dict(pair for route in routing.values() for pair in route.items()) == {"action_plugin": "ebpf.lab.on_host"}
    assert set(routing) | own == {*MODULES, "report", "results"} and not set(routing) & own
    for name in own - {"report", "results"}:
        source = (ROOT / "plugins/action" / f"{name}.py").read_text(encoding="utf-8")
        assert ("execute(self," in source or "(Telling)" in source) and "_execute_module" not in source, name
