# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab file that is wrong: one sentence with the file, the place in it, and what would be right."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.ebpf.lab.plugins.action.lab import LABS, find_lab, read_lab, read_sources
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import LabError

GOOD = """
name: mine
topology:
  namespaces: [{name: ns1}]
  veths: [{name: v1, addresses: [10.0.0.1/24], peer: {name: p1, netns: ns1, addresses: [10.0.0.2/24]}}]
objects:
  pass: {source: xdp_pass.c}
stages:
  - name: one
    programs: [{object: pass}]
    attachments: [{interface: v1, program: xdp_allow}]
    traffic: [{name: out, to: 10.0.0.2}]
    checks: [{name: it answers, query: traffic.out.loss, expect: 0}]
"""

# What is put in the place of what, where the sentence says it is, and words of what it says.
WRONG: dict[str, tuple[str, str, str, str]] = {
    "no YAML": ("name: mine", "name: [mine", "line ", "not YAML"),
    "no mapping": (GOOD, "- mine", "", "a lab file is a mapping"),
    "a tag that makes an object": ("name: mine", "name: !!python/name:os.system ''", "line ", "not YAML"),
    "no name": ("name: mine\n", "", "", "missing required arguments: name"),
    "a bad name": ("name: mine", "name: My Lab", "name", "use small letters, digits and '_'"),
    "an unknown key": ("objects:", "objcts: {}\nobjects:", "", "no key 'objcts' here"),
    "an unknown key in a stage": ("    traffic:", "    trafic: []\n    traffic:", "stages[0]", "no key 'trafic' here"),
    "a string for a list": ("stages:\n", "headers: {a: 1}\nstages:\n", "", "headers"),
    "no stage": (GOOD[GOOD.index("stages:") :], "stages: []", "stages", "at least one"),
    "two stages of one name": ("stages:\n", "stages:\n  - {name: one}\n", "stages", "'one' is there twice"),
    "a default stage that is none": ("stages:", "default_stage: two\nstages:", "default_stage", "it has one"),
    "a folder as pin path": ("stages:", "pin_path: ebpf\nstages:", "", "is not an absolute path"),
    "the root of bpffs": ("stages:", "pin_path: /sys/fs/bpf\nstages:", "", "belongs to everybody"),
    "an address without a prefix": ("10.0.0.1/24", "10.0.0.1", "topology", "write it as"),
    "a long interface name": ("name: v1", "name: a_name_of_16_char", "topology", "15"),
    "an unknown option of a veth": ("name: v1,", "name: v1, adresses: [],", "topology", "adresses"),
    "an unknown method": ("xdp_pass.c}", "xdp_pass.c, method: gcc}", "objects.pass", "direct, llc"),
    "a path as source": ("xdp_pass.c", "../xdp_pass.c", "objects.pass.source", "no plain file name"),
    "a source that is nowhere": ("xdp_pass.c", "nowhere.c", "objects", "it was looked for at"),
    "an object that is none": ("{object: pass}", "{object: pas}", "stages.one.programs[0].object", "there are pass"),
    "an attachment without a program": (", program: xdp_allow", "", "stages.one.attachments[0]", "program"),
    "two programs on one interface": (
        "[{interface: v1, program: xdp_allow}]",
        "[{interface: v1, program: a}, {interface: v1, program: b}]",
        "stages.one.attachments",
        "'v1' is there twice",
    ),
    "an interface name with a slash": ("interface: v1", "interface: v/1", "stages.one.attachments[0]", "v/1"),
    "an unknown mode": ("xdp_allow}", "xdp_allow, mode: fast}", "stages.one.attachments[0]", "native"),
    "a host name as destination": ("to: 10.0.0.2}", "to: server}", "stages.one.traffic[0]", "no IPv4 or IPv6 address"),
    "too many pings": ("to: 10.0.0.2}", "to: 10.0.0.2, count: 5000}", "stages.one.traffic[0].count", "1 to 1000"),
    "no pause between pings": ("to: 10.0.0.2}", "to: 10.0.0.2, interval: 0}", "traffic[0].interval", "0.002 to 10"),
    "two pings of one name": (
        "[{name: out, to: 10.0.0.2}]",
        "[{name: out, to: 10.0.0.2}, {name: out, to: 10.0.0.2}]",
        "stages.one.traffic",
        "'out' is there twice",
    ),
    "a query that is none": ("traffic.out.loss", "'traffic.[out'", "stages.one.checks", "is no JMESPath"),
    "a query about nothing": ("traffic.out.loss", "trafic.out.loss", "stages.one.checks", "did you mean traffic?"),
    "a comparison that is none": ("expect: 0", "expect: {atleast: 1}", "stages.one.checks", "did you mean at_least?"),
    "a check without what it expects": (", expect: 0", "", "stages.one.checks[0]", "expect"),
    "negative points": ("expect: 0", "expect: 0, points: -1", "stages.one.checks[0].points", "use 0 or more"),
    "an entry without a key": (
        "    traffic:",
        "    maps: [{map: m, entries: [{value: 1}]}]\n    traffic:",
        "stages.one.maps[0]",
        "key",
    ),
}


def write(folder: pathlib.Path, text: str) -> str:
    path = folder / "mine.yml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def check(path: str) -> None:
    _content, lab = read_lab(path)
    read_sources(lab)


def test_the_good_one_is_good(tmp_path: pathlib.Path) -> None:
    check(write(tmp_path, GOOD))


@pytest.mark.parametrize("name", WRONG)
def test_one_sentence_says_what_is_wrong(tmp_path: pathlib.Path, name: str) -> None:
    old, new, where, words = WRONG[name]
    assert GOOD.count(old) == 1
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(LabError) as caught:
        check(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ")
    assert where in said and words in said, said
    assert "\n" not in said and len(said) < 700, said


@pytest.mark.parametrize("path", sorted(pathlib.Path(LABS).glob("*.yml")), ids=lambda path: path.stem)
def test_the_labs_that_we_ship_are_good(path: pathlib.Path) -> None:
    _content, lab = read_lab(str(path))
    assert lab.name == path.stem
    assert set(read_sources(lab)) == set(lab.sources)
    for stage in lab.stages:
        assert stage.title
        assert all(entry["hint"] for entry in stage.checks), "a check without a hint helps no student"


def test_a_lab_that_is_nowhere() -> None:
    with pytest.raises(LabError, match=r"neither a file nor a lab of this collection.*lecture2"):
        find_lab("lecture3", [])


def test_a_lab_beside_the_playbook_with_its_own_sources(tmp_path: pathlib.Path) -> None:
    (tmp_path / "files/bpf").mkdir(parents=True)
    (tmp_path / "files/bpf/xdp_pass.c").write_text("mine", encoding="utf-8")
    write(tmp_path, GOOD)
    path = find_lab("mine", [str(tmp_path)])
    _content, lab = read_lab(path)
    sources: t.Mapping[str, bytes] = read_sources(lab)
    assert sources == {"xdp_pass.c": b"mine"}
