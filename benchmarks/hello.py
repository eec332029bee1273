# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hello lab again, with nothing to change, on one host over ssh: ours beside its rivals. The unit is a ping.

Every contender has a machine of its own, sets the lab up there once, and is then measured in turns with the others,
each time from no connection to none. A run that says that it changed something does not count: it ends the benchmark.
Before and after, each machine has to have the program on veth1 and pings both ways. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import statistics
import sys
import typing as t
from dataclasses import dataclass

from harness.loopback import ROOT, Cost, Fleet, Machine

RIVALS = ROOT / "benchmarks" / "rivals"
UNIT = "ping"
GOAL = 1.5  # provision / ping, of CPU time


@dataclass(frozen=True)
class Contender:
    """``playbook`` and its options, or "" for ``argv`` after ssh; ``lab``: it makes the lab, and has to prove it."""

    name: str
    what: str
    playbook: str = ""
    lab: bool = True


CONTENDERS = (
    Contender(UNIT, "ansible -m ping", lab=False),
    Contender("ping_playbook", "a playbook with one ping", str(RIVALS / "ping.yml"), lab=False),
    Contender("provision", "ebpf.lab.provision", "ebpf.lab.provision --extra-vars lab=xdp_hello"),
    Contender("no_traffic", "the same without its pings", str(RIVALS / "no_traffic.yml")),
    Contender("fine", "our fine-grained modules", str(RIVALS / "fine.yml")),
    Contender("stock", "ansible-core's own modules", str(RIVALS / "stock.yml")),
    Contender("shell", "a shell script over ssh"),
    Contender("ssh", "ssh true: a connection", lab=False),
)


def command(fleet: Fleet, contender: Contender) -> list[str]:
    """What the control side runs."""
    machine = fleet.machines[contender.name]
    if contender.playbook:
        return ["ansible-playbook", "-i", fleet.inventory, "--limit", machine.name, *contender.playbook.split()]
    if contender.name == UNIT:
        return ["ansible", "-i", fleet.inventory, machine.name, "-m", "ping"]
    ssh = ["ssh", *fleet.ssh_args.split(), "-o", f"ControlPath={fleet.folder}/shell", "-p", str(machine.port)]
    if contender.name == "ssh":
        return [*ssh, "root@127.0.0.1", "true"]
    script = f"{shlex.join([*ssh, 'root@127.0.0.1', 'sh', '-s', str(ROOT / 'files' / 'bpf')])} <{RIVALS}/hello.sh"
    return ["sh", "-c", script]


def changed(contender: Contender, cost: Cost) -> bool:
    """What a run says of itself."""
    if contender.playbook:
        return int(re.findall(r"changed=(\d+)", cost.output)[-1]) > 0
    return "changed:" in cost.output


def prove(machine: Machine) -> None:
    """The program is on the link, and pings come through both ways."""
    (link,) = json.loads(machine.output("ip", "-json", "-details", "link", "show", "dev", "veth1"))
    pinned = json.loads(machine.output("bpftool", "--json", "prog", "show", "pinned", "/sys/fs/bpf/ebpf/xdp_allow"))
    if link.get("xdp", {}).get("prog", {}).get("id") != pinned["id"]:
        raise SystemExit(f"benchmarks: {machine.name} did not attach xdp_allow: {link}")
    machine.output("ping", "-q", "-c", "1", "192.168.100.2")
    machine.output("ip", "netns", "exec", "vns1", "ping", "-q", "-c", "1", "192.168.100.1")


def measure(fleet: Fleet, rounds: int) -> dict[str, list[Cost]]:
    """The samples of each contender."""
    for contender in CONTENDERS:
        first = fleet.run(command(fleet, contender))
        if contender.lab:
            if not changed(contender, first):
                raise SystemExit(f"benchmarks: {contender.name} says that its first run changed nothing.")
            prove(fleet.machines[contender.name])
    samples: dict[str, list[Cost]] = {contender.name: [] for contender in CONTENDERS}
    for number in range(rounds):
        for contender in (*CONTENDERS[number % len(CONTENDERS) :], *CONTENDERS[: number % len(CONTENDERS)]):
            cost = fleet.run(command(fleet, contender))
            if changed(contender, cost):
                raise SystemExit(f"benchmarks: {contender.name} changed something in its re-run:\n{cost.output}")
            samples[contender.name].append(cost)
    for contender in CONTENDERS:
        if contender.lab:
            prove(fleet.machines[contender.name])
    return samples


def summary(samples: t.Mapping[str, t.Sequence[Cost]]) -> dict[str, dict[str, float]]:
    """Medians in seconds, and ratios to the ping of the same round, whose median is taken then."""
    found = {}
    for name, costs in samples.items():
        figures = ("wall", "cpu", "control", "target")
        row = {key: statistics.median(getattr(cost, key) for cost in costs) for key in figures}
        for key in ("wall", "cpu"):
            pairs = zip(costs, samples[UNIT])
            row[f"{key}_ratio"] = statistics.median(getattr(cost, key) / getattr(unit, key) for cost, unit in pairs)
        found[name] = row
    return found


def table(results: dict[str, t.Any]) -> str:
    """The results for people: seconds, and multiples of a ping."""
    lines = ["                              CPU s  = control + target    CPU/ping  wall s  wall/ping"]
    for contender in CONTENDERS:
        row = results["contenders"][contender.name]
        goal = f"  goal {GOAL:g} " + ("met" if row["cpu_ratio"] <= GOAL else "MISSED")
        lines.append(
            f"{contender.what:28}{row['cpu']:7.2f}{row['control']:12.2f}{row['target']:9.2f}"
            f"{row['cpu_ratio']:12.2f}{row['wall']:8.2f}{row['wall_ratio']:11.2f}"
            + (goal if contender.name == "provision" else "")
        )
    return "\n".join(lines)


def main() -> None:
    """Measure; JSON on stdout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with Fleet([contender.name for contender in CONTENDERS]) as fleet:
        samples = measure(fleet, args.rounds)
    print(json.dumps({"benchmark": "hello", "rounds": args.rounds, "goal": GOAL, "contenders": summary(samples)}))


if __name__ == "__main__":
    sys.exit(main())
