# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A topology of N namespaces with a veth pair, addresses and routes each: ours beside ``ip -batch``.

Four jobs: create, check (no change), repair (one address is gone), delete. Ours is the whole of ``converge``: observe,
plan, journal, apply, observe again, with the Python modules imported; "module" is the same in a process of its own,
as Ansible starts it, and pays for the imports. The rival is
one ``ip -batch`` for the host and, because a batch cannot change its namespace, one ``ip -n NAME -batch`` for each
namespace; its check lists addresses, links and routes and compares nothing; its repair is that and one command more.
Both run in turns in the same namespaces of tests/isolate. Prints JSON.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time
import traceback
import typing as t
from dataclasses import replace

ROOT = pathlib.Path(__file__).resolve().parent.parent
JOBS = ("create", "check", "repair", "delete")
GOALS = {100: 1.0, 1000: 0.5}  # ours / ip, of wall time
DRIVER = """
import runpy
runpy.run_module('ansible_collections.ebpf.lab.plugins.modules.topology', run_name='__main__')
"""


def host_address(number: int) -> str:
    """The host's end of the network ``number``, a /30."""
    return str(ipaddress.ip_address("10.100.0.1") + 4 * number)


def peer_address(number: int) -> str:
    """The other end."""
    return str(ipaddress.ip_address("10.100.0.2") + 4 * number)


def parameters(count: int) -> dict[str, t.Any]:
    """The network as arguments of the module topology."""
    return {
        "namespaces": [{"name": f"b{number}"} for number in range(count)],
        "veths": [
            {
                "name": f"v{number}",
                "addresses": [f"{host_address(number)}/30"],
                "peer": {
                    "name": "e0",
                    "netns": f"b{number}",
                    "addresses": [f"{peer_address(number)}/30"],
                    "routes": [{"to": "default", "via": host_address(number)}],
                },
            }
            for number in range(count)
        ],
    }


def forked(function: t.Callable[[], t.Any]) -> dict[str, float]:
    """Wall and CPU seconds, and the peak of memory in MB, of a function in a process of its own."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            cpu, wall = time.process_time(), time.perf_counter()
            function()
            figures = [time.perf_counter() - wall, time.process_time() - cpu]
            figures.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            os.write(write, json.dumps(figures).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    if os.waitpid(child, 0)[1]:
        raise SystemExit("benchmarks/topology.py: our run failed, see above.")
    wall_time, cpu_time, memory = json.loads(text)
    return {"wall": wall_time, "cpu": cpu_time, "rss": memory}


def ours(count: int, job: str) -> t.Any:
    """One converge, as the module's main does it."""
    from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
    from ansible_collections.ebpf.lab.plugins.module_utils._core.converge import converge
    from ansible_collections.ebpf.lab.plugins.module_utils._core.host import Host
    from ansible_collections.ebpf.lab.plugins.module_utils._kernel.rtnl import write as messages
    from ansible_collections.ebpf.lab.plugins.module_utils._net.topology.options import topology, topology_options
    from ansible_collections.ebpf.lab.plugins.module_utils._net.topology.resource import TopologyResource

    if not count:  # only to have all of it imported
        return messages

    filled = ArgumentSpecValidator(topology_options()).validate(parameters(count)).validated_parameters
    want = replace(topology(filled), present=job != "delete")
    with Host() as host:
        result = converge(host, TopologyResource(want), check_mode=False)
    if result["changed"] != (job != "check"):
        raise SystemExit(f"benchmarks/topology.py: {job} says changed={result['changed']}.")
    return result


def process(*argv: str, stdin: str = "", keep: bool = False) -> None:
    """Run a program to its end; it has to succeed."""
    subprocess.run(argv, input=stdin, text=True, check=True, stdout=None if keep else subprocess.DEVNULL)


def module(count: int, job: str) -> None:
    """The module as a process, with its arguments on stdin."""
    arguments = {**parameters(count), "state": "absent" if job == "delete" else "present"}
    process(sys.executable, "-c", DRIVER, stdin=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))


def rival(count: int, job: str) -> None:
    """The same by ip -batch."""
    numbers = range(count)
    if job == "delete":
        lines = [f"link del v{number}\nnetns del b{number}" for number in numbers]
        return process("ip", "-batch", "-", stdin="\n".join(lines))
    if job == "create":
        lines = [
            f"netns add b{number}\nlink add v{number} type veth peer name e0 netns b{number}\n"
            f"addr add {host_address(number)}/30 dev v{number}\nlink set dev v{number} up"
            for number in numbers
        ]
        process("ip", "-batch", "-", stdin="\n".join(lines))
    else:
        process("ip", "-batch", "-", stdin="netns list\nlink show\naddr show\nroute show\n")
    for number in numbers:
        inside = "link show\naddr show\nroute show\n"
        if job == "create":
            inside = f"link set dev lo up\naddr add {peer_address(number)}/30 dev e0\nlink set dev e0 up\n"
            inside += f"route add default via {host_address(number)}\n"
        process("ip", "-n", f"b{number}", "-batch", "-", stdin=inside)
    if job == "repair":
        process("ip", "-n", "b3", "addr", "add", f"{peer_address(3)}/30", "dev", "e0")
        process("ip", "-n", "b3", "route", "add", "default", "via", host_address(3))


def measured(function: t.Callable[[int, str], None], count: int, job: str, children: bool) -> dict[str, float]:
    """One job by one contender; ``children``: it is other programs that do the work."""
    if job == "repair":
        process("ip", "-n", "b3", "addr", "del", f"{peer_address(3)}/30", "dev", "e0")
    if not children:
        return forked(lambda: function(count, job))
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    function(count, job)
    wall = time.perf_counter() - wall
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"wall": wall, "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def settled() -> None:
    """Wait until the kernel has taken the last round's links down in the background."""
    deadline = time.monotonic() + 120
    while len(os.listdir("/sys/class/net")) > 1 and time.monotonic() < deadline:
        time.sleep(0.1)


def measure(count: int, rounds: int) -> dict[str, t.Any]:
    """Medians of each job for each contender, and ours / ip."""
    contenders = {"ours": (ours, False), "module": (module, True), "ip": (rival, True)}
    samples: dict[str, dict[str, list[dict[str, float]]]] = {job: {name: [] for name in contenders} for job in JOBS}
    for _round in range(rounds):
        for name, (function, children) in contenders.items():
            for job in JOBS:
                samples[job][name].append(measured(function, count, job, children))
            settled()
    medians = {
        job: {
            name: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            for name, runs in by_name.items()
        }
        for job, by_name in samples.items()
    }
    for found in medians.values():
        for name in ("ours", "module"):
            found[name]["wall_ratio"] = found[name]["wall"] / found["ip"]["wall"]
            found[name]["cpu_ratio"] = found[name]["cpu"] / found["ip"]["cpu"]
    return {"namespaces": count, "rounds": rounds, "goal": GOALS.get(count), "jobs": medians}


def table(results: dict[str, t.Any]) -> str:
    """The results for people: milliseconds for each namespace, and ratios to ip."""
    lines = ["      N  job      ip ms/N  ours ms/N  wall ours/ip  cpu ours/ip  module/ip  goal   peak MB"]
    for size in results["sizes"]:
        count = size["namespaces"]
        for job, found in size["jobs"].items():
            goal = size["goal"]
            mark = "" if goal is None else f"{goal:g} " + ("met" if found["ours"]["wall_ratio"] <= goal else "MISSED")
            each = {name: found[name]["wall"] / count * 1000 for name in ("ip", "ours")}
            lines.append(
                f"{count:7}  {job:7}{each['ip']:9.2f}{each['ours']:11.2f}"
                f"{found['ours']['wall_ratio']:14.2f}{found['ours']['cpu_ratio']:13.2f}"
                f"{found['module']['wall_ratio']:11.2f}  {mark:10}{found['ours']['rss']:6.0f}"
            )
    return "\n".join(lines)


def main() -> None:
    """Measure the sizes asked for; JSON on stdout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    process("ip", "netns", "add", "warm")  # /run/netns is mounted for both
    ours(0, "check")
    sizes = [measure(count, args.rounds) for count in args.sizes]
    print(json.dumps({"benchmark": "topology", "sizes": sizes}))


if __name__ == "__main__":
    main()
