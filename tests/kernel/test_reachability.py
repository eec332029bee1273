# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""reachability on the real kernel: who answers, who does not and why, and bad input."""

from __future__ import annotations

import subprocess
import typing as t

import pytest


@pytest.fixture
def netns(sandbox_ns: t.Any) -> t.Iterator[str]:
    """A namespace that the host is joined to: 10.5.0.1 and fd00:5::1 here, .2 and ::2 there."""
    name: str = sandbox_ns()
    for line in (
        f"link add r1 type veth peer name r2 netns {name}",
        "addr add 10.5.0.1/24 dev r1",
        "addr add fd00:5::1/64 dev r1 nodad",
        "link set r1 up",
        f"-n {name} addr add 10.5.0.2/24 dev r2",
        f"-n {name} addr add fd00:5::2/64 dev r2 nodad",
        f"-n {name} link set r2 up",
    ):
        subprocess.run(["ip", *line.split()], check=True)
    yield name
    subprocess.run(["ip", "link", "del", "r1"], check=False)


@pytest.mark.parametrize("destination", ["10.5.0.1", "fd00:5::1"])
def test_an_answer(run_module: t.Any, netns: str, destination: str) -> None:
    asked = {"netns": netns, "destination": destination, "count": 2}
    result = run_module("reachability", **asked)
    assert not result["changed"] and result["reachable"]
    assert (result["sent"], result["received"], result["loss"]) == (2, 2, 0.0)
    assert 0 < result["rtt_min"] <= result["rtt_avg"] <= result["rtt_max"] < 1000
    skipped = run_module("reachability", **asked, check=True)
    assert skipped["skipped"] and f"would send 2 echo requests to {destination} from {netns}" in skipped["msg"]


def test_silence_is_a_failure_or_what_was_expected(run_module: t.Any, netns: str) -> None:
    subprocess.run(["ip", "link", "set", "r1", "mtu", "1400"], check=True)
    subprocess.run(["ip", "netns", "exec", netns, "ip", "route", "add", "blackhole", "10.6.0.0/16"], check=True)
    silent = {"destination": "10.5.0.9", "netns": netns, "count": 1, "timeout": 0.2}
    result = run_module("reachability", **silent, fails=True)
    assert f"10.5.0.9 from {netns} should be reachable" in result["msg"]
    assert result["loss"] == 100.0 and result["rtt_avg"] is None and not result["reachable"]
    assert not run_module("reachability", **silent, reachable=False)["changed"]
    result = run_module("reachability", netns=netns, destination="10.5.0.1", reachable=False, count=1, fails=True)
    assert "should not be reachable, and 1 of 1 requests were answered" in result["msg"]


def test_no_route_is_unreachable_and_says_why(run_module: t.Any, netns: str) -> None:
    result = run_module("reachability", netns=netns, destination="10.99.0.1", fails=True)
    assert "no request could be sent (Network is unreachable)" in result["msg"]
    assert run_module("reachability", netns=netns, destination="10.99.0.1", reachable=False)["sent"] == 0


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"destination": "example.org"}, ["example.org", "no IPv4 or IPv6 address"]),
        ({"destination": "-f"}, ["'-f'", "no IPv4 or IPv6 address"]),
        ({"destination": "10.0.0.1", "netns": "nowhere"}, ["nowhere", "No such file"]),
        ({"destination": "10.0.0.1", "count": 0}, ["count", "1 to 1000"]),
        ({"destination": "10.0.0.1", "timeout": 0}, ["timeout", "0.01 to 60"]),
        ({"destination": "127.0.0.1", "source": "nolink9"}, ["nolink9"]),
    ],
)
def test_bad_input_is_one_sentence(run_module: t.Any, params: dict[str, t.Any], words: list[str]) -> None:
    message = run_module("reachability", **params, fails=True)["msg"]
    assert all(word in message for word in words), message
    assert "\n" not in message
