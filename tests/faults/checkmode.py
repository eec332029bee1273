# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode under the supervisor: it only reads, and the real run right after it says the same steps and diff.

``look`` is called in a private machine. Each of its turns is a run in check mode of which each system call is judged,
that of its children too; the run itself; and check mode again, which has nothing to do any more. A turn that only
probes (sends packets, runs programs on test packets, counts) says in check mode that it was skipped.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import re
import time
import typing as t
from dataclasses import dataclass

from ..examples.test_examples import BETWEEN, DROP, PREPARED
from . import product, scenarios
from .forked import documentation, examples_of
from .kills import unhelpful
from .private import MACHINE, ROOT, TryFailed, furnish, left_over, sh, snapshot
from .product import Command, Supervised, failed, module
from .supervisor import BRIEFLY, GO_ON, RUNS, SENDS, Answer, Call

Given = dict[str, t.Any]
Wrong = list[str]

# Where a run may write in check mode: its temporary folders, which are empty again afterwards.
# The clock is that of the library that Ansible's identifiers are from.
TEMPORARY = (
    "/tmp/",
    "/var/tmp/",
    "/dev/shm/sem.",
    "/var/lib/libuuid/",
    f"{MACHINE}/",
    "/root/.ansible/tmp/",
    f"{ROOT}/.ansible/tmp/",
)
# What a prediction cannot know, in one place: the turn's name, the keys that are not compared, and why.
KNOWN_LATER: dict[str, tuple[tuple[str, ...], str]] = {}
CLOCKS = re.compile(r"_timer: [\d.]+$")  # a bridge's and its ports'
# What is built is a version that a server is asked for, in check mode too, and a private machine has no network.
NO_NETWORK = re.compile(r"Could not resolve host|Temporary failure in name resolution|Name or service not known")
COMPARED = ("changed", "steps", "diff")
LOOKS = 3  # the kernel sends packets of its own, such as those about multicast, but not each time


@dataclass(frozen=True)
class Turn:
    """``real`` is the run that ``check`` predicts; None where it cannot be run in a private machine.

    ``changes``: whether there is something to do; None: that is not said here. ``probes``: it does nothing else.
    ``first`` is done before it.
    """

    name: str
    check: Command
    real: t.Optional[Command] = None
    changes: t.Optional[bool] = None
    probes: bool = False
    first: tuple[Command, ...] = ()


@dataclass(frozen=True)
class Look:
    """Turns one after another on a furnished machine."""

    turns: tuple[Turn, ...]
    bpffs: bool = False


def look(given: Given) -> Given:
    """Take all turns; a line for each thing that is not as it should be."""
    one = looks()[given["scenario"]]
    furnish()
    wrong: Wrong = []
    calls = 0
    for turn in one.turns:
        for command in turn.first:
            why = failed(command.run())
            if why:
                raise TryFailed(f"{turn.name}: what comes before failed: {why}")
        found, number = _turn(turn)
        wrong += [f"{turn.name}: {line}" if len(one.turns) > 1 else line for line in found]
        calls += number
    return {"hit": True, "wrong": list(dict.fromkeys(wrong)), "calls": calls}


def _turn(turn: Turn) -> tuple[Wrong, int]:
    """Predict, run, predict again; also how many calls were judged."""
    _quiet()
    before = snapshot()
    predicted, wrong, calls = _judged(turn.check)
    wrong += [f"changed: {line}" for line in left_over(before) if not CLOCKS.search(line)]
    said = failed(predicted.result)
    if turn.probes:
        told = ("skipped", "would_probe")  # what also reads says the second
        if not (any(map(predicted.result.get, told)) or "skipping:" in str(predicted.result.get("msg"))):
            wrong.append("probes, and does not say in check mode that it does not")
        return wrong, calls
    if turn.real is None:
        wrong += [f"failed: {said:.300}"] if said and not NO_NETWORK.search(said) else _unlike(turn, predicted.result)
        return wrong, calls
    done = turn.real.run()
    wrong += unhelpful(done) if failed(done) else []
    if said or failed(done):
        if said != failed(done):
            wrong.append(f"predicted {_outcome(said)} and the run {_outcome(failed(done))}")
        return wrong, calls
    leave_out = KNOWN_LATER.get(turn.name, ((), ""))[0]
    for key in COMPARED:
        if key not in leave_out and predicted.result.get(key) != done.get(key):
            there, then = (json.dumps(one.get(key), sort_keys=True) for one in (predicted.result, done))
            wrong.append(f"predicted another {key}: {_where_they_differ(there, then)}")
    wrong += _unlike(turn, predicted.result)
    _quiet()
    again, more, number = _judged(turn.check)
    wrong += [f"again: {line}" for line in more]
    if failed(again.result):
        wrong.append(f"again: failed: {failed(again.result):.300}")
    elif again.result.get("changed"):
        wrong.append(f"again: still something to do: {again.result.get('steps')}")
    return wrong, calls + number


def _unlike(turn: Turn, predicted: Given) -> Wrong:
    if turn.changes is None or bool(predicted.get("changed")) is turn.changes:
        return []
    return [f"should{'' if turn.changes else ' not'} have had something to do: {predicted.get('steps')}"]


def _outcome(said: str) -> str:
    return f"failed: {said:.300}" if said else "did not fail"


def _where_they_differ(first: str, second: str) -> str:
    same = next((at for at, (one, other) in enumerate(zip(first, second)) if one != other), 0)
    start = max(0, same - 60)
    return f"…{first[start : same + 100]}… and not …{second[start : same + 100]}…"


def _judged(command: Command) -> tuple[Supervised, Wrong, int]:
    """Run it and say what of it is not reading; see also how many calls were looked at."""
    for turn in range(1, LOOKS + 1):
        watch = OnlyReading()
        packets, temporary = _packets(), _temporary()
        done = command.supervised(watch)
        moved = [name for name, number in _packets().items() if packets.get(name) != number]
        wrong = list(watch.wrong)
        if watch.sent or not moved or turn == LOOKS:
            break
    wrong += [f"packets went over {name}" for name in moved]
    wrong += [f"left: {path}" for path in sorted(_temporary() - temporary)]
    return done, list(dict.fromkeys(wrong)), watch.calls


class OnlyReading:
    """Notes each call that is more than reading, by the program that makes it. ``temporary``: where it may write."""

    def __init__(self, temporary: tuple[str, ...] = TEMPORARY) -> None:
        self.temporary = temporary
        self.wrong: Wrong = []
        self.sent = False
        self.calls = 0

    def __call__(self, call: Call) -> Answer:
        self.calls += 1
        if call.name.startswith(RUNS) or f"{call.path}/".startswith(self.temporary):
            return GO_ON
        if call.name.startswith("mkdir ") and os.path.isdir(call.path):  # only asks whether it is there
            return GO_ON
        self.sent = self.sent or call.name.startswith(SENDS)
        self.wrong.append(f"{call.name.removeprefix(BRIEFLY)}, by {_program(call.pid)}")
        return GO_ON


def _program(tid: int) -> str:
    with contextlib.suppress(OSError):
        return re.sub(r"[\d.]+$", "", os.path.basename(os.readlink(f"/proc/{tid}/exe")))
    return "a program that has ended"


def _namespaces() -> list[str]:
    return ["", *sorted(os.listdir("/run/netns") if os.path.isdir("/run/netns") else [])]


QUIET = "for name in /proc/sys/net/ipv6/conf/*/router_solicitations; do echo 0 >$name; done"


def _quiet() -> None:
    """Wait until the kernel is done with addresses that are new, and let it ask for no router."""
    for place in _namespaces():
        sh(*(["nsenter", f"--net=/run/netns/{place}"] if place else []), "sh", "-c", QUIET, check=False)
        for _turn in range(30):
            asked = sh("ip", *(["-n", place] if place else []), "-o", "address", "show", "tentative", check=False)
            if not asked.stdout:
                break
            time.sleep(0.1)


def _packets() -> dict[str, tuple[int, int]]:
    """Packets received and sent by each interface of each namespace."""
    found = {}
    for place in _namespaces():
        argv = ["ip", *(["-n", place] if place else []), "-s", "-j", "link"]
        for link in json.loads(sh(*argv, check=False).stdout or "[]"):
            if link:
                counted = link["stats64"]
                found[f"{link['ifname']}{f' in {place}' if place else ''}"] = tuple(
                    counted[way]["packets"] for way in ("rx", "tx")
                )
    return t.cast("dict[str, tuple[int, int]]", found)


def _temporary() -> set[str]:
    """What there is in the machine's own temporary folder; the others are everybody's."""
    return {f"/tmp/{name}" for name in os.listdir("/tmp")}


# --- what is looked at


def _lab(name: str, stages: t.Sequence[str]) -> t.Iterator[tuple[str, Look]]:
    """Each stage from nothing and from each other one, reset after a sabotage, down, and grading."""

    def at(stage: str) -> Command:
        return product.up(stage, name, traffic=False)

    def turn(what: str, check: Command, real: Command, *before: Command) -> tuple[str, Look]:
        return f"check {name} {what}", Look((Turn(f"{name} {what}", check, real, True, first=before),))

    for stage in stages:
        yield turn(f"{stage} from nothing", product.up(stage, name, check=True), at(stage))
        sabotage = product.shell(SABOTAGE)
        yield turn(f"reset {stage}", product.reset(name=name, check=True), _reset(name), at(stage), sabotage)
        yield turn(f"down {stage}", product.down(name, check=True), product.down(name), at(stage))
        graded = Turn(f"{name} verify {stage}", product.verify(name=name, check=True), probes=True, first=(at(stage),))
        yield f"check {name} verify {stage}", Look((graded,))
    for old, new in itertools.permutations(stages, 2):
        yield turn(f"{old}>{new}", product.up(new, name, check=True), at(new), at(old))


# Whatever of it there is at a stage.
SABOTAGE = """\
ip link set veth1 xdp off || :
ip addr add 10.9.9.9/32 dev veth1 || :
ip -n vns1 route add 10.8.0.0/16 dev vpeer1 || :
sysctl -qw net.ipv4.ip_forward=0
tc filter del dev veth1 ingress || :
ip netns del left || :
bpftool map update pinned /sys/fs/bpf/ebpf/pkt_cnt key 1 0 0 0 value 9 0 0 0 0 0 0 0 || :
rm -f /usr/local/src/ebpf.lab/*/xdp_pass.o /sys/fs/bpf/ebpf/xdp_*
"""


def _reset(name: str) -> Command:
    return product.reset(name=name, traffic=False)


def _changing() -> t.Iterator[tuple[str, Look]]:
    """Each module that changes a host, there and back, as it is killed too."""
    for name, scenario in scenarios.scenarios().items():
        if scenario.bpffs and scenario.check is not None:
            turn = Turn(name, scenario.check, scenario.target, True, first=scenario.before)
            yield f"check {name}", Look((turn,), scenario.bpffs)


# These only send, load or count; in check mode they do nothing.
PROBES = ("reachability", "bpf_test_run", "bpf_stats_info")
# What builds and installs: a private machine has no network and cannot install anything, so nothing follows.
BUILDS = ("bpftool", "golang", "iproute2", "packages")
# Their words are the control node's; ``_whole`` has them.
ELSEWHERE = ("lab", "report", "results")


def _examples() -> t.Iterator[tuple[str, Look]]:
    """The EXAMPLES of each module, one after another."""
    for name in sorted(PREPARED) + list(BUILDS):
        if name in ELSEWHERE:
            continue
        shell, _tasks = PREPARED.get(name, ("", []))
        first: tuple[Command, ...] = (product.shell(shell),) if shell else ()
        turns = []
        for task in examples_of(name):
            if task["name"] in BETWEEN:
                first += (product.shell(BETWEEN[task["name"]].partition(": ")[2].replace("{DROP}", DROP)),)
            for key, params in task.items():
                used = key.removeprefix("ebpf.lab.")
                if key == used or "since" in (params or ()):
                    continue
                turns.append(_example(used, task["name"], params or {}, first))
                first = ()
        yield f"check examples of {name}", Look(tuple(turns), bpffs=True)
    for name, params in MISSING.items():
        yield f"check {name} that is missing", Look((Turn(name, module(name, check=True, **params), changes=True),))


# What the machine that runs the tests has not.
MISSING: dict[str, Given] = {
    "packages": {"name": ["sl"], "optional": ["no-such-package-anywhere"]},
    "golang": {"version": "1.26.0", "unverified": True},
}
GIVEN = {"{{ golang_version }}": "1.26.0", "{{ golang_checksum }}": "sha256:" + "0" * 64}


def _example(name: str, title: str, params: Given, first: tuple[Command, ...]) -> Turn:
    params = {key: GIVEN.get(str(value), value) for key, value in params.items()}
    if name == "preflight_info":
        params.update(content=product.lab_file(params["lab"])[0], file=f"{params['lab']}.yml")
    real = (
        None if name in BUILDS or "state" not in (documentation(name).get("options") or {}) else module(name, **params)
    )
    if name == "bpf_test_run":  # its action plugin makes the packets
        params["packets"] = [{"hex": "02000000000102000000000208004500" * 4}]
    return Turn(title, module(name, check=True, **params), real, probes=name in PROBES, first=first)


RESULTS = "lab_results=/opt/results"  # not those of this checkout


def _whole() -> t.Iterator[tuple[str, Look]]:
    """All of ./lab, the control node's processes too."""
    up = product.up("count", traffic=False)

    def turn(words: str, *before: Command, probes: bool = False) -> tuple[str, Look]:
        command = Command((str(ROOT / "lab"), *words.split(), "--check", "--extra-vars", RESULTS))
        return f"check ./lab {words}", Look((Turn(f"./lab {words}", command, probes=probes, first=before),))

    # The first one makes what is made once: Ansible's folders.
    ready = product.shell(f"{ROOT}/lab preflight || :")
    yield turn("up", ready)
    yield turn("stage icmp", ready, up)
    yield turn("reset", ready, up, product.shell(SABOTAGE))
    yield turn("verify", ready, up, probes=True)
    yield turn("down", ready, up)
    yield turn("preflight", ready)
    yield turn("toolchain", ready)
    yield turn("report", product.shell(f"{ROOT}/lab up; {ROOT}/lab verify --extra-vars {RESULTS} || :"))


@functools.cache
def looks() -> dict[str, Look]:
    """All of them by their names."""
    found = dict(itertools.chain(_changing(), _examples(), _whole()))
    for name, stages, _sabotages in scenarios.LABS:
        found.update(_lab(name, stages))
    return found
