# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The teacher's report as files: one HTML file that asks nobody for anything, and JSON, CSV and JUnit XML beside it.

All text in a summary may come from a student's machine. It is data everywhere: escaped in HTML, under a policy that
lets no script run but ours, disarmed for spreadsheets, and never a template.
"""

from __future__ import annotations

import base64
import csv
import datetime
import hashlib
import io
import json
import os
import typing as t
from xml.etree import ElementTree

import jinja2
import markupsafe

from .files import make_folder, write_file
from .results import NOT_STARTED, file_name

PARTS = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "files", "report")
MISSED = 6  # checks in the list of those that most machines fail
# A cell that starts with one of these is a formula to a spreadsheet; the wide forms count there too.
FORMULA = tuple("=+-@\t\r\n|%＝＋－＠")  # noqa: RUF001


def write(folder: str, summary: dict[str, t.Any]) -> dict[str, str]:
    """Write the four files into ``folder``, named after the lab; returns their paths by kind. Raises OSError."""
    make_folder(folder)
    texts = {
        "html": to_html(summary),
        "json": to_json(summary),
        "csv": to_csv(summary),
        "junit": to_junit(summary),
    }
    paths = {}
    for kind, text in texts.items():
        ending = "junit.xml" if kind == "junit" else kind
        paths[kind] = os.path.join(folder, f"{file_name(summary['lab'])}.{ending}")
        write_file(paths[kind], text)
    return paths


def to_json(summary: dict[str, t.Any]) -> str:
    """The summary itself; ASCII, so that no reader can misread it."""
    return json.dumps(summary, indent=1, allow_nan=False) + "\n"


def to_html(summary: dict[str, t.Any]) -> str:
    """One page with its style and script inside, allowed by their hashes; every other source is forbidden."""
    style, script = _part("report.css"), _part("report.js")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["clock"] = clock
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return environment.from_string(_part("report.html.j2")).render(
        report=summary,
        missed=summary["missed"][:MISSED],
        policy=policy,
        style=markupsafe.Markup(style),  # our own files, and what the hashes are of
        script=markupsafe.Markup(script),
    )


def _part(name: str) -> str:
    with open(os.path.join(PARTS, name), encoding="utf-8") as file:
        return file.read()


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def clock(time: str, day: str = "") -> str:
    """A timestamp in this machine's zone as 2026-11-22 10:00, only 10:00 on ``day`` (another timestamp) itself."""
    try:
        moment, other = (
            datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc).astimezone()
            for text in (time, day or "1970-01-01T00:00:00Z")
        )
    except (ValueError, OverflowError):
        return time
    return moment.strftime("%H:%M" if moment.date() == other.date() else "%Y-%m-%d %H:%M")


def to_csv(summary: dict[str, t.Any]) -> str:
    """A line a machine: its name, status, points, the best points of each stage, changes, last verify."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    stages = [stage["name"] for stage in summary["stages"]]
    head = ["machine", "status", "points", "max_points", *stages, "failed_checks", "changed_checks", "time", "message"]
    writer.writerow([disarmed(cell) for cell in head])
    for row in summary["machines"]:
        points = [cell["points"] if cell["state"] else "" for cell in row["cells"]]
        cells = [row["host"], row["status"], row["points"], row["max_points"], *points]
        cells += [row["failed"], row["drifted"], row["time"], row["message"]]
        writer.writerow([disarmed(cell) for cell in cells])
    return buffer.getvalue()


def disarmed(cell: t.Any) -> t.Any:
    """A cell that no spreadsheet takes for a formula; numbers stay numbers."""
    return f"'{cell}" if isinstance(cell, str) and cell.lstrip(" ").startswith(FORMULA) else cell


def to_junit(summary: dict[str, t.Any]) -> str:
    """A test suite a machine, a test case a check as it was last; a machine without a verdict has one error.

    Where nobody has begun, the checks are skipped.
    """
    root = ElementTree.Element("testsuites", name=summary["lab"])
    for row in summary["machines"]:
        suite = ElementTree.SubElement(root, "testsuite", name=row["host"], timestamp=row["time"])
        errors = 0
        if row["status"] in ("unreachable", "failed", "unseen"):
            case = ElementTree.SubElement(suite, "testcase", classname=summary["lab"], name="verify")
            ElementTree.SubElement(case, "error", type=row["status"], message=row["message"])
            errors = 1
        for cell in row["cells"]:
            for check in cell["checks"]:
                name = f"{summary['lab']}.{cell['stage']}"
                case = ElementTree.SubElement(suite, "testcase", classname=name, name=check["name"])
                if not cell["started"]:
                    ElementTree.SubElement(case, "skipped", message=NOT_STARTED)
                elif not check["passed"]:
                    message = check["error"] or f"expected {check['expected']}, found {check['found']}"
                    failure = ElementTree.SubElement(case, "failure", type="check", message=message)
                    failure.text = f"expected: {check['expected']}\nfound: {check['found']}\nhint: {check['hint']}"
        skipped = sum(len(cell["checks"]) for cell in row["cells"] if not cell["started"])
        counts = {"tests": len(suite), "failures": row["failed"], "errors": errors, "skipped": skipped}
        for key, count in counts.items():
            suite.set(key, str(count))
    for key in ("tests", "failures", "errors"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    ElementTree.indent(root)
    return f"<?xml version='1.0' encoding='UTF-8'?>\n{ElementTree.tostring(root, encoding='unicode')}\n"
