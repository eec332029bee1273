# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One tool that a run calls is missing, fails, hangs, says nothing, or talks nonsense, at one of its calls.

Called in a private machine, by ``private.inside``. Which tools there are is found by a run that counts. A layer over
the folders of tools takes a wrapper in a tool's place, which counts the calls and lets those through that are not
aimed at. A try is a dict: ``scenario``; ``kind``, one of FAULTS, and ``how``; ``point``, the tool's path, and
``number``, which call of it; ``lasting``: all later calls too. The answer's ``wrong`` is empty when all is as promised.
"""

from __future__ import annotations

import collections
import os
import pathlib
import shutil
import typing as t

from .kills import Answers, Watch, begin, converges, end, said_by, unhelpful
from .private import MACHINE, TryFailed, journal, left_over, sh, snapshot
from .product import failed
from .scenarios import TOOLS, Scenario, scenarios
from .supervisor import CannotSupervise

FOLDERS = ("/usr/bin", "/usr/sbin")
REAL = MACHINE / "usr"  # /usr as it is, for the wrappers and for what they stand for
CALLS = MACHINE / "calls"
PATIENCE = 100.0
LONGEST = 1500  # characters of a sentence that somebody reads
# The tools of whoever runs the module, not the module's: its interpreter.
NOT_TOOLS = ("python", "pydoc")
REFUSED = ("apt", "apt-get", "aptitude", "dpkg")  # by tests/isolate, unless a scenario has put others there
DOES_IT = f'( exec -a "$0" {{real}} "$@" ) >{CALLS}/out.$$; status=$?; '
# What the wrapper does in the place of the tool, by fault and manner.
FAULTS: dict[str, dict[str, str]] = {
    "missing": {"": ""},
    "failing": {
        "a message": 'echo "${0##*/}: cannot do this today" >&2; exit 1',
        "no word": "exit 3",
        "a signal": "kill -SEGV $$",
        "binary": "$usr/bin/head -c 10000000 /dev/urandom >&2; exit 1",
    },
    "hanging": {"by itself": "exec $usr/bin/sleep 1000", "with a child": "$usr/bin/sleep 1000 & wait"},
    "silent": {"": "exit 0"},
    "garbage": {
        "binary": "exec $usr/bin/head -c 10000000 /dev/urandom",
        "broken JSON": 'printf \'{"nftables": [{"chain": \'',
        "a list": "printf '[]'",
        "an object": "printf '{}'",
        "null": "printf 'null'",
        "strange items": 'printf \'[{"id": "x", "nftables": 5, "ifname": null}, 7]\'',
        "deep": "$usr/bin/head -c 100000 /dev/zero | $usr/bin/tr '\\0' '['",
        "Latin-1": "for i in 1 2 3 4 5; do printf 'f\\374r \\377\\376: %s\\n' $i; done",
        "UTF-16": "printf '\\377\\376v\\0007\\000.\\0001\\000\\n\\000'",
    },
    "half": {"": DOES_IT + f"$usr/bin/head -c $(( $($usr/bin/stat -c %s {CALLS}/out.$$) / 2 )) {CALLS}/out.$$; exit 0"},
    "lying": {"": DOES_IT + f'$usr/bin/cat {CALLS}/out.$$; echo "${{0##*/}}: something went wrong" >&2; exit 1'},
}
NAMELESS = ("silent", "garbage", "half")  # nobody but the tool can know that it was the tool
# They become what they are to start, so that nobody can tell which of both it was; but whether they are there.
STARTERS = ("env", "setpriv", "timeout")
# What they answer is part of what a build is: with another answer another one is due.
ASKED = ("gcc", "clang", "dpkg-query")
WRAPPER = f"""\
#!/bin/bash
usr={REAL} n=1
until $usr/bin/mkdir {CALLS}/$n 2>/dev/null; do n=$((n + 1)); done
if [ $n {{when}} {{number}} ]; then
    {{act}}
    exit 0
fi
{{leave}}
exec -a "$0" {{real}} "$@"
"""
# The product's deadlines are minutes; here they are seconds. Whoever waits without one waits for ever.
SHORTER = """\
import subprocess
def shorter(real):
    def communicate(self, input=None, timeout=None):
        return real(self, input, timeout if timeout is None else min(timeout, max(6.0, timeout / 12), 30.0))
    return communicate
subprocess.Popen.communicate = shorter(subprocess.Popen.communicate)
"""
SITE = pathlib.Path("/usr/local/lib/python3.11/dist-packages")


def count(given: Answers) -> Answers:
    """The tools that an undisturbed run calls, and how often: [path, number] for each call."""
    scenario = scenarios()[given["scenario"]]
    layers()
    before = begin(scenario)
    watch = Watch()
    done = scenario.target.supervised(watch)
    wrong = said_by("the run itself", failed(done.result)) + end(scenario, before, watch)
    seen: collections.Counter[str] = collections.Counter()
    points = []
    for path in map(_tool, done.run.programs):
        if path:
            seen[path] += 1
            points.append([path, seen[path]])
    return {"points": points, "seconds": done.run.seconds, "wrong": wrong}


def fault(given: Answers) -> Answers:
    """One try."""
    scenario = scenarios()[given["scenario"]]
    layers()
    before = begin(scenario)
    was = snapshot()
    watch = Watch()
    heal = wrap(given)
    try:
        done = scenario.target.supervised(watch, timeout=PATIENCE)
        answer = done.result
    except CannotSupervise:
        answer = {}
    finally:
        hit = heal()
    if not hit:
        watch.clear()
        return {"hit": False, "wrong": []}
    if not answer:
        wrong = [f"was still at it after {PATIENCE:g} s, or {_name(given)} was"]
    else:
        wrong = _judged(scenario, given, answer, was)
    wrong += converges(scenario)
    wrong += end(scenario, before, watch)
    return {"hit": True, "said": failed(answer)[:500] if answer else "", "wrong": wrong}


def _judged(scenario: Scenario, given: Answers, answer: Answers, was: dict[str, t.Any]) -> list[str]:
    """What is not as it should be right after the run."""
    said, name = failed(answer), _name(given)
    if not said:
        # It may have gone another way; it may not say that all is well when it is not.
        left = scenario.check.run() if scenario.check is not None else {"rc": 0}
        if failed(left):
            return [f"said that all was well, and check mode says: {failed(left):.300}"]
        if name in ASKED and scenario.name.partition(" ")[0] in TOOLS:
            return []
        return [f"said that all was well, still to do: {left['steps']}"] if left.get("changed") else []
    wrong = unhelpful(answer)
    if "defect of ebpf.lab" in said and not wrong:
        wrong.append(f"calls it a defect of its own: {said:.300}")
    if len(said) > LONGEST:
        wrong.append(f"is no sentence, with {len(said)} characters: {said[:100]!r}")
    nameless = given["kind"] in NAMELESS or (given["kind"] != "missing" and name in STARTERS)
    log = "\n".join(answer.get("log") or ())  # of a build
    if not nameless and name not in said + log:
        wrong.append(f"does not name {name}: {said:.300}")
    # What is written in the journal may differ as long as it means the same.
    changes = [line for line in left_over(was) if "/var/lib/ebpf.lab/" not in line]
    if "was taken back" in said or not (any(map(answer.get, ("not_undone", "left", "done"))) or _teardown(scenario)):
        wrong += [f"not taken back: {line}" for line in changes]
    elif _teardown(scenario) and not changes and journal():
        wrong.append(f"nothing went down: {said:.300}")
    return wrong


def _teardown(scenario: Scenario) -> bool:
    """Whether the run takes things away: it does what it can."""
    return scenario.target.stdin == scenario.down.stdin


def _name(given: Answers) -> str:
    return os.path.basename(given["point"])


def _tool(path: str) -> str:
    """The path of a tool that a wrapper can stand for, "" for what is none."""
    path = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    fits = os.path.dirname(path) in FOLDERS and os.path.exists(path)
    return path if fits and not os.path.basename(path).startswith(NOT_TOOLS) else ""


def layers() -> None:
    """Make the folders of tools writable, for this machine; nothing else changes for a run."""
    CALLS.mkdir()
    CALLS.chmod(0o1777)
    REAL.mkdir()
    sh("mount", "--rbind", "/usr", str(REAL))
    for folder in FOLDERS:
        upper, work = (MACHINE / kind / folder.strip("/") for kind in ("upper", "work"))
        upper.mkdir(parents=True)
        work.mkdir(parents=True)
        sh("mount", "-t", "overlay", "-o", f"lowerdir={folder},upperdir={upper},workdir={work}", "overlay", folder)
    for tool in REFUSED:  # what refuses, which the layer has hidden
        path = pathlib.Path("/usr/bin") / tool
        if path.exists():
            path.unlink()
            shutil.copy("/dev/shm/refuse", path)


def wrap(given: Answers) -> t.Callable[[], bool]:
    """Put the wrapper in the tool's place. What is returned takes it away and says whether the call came."""
    path, number = pathlib.Path(given["point"]), given["number"]
    target = os.path.realpath(path)
    if not target.startswith("/usr/"):
        raise TryFailed(f"{path} is {target}, which is not in /usr")
    away = path.with_name(f".{path.name}.away")
    real = str(away) if path.name in REFUSED else f"{REAL}{target.removeprefix('/usr')}"
    act = FAULTS[given["kind"]][given["how"]].replace("{real}", real)
    missing = given["kind"] == "missing"
    script = WRAPPER.format(
        when="-ge" if given["lasting"] else "-eq",
        number=number if not missing else 1 << 30,
        act=act or ":",
        leave=f'[ $n -lt {number - 1} ] || $usr/bin/rm -f "{path}"' if missing else ":",
        real=real,
    )
    path.rename(away)
    if not missing or number > 1:
        path.write_text(script, encoding="utf-8")
        path.chmod(0o755)
    if given["kind"] == "hanging":
        SITE.mkdir(parents=True, exist_ok=True)
        (SITE / "faults_shorter.py").write_text(SHORTER, encoding="ascii")
        (SITE / "faults.pth").write_text("import faults_shorter\n", encoding="ascii")

    def heal() -> bool:
        calls = sum(entry.is_dir() for entry in CALLS.iterdir())
        hit = calls >= number - missing
        path.unlink(missing_ok=True)
        away.rename(path)
        for name in ("faults_shorter.py", "faults.pth"):
            (SITE / name).unlink(missing_ok=True)
        return hit

    return heal
