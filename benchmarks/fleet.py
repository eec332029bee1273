# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hello lab again, with nothing to change, on fleets of 1, 5 and 10 machines over ssh, beside a ping of the same.

What a run pays once (Ansible itself, the module built from its files) and what each machine costs further is told
apart by a line through the fleets' medians: its intercept and its slope. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import typing as t

from harness.loopback import Cost, Fleet

PING, PROVISION = "ping", "provision"


def command(fleet: Fleet, name: str, hosts: t.Sequence[str]) -> list[str]:
    """What the control side runs."""
    if name == PING:
        return ["ansible", "-i", fleet.inventory, ",".join(hosts), "-m", "ping"]
    limit = ["--limit", ",".join(hosts)]
    return ["ansible-playbook", "-i", fleet.inventory, *limit, "ebpf.lab.provision", "--extra-vars", "lab=xdp_hello"]


def run(fleet: Fleet, name: str, hosts: t.Sequence[str], first: bool = False) -> Cost:
    """One run; a re-run has to change nothing, on any machine."""
    cost = fleet.run(command(fleet, name, hosts))
    changes = re.findall(r"changed=(\d+)", cost.output)
    if name == PROVISION and (len(changes) != len(hosts) or any((int(count) > 0) != first for count in changes)):
        raise SystemExit(f"benchmarks: not what was to be expected:\n{cost.output}")
    return cost


def fit(points: t.Mapping[int, float]) -> dict[str, float]:
    """Least squares: seconds ``once`` a run and for ``each`` machine."""
    line = statistics.linear_regression(list(points), list(points.values()))
    return {"once": line.intercept, "each": line.slope}


def table(results: dict[str, t.Any]) -> str:
    """The results for people."""
    lines = ["machines   ping CPU s   provision CPU s = control + target   CPU/ping   wall/ping"]
    for size in results["sizes"]:
        ping, ours = size[PING], size[PROVISION]
        lines.append(
            f"{size['machines']:8}{ping['cpu']:13.2f}{ours['cpu']:18.2f}{ours['control']:10.2f}{ours['target']:9.2f}"
            f"{ours['cpu'] / ping['cpu']:11.2f}{ours['wall'] / ping['wall']:12.2f}"
        )
    for name in (PING, PROVISION):
        parts = (
            f"{side} {line['once']:.2f} + {line['each']:.3f} each" for side, line in results["lines"][name].items()
        )
        lines.append(f"{name}: {', '.join(parts)}")
    return "\n".join(lines)


def main() -> None:
    """Measure; JSON on stdout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 5, 10])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    samples: dict[int, dict[str, list[Cost]]] = {size: {PING: [], PROVISION: []} for size in args.sizes}
    with Fleet([f"machine{number}" for number in range(max(args.sizes))]) as fleet:
        hosts = list(fleet.machines)
        run(fleet, PROVISION, hosts, first=True)
        for _round in range(args.rounds):
            for size, found in samples.items():
                for name, costs in found.items():
                    costs.append(run(fleet, name, hosts[:size]))
    figures = ("wall", "cpu", "control", "target")
    medians = {
        size: {
            name: {key: statistics.median(getattr(cost, key) for cost in costs) for key in figures}
            for name, costs in found.items()
        }
        for size, found in samples.items()
    }
    fitted = {
        name: {
            side: fit({size: found[name][side] for size, found in medians.items()}) for side in ("control", "target")
        }
        for name in (PING, PROVISION)
    }
    sizes = [{"machines": size, **found} for size, found in medians.items()]
    print(json.dumps({"benchmark": "fleet", "rounds": args.rounds, "sizes": sizes, "lines": fitted}))


if __name__ == "__main__":
    main()
