# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab file: its sections, what may stand in them, and errors that name the file, the place and what is right.

The values are checked with Ansible's own argument validator, against the same option specs that the modules have, so
a section of a lab file takes exactly what the module of that section takes.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from .._bpf.pin.folders import check_pin_path
from .._core.errors import BadInput, LabError, brief
from .._core.options import STUMBLES, culprit
from .._net import names
from .._net.topology.options import topology, topology_options
from .._net.topology.state import Want
from .specs import (
    ATTACHMENT,
    CHECK,
    FILTER,
    HOST_NETWORK,
    LAB,
    MAP,
    OBJECT,
    PROGRAM,
    REFUSED,
    STAGE,
    TRAFFIC,
    Spec,
)

NAME = re.compile(r"[a-z][a-z0-9_]*")
EVERY_STAGE = "all"  # in the place of a stage's name: each of them, when grading
WORK_FOLDER = "/usr/local/src/ebpf.lab"


class BadLab(LabError):
    """A lab file that cannot be right: the sentence names the file and the place in it."""

    def __init__(self, file: str, where: str, why: str) -> None:
        said = brief(f"{where}: {why}" if where else why)
        super().__init__(f"{file}: {said}", file=file, where=brief(where))


@dataclass(frozen=True)
class Stage:
    """One state of the exercise; each list holds dictionaries with the keys of its spec above."""

    name: str
    title: str
    programs: tuple[dict[str, t.Any], ...] = ()
    attachments: tuple[dict[str, t.Any], ...] = ()
    filters: tuple[dict[str, t.Any], ...] = ()
    maps: tuple[dict[str, t.Any], ...] = ()
    trace: bool = False
    refused: tuple[dict[str, t.Any], ...] = ()
    traffic: tuple[dict[str, t.Any], ...] = ()
    checks: tuple[dict[str, t.Any], ...] = ()

    @property
    def objects(self) -> list[str]:
        """The names of the objects that this stage needs compiled, in order."""
        return list(dict.fromkeys(entry["object"] for entry in (*self.programs, *self.refused)))

    @property
    def max_points(self) -> int:
        """What its checks are worth together."""
        return sum(entry["points"] for entry in self.checks)


@dataclass(frozen=True)
class Lab:
    """A checked lab file."""

    file: str
    name: str
    title: str
    pin_path: str
    default_stage: str
    topology: Want
    host_network: t.Mapping[str, t.Any] = field(default_factory=dict)
    objects: t.Mapping[str, dict[str, t.Any]] = field(default_factory=dict)
    headers: tuple[str, ...] = ()
    stages: tuple[Stage, ...] = ()

    @property
    def folder(self) -> str:
        """Where the lab's sources and objects are on a host."""
        return f"{WORK_FOLDER}/{self.name}"

    @property
    def sources(self) -> list[str]:
        """The source files that the lab needs, by their plain names."""
        return list(dict.fromkeys([*(entry["source"] for entry in self.objects.values()), *self.headers]))

    def object_path(self, name: str) -> str:
        """Where an object of the lab is on a host."""
        return f"{self.folder}/{name}.o"

    def stage(self, name: str = "") -> Stage:
        """The stage of that name, or the default one for "". Raises BadInput."""
        wanted = name or self.default_stage
        for stage in self.stages:
            if stage.name == wanted:
                return stage
        known = ", ".join(stage.name for stage in self.stages)
        raise BadInput("stage", name, f"is no stage of the lab {self.name}", f"it has {known}")


def parse(content: t.Any, file: str) -> Lab:
    """Check a lab file's content (plain YAML types) and bring it to one form. Raises BadLab."""
    if not isinstance(content, dict):
        raise BadLab(file, "", "this is no lab: a lab file is a mapping with name, topology, objects and stages.")
    top = _checked(file, "", content, LAB)
    _name(file, "name", top["name"])
    objects = {}
    for name, value in top["objects"].items():
        where = f"objects.{name}"
        _name(file, where, name)
        objects[name] = _checked(file, where, value, OBJECT)
        _plain_file(file, f"{where}.source", objects[name]["source"])
    for place, header in enumerate(top["headers"]):
        _plain_file(file, f"headers[{place}]", header)
    try:
        want = topology(_checked(file, "topology", top["topology"], topology_options()))
    except BadInput as error:
        raise BadLab(file, "topology", str(error)) from error
    if not top["stages"]:
        raise BadLab(file, "stages", "there is no stage; a lab has at least one.")
    stages = tuple(_stage(file, f"stages[{place}]", value, objects) for place, value in enumerate(top["stages"]))
    _no_twins(file, "stages", [stage.name for stage in stages])
    default = top["default_stage"] or stages[0].name
    if default not in {stage.name for stage in stages}:
        known = ", ".join(stage.name for stage in stages)
        raise BadLab(file, "default_stage", f"{default!r} is no stage of this lab; it has {known}.")
    return Lab(
        file=file,
        name=top["name"],
        title=top["title"],
        pin_path=_pin_path(file, top["pin_path"]),
        default_stage=default,
        topology=want,
        host_network=_checked(file, "host_network", top["host_network"], HOST_NETWORK),
        objects=objects,
        headers=tuple(top["headers"]),
        stages=stages,
    )


def _stage(file: str, where: str, value: t.Any, objects: t.Mapping[str, t.Any]) -> Stage:
    top = _checked(file, where, value, STAGE)
    _name(file, f"{where}.name", top["name"])
    if top["name"] == EVERY_STAGE:
        raise BadLab(file, f"{where}.name", f"{EVERY_STAGE!r} stands for every stage; give this one another name.")
    where = f"stages.{top['name']}"
    specs = {
        "programs": PROGRAM,
        "attachments": ATTACHMENT,
        "filters": FILTER,
        "maps": MAP,
        "refused": REFUSED,
        "traffic": TRAFFIC,
        "checks": CHECK,
    }
    parts = {
        part: tuple(_checked(file, f"{where}.{part}[{place}]", entry, spec) for place, entry in enumerate(top[part]))
        for part, spec in specs.items()
    }
    for part in ("programs", "refused"):
        for place, entry in enumerate(parts[part]):
            if entry["object"] not in objects:
                known = ", ".join(objects) or "none"
                why = f"{entry['object']!r} is not among the objects; there are {known}."
                raise BadLab(file, f"{where}.{part}[{place}].object", why)
    for part in ("traffic", "checks"):
        _no_twins(file, f"{where}.{part}", [entry["name"] for entry in parts[part]])
    for part in ("attachments", "filters", "maps", "traffic"):
        for place, entry in enumerate(parts[part]):
            _place(file, f"{where}.{part}[{place}]", entry)
    slots = [f"{entry['interface']} {entry['netns']}".strip() for entry in parts["attachments"]]
    _no_twins(file, f"{where}.attachments", slots, "the interface", "it runs one program at a time")
    for place, entry in enumerate(parts["traffic"]):
        _traffic(file, f"{where}.traffic[{place}]", entry)
    for place, entry in enumerate(parts["checks"]):
        if entry["points"] < 0:
            raise BadLab(file, f"{where}.checks[{place}].points", f"{entry['points']} is negative; use 0 or more.")
    return Stage(name=top["name"], title=top["title"], trace=top["trace"], **parts)


def _place(file: str, where: str, entry: t.Mapping[str, t.Any]) -> None:
    """The interface and the namespace of an entry, as far as it has them."""
    try:
        if entry.get("interface") is not None:
            names.interface_name("interface", entry["interface"])
        names.netns_place("netns", entry["netns"])
    except BadInput as error:
        raise BadLab(file, where, str(error)) from error


def _traffic(file: str, where: str, entry: t.Mapping[str, t.Any]) -> None:
    try:
        names.ip("to", entry["to"])
    except BadInput as error:
        raise BadLab(file, where, str(error)) from error
    for key, least, most in (("count", 1, 1000), ("interval", 0.002, 10), ("timeout", 0.01, 60), ("port", 1, 65535)):
        if not least <= entry[key] <= most:
            raise BadLab(file, f"{where}.{key}", f"{entry[key]:g} is out of range; use {least:g} to {most:g}.")


def _pin_path(file: str, path: str) -> str:
    try:
        return check_pin_path("pin_path", path)
    except BadInput as error:
        raise BadLab(file, "", str(error)) from error


def _checked(file: str, where: str, value: t.Any, spec: Spec) -> dict[str, t.Any]:
    """``value`` with defaults filled in and types made right, or BadLab with what the validator says."""
    if not isinstance(value, dict):
        raise BadLab(file, where, f"{value!r} is not a mapping; its keys can be {', '.join(spec)}.")
    unknown = [str(key) for key in value if key not in spec]
    if unknown:
        raise BadLab(file, where, f"there is no key {unknown[0]!r} here; there are {', '.join(spec)}.")
    try:
        result = ArgumentSpecValidator(dict(spec)).validate(value)
    except STUMBLES as error:
        key = culprit(spec, value)
        place = f"{where}.{key}" if where and key else where or key
        raise BadLab(file, place, f"this value does not fit: {error}.") from error
    if result.error_messages:
        raise BadLab(file, where, _plainly(result.error_messages[0]))
    checked: dict[str, t.Any] = result.validated_parameters
    return checked


def _plainly(message: str) -> str:
    """The validator's message without its Python words."""
    unknown = re.match(r"(?P<where>.*)\.(?P<key>[^.]*)\. Supported parameters include: (?P<known>.*)", message)
    if unknown:
        return f"there is no key {unknown['key']!r} in {unknown['where']}; there are {unknown['known'].rstrip('.')}."
    kind = re.match(r"(?P<what>.*?) is of type (?P<is>\w+) and we were unable to convert to (?P<wanted>\w+)", message)
    if kind:
        words = {"dict": "mapping", "str": "text", "int": "number", "NoneType": "nothing", "bool": "true or false"}
        found, wanted = (words.get(kind[name], kind[name]) for name in ("is", "wanted"))
        return f"{kind['what']} is {found}, where {wanted} is needed."
    return f"{message.rstrip('.')}."


def _name(file: str, where: str, name: t.Any) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise BadLab(file, where, f"{name!r} is no name; use small letters, digits and '_', as in xdp_hello.")


def _plain_file(file: str, where: str, name: str) -> None:
    if "/" in name or name in ("", ".", ".."):
        raise BadLab(file, where, f"{name!r} is no plain file name; write it as xdp_pass.c.")


def _no_twins(
    file: str, where: str, names: t.Sequence[str], what: str = "the name", right: str = "give each its own"
) -> None:
    for place, name in enumerate(names):
        if name in names[:place]:
            raise BadLab(file, where, f"{what} {name!r} is there twice; {right}.")
