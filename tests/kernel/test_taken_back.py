# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attachments, filters and maps of a run that fails at its end: all is as it was before it, the journal too."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import typing as t
from dataclasses import dataclass

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.map.resource import MapResource
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.tc.resource import FilterResource
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.xdp.resource import AttachmentResource
from ansible_collections.ebpf.lab.plugins.module_utils._core.converge import converge
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import LabError
from ansible_collections.ebpf.lab.plugins.module_utils._core.host import Host
from ansible_collections.ebpf.lab.plugins.module_utils._core.plan import NOTHING, Done, Forecast, Learned, Plan, Step
from ansible_collections.ebpf.lab.plugins.module_utils._core.resource import Kind, Resource
from ansible_collections.ebpf.lab.plugins.module_utils._lab.stray_filters import StrayFiltersResource

from .conftest import sh

PINS = "/sys/fs/bpf/back"
SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 2); __type(key, __u32); __type(value, __u32); }
    tails SEC(".maps");
SEC("%(section)s") int one(void *context) { bpf_tail_call(context, &tails, 0); return 2; }
SEC("%(section)s") int two(void *context) { return 0; }
SEC("%(section)s") int three(void *context) { return 0; }
char _license[] SEC("license") = "GPL";
"""


@dataclass(frozen=True)
class Refuses(Step):
    """What ends the run."""

    def title(self) -> str:
        return "refuse"

    def apply(self, host: Host, learned: Learned) -> Done:
        raise LabError("It is refused.")


@dataclass(frozen=True)
class ThenRefused(Resource[t.Any]):
    """A resource whose plan has a step more, which fails."""

    resource: Resource[t.Any]

    def kinds(self) -> tuple[Kind, ...]:
        return self.resource.kinds()

    def observe(self, host: Host) -> t.Any:
        return self.resource.observe(host)

    def plan(self, now: t.Any, coming: Forecast = NOTHING) -> Plan:
        plan = self.resource.plan(now, coming)
        assert plan.steps
        return Plan(plan.before, plan.after, (*plan.steps, Refuses()))

    def result(self, now: t.Any) -> dict[str, t.Any]:
        return {}


def made(resource: Resource[t.Any]) -> None:
    with Host() as host:
        assert converge(host, resource, False)["changed"]


def refused(resource: Resource[t.Any]) -> None:
    with Host() as host, pytest.raises(LabError, match=r"It is refused\..*was taken back") as caught:
        converge(host, ThenRefused(resource), False)
    assert caught.value.details["not_undone"] == []


@pytest.fixture
def pins(tmp_path: pathlib.Path) -> t.Iterator[str]:
    """The folder of somebody's programs: xdp/one to three with xdp/tails, and tc/one to three."""
    os.makedirs(PINS)
    for section, kind in (("xdp", "xdp"), ("tc", "classifier")):
        source = tmp_path / f"{section}.c"
        source.write_text(SOURCE % {"section": section}, encoding="ascii")
        include = f"-I/usr/include/{os.uname().machine}-linux-gnu"
        sh("clang", "-O2", "-g", "-target", "bpf", include, "-c", str(source), "-o", str(tmp_path / f"{section}.o"))
        pinmaps = ["pinmaps", f"{PINS}/{section}"]
        sh("bpftool", "prog", "loadall", str(tmp_path / f"{section}.o"), f"{PINS}/{section}", "type", kind, *pinmaps)
    sh("ip", "link", "add", "near", "type", "veth", "peer", "name", "far")
    yield PINS
    sh("ip", "link", "del", "near")
    shutil.rmtree(PINS)
    shutil.rmtree("/var/lib/ebpf.lab", ignore_errors=True)


def program_id(path: str) -> int:
    return int(json.loads(sh("bpftool", "-j", "prog", "show", "pinned", path).stdout)["id"])


def slot() -> t.Any:
    return json.loads(sh("ip", "-j", "-d", "link", "show", "near").stdout)[0].get("xdp")


@pytest.mark.parametrize("before", ["", "foreign", "ours"])
@pytest.mark.parametrize("mode", ["native", "generic"])
def test_an_attachment(pins: str, journal: t.Callable[[], t.Any], before: str, mode: str) -> None:
    if before == "foreign":
        subprocess.run(["ip", "link", "set", "near", "xdpdrv", "pinned", f"{pins}/xdp/one"], check=True)
    elif before == "ours":
        made(AttachmentResource("near", program=f"{pins}/xdp/one", mode="native"))
    was, noted = slot(), journal()
    refused(AttachmentResource("near", program=f"{pins}/xdp/two", mode=mode, overwrite=True))
    now = slot()
    assert (now or {}).get("mode") == (was or {}).get("mode")
    assert (now or {}).get("prog", {}).get("id") == (was or {}).get("prog", {}).get("id")
    assert journal() == noted and not os.path.exists("/sys/fs/bpf/ebpf_lab_kept")


def filters() -> list[tuple[str, int, int]]:
    found = []
    for direction in ("ingress", "egress") if "clsact" in qdiscs() else ("ingress",):
        for entry in json.loads(sh("tc", "-j", "filter", "show", "dev", "near", direction).stdout or "[]"):
            if "options" in entry:
                found.append((direction, entry["pref"], entry["options"]["prog"]["id"]))
    return found


def qdiscs() -> str:
    return sh("tc", "qdisc", "show", "dev", "near").stdout


@pytest.mark.parametrize("before", ["", "ours"])
def test_a_filter(pins: str, journal: t.Callable[[], t.Any], before: str) -> None:
    params = {"interface": "near", "program": f"{pins}/tc/one"}
    if before:
        made(FilterResource.from_params(params))
    was, noted, there = filters(), journal(), qdiscs()
    refused(FilterResource.from_params({**params, "program": f"{pins}/tc/two"}))
    assert (filters(), journal(), qdiscs()) == (was, noted, there)


@pytest.mark.parametrize("ours", [False, True])
def test_hooks_of_others(pins: str, journal: t.Callable[[], t.Any], ours: bool) -> None:
    if ours:
        made(FilterResource.from_params({"interface": "near", "program": f"{pins}/tc/one"}))
    else:
        sh("tc", "qdisc", "add", "dev", "near", "ingress")
    sh("tc", "filter", "add", "dev", "near", "ingress", "prio", "9", "bpf", "da", "pinned", f"{pins}/tc/two")
    was, noted, there = filters(), journal(), qdiscs()
    assert len(was) == 1 + ours
    refused(StrayFiltersResource(("", "near")))
    assert [entry[2] for entry in filters()] == [entry[2] for entry in was]
    assert (journal(), qdiscs()) == (noted, there)
    with Host() as host:
        stays = converge(host, StrayFiltersResource(("", "near")), False)
    assert stays["changed"] and filters() == [] and journal() == {}


def test_a_slot_of_a_foreign_prog_array(pins: str, journal: t.Callable[[], t.Any]) -> None:
    one, two = program_id(f"{pins}/xdp/two"), program_id(f"{pins}/xdp/three")
    params = {"path": f"{pins}/xdp/tails"}
    key = ["key", "0", "0", "0", "0"]
    sh("bpftool", "map", "update", "pinned", params["path"], *key, "value", "pinned", f"{pins}/xdp/two")
    os.unlink(f"{pins}/xdp/two")  # only the slot has it now

    def held() -> int:
        entries = json.loads(sh("bpftool", "-j", "map", "dump", "pinned", params["path"]).stdout)
        return int.from_bytes(bytes(int(byte, 16) for byte in entries[0]["value"]), "little")

    wanted = MapResource.from_params({**params, "entries": [{"key": 0, "value": two}]})
    refused(wanted)
    assert held() == one and journal() == {} and not os.path.exists("/sys/fs/bpf/ebpf_lab_kept")
    made(wanted)
    assert held() == two
    made(MapResource.from_params({**params, "state": "absent"}))
    assert held() == one and journal() == {} and not os.path.exists("/sys/fs/bpf/ebpf_lab_kept")


def test_a_new_map_in_the_place_of_ours(pins: str, journal: t.Callable[[], t.Any]) -> None:
    params = {"path": f"{pins}/new/mine", "type": "hash", "key_type": "u32", "value_type": "u32", "max_entries": 4}
    entries = [{"key": 1, "value": 2}]
    refused(MapResource.from_params({**params, "entries": entries}))
    assert not os.path.exists(f"{pins}/new") and journal() == {}
    made(MapResource.from_params({**params, "entries": entries}))
    noted, was = journal(), sh("bpftool", "-j", "map", "show", "pinned", params["path"]).stdout
    refused(MapResource.from_params({**params, "max_entries": 8, "entries": entries}))
    assert journal() == noted and sh("bpftool", "-j", "map", "show", "pinned", params["path"]).stdout == was
    refused(MapResource.from_params({**params, "entries": [{"key": 1, "value": 3}, {"key": 2, "value": 4}]}))
    with Host() as host:
        assert not converge(host, MapResource.from_params({**params, "entries": entries, "exclusive": True}), False)[
            "changed"
        ]
    made(MapResource.from_params({"path": params["path"], "state": "absent"}))
    assert not os.path.exists(f"{pins}/new") and journal() == {}
