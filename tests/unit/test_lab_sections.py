# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A section of a lab file takes what its module takes: where it does not, that is meant, and stands here with why."""

from __future__ import annotations

import importlib
import typing as t

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._lab import specs
from ansible_collections.ebpf.lab.plugins.module_utils._net.topology.options import topology_options

STAGES = "a stage has what it names, and no other stage's"
LABS = "the lab's own"
HOSTS = "the host's own network alone"
ANOTHER = "an entry of its own for each thing"

# Each section with its module, and the options that are not the same in both or are in one of them alone.
SECTIONS: dict[str, tuple[specs.Spec, str, dict[str, str]]] = {
    "topology": (
        topology_options(),
        "topology",
        {"state": LABS, "force": "the lab's, because the answer is the run's: ebpf.lab.lab has the option"},
    ),
    "host_network": (
        {name: option for name, option in specs.HOST_NETWORK.items() if name != "ip_forward"},
        "iptables_flush",
        {
            "state": LABS,
            "delete_chains": "a lab leaves the chains of others, empty",
            "families": "a lab is about both",
            "backends": "a lab is about both",
            "netns": HOSTS,
            "force": "a lab cuts nobody's session",
        },
    ),
    "host_network.ip_forward": (
        specs.HOST_NETWORK["ip_forward"]["options"],
        "ip_forward",
        {"state": LABS, "netns": HOSTS, "persist": "the default holds", "force": "a lab drops no default route"},
    ),
    "objects": (
        specs.OBJECT,
        "bpf_object",
        {
            "source": "a file beside the lab file, in the place of src",
            "src": "from source and the lab's folder",
            "dest": "from the object's name and the lab's folder",
            "include_paths": "headers are sent to the lab's folder, where the compiler looks first",
            "overwrite": LABS,
            "state": STAGES,
        },
    ),
    "programs": (
        specs.PROGRAM,
        "bpf_program",
        {
            "object": "a name among the objects, which a stage always has; no path",
            "pin_path": "the lab's pin_path",
            "map_pin_path": "the lab's pin_path",
            "overwrite": "what others pinned there comes back when the lab goes",
            "state": STAGES,
        },
    ),
    "attachments": (
        specs.ATTACHMENT,
        "xdp_attachment",
        {"program": "a pin's name, which an attachment that is there always has", "state": STAGES},
    ),
    "filters": (
        specs.FILTER,
        "tc_attachment",
        {
            "program": "a pin's name, which a filter that is there always has",
            "handle": "priorities tell a lab's filters apart",
            "state": STAGES,
        },
    ),
    "maps": (
        specs.MAP,
        "bpf_map",
        {
            "map": "a pin's name, in the place of path",
            "entries": "an entry of a stage without entries says nothing",
            "absent_keys": "exclusive says it",
            "format": "the programs of a lab have BTF",
            "state": STAGES,
            **dict.fromkeys(("path", "id", "program", "name"), "map says which"),
            **dict.fromkeys(
                ("type", "key_type", "value_type", "key_size", "value_size", "max_entries", "flags"),
                "the maps of a lab are those of its programs",
            ),
        },
    ),
    "refused": (
        specs.REFUSED,
        "bpf_program",
        {
            "object": "a name among the objects",
            **dict.fromkeys(
                ("pin_path", "pin_maps", "map_pin_path", "reuse_maps", "overwrite", "state"), "nothing of it stays"
            ),
        },
    ),
    "traffic": (
        specs.TRAFFIC,
        "reachability",
        {
            "name": ANOTHER,
            "kind": "the module only pings",
            "port": "for what is no ping",
            "to": "short for destination",
            "destination": "to",
            "reachable": "checks judge, after the traffic",
            "max_loss": "checks judge, after the traffic",
        },
    ),
}


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_differs_from_its_module_where_that_is_meant(section: str) -> None:
    spec, module, meant = SECTIONS[section]
    options: dict[str, t.Any] = importlib.import_module(
        f"ansible_collections.ebpf.lab.plugins.modules.{module}"
    ).OPTIONS
    assert {name for name in {*spec, *options} if spec.get(name) != options.get(name)} == set(meant)


def test_no_section_of_the_file_is_left_out() -> None:
    places = {name for spec in (specs.LAB, specs.STAGE) for name in spec if spec[name]["type"] in ("list", "dict")}
    assert places - {"stages", "headers", "checks"} == {section for section in SECTIONS if "." not in section}
