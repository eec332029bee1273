# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two and three runs at once, graders too, and beside a student who is at work: each ends well, and all goes down.

``together`` is called in a private machine. When the runs begin differs from round to round, and so do their races.
"""

from __future__ import annotations

import pathlib
import random
import subprocess
import time
import typing as t
from dataclasses import dataclass

from . import product
from .cases import found_by, well
from .kills import unhelpful
from .private import MACHINE, furnish, left_over, sh, snapshot
from .product import Command, ended, failed

# What a student does by hand meanwhile, over and over; none of it is the lab's.
STUDENT = """\
set -u
ip link add st0 type veth peer name st1
while [ ! -e {stop} ]; do
    ip netns add st; ip -n st link set lo up; ip netns del st
    ip link set st0 up; ip addr add 10.55.0.1/24 dev st0; ip route add 10.56.0.0/16 dev st0; ip addr flush dev st0
    tc qdisc add dev st0 clsact; tc qdisc del dev st0 clsact
    bpftool prog show; bpftool map show; bpftool net; ip -j -d link; iptables -S FORWARD
done
ip link del st0
"""


@dataclass(frozen=True)
class Together:
    """Runs that begin at the same time on a host that ``before`` has brought somewhere; ``student``: beside him."""

    runs: tuple[Command, ...]
    before: tuple[Command, ...] = ()
    student: bool = False


def _up(stage: str) -> Command:
    return product.up(stage, traffic=False)


def groups() -> dict[str, Together]:
    """All of them by their names."""
    down, at_count = product.down(), (_up("count"),)
    return {
        "at once: up, up": Together((product.up(), product.up())),
        "at once: three stages": Together((_up("drop"), _up("count"), _up("filter")), (_up("hello"),)),
        "at once: up, down, up": Together((_up("drop"), down, _up("count")), (_up("hello"),)),
        "at once: down, down, down": Together((down, down, down), (_up("rate_limit"),)),
        "at once: two graders": Together((product.verify(), product.verify()), at_count),
        "at once: a grader and a stage": Together((product.verify("hello"), _up("drop")), (_up("hello"),)),
        "at once: two resets": Together((product.reset(traffic=False), product.reset(traffic=False)), at_count),
        "beside a student: up": Together((product.up(),), student=True),
        "beside a student: two stages": Together((_up("icmp"), _up("drop")), (_up("hello"),), student=True),
        "beside a student: down": Together((down,), (_up("filter"),), student=True),
    }


def together(given: dict[str, t.Any]) -> dict[str, t.Any]:
    """One round."""
    group = groups()[given["scenario"]]
    chance = random.Random(f"{given['scenario']} {given['nth']}")
    furnish()
    before = snapshot()
    for command in group.before:
        well(command)
    graded = product.verify() in group.runs
    alone = found_by(well(product.verify())) if graded else None
    stop = MACHINE / "stop"
    student = _student(stop) if group.student else None
    running = []
    for command in group.runs:
        running.append(command.start())
        time.sleep(chance.choice((0, 0, 0.1, 0.4)))
    wrong = []
    for number, process in enumerate(running, 1):
        answer = ended(process)
        why = "; ".join(unhelpful(answer)) or failed(answer)
        wrong += [f"run {number} of {len(running)} failed: {why:.500}"] if why else []
        if graded and not why and found_by(answer) != alone:
            wrong.append(f"grader {number} found {found_by(answer)}, alone it finds {alone}")
    if student is not None:
        stop.touch()
        student.wait(60)
    if product.down() not in group.runs:
        wrong += [f"the next run failed: {why}" for why in [failed(_up("count").run())] if why]
        left = product.up("count", check=True, traffic=False).run().get("steps")
        wrong += [f"the next run did not converge, still to do: {left}"] if left else []
    wrong += [f"down failed: {why}" for why in [failed(product.down().run())] if why]
    return {"hit": True, "wrong": wrong + [f"left: {line}" for line in left_over(before)]}


def _student(stop: pathlib.Path) -> subprocess.Popen[bytes]:
    script = MACHINE / "student"
    script.write_text(STUDENT.format(stop=stop), encoding="ascii")
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(["sh", str(script)], stdin=quiet, stdout=quiet, stderr=quiet)
    for _turn in range(200):
        if sh("ip", "link", "show", "st0", check=False).returncode == 0:
            break
        time.sleep(0.02)
    return process
