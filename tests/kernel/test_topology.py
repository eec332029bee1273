# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""topology, veth and netns on the real kernel: four runs, drift by hand and repair, absent twice, no trace."""

from __future__ import annotations

import json
import pathlib
import subprocess
import typing as t

import pytest

LECTURE: dict[str, t.Any] = {
    "namespaces": [{"name": "vns1"}],
    "veths": [
        {
            "name": "veth1",
            "mtu": 1500,
            "mac": "02:00:00:00:00:01",
            "addresses": ["192.168.100.1/24", "fd00:100::1/64"],
            "peer": {
                "name": "vpeer1",
                "netns": "vns1",
                "addresses": ["192.168.100.2/24", "fd00:100::2/64"],
                "exclusive": True,
                "routes": [
                    {"to": "192.168.100.1"},
                    {"to": "default", "via": "192.168.100.1"},
                    {"to": "default", "via": "fd00:100::1"},
                ],
            },
        }
    ],
}
BRIDGED: dict[str, t.Any] = {
    "namespaces": [{"name": "lab1", "sysctls": {"net.ipv4.ip_forward": 1}}, {"name": "lab10"}],
    "bridges": [{"name": "br0", "netns": "lab1", "addresses": ["10.9.0.254/24"]}],
    "veths": [
        {
            "name": "port1",
            "netns": "lab1",
            "master": "br0",
            "peer": {
                "name": "eth0",
                "netns": "lab10",
                "addresses": ["10.9.0.1/24"],
                "routes": [{"to": "10.99.0.0/16", "via": "10.9.0.254", "metric": 7}],
                "neighbours": [{"address": "10.9.0.77", "mac": "02:00:00:00:00:77"}],
                "sysctls": {"ipv4.rp_filter": 0, "ipv6.accept_ra": 0},
            },
        },
        {"name": "a", "netns": "lab10", "up": False, "peer": {"name": "b", "netns": "lab10", "mtu": 1300}},
    ],
}


def ip(*words: str, check: bool = True) -> str:
    """Run ip; what it says is in the assertion when it fails."""
    done = subprocess.run(["ip", *" ".join(words).split()], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, f"ip {words}: {done.stderr}"
    return done.stdout


def ping(netns: str, address: str) -> None:
    subprocess.run(["ip", "netns", "exec", netns, "ping", "-c1", "-W1", address], check=True, capture_output=True)


def host_state() -> t.Any:
    """Links, addresses, routes and namespaces of the host's own, and the mount of /run/netns."""
    keep = ("ifname", "operstate", "address", "mtu", "master")
    links = [{key: link.get(key) for key in keep} | {"up": "UP" in link["flags"],
              "addresses": sorted(f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"] if a["scope"] != "link")}
             for link in json.loads(ip("-j addr"))]  # fmt: skip
    mounts = pathlib.Path("/proc/self/mounts").read_text(encoding="utf-8").count("/run/netns")
    routes = sorted(ip("route").splitlines())
    return links, routes, ip("netns").split(), mounts, ip("neigh show nud permanent")


@pytest.fixture(autouse=True)
def untouched() -> t.Iterator[None]:
    """Whatever a test does, the next one begins with a host without namespaces and links."""
    yield
    for name in [path.name for path in pathlib.Path("/run/netns").glob("*")]:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        pathlib.Path("/run/netns", name).unlink(missing_ok=True)
    for name in ("veth1", "br9", "x1", "keep"):
        ip(f"link del {name}", check=False)
    subprocess.run(["umount", "-l", "/run/netns"], check=False, capture_output=True)
    subprocess.run(["rmdir", "/run/netns"], check=False, capture_output=True)


@pytest.mark.parametrize("network", [LECTURE, BRIDGED], ids=["lecture", "bridged"])
def test_four_runs_then_absent_twice_without_a_trace(
    network: dict[str, t.Any], four_runs: t.Any, run_module: t.Any, journal: t.Any
) -> None:
    before = host_state()
    result = four_runs("topology", **network)
    names = [namespace["name"] for namespace in network["namespaces"]]
    assert result["namespaces"] == names
    if network is LECTURE:
        ping("vns1", "192.168.100.1")
        ping("vns1", "fd00:100::1")
        assert ip("link show veth1").count("02:00:00:00:00:01") == 1
    else:
        ping("lab10", "10.9.0.254")
    assert any(key == "netns:" + names[0] for key in journal())
    four_runs("topology", **network, state="absent")
    assert host_state() == before
    assert journal() == {}
    assert not run_module("topology", **network, state="absent")["changed"]
    assert not pathlib.Path("/var/lib/ebpf.lab").exists()


def repaired(run_module: t.Any, network: dict[str, t.Any]) -> dict[str, t.Any]:
    """Run on what drifted, and again to see that it is whole."""
    result = run_module("topology", **network)
    assert result["changed"]
    assert not run_module("topology", **network, check=True)["changed"]
    return result


DRIFT = {
    "address gone": ("-n vns1 addr del 192.168.100.2/24 dev vpeer1", None),
    "IPv6 address gone": ("-n vns1 addr del fd00:100::2/64 dev vpeer1", None),
    "link down": ("-n vns1 link set vpeer1 down", None),
    "host's end down": ("link set veth1 down", None),
    "loopback down": ("-n vns1 link set lo down", 1),
    "end in the wrong namespace": ("-n vns1 link set vpeer1 netns 1", None),
    "end renamed": ("-n vns1 link set vpeer1 down name other", None),
    "foreign address": ("-n vns1 addr add 192.168.100.66/24 dev vpeer1", 1),
    "foreign address of another network": ("-n vns1 addr add 10.66.0.1/24 dev vpeer1", 1),
    "foreign address first": ("-n vns1 addr flush dev vpeer1 scope global", None),
    "foreign route": ("-n vns1 route add 10.66.0.0/24 dev vpeer1", 1),
    "route gone": ("-n vns1 route del default", 1),
    "host route gone": ("-n vns1 route del 192.168.100.1/32", 1),
    "route by another gateway": ("-n vns1 route replace default via 192.168.100.9", 2),
    "IPv6 route by another gateway": ("-n vns1 -6 route replace default via fd00:100::9", 2),
    "mtu": ("link set veth1 mtu 1400", 1),
    "tiny mtu": ("link set veth1 mtu 1000", None),
    "mac": ("link set veth1 address 02:00:00:00:00:99", 1),
    "link gone": ("link del veth1", None),
    "namespace gone": ("netns del vns1", None),
}


@pytest.mark.parametrize("what", DRIFT)
def test_drift_is_repaired(what: str, run_module: t.Any, journal: t.Any) -> None:
    before = host_state()
    run_module("topology", **LECTURE)
    command, expected = DRIFT[what]
    ip(command)
    if what == "foreign address first":
        ip("-n vns1 addr add 192.168.100.66/24 dev vpeer1")
        ip("-n vns1 addr add 192.168.100.2/24 dev vpeer1")
    if what in ("end in the wrong namespace", "namespace gone"):
        subprocess.run(["sleep", "0.2"], check=True)  # the kernel takes a namespace down in the background
    result = repaired(run_module, LECTURE)
    assert expected is None or len(result["steps"]) == expected, result["steps"]
    ping("vns1", "192.168.100.1")
    ping("vns1", "fd00:100::1")
    if expected is None:
        run_module("topology", **LECTURE, state="absent")
        assert host_state() == before
        assert journal() == {}


@pytest.mark.parametrize(
    "command",
    [
        "-n lab1 link set port1 nomaster",
        "-n lab1 link del br0",
        "-n lab10 link set eth0 address 02:00:00:00:00:98",
        "-n lab10 neigh del 10.9.0.77 dev eth0",
        "-n lab10 neigh replace 10.9.0.77 lladdr 02:00:00:00:00:97 dev eth0 nud permanent",
        "-n lab10 link set dev a up",
        "-n lab10 link set dev b mtu 1400",
        "netns exec lab1 sysctl -qw net.ipv4.ip_forward=0",
        "netns exec lab10 sysctl -qw net.ipv6.conf.eth0.accept_ra=1",
    ],
)
def test_drift_of_a_bridged_network_is_repaired(command: str, run_module: t.Any) -> None:
    run_module("topology", **BRIDGED)
    ip(command)
    if "98" in command:  # nobody asked for a MAC, so a changed one is no drift; but it took the neighbour along
        assert "77" not in ip("-n lab10 neigh show nud permanent")
    repaired(run_module, BRIDGED)
    ping("lab10", "10.9.0.254")
    assert "02:00:00:00:00:77" in ip("-n lab10 neigh show nud permanent")


def test_a_mac_that_drifted_takes_the_neighbours_along(four_runs: t.Any, run_module: t.Any) -> None:
    network = json.loads(json.dumps(BRIDGED))
    network["veths"][0]["peer"]["mac"] = "02:00:00:00:00:10"
    run_module("topology", **network)
    ip("-n lab10 link set eth0 address 02:00:00:00:00:98")
    ip("-n lab10 neigh replace 10.9.0.77 lladdr 02:00:00:00:00:77 dev eth0 nud permanent")
    four_runs("topology", **network)
    assert "02:00:00:00:00:77" in ip("-n lab10 neigh show nud permanent")


def test_a_link_that_is_to_go_down_keeps_its_ipv6_address(four_runs: t.Any, run_module: t.Any) -> None:
    pair = {"name": "x1", "addresses": ["10.5.0.1/24", "fd00:5::1/64"], "peer": {"name": "x2"}}
    run_module("veth", **pair)
    four_runs("veth", **pair, up=False)
    assert "fd00:5::1/64" in ip("addr show dev x1")
    four_runs("veth", **pair)


def test_foreign_interfaces_and_namespaces_are_adopted_and_put_back(
    four_runs: t.Any, run_module: t.Any, journal: t.Any
) -> None:
    ip("netns add own")
    ip("link add keep type veth peer name vp netns own")
    ip("addr add 10.1.0.1/24 dev keep")
    ip("link set keep mtu 1400 up")
    ip("-n own link set vp up")
    ip("route add 10.77.0.0/24 via 10.1.0.9")
    ip("neigh add 10.1.0.9 lladdr 02:00:00:00:00:09 dev keep nud permanent")
    ip("netns exec own sysctl -qw net.ipv4.ip_forward=0 net.ipv4.conf.vp.rp_filter=2")
    before, inside = host_state(), (ip("-n own -o -4 addr show dev vp"), ip("-n own route"))
    network = {
        "namespaces": [{"name": "own", "sysctls": {"net.ipv4.ip_forward": 1}}],
        "veths": [
            {
                "name": "keep", "mtu": 1500, "exclusive": True, "addresses": ["10.2.0.1/24"],
                "peer": {"name": "vp", "netns": "own", "addresses": ["10.2.0.2/24"], "sysctls": {"ipv4.rp_filter": 0}},
            }
        ],
    }  # fmt: skip
    four_runs("topology", **network)
    ping("own", "10.2.0.1")
    assert "10.77" not in ip("route")
    four_runs("topology", **network, state="absent")
    assert host_state() == before
    assert (ip("-n own -o -4 addr show dev vp"), ip("-n own route")) == inside
    sysctls = ["net.ipv4.ip_forward", "net.ipv4.conf.vp.rp_filter"]
    assert ip("netns exec own sysctl -n", *sysctls).split() == ["0", "2"]
    assert journal() == {}
    result = run_module("topology", **network, state="absent")
    assert not result["changed"] and "stays" in json.dumps(result["warnings"])
    run_module("topology", **network, state="absent", force=True)
    assert "own" not in ip("netns") and "keep" not in ip("link")


def test_a_user_who_adds_a_namespace_keeps_the_folder(run_module: t.Any, journal: t.Any) -> None:
    run_module("netns", name=["lab1"])
    ip("netns add lab10")
    run_module("netns", name=["lab1"], state="absent")
    assert ip("netns").split() == ["lab10"] and journal() == {}


def test_netns_four_runs_and_names_that_begin_alike(four_runs: t.Any, run_module: t.Any, journal: t.Any) -> None:
    before = host_state()
    four_runs("netns", name=["lab10"])
    four_runs("netns", name=["lab1"], sysctls={"net.ipv4.ip_forward": True})
    four_runs("netns", name=["lab1"], state="absent")
    assert ip("netns").split() == ["lab10"]
    four_runs("netns", name=["lab10"], state="absent")
    assert not run_module("netns", name=["lab1", "lab10"], state="absent")["changed"]
    assert host_state() == before and journal() == {}


def test_a_stray_file_is_taken_over_and_removed(four_runs: t.Any) -> None:
    ip("netns add first")
    pathlib.Path("/run/netns/lab1").touch()
    four_runs("netns", name=["lab1"])
    assert "LOOPBACK,UP" in ip("-n lab1 link")
    four_runs("netns", name=["lab1"], state="absent")
    pathlib.Path("/run/netns/lab1").touch()
    four_runs("netns", name=["lab1"], state="absent")
    assert not pathlib.Path("/run/netns/lab1").exists()


def test_removing_a_namespace_forgets_what_was_in_it(run_module: t.Any, journal: t.Any) -> None:
    run_module("topology", **BRIDGED)
    run_module("netns", name=["lab1", "lab10"], state="absent")
    assert journal() == {}


def test_veth_four_runs_and_absent_by_one_name(four_runs: t.Any, run_module: t.Any, journal: t.Any) -> None:
    run_module("netns", name=["vns1"])
    four_runs("veth", **LECTURE["veths"][0])
    ping("vns1", "192.168.100.1")
    four_runs("veth", name="veth1", state="absent")
    assert not run_module("veth", name="veth1", state="absent")["changed"]
    run_module("netns", name=["vns1"], state="absent")
    assert {key for key in journal() if key != "link:vns1/vpeer1"} == set()


def test_a_namespace_by_its_path(four_runs: t.Any) -> None:
    ip("netns add own")
    pair = {"name": "x1", "peer": {"name": "x2", "netns": "/run/netns/own", "addresses": ["10.5.0.2/24"]}}
    four_runs("veth", **pair)
    assert "10.5.0.2/24" in ip("-n own addr")


def test_what_a_failed_run_did_is_taken_back_and_it_says_so(run_module: t.Any, journal: t.Any) -> None:
    before = host_state()
    network = json.loads(json.dumps(LECTURE))
    network["veths"][0]["peer"]["routes"].append({"to": "10.50.0.0/16", "via": "10.200.0.1"})  # in no network of it
    result = run_module("topology", **network, fails=True)
    assert "10.200.0.1 is in no network of this interface" in result["msg"]
    assert "taken back" in result["msg"] and result["undone"] and not result["not_undone"]
    assert "\n" not in result["msg"]
    assert host_state() == before and journal() == {}
    run_module("topology", **LECTURE)
    ip("-n vns1 addr add 192.168.100.66/24 dev vpeer1")
    drifted = ip("-n vns1 route")
    run_module("topology", **network, fails=True)
    assert ip("-n vns1 route") == drifted
    assert "192.168.100.66/24" in ip("-n vns1 addr")


def test_a_foreign_interface_of_a_wanted_name_is_refused(run_module: t.Any) -> None:
    ip("link add veth1 type bridge")
    before = host_state()
    for check in (True, False):
        result = run_module("topology", **LECTURE, check=check, fails=True)
        assert "veth1 is there already, and it is not ours: a bridge" in result["msg"]
    assert host_state() == before


def test_vlans_or_a_sentence_that_the_kernel_has_none(run_module: t.Any, four_runs: t.Any) -> None:
    network = {**BRIDGED, "vlans": [
        {"name": "q.5", "netns": "lab10", "parent": "eth0.5", "id": 6, "addresses": ["10.56.0.1/24"]},
        {"name": "eth0.5", "netns": "lab10", "parent": "eth0", "id": 5, "addresses": ["10.55.0.1/24"]},
    ]}  # fmt: skip
    before = host_state()
    if subprocess.run(["ip", "link", "add", "link", "lo", "x1", "type", "vlan", "id", "9"], check=False,
                      capture_output=True).returncode:  # fmt: skip
        result = run_module("topology", **network, fails=True)
        assert "This kernel has no vlan interfaces" in result["msg"] and "taken back" in result["msg"]
        assert host_state() == before
        return
    ip("link del x1")
    four_runs("topology", **network)
    ip("-n lab10 link del eth0.5")
    four_runs("topology", **network)
    four_runs("topology", **network, state="absent")
    assert host_state() == before


SIXTEEN = "interface-name-x"
PEER = {"name": "x2"}


@pytest.mark.parametrize(
    ("module", "params", "words"),
    [
        ("veth", {"name": SIXTEEN, "peer": PEER}, ["veth.name", SIXTEEN, "16 bytes", "1 to 15"]),
        ("veth", {"name": "x1", "peer": {"name": SIXTEEN}}, ["veth.peer.name", SIXTEEN]),
        ("veth", {"name": "x1"}, ["peer"]),
        ("veth", {"name": "x1", "peer": PEER, "addresses": ["10.0.0.1"]}, ["no prefix length"]),
        (
            "veth",
            {"name": "x1", "peer": PEER, "routes": [{"to": "10.0.0.0/8", "via": "fd00::1"}]},
            ["IPv6 gateway for the IPv4 destination", "one family"],
        ),
        ("veth", {"name": "x1", "peer": {"name": "x1"}}, ["x1", "is there twice"]),
        ("veth", {"name": "x1", "peer": {"name": "x2", "netns": "nowhere"}}, ["nowhere", "does not exist"]),
        ("veth", {"name": "x1", "master": "nobridge", "peer": PEER}, ["nobridge"]),
        ("netns", {"name": ["a/b"]}, ["a/b", "no name for a network namespace"]),
        ("netns", {"name": ["a"], "sysctls": {"net.ipv4.no_such_key": 1}}, ["no_such_key"]),
        ("topology", {"namespaces": [{"name": "a"}, {"name": "a"}]}, ["'a' is there twice"]),
        ("topology", {"veths": [{"name": "x1", "peer": PEER}, {"name": "x2", "peer": {"name": "x3"}}]}, ["twice"]),
    ],
)
def test_bad_input_is_one_sentence_and_changes_nothing(
    run_module: t.Any, journal: t.Any, module: str, params: dict[str, t.Any], words: list[str]
) -> None:
    before = host_state()
    message = run_module(module, **params, fails=True)["msg"]
    assert all(word in message for word in words), message
    assert "\n" not in message
    assert host_state() == before and journal() == {}
