# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values to bytes and back, for any type that can be written; and what kinds of input are refused."""

from __future__ import annotations

import struct
import typing as t

import pytest
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.map.codec import Bytes, Device, Number, Typed, summed
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.map.layout import Shape
from ansible_collections.ebpf.lab.plugins.module_utils._bpf.map.new import Builder, NewMap
from ansible_collections.ebpf.lab.plugins.module_utils._core.errors import BadInput
from ansible_collections.ebpf.lab.plugins.module_utils._kernel.btf import Btf
from ansible_collections.ebpf.lab.plugins.module_utils._kernel.syscall import MapInfo
from hypothesis import given
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


def typed(written: t.Any) -> Typed:
    builder = Builder()
    laid = builder.add("type", written)
    return Typed(Btf(builder.blob()), laid.number, laid.size)


@given(typed_values())
def test_any_value_of_any_type_comes_back(pair: tuple[t.Any, t.Any]) -> None:
    written, value = pair
    codec = typed(written)
    raw = codec.encode("value", value)
    assert len(raw) == codec.size and codec.decode(raw) == value


@given(TYPES.flatmap(lambda pair: st.just(pair[0])), st.randoms(use_true_random=False))
def test_any_bytes_can_be_shown_and_written_back(written: t.Any, random: t.Any) -> None:
    codec = typed(written)
    raw = bytes(random.randrange(256) for _ in range(codec.size))
    shown = codec.decode(raw)
    again = codec.encode("value", shown)
    assert codec.decode(again) == shown  # padding may differ, and nothing else


def test_structs_are_laid_out_as_c_does_it() -> None:
    codec = typed({"a": "u8", "b": "u64", "c": "u16[3]", "d": {"e": "u8", "f": "u32"}, "g": "char[3]"})
    value = {"a": 1, "b": 2, "c": [3, 4, 5], "d": {"e": 6, "f": 7}, "g": "hi"}
    want = struct.pack("@BQ3H2xB3xI3s", 1, 2, 3, 4, 5, 6, 7, b"hi")
    assert codec.encode("value", value) == want.ljust(40, b"\0")


@given(st.binary(min_size=1, max_size=40))
def test_bytes_come_back(raw: bytes) -> None:
    codec = Bytes(len(raw))
    assert codec.encode("key", codec.decode(raw)) == raw == codec.encode("key", list(raw))
    assert codec.encode("key", "0x" + raw.hex()) == raw == codec.encode("key", raw.hex(":"))


def shape(kind: str, key: int, value: int, cpus: int = 0, codec: t.Any = None) -> Shape:
    info = MapInfo(1, kind, "m", key, value, 8, 0, 0, 0, 0)
    return Shape("m", info, Bytes(key), codec or Number(value), cpus)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=9))
def test_per_cpu_values_and_their_sum(values: list[int]) -> None:
    found = shape("percpu_array", 4, 4, len(values))
    raw = found.encode_value("value", values)
    assert len(raw) == 8 * len(values) and found.decode_value(raw) == values
    assert found.decode_value(raw, sum_per_cpu=True) == sum(values)
    assert found.decode_value(found.encode_value("value", 7)) == [7] * len(values)


@given(st.binary(min_size=4, max_size=4), st.integers(0, 32))
def test_a_tries_keys_are_compared_by_their_prefix(address: bytes, prefix: int) -> None:
    found = shape("lpm_trie", 8, 1)
    key = found.canonical(struct.pack("=I", prefix) + address)
    number = int.from_bytes(key[4:], "big")
    assert key[:4] == struct.pack("=I", prefix)
    assert number >> (32 - prefix) == int.from_bytes(address, "big") >> (32 - prefix)
    assert number & ((1 << (32 - prefix)) - 1) == 0
    assert found.canonical(key) == key


def test_sums_of_structs_and_text() -> None:
    codec = typed({"n": "u32", "pair": "u8[2]", "name": "char[4]"})
    raws = [codec.encode("v", {"n": n, "pair": [n, 1], "name": "x"}) for n in (1, 2, 3)]
    assert summed(codec, raws) == {"n": 6, "pair": [6, 3], "name": "x"}
    with pytest.raises(BadInput, match="no sum for 3 bytes"):
        summed(Bytes(3), [b"abc"])


def test_devices() -> None:
    assert Device(4).decode(Device(4).encode("v", 3)) == 3
    assert Device(8).decode(Device(8).encode("v", 3)) == {"ifindex": 3, "program": 0}
    assert Device(8).decode(Device(8).encode("v", {"ifindex": 3, "program": 9})) == {"ifindex": 3, "program": 9}


@pytest.mark.parametrize(
    ("written", "value", "words"),
    [
        ("u8", 256, "value: 256 does not fit into 1 byte; give an integer from 0 to 255"),
        ("s16", "ten", "value: 'ten' is not an integer"),
        ("u8[2]", [1], "value: .* has 1 elements; give a list of 2"),
        ("u8[2]", [1, 300], r"value\[1\]: 300 does not fit"),
        ("char[2]", "abc", "has 3 bytes"),
        ({"a": "u8", "b": {"c": "u8"}}, {"a": 1, "b": {"d": 1}}, r"value\.b\.d: 1 is no member"),
        ({"a": "u8"}, {}, "lacks a"),
        ({"a": "u8"}, 5, "is not a dictionary; give a dictionary with a"),
    ],
)
def test_a_value_that_does_not_fit_says_where(written: t.Any, value: t.Any, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        typed(written).encode("value", value)


@pytest.mark.parametrize("written", ["int", "u7", "u8[0]", "u8[]", {}, [], 5, None, {"a b": "u8"}, {"a": "u9"}])
def test_a_type_that_is_none(written: t.Any) -> None:
    with pytest.raises(BadInput):
        typed(written)


def test_sizes_that_the_kernel_fixes() -> None:
    new = NewMap.from_params({"type": "array", "value_type": "u64", "max_entries": 2}, "my.map-name-that-is-long")
    assert (new.key_size, new.value_size, new.name, new.btf) == (4, 8, "my_map_name_tha", b"")
    assert NewMap.from_params({"type": "lpm_trie", "key_size": 8, "value_size": 1, "max_entries": 2}, "t").flags == 1
