# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What verify found, kept on the control node: FOLDER/LAB/MACHINE/STAGE.json, and the run before it beside it.

A result is a dict of plain types::

    {"format": 2, "lab": "lecture2", "title": "…",
     "stages": [{"name": "hello", "title": "…", "max_points": 5}, …],
     "host": "s01", "stage": "hello", "time": "2026-11-22T10:00:00Z",
     "status": "graded", "message": "", "points": 3, "max_points": 5,
     "checks": [{"name", "passed", "points", "max_points", "expected", "found", "hint", "error"}, …]}

``status`` is graded, not started, unreachable or failed (verify itself could not be done; ``message`` says why). The
last two have no checks. ``stages`` are all stages of the lab, in its order, so that a report needs no lab file; their
``max_points`` are None where nobody knows them: format 1, which is still read, has none. Text is short, with nothing
invisible in it: it was cleaned before it was kept, and is cleaned again when it is read.

The files hold the newest. What was earned is in the machine's record beside them, a line a grade, which is only ever
added to: the best of a stage is the best of its lines.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import typing as t
import urllib.parse
from dataclasses import dataclass, field

from ..module_utils._lab.grading.plain import plain, shown, visible
from .files import give, make_folder, write_file

FORMAT = 2
FORMATS = (1, 2)
NOT_STARTED = "not started"
STATUSES = ("graded", NOT_STARTED, "unreachable", "failed")
WITH_CHECKS = ("graded", NOT_STARTED)
LINE = 300  # characters of a name or a message
MAX_POINTS = 1_000_000
MACHINE = "_machine"  # no stage's name starts with an underscore
PREVIOUS = ".previous"
RECORD = "_record.jsonl"
REBOOTED = "rebooted since it was brought to its stage"

Result = dict[str, t.Any]
Number = t.Union[int, float]


class Earned(t.NamedTuple):
    """What was earned at a stage, of how much, and when."""

    points: Number
    max_points: Number
    time: str


@dataclass(frozen=True)
class Machine:
    """All that is kept of one machine: its newest attempt, its results by stage, new and before, and its record."""

    host: str
    attempt: Result
    stages: dict[str, Result] = field(default_factory=dict)
    previous: dict[str, Result] = field(default_factory=dict)
    record: t.Sequence[Result] = ()

    def best(self, stage: str) -> t.Optional[Earned]:
        """The most that was ever earned at a stage, when it was first; None when the stage was never graded."""
        known = [*self.record, *(found[stage] for found in (self.stages, self.previous) if stage in found)]
        grades = [
            Earned(*(entry[key] for key in Earned._fields))
            for entry in known
            if entry["stage"] == stage and entry["status"] in WITH_CHECKS
        ]
        return min(grades, key=lambda grade: (-grade.points, grade.time), default=None)


@dataclass(frozen=True)
class Standing:
    """What a machine has of the whole lab: the best of each stage, cut to what the stage is worth now."""

    best: t.Mapping[str, t.Optional[Earned]]
    most: t.Mapping[str, t.Optional[Number]]  # what each stage is worth; None where nobody knows

    @classmethod
    def of(cls, machine: t.Optional[Machine], most: t.Mapping[str, t.Optional[Number]]) -> Standing:
        """``machine`` None: one of which nothing is kept."""
        best: dict[str, t.Optional[Earned]] = {}
        for stage, worth in most.items():
            found = machine.best(stage) if machine is not None else None
            best[stage] = found if found is None or worth is None else found._replace(points=min(found.points, worth))
        return cls(best, most)

    @property
    def points(self) -> Number:
        """Of all stages."""
        return sum(found.points for found in self.best.values() if found is not None)

    @property
    def max_points(self) -> Number:
        """Of the whole lab, whatever was graded of it."""
        return sum(worth or 0 for worth in self.most.values())

    def passed(self, stage: str) -> bool:
        """Whether all of a stage's points were earned; one that is worth none needs none."""
        worth, found = self.most[stage], self.best[stage]
        return worth == 0 or (worth is not None and found is not None and found.points >= worth)

    @property
    def whole(self) -> bool:
        """Whether the whole lab is passed."""
        return all(self.passed(stage) for stage in self.most)


def timestamp(now: t.Optional[datetime.datetime] = None) -> str:
    """A moment as in 2026-11-22T10:00:00Z."""
    moment = now or datetime.datetime.now(datetime.timezone.utc)
    return moment.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def make_result(
    host: str,
    lab: t.Mapping[str, t.Any],
    stage: str,
    outcome: t.Any,
    now: t.Optional[datetime.datetime] = None,
) -> Result:
    """The result of one machine from ``outcome``, what the task ebpf.lab.lab returned for it.

    ``lab`` has ``name``, ``title`` and ``stages``. ``stage`` is the one asked for; "" takes the outcome's, which counts
    only if the lab has it: the outcome comes from the machine.
    """
    outcome = outcome if isinstance(outcome, dict) else {}
    stages = [
        {"name": str(item["name"]), "title": str(item.get("title") or ""), "max_points": item.get("max_points")}
        for item in lab["stages"]
    ]
    names = [item["name"] for item in stages]
    said = outcome.get("stage")
    stage = stage or (said if isinstance(said, str) and said in names else "")
    result: Result = {
        "format": FORMAT,
        "lab": str(lab["name"]),
        "title": str(lab.get("title") or ""),
        "stages": stages,
        "host": host,
        "stage": stage,
        "time": timestamp(now),
    }
    # The action plugin graded what comes with facts; checks without them are the machine's own invention.
    facts = outcome.get("facts")
    checks = outcome.get("checks") if isinstance(facts, dict) else None
    if outcome.get("unreachable") is True:
        result.update(status="unreachable", message=_reason(outcome))
    elif isinstance(checks, list) and stage:
        machine = facts.get("machine") if isinstance(facts, dict) else None
        rebooted = isinstance(machine, dict) and machine.get("rebooted") is True
        if outcome.get("started") is False:
            result.update(status=NOT_STARTED, message="nothing of the lab is on the machine", checks=checks)
        else:
            result.update(status="graded", message=REBOOTED if rebooted else "", checks=checks)
    else:
        unknown = "the machine did not say which stage it is at" if checks else "the machine gave no result"
        result.update(status="failed", message=_reason(outcome) or unknown)
    return clean(result)


def _reason(outcome: t.Mapping[str, t.Any]) -> str:
    """What went wrong, without the words that Ansible puts before it."""
    return one_line(outcome.get("msg")).removeprefix("Task failed: ").removeprefix("Action failed: ")


def clean(value: t.Any) -> Result:
    """A result with every key in its right type and all text safe to show. Raises ValueError for what is none."""
    value = plain(value)
    if not isinstance(value, dict) or value.get("format") not in FORMATS or value.get("status") not in STATUSES:
        raise ValueError("not a result of verify")
    result: Result = {"format": FORMAT, "status": value["status"]}
    for key in ("lab", "title", "host", "stage", "time", "message"):
        result[key] = one_line(value.get(key))
    result["stages"] = [
        {
            "name": one_line(item.get("name")),
            "title": one_line(item.get("title")),
            "max_points": None if item.get("max_points") is None else _points(item["max_points"]),
        }
        for item in _dicts(value.get("stages"))
    ]
    graded = result["status"] == "graded"
    result["checks"] = [_clean_check(check, graded) for check in _dicts(value.get("checks"))]
    for key in ("points", "max_points"):
        result[key] = sum(check[key] for check in result["checks"])
    return result


def _dicts(value: t.Any) -> list[dict[str, t.Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _clean_check(check: dict[str, t.Any], graded: bool) -> dict[str, t.Any]:
    most = _points(check.get("max_points"))
    passed = graded and check.get("passed") is True
    return {
        "name": one_line(check.get("name")),
        "passed": passed,
        "points": min(_points(check.get("points")), most) if passed else 0,
        "max_points": most,
        "expected": _text(check.get("expected")),
        "found": _text(check.get("found")),
        "hint": _text(check.get("hint"), keep="\n"),
        "error": _text(check["error"]) if check.get("error") else None,
    }


def one_line(value: t.Any) -> str:
    """A name or a message as kept: text of one line, safe to show."""
    return (
        visible(" ".join(value.split()), LINE)
        if isinstance(value, str)
        else ""
        if value is None
        else shown(value, LINE)
    )


def _text(value: t.Any, keep: str = "") -> str:
    return visible(value, keep=keep) if isinstance(value, str) else "" if value is None else shown(value)


def _points(value: t.Any) -> Number:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0
    return min(max(value, 0), MAX_POINTS)


def file_name(name: str) -> str:
    """A name as one that every file system takes and that leads nowhere else: its odd characters as %XX."""
    quoted = urllib.parse.quote(name, safe="", errors="replace")
    if quoted.startswith((".", "_")):
        quoted = f"%{ord(quoted[0]):02X}{quoted[1:]}"
    if not 0 < len(quoted) <= 150:
        quoted = f"{quoted[:100]}%{hashlib.sha256(name.encode(errors='backslashreplace')).hexdigest()[:16]}"
    return quoted


def save(folder: str, result: Result) -> str:
    """Keep a result as the newest, and the one of the stage before it, and add it to the machine's record.

    Returns the file's path. Raises OSError.
    """
    result = clean(result)
    here = os.path.join(folder, file_name(result["lab"]), file_name(result["host"]))
    make_folder(os.path.dirname(folder))
    make_folder(here, 0o700)
    path = os.path.join(here, f"{MACHINE}.json")
    _write(path, {**result, "checks": []})
    if result["status"] in WITH_CHECKS:
        _record(here, result)
        path = os.path.join(here, f"{file_name(result['stage'])}.json")
        with contextlib.suppress(FileNotFoundError):
            os.replace(path, f"{path[: -len('.json')]}{PREVIOUS}.json")
        _write(path, result)
    return path


def _write(path: str, result: Result) -> None:
    """Whole or not at all: a report may be made while verify runs."""
    write_file(path, json.dumps(result, indent=1, ensure_ascii=True, allow_nan=False) + "\n")


def _record(here: str, result: Result) -> None:
    """Add a result to a machine's record. One that begins takes in what was kept before there were records."""
    path = os.path.join(here, RECORD)
    before = {} if os.path.exists(path) else _kept(here, [])
    before.pop(f"{MACHINE}.json", None)
    lines = [
        json.dumps({"format": FORMAT, **{key: entry[key] for key in ("stage", "status", *Earned._fields)}})
        for entry in (*before.values(), result)
    ]
    with open(path, "a+b", buffering=0, opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        size = file.seek(0, os.SEEK_END)
        if size and os.pread(file.fileno(), 1, size - 1) != b"\n":  # a line that was cut spoils no other one
            lines.insert(0, "")
        file.write("".join(f"{line}\n" for line in lines).encode())
        os.fsync(file.fileno())
    give(path)


def _read_record(here: str, wrong: list[str]) -> list[Result]:
    path = os.path.join(here, RECORD)
    found = []
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        wrong.append(f"{path} is left out: {error}.")
        return []
    for number, line in enumerate(lines, 1):
        try:
            entry = plain(json.loads(line)) if line else {}
            if entry:
                grade = {key: one_line(entry[key]) for key in ("stage", "status", "time")}
                most = _points(entry["max_points"])
                found.append({**grade, "points": min(_points(entry["points"]), most), "max_points": most})
        except (ValueError, TypeError, KeyError, RecursionError):
            wrong.append(f"{path}, line {number}, is left out: it is no grade.")
    return found


def labs(folder: str) -> list[str]:
    """The labs that results are kept of, the one verified last first."""
    newest: dict[str, str] = {}
    for name in _names(folder):
        for machine in _names(os.path.join(folder, name)):
            wrong: list[str] = []  # load_all tells of them
            attempt = _read(os.path.join(folder, name, machine, f"{MACHINE}.json"), wrong)
            if attempt is not None:
                newest[attempt["lab"]] = max(newest.get(attempt["lab"], ""), attempt["time"])
    return sorted(newest, key=lambda lab: newest[lab], reverse=True)


def load_all(folder: str, lab: str) -> tuple[list[Machine], list[str]]:
    """The machines of a lab by name, and a sentence for each file that could not be read."""
    machines: list[Machine] = []
    wrong: list[str] = []
    here = os.path.join(folder, file_name(lab))
    for name in _names(here):
        files = _kept(os.path.join(here, name), wrong)
        record = _read_record(os.path.join(here, name), wrong)
        attempt = files.pop(f"{MACHINE}.json", None)
        before = {file: files.pop(file) for file in list(files) if file.endswith(f"{PREVIOUS}.json")}
        stages, previous = ({result["stage"]: result for result in kept.values()} for kept in (files, before))
        newest = attempt or max(stages.values(), key=lambda result: str(result["time"]), default=None)
        if newest is not None:
            machines.append(Machine(newest["host"], newest, stages, previous, record))
    return sorted(machines, key=lambda machine: machine.host), wrong


def _kept(here: str, wrong: list[str]) -> dict[str, Result]:
    """A machine's results by their files' names."""
    found = {}
    for file in sorted(os.listdir(here)):
        if not file.startswith(".") and file.endswith(".json"):
            result = _read(os.path.join(here, file), wrong)
            if result is not None:
                found[file] = result
    return found


def _names(folder: str) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


def _read(path: str, wrong: list[str]) -> t.Optional[Result]:
    try:
        with open(path, encoding="utf-8") as file:
            return clean(json.load(file))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        wrong.append(f"{path} is left out: {error}.")
        return None


def drift(before: t.Optional[Result], now: Result) -> list[dict[str, str]]:
    """What a stage's result has that the one before had not: ``check``, ``kind`` (broke, fixed, changed), both values.

    A check counts as changed when it failed before and fails now with something else found.
    """
    if before is None:
        return []
    old = {check["name"]: check for check in before["checks"]}
    found = []
    for check in now["checks"]:
        was = old.get(check["name"])
        if was is None or (was["passed"] == check["passed"] and (check["passed"] or was["found"] == check["found"])):
            continue
        kind = "changed" if was["passed"] == check["passed"] else "fixed" if check["passed"] else "broke"
        found.append({"check": check["name"], "kind": kind, "before": was["found"], "now": check["found"]})
    return found
