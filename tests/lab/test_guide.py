# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guide's own lab, taken from its text: what a teacher copies has to run, and has to notice what is broken."""

from __future__ import annotations

import pathlib
import re

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._lab import specs
from ansible_collections.ebpf.lab.tests.kernel.conftest import sh

from .conftest import PINS, ROOT, Lab, bpftool

DOCS = ROOT / "docs"


def blocks(language: str) -> list[str]:
    """The guide's code blocks in a language, in order."""
    text = (DOCS / "writing-a-lab.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def guide(tmp_path: pathlib.Path) -> pathlib.Path:
    """A teacher's folder after section 3."""
    (tmp_path / "files/bpf").mkdir(parents=True)
    (source,) = blocks("c")
    (tmp_path / "files/bpf/xdp_close.c").write_text(source, encoding="utf-8")
    return tmp_path / "close_ports.yml"


def test_the_guides_lab_runs_as_it_stands_there(guide: pathlib.Path) -> None:
    _hosts, first, whole = blocks("yaml")
    guide.write_text(first, encoding="utf-8")
    lab = Lab(str(guide))
    try:
        assert lab.up("open")["failed"] == []
        guide.write_text(whole, encoding="utf-8")
        lab = Lab(str(guide))
        assert lab.lab.default_stage == "closed"
        assert lab.up("closed")["failed"] == []
        assert not lab.up("closed", traffic=False)["changed"]
        bpftool("map", "delete", "pinned", f"{PINS}/closed_ports", *"key hex 61 1e".split())
        assert lab.verify()["failed"] == [
            "The port 7777 is on the list",
            "The five packets to it were dropped, the other five were not",
        ]
        # The hint is a command that helps.
        (hint,) = [entry["hint"] for entry in lab.verify()["checks"] if entry["name"] == "The port 7777 is on the list"]
        sh(*hint.split())
        assert lab.verify()["failed"] == []
        sh("ip", "link", "set", "dev", "to_client", "xdp", "off")
        assert lab.reset()["failed"] == []
    finally:
        lab.down()


SPECS = {
    "The file": specs.LAB,
    "host_network": specs.HOST_NETWORK,
    "objects": specs.OBJECT,
    "A stage": specs.STAGE,
    "programs": specs.PROGRAM,
    "attachments": specs.ATTACHMENT,
    "filters": specs.FILTER,
    "maps": specs.MAP,
    "refused": specs.REFUSED,
    "traffic": specs.TRAFFIC,
    "checks": specs.CHECK,
}


@pytest.mark.parametrize("section", SPECS)
def test_the_reference_has_every_key_and_no_other(section: str) -> None:
    text = (DOCS / "lab-files.md").read_text(encoding="utf-8")
    part = re.split(r"^#+ ", text.split(f"# {section}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    table = part.split("| comparison", 1)[0]
    rows = re.findall(r"^\| (`[^|]*`) \|", table, re.MULTILINE)
    assert {key for row in rows for key in re.findall(r"`(\w+)`", row)} == set(SPECS[section])
