# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What came of each try, kept as a line of JSON, so that a run can be stopped and goes on where it was.

The figures are those of one state of the code: when the product or this suite has changed, they begin anew.
"""

from __future__ import annotations

import collections
import hashlib
import json
import os
import pathlib
import threading
import typing as t

from .private import ROOT, SCRATCH

Record = dict[str, t.Any]
PRODUCT = ("plugins/module_utils", "plugins/modules", "playbooks/labs", "files/bpf")
SUITE = (
    *("supervisor", "private", "product", "scenarios", "sources", "kills", "together", "cases", "checkmode"),
    *("tools", "records", "clocks", "../residue/snapshot"),
)
PUT_BACK = ("bpf MAP_UPDATE_ELEM", "bpf MAP_DELETE_ELEM")


def state_of_the_code() -> str:
    """A digest of all that the figures depend on."""
    digest = hashlib.sha256()
    paths = [path for folder in PRODUCT for path in sorted((ROOT / folder).rglob("*.*")) if path.suffix != ".pyc"]
    for path in [*paths, *(ROOT / "tests" / "faults" / f"{name}.py" for name in SUITE)]:
        digest.update(f"{path}\0".encode() + path.read_bytes())
    return digest.hexdigest()


class Figures:
    """The records of a file, old and new. ``what`` names the file."""

    def __init__(self, what: str, folder: pathlib.Path = SCRATCH, state: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{what}.jsonl"
        self.records: list[Record] = []
        self._lock = threading.Lock()
        state = state or state_of_the_code()
        try:
            first, *lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            if json.loads(first)["state"] == state:
                # A line that was cut when the run was stopped is a try that has not been.
                self.records = [json.loads(line) for line in lines if line.endswith("\n")]
        except (OSError, ValueError, KeyError, TypeError):
            pass
        part = self.path.with_suffix(".part")
        kept = [json.dumps(line) + "\n" for line in ({"state": state}, *self.records)]
        part.write_text("".join(kept), encoding="utf-8")
        part.rename(self.path)

    def add(self, record: Record) -> None:
        """Keep a record; it is on the disk afterwards."""
        with self._lock:
            self.records.append(record)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
                file.flush()
                os.fsync(file.fileno())

    def of(self, kind: str) -> list[Record]:
        """The records of one kind."""
        return [record for record in self.records if record["kind"] == kind]


def counted(records: t.Iterable[Record]) -> dict[str, Record]:
    """Each scenario's points, or the calls of tools, by the records of the runs that counted them.

    How many entries a grader puts back is what its traffic, and the kernel's own on IPv6 links, happened to touch: only
    the first of them is a point that each run comes by.
    """
    found = {}
    for record in records:
        if record.get("points") is not None:
            grader = " verify " in record["scenario"]
            points = [one for one in record["points"] if not (grader and one[0] in PUT_BACK and one[1] > 1)]
            found[record["scenario"]] = {**record, "points": points}
    return found


def table(rows: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """Rows with the same keys as text, numbers to the right."""
    if not rows:
        return ""
    heads = list(rows[0])
    lines = [heads, *([str(row[head]) for head in heads] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    right = [isinstance(rows[0][head], (int, float)) for head in heads]
    return "\n".join(
        "  ".join(
            text.rjust(width) if numeric else text.ljust(width) for text, width, numeric in zip(line, widths, right)
        ).rstrip()
        for line in lines
    )


def common(records: t.Iterable[Record], most: int = 8) -> list[str]:
    """What went wrong most often, with random names made equal."""
    from .supervisor import normal

    counts: collections.Counter[str] = collections.Counter()
    for record in records:
        words = ([normal(word.rstrip(":")) for word in line.split()] for line in record.get("wrong", ()))
        counts.update({" ".join(line)[:160] for line in words})
    return [f"{number:4} x {line}" for line, number in counts.most_common(most)]
