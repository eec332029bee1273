# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a check expects: a value, or comparisons such as ``{at_least: 3}``. Pure functions over plain types."""

from __future__ import annotations

import difflib
import re
import typing as t
from dataclasses import dataclass

from .plain import shown

TEXT = 100_000  # characters of a machine's text that a regular expression gets to see


class MalformedExpectation(ValueError):
    """An ``expect`` that says nothing sensible; the message tells what would be right."""


@dataclass(frozen=True)
class Found:
    """A query's answer. ``there``: what it looks into is there. ``whole``: so is each member of what it puts together.

    Facts that were not gathered meet no expectation at all, so they do not come here.
    """

    value: t.Any
    there: bool = True
    whole: bool = True

    @property
    def empty(self) -> bool:
        """Nothing: a filter that nothing passes answers with an empty list, a missing key with null."""
        return not self.there or self.value is None or self.value == [] or self.value == {}


@dataclass(frozen=True)
class Expectation:
    """``text`` says in words what is expected, ``holds`` whether an answer is that."""

    text: str
    holds: t.Callable[[Found], bool]


def _value(text: str, holds: t.Callable[[t.Any], bool]) -> Expectation:
    """An expectation of a value, which has to be there: absent, it is not so much as different or small."""
    return Expectation(text, lambda found: found.there and found.value is not None and holds(found.value))


def same(one: t.Any, other: t.Any) -> bool:
    """Equality as in JSON: 1 equals 1.0 and neither equals true, at any depth."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other))
    return bool(one == other)


def is_number(value: t.Any) -> bool:
    """Whether a plain value is a number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _at_least(want: t.Any) -> Expectation:
    if not is_number(want):
        raise MalformedExpectation(f"at_least: {shown(want)} is no number; write one, as in {{at_least: 3}}")
    return _value(f"at least {shown(want)}", lambda found: is_number(found) and found >= want)


def _at_most(want: t.Any) -> Expectation:
    if not is_number(want):
        raise MalformedExpectation(f"at_most: {shown(want)} is no number; write one, as in {{at_most: 3}}")
    return _value(f"at most {shown(want)}", lambda found: is_number(found) and found <= want)


def _matches(want: t.Any) -> Expectation:
    if not isinstance(want, str):
        raise MalformedExpectation(f"matches: {shown(want)} is no text; write a regular expression in quotes")
    try:
        pattern = re.compile(want)
    except (re.error, RecursionError, OverflowError) as error:
        raise MalformedExpectation(
            f"matches: {want!r} is no regular expression: {error}; "
            "put a backslash before a character that stands for itself"
        ) from None

    def holds(found: t.Any) -> bool:
        text = shown(found) if is_number(found) else found
        return isinstance(text, str) and pattern.search(text[:TEXT]) is not None

    return _value(f"text that matches {want}", holds)


def _contains(want: t.Any) -> Expectation:
    def holds(found: t.Any) -> bool:
        if isinstance(found, (str, dict)):
            return isinstance(want, str) and want in found
        return isinstance(found, list) and any(same(item, want) for item in found)

    return _value(f"something that contains {shown(want)}", holds)


def _absent(want: t.Any) -> Expectation:
    if not isinstance(want, bool):
        raise MalformedExpectation(f"absent: {shown(want)} is neither true nor false; write {{absent: true}}")
    if want:
        return Expectation("nothing", lambda found: found.empty)
    return Expectation("something", lambda found: found.whole and not found.empty)


def _not(want: t.Any) -> Expectation:
    inner = parse_expectation(want)

    def holds(found: Found) -> bool:
        return found.there and found.whole and found.value is not None and not inner.holds(found)

    return Expectation(f"not {inner.text}", holds)


COMPARISONS: dict[str, t.Callable[[t.Any], Expectation]] = {
    "at_least": _at_least,
    "at_most": _at_most,
    "matches": _matches,
    "contains": _contains,
    "absent": _absent,
    "not": _not,
}


def parse_expectation(expect: t.Any) -> Expectation:
    """Read a plain ``expect``: a mapping of comparisons, which all have to hold, or any other value to be equal to.

    Raises MalformedExpectation, also for a mapping with both comparisons and other keys.
    """
    if not isinstance(expect, dict) or not (expect.keys() & COMPARISONS.keys()):
        if isinstance(expect, dict) and len(expect) == 1:
            (key,) = expect
            near = difflib.get_close_matches(key, COMPARISONS, 1, 0.7)
            if near:
                raise MalformedExpectation(f"{key}: is no comparison; did you mean {near[0]}?")
        if expect is None:  # the same in other words
            return _absent(True)
        return _value(shown(expect), lambda found: same(found, expect))
    for key in expect:
        if key not in COMPARISONS:
            raise MalformedExpectation(f"{key}: is no comparison; there are {', '.join(COMPARISONS)}")
    parts = [COMPARISONS[key](want) for key, want in expect.items()]
    return Expectation(
        " and ".join(part.text for part in parts), lambda found: all(part.holds(found) for part in parts)
    )
