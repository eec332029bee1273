# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""iptables_flush on real rules: both back ends, both families, in namespaces and in the main one."""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
import shutil
import subprocess
import typing as t

import pytest

LECTURE: dict[str, t.Any] = {
    "policies": [{"chain": "FORWARD", "policy": "ACCEPT"}],
    "flush": [{"table": "filter", "chains": ["FORWARD"]}, {"table": "nat"}],
}
# A machine on which Docker runs, in small, with counters that are not zero.
DOCKER = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:MINE - [0:0]
[11:1100] -A FORWARD -m comment --comment "a \\"quoted\\" remark's end" -j DOCKER
[12:1200] -A FORWARD -p tcp -m tcp --dport 80 -j ACCEPT
[13:1300] -A INPUT -s 127.0.0.5/32 -j MINE
[14:1400] -A MINE -j RETURN
[15:1500] -A DOCKER -j RETURN
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
[21:2100] -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
[22:2200] -A DOCKER -j RETURN
COMMIT
*mangle
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
[31:3100] -A FORWARD -j MARK --set-xmark 0x1/0xffffffff
COMMIT
"""
TOOLS = {"ipv4": "iptables", "ipv6": "ip6tables"}
NAMES = {"ipv4": "ip_tables_names", "ipv6": "ip6_tables_names"}
EACH = [(backend, family) for backend in ("nft", "legacy") for family in TOOLS]


def warnings(result: dict[str, t.Any]) -> str:
    """The text of a result's warnings: strings or records, by the version of ansible-core."""
    return json.dumps(result["warnings"])


class Box:
    """A namespace ("" is the one that the test runs in) and what iptables and nft say in it."""

    def __init__(self, netns: str) -> None:
        self.netns = netns

    def sh(self, *argv: str, stdin: str = "", rc: int = 0) -> str:
        """Run a command in the namespace."""
        inside = ["nsenter", f"--net=/run/netns/{self.netns}"] if self.netns else []
        done = subprocess.run([*inside, *argv], input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == rc, f"{argv}: {done.returncode} {done.stdout} {done.stderr}"
        return done.stdout

    def load(self, backend: str, family: str, rules: str = DOCKER) -> None:
        """Replace the named tables by ``rules``, counters included."""
        text = rules if family == "ipv4" else rules.replace("127.0.0.5/32", "fd00::5/128")
        self.sh(f"{TOOLS[family]}-{backend}-restore", "--counters", stdin=text)

    def rules(self, backend: str, family: str, table: str) -> list[str]:
        """The lines of one table, without dates."""
        text = self.sh(f"{TOOLS[family]}-{backend}-save", "--counters", "--table", table)
        return [line for line in text.splitlines() if not line.startswith("#")]

    def everything(self) -> dict[str, str]:
        """All that there is, legacy tables only where they are loaded."""
        found = {"nft": self.sh("nft", "list", "ruleset")}
        for family, names in NAMES.items():
            loaded = sorted(self.sh("cat", f"/proc/self/net/{names}").split())
            found[f"{family} loaded"] = " ".join(loaded)
            for table in loaded:
                text = "\n".join(self.rules("legacy", family, table))
                # The packets of other tests pass these chains.
                found[f"{family} {table}"] = re.sub(r"^(:(?:INPUT|OUTPUT|PREROUTING|POSTROUTING) \S+) .*", r"\1", text)
        return found


@pytest.fixture(params=["namespace", "main"])
def box(request: pytest.FixtureRequest, sandbox_ns: t.Callable[[], str]) -> t.Iterator[Box]:
    """A namespace of its own, and the main one of the isolated machine, cleaned afterwards."""
    box = Box(sandbox_ns() if request.param == "namespace" else "")
    yield box
    box.sh("nft", "flush", "ruleset")
    for family, names in NAMES.items():
        for table in box.sh("cat", f"/proc/self/net/{names}").split():
            box.sh(f"{TOOLS[family]}-legacy-restore", stdin=f"*{table}\nCOMMIT\n")
            for chain in ("INPUT", "FORWARD", "OUTPUT", "PREROUTING", "POSTROUTING"):
                if f":{chain} DROP" in "\n".join(box.rules("legacy", family, table)):
                    box.sh(f"{TOOLS[family]}-legacy", "-t", table, "-P", chain, "ACCEPT")


def test_nothing_there_is_no_change_and_makes_no_table(box: Box, run_module: t.Any) -> None:
    before = box.everything()
    for _ in range(2):
        result = run_module("iptables_flush", **LECTURE, netns=box.netns)
        assert not result["changed"]
        assert box.everything() == before


@pytest.mark.parametrize(("backend", "family"), EACH)
def test_the_lectures_three_lines(
    box: Box, four_runs: t.Any, run_module: t.Any, journal: t.Any, backend: str, family: str
) -> None:
    box.load(backend, family)
    before = box.everything()
    mangle = box.rules(backend, family, "mangle")

    result = four_runs("iptables_flush", **LECTURE, netns=box.netns)

    assert len(result["steps"]) == 2
    assert "rules of Docker" in warnings(result) and "systemctl restart docker" in warnings(result)
    assert result["diff"]["before"][f"filter ({backend}, {family})"]["FORWARD"]["policy"] == "DROP"
    text = "\n".join(box.rules(backend, family, "filter"))
    assert ":FORWARD ACCEPT" in text and "-A FORWARD" not in text
    # What was not named is there as before, with its counters.
    kept = ["[14:1400] -A MINE -j RETURN", "[15:1500] -A DOCKER -j RETURN", ":DOCKER - [0:0]"]
    if (backend, family) == ("nft", "ipv6"):
        # ip6tables-nft-restore of iptables 1.8.9 takes no counters, neither ours in load() nor the module's.
        kept = [line.split("] ", 1)[-1] for line in kept]
    assert all(line in text for line in kept), text
    assert not any(" -A " in line for line in box.rules(backend, family, "nat"))
    assert ":DOCKER - [0:0]" in box.rules(backend, family, "nat")
    assert box.rules(backend, family, "mangle") == mangle
    assert all(key.startswith(f"iptables:{box.netns}:{backend}:{family}:") for key in journal())

    four_runs("iptables_flush", state="restored", netns=box.netns)
    assert box.everything() == before
    assert journal() == {}


def test_all_four_at_once_and_drift(box: Box, four_runs: t.Any, run_module: t.Any) -> None:
    for backend, family in EACH:
        box.load(backend, family)
    before = box.everything()
    result = four_runs("iptables_flush", **LECTURE, netns=box.netns)
    assert len(result["steps"]) == 8
    box.sh("iptables-nft", "-t", "nat", "-A", "PREROUTING", "-j", "RETURN")
    box.sh("ip6tables-legacy", "-P", "FORWARD", "DROP")
    box.sh("iptables-nft", "-A", "INPUT", "-s", "127.0.0.9", "-j", "ACCEPT")
    assert len(four_runs("iptables_flush", **LECTURE, netns=box.netns)["steps"]) == 2
    four_runs("iptables_flush", state="restored", netns=box.netns)
    box.sh("iptables-nft", "-D", "INPUT", "-s", "127.0.0.9", "-j", "ACCEPT")  # not ours: it had to stay
    assert box.everything() == before


def test_rules_that_came_after_the_first_flush_are_put_back_too(box: Box, run_module: t.Any) -> None:
    run_module("iptables_flush", **LECTURE, netns=box.netns)
    box.load("nft", "ipv4")  # Docker is started when the lab is up already
    before = box.everything()
    assert run_module("iptables_flush", **LECTURE, netns=box.netns)["changed"]
    run_module("iptables_flush", state="restored", netns=box.netns)
    assert box.everything() == before


def test_a_second_call_saves_what_it_changes_itself(box: Box, run_module: t.Any) -> None:
    box.load("nft", "ipv4")
    before = box.everything()
    run_module("iptables_flush", flush=[{"chains": ["FORWARD"]}], netns=box.netns)
    run_module("iptables_flush", flush=[{"chains": ["MINE"]}], netns=box.netns)
    run_module("iptables_flush", flush=[{"table": "nat"}], delete_chains=True, netns=box.netns)
    assert ":DOCKER - [0:0]" not in box.rules("nft", "ipv4", "nat")
    run_module("iptables_flush", state="restored", netns=box.netns)
    assert box.rules("nft", "ipv4", "nat") != []
    after = box.everything()
    assert sorted(after.pop("nft").splitlines()) == sorted(before.pop("nft").splitlines())  # a chain made anew is last
    assert after == before


def test_policy_drop_where_there_was_no_table(box: Box, four_runs: t.Any) -> None:
    before = box.everything()
    policies = [{"chain": "FORWARD", "policy": "DROP"}]
    four_runs("iptables_flush", policies=policies, netns=box.netns, families=["ipv4"], backends=["nft"])
    assert "policy drop" in box.sh("nft", "list", "ruleset")
    four_runs("iptables_flush", state="restored", netns=box.netns)
    assert box.everything() == before


def test_an_empty_table_stays_one(box: Box, four_runs: t.Any) -> None:
    box.sh("nft", "add", "table", "ip", "filter")
    before = box.everything()
    policies = [{"chain": "FORWARD", "policy": "DROP"}]
    four_runs("iptables_flush", policies=policies, netns=box.netns, families=["ipv4"], backends=["nft"])
    four_runs("iptables_flush", state="restored", netns=box.netns)
    assert box.everything() == before


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_restored_makes_a_chain_anew_that_was_deleted(box: Box, run_module: t.Any, backend: str) -> None:
    box.load(backend, "ipv4")
    run_module("iptables_flush", **LECTURE, netns=box.netns)
    box.sh(f"iptables-{backend}", "-F", "DOCKER")
    box.sh(f"iptables-{backend}", "-X", "DOCKER")
    result = run_module("iptables_flush", state="restored", netns=box.netns)
    assert "DOCKER, which has been deleted since; it is made anew" in warnings(result)
    assert "-j DOCKER" in "\n".join(box.rules(backend, "ipv4", "filter"))


@pytest.mark.case("C20")
@pytest.mark.parametrize(("backend", "family"), EACH)
def test_what_somebody_added_since_stays_behind_what_is_put_back(
    box: Box, run_module: t.Any, journal: t.Any, backend: str, family: str
) -> None:
    box.load(backend, family)
    before = box.rules(backend, family, "filter")
    run_module("iptables_flush", **LECTURE, netns=box.netns)
    box.sh(f"{TOOLS[family]}-{backend}", "-A", "FORWARD", "-p", "udp", "-j", "ACCEPT")
    result = run_module("iptables_flush", state="restored", netns=box.netns)
    assert "rules that were added to FORWARD since stay, behind those that are put back: -p udp" in warnings(result)
    added = [line for line in box.rules(backend, family, "filter") if "-p udp" in line]
    box.sh(f"{TOOLS[family]}-{backend}", "-D", "FORWARD", "-p", "udp", "-j", "ACCEPT")
    assert len(added) == 1 and box.rules(backend, family, "filter") == before
    assert journal() == {}


NFT = "/usr/sbin/xtables-nft-multi"  # what all tools of the back end are


@contextlib.contextmanager
def instead_of_nft(path: str) -> t.Iterator[None]:
    """Another file in the place of the tools of the nft back end."""
    subprocess.run(["mount", "--bind", path, NFT], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", NFT], check=True)


@pytest.mark.case("C13")
def test_without_a_tool_the_rest_is_put_back_and_what_is_not_stays_noted(
    box: Box, run_module: t.Any, journal: t.Any
) -> None:
    for backend, family in EACH:
        box.load(backend, family)
    before = box.everything()
    where = f" in namespace {box.netns}" if box.netns else ""
    run_module("iptables_flush", **LECTURE, netns=box.netns)
    with instead_of_nft("/dev/null"):
        result = run_module("iptables_flush", state="restored", netns=box.netns, fails=True)
        assert f"filter (nft, ipv4){where}, nat (nft, ipv4){where}: iptables-nft-save" in result["msg"]
        assert f"nat (nft, ipv6){where}: ip6tables-nft-save" in result["msg"]
        assert "-A FORWARD" in "\n".join(box.rules("legacy", "ipv4", "filter"))
        assert {key.split(":")[2] for key in journal()} == {"nft"}
        run_module("iptables_flush", state="restored", netns=box.netns, fails=True)
    run_module("iptables_flush", state="restored", netns=box.netns)
    assert box.everything() == before and journal() == {}


@pytest.mark.parametrize("way", ["exit 0", "does it; exit 1"])
def test_what_the_tool_says_of_itself_is_not_believed(
    box: Box, run_module: t.Any, journal: t.Any, tmp_path: pathlib.Path, way: str
) -> None:
    box.load("nft", "ipv4")
    before = box.everything()
    liar, real = tmp_path / "liar", tmp_path / "real"
    shutil.copy(NFT, real)
    does_it = f'(exec -a "${{0##*/}}" {real} "$@")'
    ends = way.replace("does it", does_it)
    liar.write_text(f"#!/bin/bash\ncase $0 in *-restore) {ends};; *) {does_it};; esac\n", encoding="utf-8")
    liar.chmod(0o755)
    fails = way == "exit 0"
    with instead_of_nft(str(liar)):
        result = run_module("iptables_flush", **LECTURE, netns=box.netns, fails=fails)
        if fails:
            assert "iptables-nft-restore said that it was done, and it was not" in result["msg"]
            assert box.everything() == before and journal() == {}
    run_module("iptables_flush", **LECTURE, netns=box.netns)
    with instead_of_nft(str(liar)):
        result = run_module("iptables_flush", state="restored", netns=box.netns, fails=fails)
        assert not fails or ("it was not" in result["msg"] and journal() != {})
    run_module("iptables_flush", state="restored", netns=box.netns)
    assert box.everything() == before and journal() == {}


def test_restored_after_the_namespace_has_gone(sandbox_ns: t.Any, run_module: t.Any, journal: t.Any) -> None:
    box = Box(sandbox_ns())
    box.load("nft", "ipv4")
    run_module("iptables_flush", **LECTURE, netns=box.netns)
    subprocess.run(["ip", "netns", "del", box.netns], check=True)
    assert journal() != {}
    for _ in range(2):
        assert not run_module("iptables_flush", state="restored", netns=box.netns)["changed"]
        assert journal() == {}


def test_a_flush_that_cuts_the_session_is_refused(run_module: t.Any, request: pytest.FixtureRequest) -> None:
    box = Box("")
    request.addfinalizer(lambda: box.sh("nft", "flush", "ruleset"))
    box.sh("iptables-nft", "-A", "INPUT", "-i", "lo", "-j", "ACCEPT")
    box.sh("iptables-nft", "-P", "INPUT", "DROP")
    before = box.everything()
    for check in (True, False):
        result = run_module("iptables_flush", flush=[{"table": "filter"}], check=check, fails=True)
        assert "SSH session" in result["msg"] and "ACCEPT" in result["msg"]
        assert box.everything() == before
    accept = [{"chain": "INPUT", "policy": "ACCEPT"}]
    assert run_module("iptables_flush", flush=[{"table": "filter"}], policies=accept)["changed"]
    assert run_module("iptables_flush", state="restored")["changed"]
    assert box.everything() == before
    assert run_module("iptables_flush", flush=[{"table": "filter"}], force=True)["changed"]


def test_rules_that_iptables_cannot_express_are_left_alone(box: Box, run_module: t.Any) -> None:
    box.sh("iptables-nft", "-A", "FORWARD", "-j", "ACCEPT")
    box.sh("nft", "add", "rule", "ip", "filter", "FORWARD", "ct", "count", "over", "4", "drop")
    before = box.everything()
    result = run_module("iptables_flush", **LECTURE, netns=box.netns, fails=True)
    assert "nft list ruleset" in result["msg"]
    assert box.everything() == before


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"flush": [{"table": "fliter"}]}, ["fliter"]),
        ({"flush": [{"chains": ["NOWHERE"]}]}, ["NOWHERE", "filter", "FORWARD"]),
        ({"flush": [{"table": "nat", "chains": []}]}, ["nat", "leave it out"]),
        ({"policies": [{"chain": "MINE", "policy": "ACCEPT"}]}, ["MINE", "no base chain"]),
        ({"policies": [{"chain": "INPUT", "policy": "REJECT"}]}, ["REJECT", "DROP"]),
        ({"policies": [{"table": "nat", "chain": "OUTPUT", "policy": "DROP"}]}, ["nat", "filter"]),
        ({"state": "restored", "flush": [{"table": "nat"}]}, ["restored", "leave them out"]),
        ({}, ["nothing"]),
        ({"flush": [{"table": "nat"}], "netns": "not-there"}, ["not-there", "no network namespace"]),
    ],
)
def test_bad_input_is_one_sentence(run_module: t.Any, params: dict[str, t.Any], words: list[str]) -> None:
    message = run_module("iptables_flush", **params, fails=True)["msg"]
    assert all(word in message for word in words), message
    assert "\n" not in message
