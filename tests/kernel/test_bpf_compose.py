# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Object, program and attachment as one plan: planned before anything is there, taken back together."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
from dataclasses import dataclass

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PINS = "/sys/fs/bpf/ebpf"


@pytest.fixture(scope="module")
def lab(collections):
    """The collection's own code, imported as on a host."""
    sys.path.insert(0, str(collections))
    from ansible_collections.ebpf.lab.plugins.module_utils._bpf.object import resource as objects
    from ansible_collections.ebpf.lab.plugins.module_utils._bpf.program import resource as programs
    from ansible_collections.ebpf.lab.plugins.module_utils._bpf.xdp import resource as attachments
    from ansible_collections.ebpf.lab.plugins.module_utils._core import converge, errors, host
    from ansible_collections.ebpf.lab.plugins.module_utils._core import plan as plans
    from ansible_collections.ebpf.lab.plugins.module_utils._core import resource as contract

    @dataclass(frozen=True)
    class Chain(contract.Resource):
        """The three resources in their order; each is told what the ones before it are about to change."""

        object: objects.ObjectResource
        program: programs.ProgramResource
        attachment: attachments.AttachmentResource

        def kinds(self):
            return (*self.object.kinds(), *self.program.kinds(), *self.attachment.kinds())

        def takes_away(self):
            return not self.object.present

        def observe(self, on):
            return tuple(part.observe(on) for part in (self.object, self.program, self.attachment))

        def plan(self, now, coming=plans.NOTHING):
            if not self.object.present:  # down in the other order
                attached = self.attachment.plan(now[2])
                loaded = self.program.plan(now[1], plans.forecast(attached.steps))
                compiled = self.object.plan(now[0], plans.forecast(loaded.steps))
                return plans.Plan.compose({"attachment": attached, "program": loaded, "object": compiled})
            compiled = self.object.plan(now[0], coming)
            coming = plans.forecast(compiled.steps, coming)
            loaded = self.program.plan(now[1], coming)
            coming = plans.forecast(loaded.steps, coming)
            attached = self.attachment.plan(now[2], coming)
            return plans.Plan.compose({"object": compiled, "program": loaded, "attachment": attached})

        def result(self, now):
            return self.attachment.result(now[2])

        def run(self, check=False):
            with host.Host() as on:
                return converge.converge(on, self, check)

    class Lab:
        LabError = errors.LabError

        def chain(self, folder, netns, state="present"):
            return Chain(
                objects.ObjectResource.from_params({"src": f"{folder}/x.c", "dest": f"{folder}/x.o", "state": state}),
                programs.ProgramResource.from_params({"object": f"{folder}/x.o", "pin_path": PINS, "state": state}),
                attachments.AttachmentResource.from_params(
                    {"interface": "veth1", "netns": netns, "program": f"{PINS}/xdp_allow", "state": state}
                ),
            )

        def swap(self, old, new):
            """Unpin one object's programs and load another's, as a lab does between two stages."""
            down = programs.ProgramResource.from_params({"object": old, "pin_path": PINS, "state": "absent"})
            up = programs.ProgramResource.from_params({"object": new, "pin_path": PINS})

            class Swap(contract.Resource):
                def kinds(self):
                    return up.kinds()

                def observe(self, on):
                    return down.observe(on), up.observe(on)

                def plan(self, now, coming=plans.NOTHING):
                    away = down.plan(now[0])
                    loaded = up.plan(now[1], plans.forecast(away.steps))
                    return plans.Plan.compose({"down": away, "up": loaded})

                def result(self, now):
                    return {}

            with host.Host() as on:
                return converge.converge(on, Swap(), False)

    yield Lab()
    sys.path.remove(str(collections))


@pytest.fixture
def netns(sandbox_ns, run_module):
    name = sandbox_ns()
    subprocess.run(["ip", "-n", name, "link", "add", "veth1", "type", "veth", "peer", "name", "vpeer1"], check=True)
    yield name
    shutil.rmtree(PINS, ignore_errors=True)


def test_one_plan_up_again_and_down(lab, netns, tmp_path, journal):
    shutil.copy(ROOT / "files/bpf/xdp_pass.c", tmp_path / "x.c")
    chain = lab.chain(tmp_path, netns)
    predicted = chain.run(check=True)
    applied = chain.run()
    assert applied["changed"]
    assert applied["steps"] == predicted["steps"]
    assert applied["diff"] == predicted["diff"]
    assert applied["program"]["name"] == "xdp_allow"
    again = chain.run()
    assert not again["changed"]
    assert again["program"] == applied["program"]
    source = (tmp_path / "x.c").read_text()
    (tmp_path / "x.c").write_text(source.replace("return XDP_PASS;", "return XDP_TX;"))
    changed = chain.run()
    assert [step.split()[0] for step in changed["steps"]] == ["compile", "put", "load", "attach"]
    assert changed["program"]["tag"] != applied["program"]["tag"]
    down = lab.chain(tmp_path, netns, "absent")
    assert [step.split()[0] for step in down.run()["steps"]] == ["detach", "unpin", "remove", "remove"]
    assert journal() == {}
    assert not os.path.exists(PINS)
    assert not down.run()["changed"]


def test_a_refusal_takes_all_of_it_back(lab, netns, tmp_path, journal):
    source = (ROOT / "files/bpf/xdp_pass.c").read_text()
    (tmp_path / "x.c").write_text(source)
    chain = lab.chain(tmp_path, netns)
    first = chain.run()
    before, built = journal(), (tmp_path / "x.o").read_bytes()
    bad = source.replace("return XDP_PASS;", "return *(char *)(long)ctx->data;")
    (tmp_path / "x.c").write_text(bad)
    with pytest.raises(lab.LabError, match="invalid access to packet"):
        chain.run()
    assert (tmp_path / "x.o").read_bytes() == built, "the object is the old one again"
    assert journal() == before
    (tmp_path / "x.c").write_text(source)
    again = chain.run()
    assert not again["changed"]
    assert again["program"] == first["program"]


def test_an_interface_that_is_not_there_takes_all_of_it_back(lab, sandbox_ns, tmp_path, journal, run_module):
    shutil.copy(ROOT / "files/bpf/xdp_pass.c", tmp_path / "x.c")
    with pytest.raises(lab.LabError, match="there is no veth1 in the namespace"):
        lab.chain(tmp_path, sandbox_ns()).run()
    assert not (tmp_path / "x.o").exists()
    assert not os.path.exists(PINS)
    assert journal() == {}


def test_one_plan_swaps_objects_whose_programs_have_one_name(lab, run_module, tmp_path, journal):
    source = (ROOT / "files/bpf/xdp_pass.c").read_text()
    for name, text in (("a", source), ("b", source.replace("return XDP_PASS;", "return XDP_TX;"))):
        (tmp_path / f"{name}.c").write_text(text)
        run_module("bpf_object", src=f"{tmp_path}/{name}.c", dest=f"{tmp_path}/{name}.o")
    run_module("bpf_program", object=f"{tmp_path}/a.o", pin_path=PINS)
    first = journal()[f"pin:{PINS}/xdp_allow"]["value"]
    lab.swap(f"{tmp_path}/a.o", f"{tmp_path}/b.o")
    second = journal()[f"pin:{PINS}/xdp_allow"]["value"]
    assert second["object"] == f"{tmp_path}/b.o"
    assert second["id"] != first["id"]
    assert not run_module("bpf_program", object=f"{tmp_path}/b.o", pin_path=PINS)["changed"]
    run_module("bpf_program", pin_path=PINS, state="absent")
    assert not os.path.exists(PINS)
    assert not any(key.startswith(("pin:", "dir:")) for key in journal())
