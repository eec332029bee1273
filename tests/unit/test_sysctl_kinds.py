# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal's keys of sysctls, and how entries about them are settled: by the values of this very host."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._core.host import Host
from ansible_collections.ebpf.lab.plugins.module_utils._core.journal import Entry, Journal
from ansible_collections.ebpf.lab.plugins.module_utils._core.settle import settled
from ansible_collections.ebpf.lab.plugins.module_utils._net.sysctl import kinds
from ansible_collections.ebpf.lab.plugins.module_utils._net.topology import state

FORWARD = "net.ipv4.ip_forward"


@pytest.mark.case("C9")
@pytest.mark.parametrize(
    ("netns", "path", "name"),
    [
        ("", "ipv4/ip_forward", FORWARD),
        ("lab1", "ipv4/conf/eth0.5/rp_filter", "net.ipv4.conf.eth0/5.rp_filter"),
        ("/run/a:b/x", "ipv6/conf/all/forwarding", "net.ipv6.conf.all.forwarding"),
    ],
)
def test_a_sysctl_has_one_key_whoever_sets_it(netns: str, path: str, name: str) -> None:
    key = kinds.key_of(netns, name)
    assert kinds.place_of(key) == (netns, name)
    assert kinds.path_of(name) == f"/proc/sys/net/{path}" and kinds.name_of(kinds.path_of(name)) == name
    assert state.sysctl_key(netns, path) == key
    assert state.interface_sysctl_of(key) == ((netns, path) if "conf" in path else None)


@pytest.mark.parametrize(
    "key",
    ["sysctl:", "sysctl::", "sysctl:net.ipv4.ip_forward", "sysctl::net.//.//.etc.x", "sysctl::net.a\0", "x::net.a"],
)
def test_what_is_no_key_is_nothing(key: str) -> None:
    assert kinds.place_of(key) is None
    assert kinds.Sysctls().look(Host(journal=Journal("/nowhere/journal")), {key: Entry()}).get(key) is None


@pytest.mark.parametrize(
    ("saved", "wrote", "stays"),
    [("now", "7", False), ("7", "now", True), ("7", "8", True)],
    ids=["back", "ours", "else"],
)
def test_a_value_is_over_when_it_is_back_and_kept_otherwise(saved: str, wrote: str, stays: bool) -> None:
    now = kinds.read(FORWARD)
    assert now in ("0", "1")
    entry = Entry(has_saved=True, saving=True, saved=now if saved == "now" else saved, wrote=(wrote,))
    key = kinds.key_of("", FORWARD)
    seen: t.Any = kinds.Sysctls().look(Host(journal=Journal("/nowhere/journal")), {key: entry})
    left = settled(kinds.Sysctls(), entry, seen.get(key))
    assert (left is not None) == stays and (left is None or (left.saved == "7" and not left.open))


@pytest.mark.parametrize("key", ["sysctl::net.ipv4.conf.nosuchlink.rp_filter", f"sysctl:no such namespace:{FORWARD}"])
def test_a_value_that_is_gone_is_not_put_back(key: str) -> None:
    entry = Entry(has_saved=True, saved="1", wrote=("0",))
    seen = kinds.Sysctls().look(Host(journal=Journal("/nowhere/journal")), {key: entry})
    assert settled(kinds.Sysctls(), entry, seen.get(key)) is None
