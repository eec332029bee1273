# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of one run or several as a table in Markdown, by what fails and what it fails in.

    python -m ansible_collections.ebpf.lab.tests.faults.summary .ansible/test/faults/*.jsonl
    ... --into docs/testing.md FILE...      # puts it in the place of the one that is there

A FILE is the records of a run (long.jsonl), or what the tests of bad input have kept (bad.jsonl).
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import sys
import typing as t

from .campaign import COUNTS, KINDS
from .figures import Record, counted
from .scenarios import LABS, TOOLS
from .strange import BAD_INPUT

BEGIN, END = "<!-- figures of the fault suite: made by tests/faults/summary.py -->\n", "<!-- until here -->\n"
VERBS = {**KINDS, BAD_INPUT: "given bad input"}
HEADS = ("what", "of", "known", "hit", "tries", "wrong")
OF_LABS = {"up": "up", "reset": "reset after a sabotage", "verify": "verify", "down": "down"}
LAB_NAMES = tuple(name for name, _stages, _sabotages in LABS)


def group(kind: str, scenario: str) -> str:
    """What a scenario is one of."""
    name, _blank, what = scenario.removeprefix("check ").partition(" ")
    if kind == BAD_INPUT:
        return "lab files" if name == "lab" and what else "modules' arguments"
    if name in LAB_NAMES:
        word = what.partition(" ")[0]
        return OF_LABS.get(word, "a stage from nothing" if what.endswith("from nothing") else "a change of stage")
    if what in ("there", "back"):
        return "modules that install tools" if name in (*TOOLS, "packages") else "modules that change a host"
    others = {"check": "modules' examples and ./lab", "together": "runs that begin at once", "clock": "clocks"}
    return others.get(kind, "the product's records")


def rows(records: t.Sequence[Record]) -> t.Iterator[tuple[str, ...]]:
    """One for each kind and group, in the order of KINDS, with "" for what there is not."""
    count_of = {kind: count for count, aimed in COUNTS.items() for kind in aimed}
    points = {count: counted(one for one in records if one["kind"] == count) for count in COUNTS}
    for kind, verb in VERBS.items():
        tried: dict[str, list[Record]] = {}
        for record in records:
            if record["kind"] == kind:
                tried.setdefault(group(kind, record["scenario"]), []).append(record)
        for name in sorted(tried):
            known: set[tuple[str, str, int]] = set()
            for scenario, one in points.get(count_of.get(kind, ""), {}).items():
                if group(kind, scenario) == name:
                    known |= {(scenario, *point) for point in one["points"]}
            hit = {
                (one["scenario"], one["point"], one["number"])
                for one in tried[name]
                if one.get("hit") and "point" in one
            }
            tries = sum(one.get("tries", 1) for one in tried[name])
            wrong = sum(one["wrong"] if isinstance(one["wrong"], int) else bool(one["wrong"]) for one in tried[name])
            figures = (str(len(known)), str(len(hit & known))) if known else ("", "")
            yield verb, name, *figures, str(tries), str(wrong)


def markdown(records: t.Sequence[Record]) -> str:
    """The table, and a line with what it is of."""
    found = list(rows(records))
    lines = [HEADS, tuple("---" if index < 2 else "---:" for index in range(len(HEADS))), *found]
    tries = sum(int(row[-2]) for row in found)
    missed = sum(not one.get("hit", True) for one in records if one["kind"] in KINDS)
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{tries} tries, {missed} of them not hit.\n\n{re.sub(r'  +', ' ', text)}\n"


def read(paths: t.Iterable[pathlib.Path]) -> list[Record]:
    """The records of all files; a line that was cut when the run was stopped is a try that has not been."""
    found = []
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            record = json.loads(line) if line.endswith("\n") else {}
            found += [record] if "kind" in record else []
    return found


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="+", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--into", type=pathlib.Path, metavar="PAGE", help=f"between {BEGIN.strip()} and {END.strip()}")
    args = parser.parse_args()
    made = markdown(read(args.files))
    if args.into is None:
        print(made, end="")
        return 0
    before, begin, rest = args.into.read_text(encoding="utf-8").partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not (begin and end):
        parser.error(f"{args.into} has no place for it")
    args.into.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
