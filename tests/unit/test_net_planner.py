# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network planner by its properties, on random networks that drifted in random ways, with a simulated kernel."""

from __future__ import annotations

import contextlib
import copy
import os
import typing as t
from dataclasses import replace

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import Refused
from ansible_collections.ebpf.lab.plugins.module_utils._core.plan import Plan
from ansible_collections.ebpf.lab.plugins.module_utils._net.topology.link_steps import DeleteLink
from ansible_collections.ebpf.lab.plugins.module_utils._net.topology.options import wanted
from ansible_collections.ebpf.lab.plugins.module_utils._net.topology.plan import plan
from ansible_collections.ebpf.lab.plugins.module_utils._net.topology.state import Interface, Ref, Route, Want
from ansible_collections.ebpf.lab.plugins.module_utils._net.topology.steps import SetLink
from hypothesis import HealthCheck, Phase, assume, given, note, settings
from hypothesis import strategies as st
from netsim import Died, World

SPACES = ["", "lab1", "lab10", "own"]
SLOW = settings(
    max_examples=int(os.environ.get("EBPF_LAB_EXAMPLES", "100")),
    phases=[Phase.generate],
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def some(items: t.Sequence[t.Any]) -> st.SearchStrategy[frozenset[t.Any]]:
    return st.sets(st.sampled_from(items)).map(frozenset) if items else st.just(frozenset())


@st.composite
def layers(draw: t.Any, number: int, up: bool) -> dict[str, t.Any]:
    """Settings of the interface ``number``, whose networks are its own, so that routes do not collide."""
    mtu = draw(st.sampled_from([None, None, 1400, 1000]))
    addresses = set(draw(some([f"10.{number}.0.1/24", f"10.{number}.0.2/24", f"10.{number}.9.1/32"])))
    if mtu != 1000:
        addresses |= draw(some([f"fd00:{number}::1/64"]))
    routes = set()
    if up:
        routes = set(draw(some([Route(f"172.16.{number}.1/32"), Route(f"172.17.{number}.0/24", metric=number)])))
        if f"10.{number}.0.1/24" in addresses:
            routes |= draw(some([Route("0.0.0.0/0", f"10.{number}.0.254", number), Route(f"10.{number}.0.0/24")]))
        if f"fd00:{number}::1/64" in addresses:
            routes |= draw(some([Route(f"fd01:{number}::/64", f"fd00:{number}::9"), Route(f"fd00:{number}::/64")]))
    return {
        "up": up,
        "mtu": mtu,
        "mac": draw(st.sampled_from([None, f"02:00:00:00:01:{number:02x}"])),
        "addresses": frozenset(addresses),
        "routes": frozenset(routes),
        "neighbours": draw(some([(f"10.{number}.0.7", "02:00:00:00:00:07")])) if up else frozenset(),
        "exclusive": draw(st.booleans()),
    }


@st.composite
def wants(draw: t.Any) -> Want:
    """Namespaces, veth pairs, bridges and VLANs on them; some namespaces are used and not named."""
    numbers = iter(range(1, 100))
    found: list[Interface] = []

    def interface(netns: str, kind: str, up: bool = True, **further: t.Any) -> Interface:
        number = next(numbers)
        name = f"{kind[0]}{number}"
        key = f"ipv4/conf/{name}/rp_filter"
        sysctls = draw(some([(key, "1")]))
        return Interface(netns, name, kind, sysctls=sysctls, **draw(layers(number, up)), **further)

    for _number in range(draw(st.integers(0, 2))):
        found.append(interface(draw(st.sampled_from(SPACES)), "bridge", draw(st.booleans())))
    bridges = [one.ref for one in found]
    for _number in range(draw(st.integers(0, 3))):
        ends = []
        for _end in range(2):
            netns = draw(st.sampled_from(SPACES))
            inside = [name for place, name in bridges if place == netns]
            master = draw(st.sampled_from([None, "", *inside]))
            ends.append(interface(netns, "peer", draw(st.booleans()), master=master))
        one, other = (replace(end, kind="veth") for end in ends)
        found += [replace(one, peer=other.ref), replace(other, peer=one.ref)]
    for _number in range(draw(st.integers(0, 2))):
        parents = [one for one in found if one.mtu != 1000]
        if parents:
            parent = draw(st.sampled_from(parents))
            up = parent.up and draw(st.booleans())
            found.append(interface(parent.netns, "vlan", up, parent=parent.name, vlan=draw(st.integers(1, 4))))
    named = {name for name in SPACES[1:] if draw(st.booleans()) or any(one.netns == name for one in found)}
    named -= {"own"} if draw(st.booleans()) else set()
    pairs = {name: draw(some([("ipv4/ip_forward", "1")])) for name in named}
    order = draw(st.permutations(found)) if draw(st.booleans()) else found
    return wanted(Want(tuple(sorted(named)), tuple(order), pairs))


@st.composite
def worlds(draw: t.Any, want: Want) -> World:
    """A host that may have some of the wanted things already, made by somebody else, and things of its own."""
    world = World(folder=True, exists=True)
    for name in ["own", "theirs", *draw(some(want.namespaces))]:
        if name not in world.namespaces:
            world.namespaces.add(name)
            world.sysctls[name, "ipv4/ip_forward"] = draw(st.sampled_from("01"))
            if draw(st.booleans()):
                world.loopback.add(name)
    for number, netns in ((90, ""), (91, "own"), (92, "theirs")):
        theirs = Interface(netns, "eth0", "", peer=None)
        world.add_link(theirs, None)
        world.set_up(theirs.ref, True)
        world.add_address(theirs.ref, f"10.{number}.0.1/24")
        world.change(theirs.ref, routes=frozenset({Route("0.0.0.0/0", f"10.{number}.0.254", number)}))
    refs = {interface.ref: interface for interface in want.interfaces}
    for one in want.interfaces:
        other = refs[one.peer] if one.peer else None
        places = {one.netns, other.netns if other else one.netns}
        parent = (one.netns, one.parent)
        ready = places <= world.namespaces and one.ref not in world.links and (not one.parent or parent in world.links)
        if ready and draw(st.booleans()):
            world.add_link(replace(one, mtu=None, mac=None), one.peer)
            if other:
                world.add_link(replace(other, mtu=None, mac=None), one.ref)
            for end in filter(None, (one, other)):
                disturb(draw, world, want, end.ref)
    if draw(st.booleans()):
        free = sorted(set(want.namespaces) - world.namespaces)
        world.stray |= set(free[:1])
    return world


def disturb(draw: t.Any, world: World, want: Want, ref: Ref) -> None:
    """Do to a link what a student might do."""
    wanted_one = next(one for one in want.interfaces if one.ref == ref)
    number = int(ref[1][1:])
    link = world.links[ref]
    parent = world.links.get((ref[0], link.parent or ""))
    what = draw(some(["up", "down", "address", "second", "v6", "route", "neighbour", "mtu", "mac", "gone", "master"]))
    if "down" in what:
        world.set_up(ref, False)
    if "up" in what and (parent is None or parent.up):
        world.set_up(ref, True)
    if "mtu" in what:
        # A small MTU that nobody wants otherwise keeps IPv6 off, which the run says and cannot cure.
        curable = wanted_one.mtu is not None or not any(":" in address for address in wanted_one.addresses)
        world.set_mtu(ref, 1000 if curable and draw(st.booleans()) else 1300)
    if "mac" in what:
        world.change(ref, mac="02:00:00:00:99:99", neighbours=frozenset())
    for word, text in (
        ("address", f"10.{number}.0.66/24"),
        ("second", f"10.{number}.0.2/24"),
        ("v6", f"fd00:{number}::66/64"),
    ):
        if (
            word in what
            and text not in world.links[ref].addresses
            and ((world.links[ref].mtu or 0) >= 1280 or word != "v6")
        ):
            world.add_address(ref, text)
    if "gone" in what and world.links[ref].addresses:
        world.delete_address(ref, draw(st.sampled_from(sorted(world.links[ref].addresses))))
        # Linux would keep a route whose gateway nothing leads to any more, and refuse to take it back once it is gone.
        world.change(ref, routes=frozenset(route for route in world.links[ref].routes if not route.via))
    if "route" in what and Route(f"10.{number}.0.0/24") in world.links[ref].implied:
        others = frozenset(r for r in world.links[ref].routes if r.metric != number)
        world.change(ref, routes=others | {Route(f"172.17.{number}.0/24", f"10.{number}.0.253", number)})
    if "neighbour" in what and world.links[ref].up:
        world.change(ref, neighbours=frozenset({(f"10.{number}.0.7", "02:00:00:00:00:99")}))
    if "master" in what:
        world.change(ref, master="")


def drift(draw: t.Any, world: World, want: Want) -> None:
    """What happened to a lab over night."""
    for ref in sorted({interface.ref for interface in want.interfaces}):
        if ref in world.links and f"link:{ref[0]}/{ref[1]}" in world.journal:
            if draw(st.integers(0, 5)) == 0:
                world.delete_link(ref)
            else:
                disturb(draw, world, want, ref)
    for name in want.namespaces:
        claimed = f"netns:{name}" in world.journal
        if claimed and draw(st.integers(0, 7)) == 0:
            world.delete_namespace(name)
            world.stray |= {name} if draw(st.booleans()) else set()
        elif draw(st.booleans()):
            world.loopback.discard(name)


def planned(world: World, want: Want) -> Plan:
    """The plan; examples in which a foreign interface bears a wanted name are another test's."""
    world.settle(stale=not want.present)
    try:
        return plan(world.observe(want), want)
    except Refused:
        assume(False)
        raise


def brought(world: World, want: Want) -> Plan:
    """Run the plan on the world and prove it: nothing is left to do, and what was predicted is there."""
    made = planned(world, want)
    world.run(made.steps)
    again = plan(world.observe(want), want)
    assert again.steps == (), ([step.title() for step in made.steps], [step.title() for step in again.steps])
    assert again.before == again.after
    seen = {(one["netns"], one["name"]): one for one in again.before["interfaces"]}
    for predicted in made.after["interfaces"]:
        actual = seen.pop((predicted["netns"], predicted["name"]))
        for key, value in predicted.items():
            if key == "routes":  # the kernel fills in a metric for IPv6
                assert {r.split(" metric ")[0] for r in value} == {r.split(" metric ")[0] for r in actual[key]}
            elif value is not None:
                assert actual[key] == value, (predicted["name"], key)
    assert not seen
    return made


@SLOW
@given(st.data())
def test_present_reaches_the_wanted_state_whatever_drifted(data: st.DataObject) -> None:
    want = data.draw(wants())
    world = data.draw(worlds(want))
    brought(world, want)
    for ref, seen in world.links.items():
        wanted_one = {one.ref: one for one in want.interfaces}.get(ref)
        if wanted_one is not None:
            assert wanted_one.addresses <= seen.addresses
            assert seen.up == wanted_one.up
            assert not wanted_one.exclusive or wanted_one.addresses == seen.addresses
    drift(data.draw, world, want)
    brought(world, want)


@SLOW
@given(st.data())
def test_what_a_broken_run_did_is_taken_back_from_any_point(data: st.DataObject) -> None:
    want = data.draw(wants())
    world = data.draw(worlds(want))
    if data.draw(st.booleans()):
        brought(world, want)
        drift(data.draw, world, want)
    made = planned(world, replace(want, present=data.draw(st.booleans())))
    # One end of a pair does not tell how the pair was made; DeleteLink says so when it is undone.
    assume(all(step.rebuild for step in made.steps if isinstance(step, DeleteLink)))
    # A link that is set up again takes its VLANs up with it, also one that was down: the kernel's doing, left as it is.
    sleeping = {(link.netns, link.parent) for link in world.links.values() if link.kind == "vlan" and not link.up}
    assume(not any(isinstance(step, SetLink) and (step.netns, step.name) in sleeping for step in made.steps))
    before = copy.deepcopy(world)
    done = made.steps[: data.draw(st.integers(0, len(made.steps)))]
    left = world.undo(world.run(done))
    note(
        "\n".join(
            ["done:", *(step.title() for step in done), "not done:", *(s.title() for s in made.steps[len(done) :])]
        )
    )
    assert left == [] and world.journal == before.journal
    for now, then in zip(world.visible(), before.visible()):
        assert now == then, [item for item in now if now[item] != then.get(item)] if isinstance(now, dict) else now


@SLOW
@given(st.data())
def test_absent_leaves_exactly_what_was_there_before(data: st.DataObject) -> None:
    want = data.draw(wants())
    world = data.draw(worlds(want))
    stray = set(world.stray)
    before = copy.deepcopy(world)
    brought(world, want)
    brought(world, replace(want, present=False))
    world.stray |= stray & set(want.namespaces)
    assert world.visible() == before.visible()
    assert world.journal == {}
    assert plan(world.observe(want), replace(want, present=False)).steps == ()


@SLOW
@given(st.data())
def test_nothing_is_touched_that_is_not_named(data: st.DataObject) -> None:
    want = data.draw(wants())
    world = data.draw(worlds(want))
    named = {one.ref for one in want.interfaces}

    def others() -> t.Any:
        links = {ref: link for ref, link in world.links.items() if ref not in named}
        return links, world.namespaces - set(want.namespaces), world.loopback - set(want.namespaces)

    untouched = copy.deepcopy(others())
    extra = {ref: link.addresses for ref, link in world.links.items() if ref in named}
    brought(world, want)
    assert others() == untouched
    for one in want.interfaces:
        if not one.exclusive and one.up and one.mtu != 1000:
            assert extra.get(one.ref, frozenset()) <= world.links[one.ref].addresses
    brought(world, replace(want, present=False))
    assert others() == untouched


def killed(draw: t.Any, world: World, want: Want) -> bool:
    """Run the plan and let the process be gone somewhere in it; returns whether it came to that."""
    made = planned(world, want)
    world.dies_after, world.half = draw(st.integers(0, len(made.steps))), draw(st.booleans())
    try:
        world.run(made.steps)
    except Died:
        note(f"killed {'in the midst of' if world.half else 'before'} one of {made.titles()}")
        return True
    finally:
        world.dies_after = None
    return False


@SLOW
@given(st.data())
def test_killed_anywhere_it_converges_and_absent_leaves_what_was(data: st.DataObject) -> None:
    want = data.draw(wants())
    world = data.draw(worlds(want))
    stray = set(world.stray) & set(want.namespaces)
    before = copy.deepcopy(world)
    if data.draw(st.booleans()):
        brought(world, want)
    for present in data.draw(st.lists(st.booleans(), min_size=1, max_size=3)):
        killed(data.draw, world, replace(want, present=present))
    if data.draw(st.booleans()):
        brought(world, want)
    brought(world, replace(want, present=False))
    world.stray |= stray
    for now, then in zip(world.visible(), before.visible()):
        assert now == then, [item for item in now if now[item] != then.get(item)] if isinstance(now, dict) else now
    assert world.journal == {}


@SLOW
@given(st.data())
def test_an_end_that_could_not_do_all_is_finished_by_the_next_one(data: st.DataObject) -> None:
    want = data.draw(wants())
    world = data.draw(worlds(want))
    stray = set(world.stray) & set(want.namespaces)
    before = copy.deepcopy(world)
    brought(world, want)
    made = planned(world, replace(want, present=False))
    world.fails_after = data.draw(st.integers(1, max(1, len(made.steps))))
    note(f"{made.titles()}, not number {world.fails_after}")
    left = world.run_as_far_as_can_be(made.steps)
    note(f"left: {left}")
    world.fails_after = None
    assert bool(left) == bool(made.steps)
    brought(world, replace(want, present=False))
    world.stray |= stray
    for now, then in zip(world.visible(), before.visible()):
        assert now == then, [item for item in now if now[item] != then.get(item)] if isinstance(now, dict) else now
    assert world.journal == {}


@SLOW
@given(st.data())
def test_what_somebody_makes_in_the_place_of_what_a_killed_run_did_not_get_to_is_his(data: st.DataObject) -> None:
    want = data.draw(wants())
    world = data.draw(worlds(want))
    assume(killed(data.draw, world, want))
    theirs, spaces = set(), set()
    for name in sorted(set(want.namespaces) - world.namespaces - world.stray):
        if world.exists and data.draw(st.booleans()):
            world.folder = True
            world.namespaces.add(name)
            world.sysctls[name, "ipv4/ip_forward"] = "0"
            spaces.add(name)
    for one in want.interfaces:
        if one.kind == "bridge" and one.netns in world.namespaces - world.marked and one.ref not in world.links:
            world.add_link(one, None)
            theirs.add(one.ref)
    brought(world, replace(want, present=False))
    assert spaces <= world.namespaces and theirs <= set(world.links)


PAIR = (
    Interface("", "veth1", "veth", peer=("lab1", "vpeer1")),
    Interface("lab1", "vpeer1", "veth", peer=("", "veth1")),
)


@pytest.mark.parametrize("kind", ["veth", "bridge", ""])
def test_a_foreign_interface_of_a_wanted_name_is_refused(kind: str) -> None:
    world = World()
    world.add_link(Interface("", "veth1", kind), ("", "x") if kind == "veth" else None)
    with pytest.raises(Refused, match="veth1 is there already, and it is not ours"):
        plan(world.observe(Want(("lab1",), PAIR)), Want(("lab1",), PAIR))


def test_names_that_begin_alike_are_told_apart() -> None:
    world = World(namespaces={"", "lab10"}, folder=True, exists=True)
    made = brought(world, Want(("lab1",)))
    assert [step.title() for step in made.steps] == ["create the network namespace lab1", "set lo in lab1 up"]
    brought(world, Want(("lab1",), present=False))
    assert world.namespaces == {"", "lab10"}


def test_a_namespace_that_nobody_makes_is_required_before_the_first_change() -> None:
    want = Want((), PAIR)
    made = plan(World().observe(want), want)
    assert made.steps[0].title() == "require the network namespace lab1"
    assert "lab1" in made.warnings[0]


def test_a_later_address_of_a_network_goes_alone() -> None:
    world = World()
    world.add_link(Interface("", "b1", "bridge"), None)
    world.set_up(("", "b1"), True)
    world.add_address(("", "b1"), "10.0.0.1/24")
    world.add_address(("", "b1"), "10.0.0.66/24")
    want = Want((), (Interface("", "b1", "bridge", addresses=frozenset({"10.0.0.1/24"}), exclusive=True),))
    made = brought(world, want)
    assert [step.title() for step in made.steps] == ["delete 10.0.0.66/24 from b1"]


def test_the_first_address_of_a_network_takes_the_later_ones_and_they_come_back() -> None:
    world = World()
    world.add_link(Interface("", "b1", "bridge"), None)
    world.set_up(("", "b1"), True)
    world.add_address(("", "b1"), "10.0.0.66/24")
    world.add_address(("", "b1"), "10.0.0.1/24")
    want = Want((), (Interface("", "b1", "bridge", addresses=frozenset({"10.0.0.1/24"}), exclusive=True),))
    made = brought(world, want)
    assert [step.title() for step in made.steps] == [
        "delete 10.0.0.1/24 from b1",
        "delete 10.0.0.66/24 from b1",
        "add 10.0.0.1/24 to b1",
    ]


@pytest.mark.case("C12")
@pytest.mark.parametrize("foreign", [False, True])
def test_a_vlan_on_a_vlan_keeps_its_ipv6_address_when_what_they_stand_on_goes_up(foreign: bool) -> None:
    bridge = Interface("", "b1", "bridge")
    vlans = [
        Interface("", "v2", "vlan", up=False, parent="b1", vlan=2),
        Interface("", "v3", "vlan", up=False, parent="v2", vlan=3, addresses=frozenset({"fd00:3::1/64"})),
    ]
    want = Want((), (bridge, *vlans))
    world = World()
    if foreign:
        for one in want.interfaces:
            world.add_link(one, None)
        world.set_up(bridge.ref, True)
        for one in vlans:
            world.set_up(one.ref, False)
        world.add_address(vlans[1].ref, "fd00:3::1/64")
        before = copy.deepcopy(world)
        down = replace(want, interfaces=(replace(bridge, up=False), *vlans))
        brought(world, down)
        brought(world, replace(down, present=False))
        assert world.visible() == before.visible() and world.journal == {}
    brought(world, want)
    world.set_up(bridge.ref, False)
    brought(world, want)
    assert world.links["", "v3"].addresses == {"fd00:3::1/64"} and not world.links["", "v3"].up


def test_a_vlan_of_somebodys_that_its_parent_took_up_is_put_back_whenever_the_run_was_killed() -> None:
    parent = Interface("", "b1", "bridge")
    vlan = Interface("", "v2", "vlan", parent="b1", vlan=2, addresses=frozenset({"10.2.0.1/24"}))
    want = Want((), (parent, vlan))
    for number in range(4):
        world = World()
        for one in want.interfaces:
            world.add_link(one, None)
        before = copy.deepcopy(world)
        world.dies_after = number
        with contextlib.suppress(Died):
            world.run(planned(world, want).steps)
        world.dies_after = None
        brought(world, want)
        brought(world, replace(want, present=False))
        assert world.visible() == before.visible() and world.journal == {}, number


def test_absent_takes_the_folder_away_that_the_lab_made_unless_somebody_uses_it() -> None:
    for others in (set(), {"theirs"}):
        world = World()
        brought(world, Want(("lab1",)))
        world.namespaces |= others
        brought(world, Want(("lab1",), present=False))
        assert world.folder == bool(others)
        assert world.journal == {}
