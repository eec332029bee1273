# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs, filters and maps as one plan: made when nothing is there, changed, and taken down in one go."""

from __future__ import annotations

import os
import pathlib
import platform
import subprocess
import typing as t
from dataclasses import dataclass

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.map.contents import dump, restore_entries, snapshot
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.map.resource import MapResource
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.program.resource import ProgramResource
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.tc.resource import FilterResource
from ansible_collections.ebpf.lab.plugins.module_utils._core.converge import converge
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import LabError
from ansible_collections.ebpf.lab.plugins.module_utils._core.host import Host
from ansible_collections.ebpf.lab.plugins.module_utils._core.plan import NOTHING, Coming, Forecast, Plan, forecast
from ansible_collections.ebpf.lab.plugins.module_utils._core.resource import Kind, Resource

PINS = "/sys/fs/bpf/composed"
SOURCE = """
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 2); __type(key, __u32); __type(value, __u64); }
    limits SEC(".maps");
SEC("tc") int limited(struct __sk_buff *skb)
{
    __u32 key = 0;
    __u64 *limit = bpf_map_lookup_elem(&limits, &key);
    return limit && skb->len > *limit ? TC_ACT_SHOT : TC_ACT_OK;
}
char _license[] SEC("license") = "GPL";
"""


@dataclass(frozen=True)
class All(Resource[dict[str, t.Any]]):
    """A stage in small: a loaded program, filters both ways, and a map's entries."""

    parts: tuple[tuple[str, t.Any], ...]
    end: bool = False

    def kinds(self) -> tuple[Kind, ...]:
        return tuple({kind.prefix: kind for _name, part in self.parts for kind in part.kinds()}.values())

    def takes_away(self) -> bool:
        return self.end

    def observe(self, host: Host) -> dict[str, t.Any]:
        return {name: part.observe(host) for name, part in self.parts}

    def plan(self, now: dict[str, t.Any], coming: Forecast = NOTHING) -> Plan:
        plans: dict[str, Plan] = {}
        for name, part in self.parts:
            if isinstance(part, ProgramResource):
                plans[name] = part.plan(now[name])
                if plans[name].steps:
                    what = Coming("made" if part.present else "removed")
                    coming = {**coming, f"pin:{PINS}/limited": what, f"pin:{PINS}/limits": what}
            else:
                plans[name] = part.plan(now[name], coming)
            coming = forecast(plans[name].steps, coming)
        return Plan.compose(plans)

    def result(self, now: dict[str, t.Any]) -> dict[str, t.Any]:
        return {}


def sh(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


def stage(path: str, netns: str, entries: list[dict[str, t.Any]], present: bool = True) -> All:
    loaded = {"object": path, "pin_path": PINS, "type": "classifier", "pin_maps": ["limits"]}
    state = {"state": "present" if present else "absent"}
    program = ("program", ProgramResource.from_params({**loaded, **state}))
    filters = [
        (
            direction,
            FilterResource.from_params(
                {"interface": "near", "netns": netns, "direction": direction, "program": f"{PINS}/limited", **state}
            ),
        )
        for direction in ("ingress", "egress")
    ]
    if not present:
        return All((*filters, program), end=True)
    return All((program, *filters, ("map", MapResource.from_params({"path": f"{PINS}/limits", "entries": entries}))))


def run(resource: All) -> bool:
    """Check, apply, again: the prediction holds, and the second run has nothing to do."""
    with Host() as host:
        predicted = converge(host, resource, True)
    with Host() as host:
        applied = converge(host, resource, False)
    assert applied["steps"] == predicted["steps"] and applied["diff"] == predicted["diff"]
    with Host() as host:
        assert not converge(host, resource, False)["changed"]
    return bool(applied["changed"])


@pytest.fixture
def path(tmp_path: pathlib.Path) -> str:
    (tmp_path / "limited.c").write_text(SOURCE)
    include, out = f"-I/usr/include/{platform.machine()}-linux-gnu", str(tmp_path / "limited.o")
    sh("clang", "-O2", "-g", "-target", "bpf", include, "-c", str(tmp_path / "limited.c"), "-o", out)
    return out


def test_one_plan_from_nothing_and_back(path: str, sandbox_ns: t.Any, journal: t.Any) -> None:
    netns = sandbox_ns()
    sh("ip", "-n", netns, "link", "add", "near", "type", "veth", "peer", "name", "far")
    entries = [{"key": 0, "value": 1000}]
    assert run(stage(path, netns, entries))
    assert dump(f"{PINS}/limits") == [{"key": 0, "value": 1000}, {"key": 1, "value": 0}]
    assert run(stage(path, netns, [{"key": 0, "value": 9}, {"key": 1, "value": 2**40}]))
    before = snapshot(f"{PINS}/limits")
    sh("bpftool", "map", "update", "pinned", f"{PINS}/limits", "key", *"1000", "value", *"00000000")
    assert restore_entries(before) == 1 and restore_entries(before) == 0
    assert dump(f"{PINS}/limits")[1] == {"key": 1, "value": 2**40}
    # A new object: program, both filters and the map's entries follow in the same plan.
    text = pathlib.Path(path).with_suffix(".c")
    text.write_text(SOURCE.replace("max_entries, 2", "max_entries, 3").replace("key = 0", "key = 2"))
    sh(
        "clang",
        "-O2",
        "-g",
        "-target",
        "bpf",
        f"-I/usr/include/{platform.machine()}-linux-gnu",
        "-c",
        str(text),
        "-o",
        path,
    )
    assert run(stage(path, netns, entries))
    assert dump(f"{PINS}/limits")[0] == {"key": 0, "value": 1000}
    assert run(stage(path, netns, [], present=False))
    assert not os.path.exists(PINS) and journal() == {}
    assert "clsact" not in sh("tc", "-n", netns, "qdisc", "show", "dev", "near")


def test_a_bad_entry_takes_the_whole_plan_back(path: str, sandbox_ns: t.Any, journal: t.Any) -> None:
    netns = sandbox_ns()
    sh("ip", "-n", netns, "link", "add", "near", "type", "veth", "peer", "name", "far")
    with Host() as host, pytest.raises(LabError, match=r"entries\[0\]\.value"):
        converge(host, stage(path, netns, [{"key": 0, "value": "much"}]), False)
    assert not os.path.exists(PINS) and journal() == {}
    assert "clsact" not in sh("tc", "-n", netns, "qdisc", "show", "dev", "near")
