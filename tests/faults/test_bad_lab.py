# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad lab files: whatever stands in one, it is a lab, or one sentence says the file, the place and what would be right.

EBPF_LAB_EXAMPLES is the number of random files (100 by default; 5000 in the long proof).
"""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest
import yaml
from ansible_collections.ebpf.lab.plugins.action.lab import LABS, read_lab, read_sources
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import LabError
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from .strange import Tried, mutated

EXAMPLES = int(os.environ.get("EBPF_LAB_EXAMPLES", "100"))
RANDOM = settings(
    max_examples=EXAMPLES, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
SHIPPED = {path.stem: path.read_text(encoding="utf-8") for path in sorted(pathlib.Path(LABS).glob("*.yml"))}
PARSED = {name: yaml.safe_load(text) for name, text in SHIPPED.items()}

GOOD = """\
name: mine
host_network: {ip_forward: {ipv4: true}}
topology:
  namespaces: [{name: ns1, sysctls: {net.ipv4.ip_forward: "1"}}]
  veths: [{name: v1, addresses: [10.0.0.1/24], peer: {name: p1, netns: ns1, addresses: [10.0.0.2/24]}}]
objects:
  pass: {source: xdp_pass.c}
stages:
  - name: one
    title: The first
    programs: [{object: pass}]
    attachments: [{interface: v1, program: xdp_allow}]
    traffic: [{name: out, to: 10.0.0.2, count: 3}]
    checks: [{name: it answers, query: traffic.out.loss, expect: 0}]
"""
# What is put in the place of what, and the words that the sentence needs; "" for a file that is right.
WRONG: dict[str, tuple[str, str, str]] = {
    "a date that is none is text": ("The first", "2026-99-99", ""),
    "a date is text": ("The first", "2026-11-25", ""),
    "a NUL byte": ("The first", "The\0first", "line 10"),
    "a control character": ("The first", "The\x07first", "line 10"),
    "6000 digits": ("count: 3", "count: " + "9" * 6000, "line 13"),
    "deeply nested": ("The first", "[" * 900 + "]" * 900, "nested"),
    "very deeply nested": ("The first", "[" * 100000 + "]" * 100000, "nested"),
    "a number for a switch's mapping": ("{ipv4: true}", "5", "host_network"),
    "a number for a switch": ("ipv4: true", "ipv4: 5", "host_network"),
    "an endless count": ("count: 3", "count: .inf", "stages.one.traffic[0]"),
    "a count that is no number": ("count: 3", "count: .nan", "stages.one.traffic[0]"),
    "a NUL in a pin path": ("stages:", 'pin_path: "/sys/fs/bpf/a\\0b"\nstages:', "pin_path"),
    "a NUL in a name": ("name: it answers", 'name: "it\\0answers"', "stages[0].checks[0].name"),
    "a zone in an address": ("to: 10.0.0.2", 'to: "fe80::1%lo"', "stages.one.traffic[0]"),
    "two lines for a sysctl": ('net.ipv4.ip_forward: "1"', 'net.ipv4.ip_forward: "1\\n0"', "topology"),
    "a sysctl of elsewhere": ("net.ipv4.ip_forward:", "net/../../kernel/panic:", "topology"),
    "a key twice": ("title: The first", "title: The first\n    title: The second", "line 11"),
    "a section twice": ("objects:\n", "objects: {}\nobjects:\n", "line 7"),
    "a key that is no text": ("title: The first", "1: x", "stages[0]"),
    "a key that is a list": ("title: The first", "? [a]\n    : x", "line 10"),
    "nothing": (GOOD, "", "a lab file is a mapping"),
    "two documents": ("stages:", "---\nstages:", "line "),
    "an alias of itself": ("The first", "&a [*a]", "stages[0]"),
    "a tag": ("The first", "!!binary aGVsbG8=", "stages[0]"),
    "a set": ("The first", "!!set {a}", "stages[0]"),
}


def outcome(path: pathlib.Path) -> str:
    """ "" for a lab, else the sentence. Anything else that is raised is the failure that this is about."""
    try:
        _content, lab = read_lab(str(path))
        read_sources(lab)
    except LabError as error:
        return str(error)
    return ""


def judged(path: pathlib.Path, said: str) -> None:
    assert not said or (said.startswith(f"{path}: ") and "\n" not in said and len(said) < 1500), said


@pytest.mark.case("L19")
@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_somebody_wrote(tmp_path: pathlib.Path, name: str, tried: Tried) -> None:
    old, new, words = WRONG[name]
    assert GOOD.count(old) == 1
    path = tmp_path / "mine.yml"
    path.write_text(GOOD.replace(old, new), encoding="utf-8")
    with tried:
        said = outcome(path)
        judged(path, said)
        assert (words in said) if words else not said, said


@pytest.mark.case("L19")
@pytest.mark.parametrize("name", PARSED)
def test_a_shipped_lab_with_something_strange_in_it(tmp_path: pathlib.Path, name: str, tried: Tried) -> None:
    path = tmp_path / f"{name}.yml"

    @RANDOM
    @given(st.data())
    def proof(data: st.DataObject) -> None:
        content: t.Any = data.draw(mutated(PARSED[name]))
        try:
            text = yaml.safe_dump(content, allow_unicode=True).encode()
        except (UnicodeEncodeError, ValueError):  # what no YAML file can hold, such as a lone surrogate
            return
        note(text.decode()[:3000])
        path.write_bytes(text)
        with tried:
            judged(path, outcome(path))

    proof()


@pytest.mark.case("L19")
@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_lab_whose_bytes_were_damaged(tmp_path: pathlib.Path, name: str, tried: Tried) -> None:
    path = tmp_path / f"{name}.yml"
    whole = SHIPPED[name].encode()

    @RANDOM
    @given(st.integers(0, len(whole)), st.integers(0, 40), st.binary(max_size=12))
    def proof(at: int, length: int, instead: bytes) -> None:
        path.write_bytes(whole[:at] + instead + whole[at + length :])
        with tried:
            judged(path, outcome(path))

    proof()
