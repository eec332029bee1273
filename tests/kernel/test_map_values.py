# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Any value of any type through a real map: what the kernel takes and gives back, and what bpftool makes of it."""

from __future__ import annotations

import json
import subprocess
import typing as t
import uuid

from ansible_collections.ebpf.lab.plugins.module_utils._bpf.map.entries import Map
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.map.new import NewMap
from ansible_collections.ebpf.lab.plugins.module_utils._kernel import syscall
from hypothesis import given, settings
from hypothesis import strategies as st


def scalars() -> st.SearchStrategy[tuple[t.Any, st.SearchStrategy[t.Any]]]:
    """A type as written in YAML, with the values that it has."""
    integers = [
        (f"{sign}{bits}", st.integers(-(1 << bits - 1) if sign == "s" else 0, (1 << bits - (sign == "s")) - 1))
        for sign in "us"
        for bits in (8, 16, 32, 64)
    ]
    return st.sampled_from([*integers, ("bool", st.booleans())])


def arrays(of: t.Any) -> st.SearchStrategy[tuple[t.Any, st.SearchStrategy[t.Any]]]:
    def make(drawn: t.Any) -> tuple[t.Any, st.SearchStrategy[t.Any]]:
        (name, values), length = drawn
        return f"{name}[{length}]", st.lists(values, min_size=length, max_size=length)

    text = st.text("abcXYZ 019-_:/", max_size=8)
    return st.tuples(of, st.integers(1, 5)).map(make) | st.just(("char[8]", text))


def structs(of: t.Any) -> st.SearchStrategy[tuple[t.Any, st.SearchStrategy[t.Any]]]:
    def make(members: dict[str, t.Any]) -> tuple[t.Any, st.SearchStrategy[t.Any]]:
        types = {name: member[0] for name, member in members.items()}
        return types, st.fixed_dictionaries({name: member[1] for name, member in members.items()})

    return st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_]{0,9}", fullmatch=True), of, min_size=1, max_size=5).map(make)


TYPES = st.recursive(scalars() | arrays(scalars()), structs, max_leaves=8)


@st.composite
def typed_values(draw: t.Any) -> tuple[t.Any, t.Any]:
    written, values = draw(TYPES)
    return written, draw(values)


@settings(max_examples=150, deadline=None)
@given(typed_values(), typed_values())
def test_through_the_kernel(key: tuple[t.Any, t.Any], value: tuple[t.Any, t.Any]) -> None:
    params = {"type": "hash", "key_type": key[0], "value_type": value[0], "max_entries": 4}
    with Map(NewMap.from_params(params, "through").create(), "a map of the test") as opened:
        raw = opened.shape.encode_key("key", key[1])
        assert opened.lookup(raw) is None
        opened.update(raw, opened.shape.encode_value("value", value[1]))
        ((found_key, found_value),) = opened.items(4)
        assert opened.shape.key.decode(found_key) == key[1]
        assert opened.shape.decode_value(found_value) == value[1]
        opened.delete(raw)
        assert opened.items(4) == []


@settings(max_examples=25, deadline=None)
@given(typed_values())
def test_bpftool_reads_the_same(value: tuple[t.Any, t.Any]) -> None:
    path = f"/sys/fs/bpf/t{uuid.uuid4().hex[:12]}"
    params = {"type": "array", "key_type": "u32", "value_type": value[0], "max_entries": 1}
    with Map(NewMap.from_params(params, "same").create(), path) as opened:
        opened.update(bytes(4), opened.shape.encode_value("value", value[1]))
        syscall.pin(opened.handle.fd, path)
        try:
            argv = ["bpftool", "-j", "map", "dump", "pinned", path]
            said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        finally:
            subprocess.run(["rm", path], check=True)
    (entry,) = json.loads(said)
    assert same(value[1], entry["formatted"]["value"])


def same(ours: t.Any, theirs: t.Any) -> bool:
    """Whether bpftool prints the same; an array of char that is empty or full it prints as numbers."""
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(same(ours[name], theirs[name]) for name in ours)
    if isinstance(ours, str) and isinstance(theirs, list):
        return bytes(theirs).rstrip(b"\0") == ours.encode()
    return bool(ours == theirs)
