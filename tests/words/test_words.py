# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a reader gets to see of machines that lie, fail and warn: playbooks against hosts that answer what we like.

A host's Python is a script that says the answer. Nothing else is changed on this machine, so no isolation is needed.
The tests run under the ansible-core of the Python that runs them; tests/stages.d/25-words does so with two.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import typing as t

import pytest

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
        self.add(name, f"cat >/dev/null; cat {said}; cat {aside} >&2; exit {code}")

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
        '{"a": "\\x1b[2J',
    ),
    "output": ({"changed": False, "stdout": [BAD]}, "cannot be read"),
    "wrapped": (wrapped("KeyError", f"own sentence {BAD}", help_text="Ask."), "KeyError: own sentence \\x1b[2J"),
    "library": (wrapped("ImportError", f"libmnl {BAD} is broken"), "ebpf.lab.prerequisites"),
    "old": (wrapped("TypeError", "no such thing", 'File "/usr/lib/python3.8/runpy.py"'), "ebpf.lab needs 3.9 or later"),
    "silent": ({"failed": True}, "It failed and did not say why."),
    "traced": ({"failed": True, "msg": "own words", "exception": "Traceback\n  own frame\nKeyError: 1"}, "own words"),
    "big": (f'{{"failed": true, "msg": "{"x" * 3_000_000}"}}', "(cut: "),
    "flood": ("y" * 3_000_000 + " the end", "the end"),
}
OWN = ["junk", "types", "wrapped"]  # for a module with an action plugin of its own too


@pytest.fixture(scope="module")
def lies(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[subprocess.CompletedProcess[str]]:
    """One module that has no action plugin of its own and one that has, on every kind of host, with all traces."""
    room = Room(tmp_path_factory.mktemp("lies"))
    for name, (answer, _said) in ANSWERS.items():
        room.liar(name, answer, stderr=f"aside {BAD}" if name == "types" else "", code=1)
    some = {**task("lab"), "when": f"inventory_hostname in {OWN}"}
    yield room.play([task("golang", state="absent"), some], "-vvv", "--diff")


@pytest.mark.case("R10")
@pytest.mark.case("K19")
@pytest.mark.parametrize(
    ("module", "host"), [*(("golang", host) for host in ANSWERS), *(("lab", host) for host in OWN)]
)
def test_every_answer_ends_in_a_sentence(lies: subprocess.CompletedProcess[str], module: str, host: str) -> None:
    text = sections(lies.stdout)[module]
    found = re.search(rf"^(fatal|ok): \[{host}\].*? => (.*?^\}})$", text, re.MULTILINE | re.DOTALL)
    assert found, text[-3000:]
    result = json.loads(found[2])
    said = lies.stderr if host == "junk" else result["msg"]
    assert ANSWERS[host][1] in said, result
    assert found[1] == "fatal" or (host == "junk" and module == "golang"), result
    assert len(result.get("msg", "")) <= 2000, result


@pytest.mark.case("R10")
@pytest.mark.case("K19")
def test_traces_are_shown_with_vvv_and_nothing_is_obeyed(lies: subprocess.CompletedProcess[str]) -> None:
    every = lies.stdout + lies.stderr
    assert not invisible(every), sorted(invisible(every))
    assert "  own frame" in lies.stdout and '  File "/usr/lib/python3.8/runpy.py"' in lies.stdout
    assert "Unknown error" not in every and "a value of type" not in every and "dispatch failed" not in every
