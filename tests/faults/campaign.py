# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills runs and refuses their system calls, at every point before which they change something, and says what is left;
runs them in check mode, and says what of it is more than reading.

    python -m ansible_collections.ebpf.lab.tests.faults.campaign               # the cut: some points of some scenarios
    python -m ansible_collections.ebpf.lab.tests.faults.campaign --long        # every point; goes on where it was
    ... --long --minutes 20 --only "lecture2 up" --jobs 3

Each scenario is a test, for kills and again for refused calls: it passes when every try was hit and left nothing. So is
each look at a run in check mode: it passes when it only read, and the run right after it said the same.
EXPECTED names those that are known to fail, with their case's number; one that does not fail any more is a failure.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import errno
import fnmatch
import json
import random
import re
import signal
import sys
import time
import typing as t

from . import expected, parts
from .checkmode import Look, looks
from .expected import Mark
from .figures import Figures, Record, common, counted, table
from .private import SCRATCH, TryFailed, inside
from .scenarios import Scenario, scenarios
from .together import Together, groups

ERRORS = ("ENOSPC", "EROFS", "EBUSY", "ENOBUFS", "ENOMEM", "EINTR", "EPERM")
RANDOM_KILLS = 20  # of each scenario, in the long run
CUT_SCENARIOS = 4
# How many are looked at in check mode, in the cut, of those whose names begin so.
CUT_LOOKS = {
    "check lecture2": 2,
    "check redirect": 1,
    "check xdp_hello": 1,
    "check examples": 2,
    "check ./lab": 1,
    "": 1,
}
Try = dict[str, t.Any]
ROUNDS = 5  # of the runs that begin at once, in the long run
KINDS = {"kill": "killed", "refuse": "refused", "together": "together", "check": "in check mode", **parts.KINDS}
EXPECTED = {**expected.EXPECTED, **parts.EXPECTED}
COUNTS = {"count": ("kill", "refuse"), "calls": tuple(parts.TOOLS)}  # what is counted, and what is aimed by it
FUNCTIONS = {
    **parts.FUNCTIONS,
    "count": "kills:count",
    "kill": "kills:kill",
    "refuse": "kills:refuse",
    "together": "together:together",
    "check": "checkmode:look",
}


class Campaign:
    """Makes tries until there is none left or the time is over."""

    def __init__(
        self, figures: Figures, chosen: t.Mapping[str, t.Any], jobs: int, deadline: float, kinds: str = "*"
    ) -> None:
        self.figures = figures
        self.kinds = {
            kind for kind in KINDS if fnmatch.fnmatch(kind, kinds) or (kinds == "parts" and kind in parts.KINDS)
        }
        self.kinds |= {count for count, aimed in COUNTS.items() if self.kinds & {*aimed}}
        self.chosen = {name: one for name, one in chosen.items() if isinstance(one, Scenario)}
        self.parts = [name for name in chosen if name in parts.groups()]
        self.groups = [name for name, one in chosen.items() if isinstance(one, Together)]
        self.looks = {name: one for name, one in chosen.items() if isinstance(one, Look)}
        self.deadline = deadline
        self.jobs = jobs
        self.stopped = False

    def go(self, tries: t.Sequence[Try]) -> None:
        """Make those that have not been made."""
        done = {_key(record) for record in self.figures.records}
        left = [one for one in tries if one["kind"] in self.kinds and _key(one) not in done]
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            for _nothing in pool.map(self._one, left):
                pass

    def _bpffs(self, name: str) -> bool:
        return any(name in kind and kind[name].bpffs for kind in (self.chosen, self.looks))

    def _one(self, one: Try) -> None:
        if self.stopped or time.monotonic() > self.deadline:
            return
        start = time.monotonic()
        given = dict(one)
        try:
            for _attempt in range(5):
                answer = inside(FUNCTIONS[one["kind"]], given, bpffs=self._bpffs(one["scenario"]), timeout=900)
                while not answer.get("done", True):
                    wrong, given["tried"] = answer["wrong"], answer["tried"]
                    answer = inside(FUNCTIONS[one["kind"]], given, timeout=900)
                    answer["wrong"] = wrong + answer["wrong"]
                if answer.get("hit", True) or "random" not in given:
                    break
                given["random"] /= 2  # the run was over before: it is not as long each time
        except TryFailed as error:
            answer = {"hit": False, "wrong": [], "error": str(error)[-2000:]}
        if self.stopped:  # what was stopped half way is no try
            return
        if answer.get("hit", True) and one["kind"] not in COUNTS:
            answer.pop("points", None)
        self.figures.add({**one, **answer, "took": round(time.monotonic() - start, 1)})


def _key(one: t.Mapping[str, t.Any]) -> str:
    names = ("kind", "scenario", "nth", "point", "number", "random", "whom", "way", "errno", "how", "lasting")
    return json.dumps([one.get(name) for name in names])


def kills(name: str, record: Record, chance: random.Random) -> list[Try]:
    """All kills of a scenario: each point alone and as a group, torn down at once or run again; and random ones."""
    found = []
    for turn in (0, 1):
        for index, (point, number) in enumerate(record["points"]):
            whom = ("alone", "group")[(index + turn) % 2]
            way = ("down", "again")[(index // 2 + turn) % 2]
            found.append({"point": point, "number": number, "whom": whom, "way": way})
    for index in range(RANDOM_KILLS):
        moment = round(chance.uniform(0.05, 0.95) * record["seconds"], 3)
        whom, way = ("alone", "group")[index % 2], ("down", "again")[index // 2 % 2]
        found.append({"random": moment, "whom": whom, "way": way})
    return [{"kind": "kill", "scenario": name, **one} for one in found]


def refusals(name: str, record: Record, chance: random.Random) -> list[Try]:
    """Each call once with an error; which one is drawn."""
    return [
        {
            "kind": "refuse",
            "scenario": name,
            "point": point,
            "number": number,
            "errno": getattr(errno, chance.choice(ERRORS)),
        }
        for point, number in record["points"]
    ]


def rounds(names: t.Iterable[str], numbers: t.Iterable[int]) -> list[Try]:
    """Runs that begin at once."""
    return [{"kind": "together", "scenario": name, "nth": nth} for nth in numbers for name in names]


def checks(names: t.Iterable[str]) -> list[Try]:
    """Runs in check mode under the supervisor."""
    return [{"kind": "check", "scenario": name} for name in names]


def some_looks(names: t.Iterable[str], chance: random.Random) -> list[str]:
    """Some of each kind of them."""
    left, found = list(names), []
    for prefix, number in CUT_LOOKS.items():
        alike = [name for name in left if name.startswith(prefix)]
        left = [name for name in left if name not in alike]
        found += chance.sample(alike, min(number, len(alike)))
    return found


def long_run(campaign: Campaign, seed: int) -> None:
    """What is expected to fail first; then all side by side, so that a run that is stopped has seen some of each."""
    names = list(campaign.chosen)
    aimed = {*names, *campaign.groups, *campaign.parts}
    marks = [(kind, name, mark) for (kind, name), mark in EXPECTED.items() if name in aimed]
    campaign.go([{"kind": kind, "scenario": name, **mark.witness} for kind, name, mark in marks])
    campaign.go([{"kind": kind, "scenario": name, "nth": 1} for kind in COUNTS for name in names])
    known = counted(campaign.figures.of("count"))
    chance = random.Random(seed)
    passes: dict[int, list[Try]] = {0: [], 1: [], 2: []}
    for name in names:
        if name in known:
            points = len(known[name]["points"])
            killed = kills(name, known[name], chance)
            once = killed[:points] + killed[2 * points :][: max(2, RANDOM_KILLS // 4)]
            passes[0] += once
            passes[1] += refusals(name, known[name], chance)
            passes[2] += [one for one in killed if one not in once]
    passes[0] += rounds(campaign.groups, range(1, 3)) + checks(campaign.looks)
    passes[1] += rounds(campaign.groups, range(3, ROUNDS + 1))
    passes[0] += parts.of_clocks(campaign.parts) + parts.of_records(campaign.parts)
    for name, record in counted(campaign.figures.of("calls")).items():
        passes[0] += parts.of_tools(name, record["points"])
    for tries in passes.values():
        chance.shuffle(tries)
        campaign.go(tries)
        # The same points each time, or a kill would be aimed at what may not come.
        campaign.go([{"kind": kind, "scenario": name, "nth": 2} for kind in COUNTS for name in names])


def cut(campaign: Campaign, seed: int, size: int) -> None:
    """Some scenarios, a few tries of each; of those that are expected to fail also a try that is known to."""
    chance = random.Random(seed)
    names = list(campaign.chosen)
    always = [name for name in ("lecture2 up", "lecture2 down drop") if name in names]
    others = [name for name in names if name not in always]
    names = [*always, *chance.sample(others, max(0, min(len(others), size - len(always))))]
    campaign.go([{"kind": "count", "scenario": name, "nth": 1} for name in names])
    campaign.go([{"kind": "calls", "scenario": name, "nth": 1} for name in chance.sample(names, min(1, len(names)))])
    known = counted(campaign.figures.of("count"))
    called = {name: record["points"] for name, record in counted(campaign.figures.of("calls")).items()}
    tries: list[Try] = parts.cut(campaign.parts, called, chance)
    for name in names:
        if name not in known:
            continue
        for kind, make in (("kill", kills), ("refuse", refusals)):
            tries += chance.sample(all_tries := make(name, known[name], chance), min(2, len(all_tries)))
            mark = EXPECTED.get((kind, name))
            if mark is not None:
                tries.append({"kind": kind, "scenario": name, **mark.witness})
    # What fails by chance cannot be held to it: that is for the long run.
    sure = [name for name in campaign.groups if ("together", name) not in EXPECTED]
    tries += rounds(chance.sample(sure, min(3, len(sure))), [seed]) + checks(some_looks(campaign.looks, chance))
    campaign.go(tries)


def judge(figures: Figures, complete: bool) -> tuple[list[dict[str, t.Any]], list[str], dict[str, int]]:
    """The rows of the table, what failed in words, and pytest's counts."""
    rows, words = [], []
    counts = {"passed": 0, "failed": 0, "xfailed": 0}
    count_of = {kind: count for count, aimed in COUNTS.items() for kind in aimed}
    known_by = {count: counted(figures.of(count)) for count in COUNTS}
    for name in dict.fromkeys(record["scenario"] for record in figures.records):
        unfits = {c: _unfit([record for record in figures.of(c) if record["scenario"] == name]) for c in COUNTS}
        for kind, verb in KINDS.items():
            unfit = unfits[count_of[kind]] if kind in count_of else []
            known = known_by[count_of[kind]] if kind in count_of else {}
            tried = [record for record in figures.of(kind) if record["scenario"] == name]
            if not tried and not unfit:
                continue
            missed = [record for record in tried if not record["hit"]]
            wrong = [record for record in tried if record["wrong"]]
            mark = EXPECTED.get((kind, name))
            points = {(point, number) for point, number in known.get(name, {}).get("points", ())}
            hit = {(record["point"], record["number"]) for record in tried if record["hit"] and "point" in record}
            problems = list(unfit)
            problems += [f"not hit: {_shown(record)} {record.get('error', '')}".rstrip() for record in missed]
            if mark is not None and _witnessed(missed, mark):
                problems.append(
                    f"what shows that {mark.case} fails is not met any more: take the mark away, or mend it"
                )
            if mark is None:
                problems += [f"{_shown(one)}: {line}" for one in wrong for line in one["wrong"][: _lines(kind)]]
            else:
                beside = [line for one in wrong for line in one["wrong"] if not re.search(mark.lines, line)]
                problems += [f"beside {mark.case}: {line}" for line in beside]
                wrong = [one for one in wrong if any(re.search(mark.lines, line) for line in one["wrong"])]
                if not wrong and (_all_of(kind, tried, hit, points) if complete else _witnessed(tried, mark)):
                    problems.append(f"expected to fail ({mark.case}) and does not: take its mark away")
            verdict = "failed" if problems else "xfailed" if mark is not None and wrong else "passed"
            counts[verdict] += 1
            words += [f"FAILED {name}, {verb}: {problem}" for problem in problems[:10]]
            rows.append(
                {
                    "scenario": name,
                    "what": verb,
                    "known": len(points) + sum(record.get("calls", 0) for record in tried),
                    "hit": len(hit & points) + sum(record.get("calls", 0) for record in tried),
                    "tries": len(tried),
                    "missed": len(missed),
                    "wrong": len(wrong),
                    "verdict": verdict + (f" {mark.case}" if mark is not None else ""),
                }
            )
    return rows, words, counts


def _all_of(kind: str, tried: t.Sequence[Record], hit: set[t.Any], points: set[t.Any]) -> bool:
    """Whether all that the long run does of a kind has been done."""
    if kind == "check":
        return bool(tried)
    if kind == "together":
        return len(tried) >= ROUNDS
    return hit >= points if points else len(tried) >= parts.rounds_of(tried[0]["scenario"])


def _lines(kind: str) -> int:
    """How much of what is wrong with a try is shown: of a run in check mode all, there are no more like it."""
    return 10 if kind == "check" else 1


def _witnessed(tried: t.Sequence[Record], mark: Mark) -> bool:
    return any(all(record.get(key) == value for key, value in mark.witness.items()) for record in tried)


def _unfit(records: t.Sequence[Record]) -> list[str]:
    """Why a scenario cannot be aimed at: its unkilled run fails, or two of them differ."""
    found = [str(one.get("error") or one["wrong"]) for one in records if one.get("error") or one["wrong"]]
    lists = [record["points"] for record in records if "points" in record and " verify " not in record["scenario"]]
    if len(lists) > 1 and sorted(map(tuple, lists[0])) != sorted(map(tuple, lists[1])):
        first, second = ({tuple(point) for point in points} for points in lists[:2])
        found.append(f"two unkilled runs have other points: {sorted(first ^ second)[:5]}")
    return [f"the unkilled run: {line}" for line in found]


def _shown(record: Record) -> str:
    if "nth" in record:
        return f"round {record['nth']}"
    if record["kind"] == "check":
        return f"{record.get('calls', 0)} calls"
    where = f"{record['point']} #{record['number']}" if "point" in record else f"after {record['random']} s"
    if record["kind"] in parts.TOOLS:
        return f"{record['how'] or parts.TOOLS[record['kind']]}{' from' * record['lasting']} at {where}"
    if record["kind"] == "refuse":
        return f"{errno.errorcode[record['errno']]} at {where}"
    return f"{record['whom']}, {record['way']}, {where}"


def everything() -> dict[str, t.Any]:
    """All that can be tried, by its name."""
    return {**scenarios(), **groups(), **looks(), **parts.groups()}


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--long", action="store_true", help="every point of every scenario")
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after so long; the next run goes on there")
    parser.add_argument("--seed", type=int, default=None, help="what is drawn; printed")
    parser.add_argument("--jobs", type=int, default=2, help="machines at the same time (default: 2)")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="scenarios, for example 'lecture2 *'")
    parser.add_argument(
        "--kinds",
        default="*",
        metavar="PATTERN",
        help=f"of faults: {', '.join(KINDS)}; parts are all from {next(iter(parts.KINDS))} on",
    )
    parser.add_argument("--scenarios", type=int, default=CUT_SCENARIOS, help="how many, in the cut")
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else 1 if args.long else random.randrange(1 << 16)
    chosen = {name: one for name, one in everything().items() if fnmatch.fnmatch(name, args.only)}
    if not chosen:
        parser.error(f"no scenario is called so; there are {', '.join(everything())}")
    minutes = args.minutes or (600.0 if args.long else 10.0)
    print(f"seed {seed}, {len(chosen)} scenarios, {minutes:g} minutes at the most", flush=True)
    figures = Figures("long") if args.long else Figures("cut", state=f"{seed} {time.time()}")
    campaign = Campaign(figures, chosen, args.jobs, time.monotonic() + 60 * minutes, args.kinds)

    def stop(*_args: t.Any) -> None:
        campaign.stopped = True

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    if args.long:
        long_run(campaign, seed)
    else:
        cut(campaign, seed, args.scenarios)
    rows, words, counts = judge(figures, args.long)
    print(table(rows))
    for kind in KINDS:
        tried = figures.of(kind)
        hit = sum(record["hit"] for record in tried)
        wrong = sum(bool(record["wrong"]) for record in tried)
        if not tried and kind in parts.KINDS:
            continue
        print(f"\n{KINDS[kind]}: {len(tried)} tries, {hit} hit, {wrong} with something wrong, most often:")
        print("\n".join(common(tried)))
    (SCRATCH / f"{figures.path.stem}.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    print("\n".join(words))
    print(", ".join(f"{number} {word}" for word, number in counts.items()))
    return 1 if counts["failed"] or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
