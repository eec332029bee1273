# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Grade a machine: JMESPath queries over its facts, each compared with what the lab file expects.

Runs on the control node, where jmespath is. A check that cannot be read is an error of the lab file, and its result
says which key is wrong; whatever a machine reported only makes a check pass or fail. What is not there passes no check,
and on a machine on which nobody has begun none passes at all.
"""

from __future__ import annotations

import difflib
import typing as t
from collections.abc import Mapping

from .expectations import Expectation, Found, MalformedExpectation, parse_expectation
from .plain import plain, shown, visible

try:
    import jmespath
    import jmespath.exceptions
    import jmespath.functions

    from .queries import Look

    JMESPATH_ERROR: t.Optional[ImportError] = None
except ImportError as error:
    JMESPATH_ERROR = error

# What a query may start from; see the documentation of the module ebpf.lab.lab.
FACTS = (
    "stage lab namespaces interfaces programs attachments maps objects traffic trace refusals host_network kernel "
    "machine"
).split()
# A lab's own things among the facts.
THINGS = ("namespaces", "interfaces", "programs", "attachments", "maps", "objects")
KEYS = ("name", "query", "expect", "hint", "points")


class MalformedQuery(ValueError):
    """A query that is no JMESPath; the message says where it goes wrong and what would be right."""


class QueryFailed(ValueError):
    """A query that is well formed and does not fit the data, as ``length(x)`` where x is nothing."""


def require_jmespath() -> None:
    """Raise ImportError with a sentence that says how to get the library."""
    if JMESPATH_ERROR is not None:
        raise ImportError(
            "Checks need the Python library jmespath on the control node, beside ansible-core: "
            "install it with pip install jmespath."
        ) from JMESPATH_ERROR


def compile_query(query: t.Any) -> t.Any:
    """The parsed query. Raises MalformedQuery."""
    require_jmespath()
    if not isinstance(query, str) or not query.strip():
        raise MalformedQuery(f"{shown(plain(query))} is no query; write JMESPath such as interfaces[0].name")
    try:
        compiled = jmespath.compile(str.__str__(query))
    except jmespath.exceptions.ParseError as error:
        # Its own text draws a picture over several lines; position and token are enough for one sentence.
        position = min(max(error.lex_position, 0), len(query))
        rest = query[position : position + 20]
        where = f"at {rest!r} (character {position + 1})" if rest else "at its end"
        raise MalformedQuery(
            f"{query!r} is no JMESPath {where}; "
            "text stands in single quotes, numbers in backquotes, and each bracket closes"
        ) from None
    except Exception as error:
        # The lexer lets other errors through, for example json's for a literal in backquotes.
        raise MalformedQuery(f"{query!r} is no JMESPath: {error}; see jmespath.org for how to write it") from None
    _check_functions(query, compiled.parsed)
    return compiled


def _check_functions(query: str, node: t.Any) -> None:
    """Raise MalformedQuery for a function that is not there, or has another number of arguments."""
    if node["type"] == "function_expression":
        name, given = node["value"], len(node["children"])
        known = jmespath.functions.Functions.FUNCTION_TABLE
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            right = f"did you mean {near[0]}()?" if near else f"there are {', '.join(sorted(known))}"
            raise MalformedQuery(f"{query!r} calls {name}(), which JMESPath does not have; {right}")
        signature = known[name]["signature"]
        variadic = bool(signature and signature[-1].get("variadic"))
        if given < len(signature) or (given > len(signature) and not variadic):
            least = "at least " if variadic else ""
            raise MalformedQuery(f"{query!r} gives {name}() {given} arguments; it takes {least}{len(signature)}")
    for child in node.get("children", ()):
        if isinstance(child, dict):
            _check_functions(query, child)


def search(query: t.Any, data: t.Any) -> t.Any:
    """The answer to a JMESPath query over ``data``, both brought to plain types first.

    Raises MalformedQuery, QueryFailed, and ImportError where jmespath is missing.
    """
    data = plain(data)
    return _visit(Look(data), compile_query(query), data)


def _visit(look: Look, compiled: t.Any, data: t.Any) -> t.Any:
    try:
        return plain(look.visit(compiled.parsed, data))
    except jmespath.exceptions.JMESPathTypeError as error:
        wanted = " or ".join(error.expected_types)
        raise QueryFailed(f"{error.function_name}() needs {wanted} and was given {error.actual_type}") from None
    except Exception as error:
        # Not only its own errors: ceil(infinity) is an OverflowError, for example. The data may be anything.
        raise QueryFailed(visible(f"{type(error).__name__}: {error}", 300)) from None


def started(facts: t.Any) -> bool:
    """Whether somebody has begun on this machine: its record names a stage, or any of the lab's own things is there.

    A machine that lies about it has its checks evaluated like any other, or none.
    """
    facts = facts if isinstance(facts, Mapping) else {}
    machine = facts.get("machine")
    if not isinstance(machine, Mapping) or machine.get("stage") != "":
        return True
    return any(facts.get(kind) for kind in THINGS)


def evaluate(
    checks: t.Sequence[t.Mapping[str, t.Any]], facts: t.Any, begun: t.Optional[bool] = None
) -> list[dict[str, t.Any]]:
    """Grade each check: ``name, passed, points, max_points, expected, found, hint, error``, in the order given.

    Where nobody has ``begun`` (None: as ``started`` says), none passes. ``expected`` and ``found`` are short texts with
    nothing invisible in them. ``error`` is None or one sentence: the check itself is malformed, or its query does not
    fit what the machine reported. Never raises for what is in ``facts`` or ``checks``; ImportError where jmespath is
    missing.
    """
    require_jmespath()
    data = plain(facts) if isinstance(facts, Mapping) else {}
    begun = started(data) if begun is None else begun
    return [_evaluate(plain(check), data, number, begun) for number, check in enumerate(checks, 1)]


def _evaluate(check: t.Any, data: t.Any, number: int, begun: bool) -> dict[str, t.Any]:
    check = check if isinstance(check, dict) else {}
    name = check.get("name")
    name = visible(name, 200) if isinstance(name, str) and name else f"check {number}"
    hint = check.get("hint")
    points = check.get("points", 1)
    result: dict[str, t.Any] = {
        "name": name,
        "passed": False,
        "points": 0,
        "max_points": points if _is_points(points) else 0,
        "expected": "",
        "found": "",
        "hint": visible(hint, keep="\n") if isinstance(hint, str) else "",
        "error": None,
    }
    sentences = _validate(check, f"check {name!r}", known=None)
    if sentences:
        result["error"] = sentences[0]
        return result
    expectation: Expectation = parse_expectation(check["expect"])
    result["expected"] = visible(expectation.text)
    look = Look(data)
    try:
        found = Found(_visit(look, compile_query(check["query"]), data), look.there, look.whole)
    except QueryFailed as error:
        found = Found(None, False)
        if not look.unknown:
            result["error"] = f"check {name!r}: the query does not fit what the machine reported: {error}."
    result["found"] = shown(found.value if found.there else None)
    if look.unknown:
        result["found"] = visible(f"nothing (not gathered: {look.unknown[0]})")
    elif begun and not result["error"] and expectation.holds(found):
        result.update(passed=True, points=result["max_points"])
    return result


def _is_points(value: t.Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1_000_000


def validate_checks(checks: t.Any, where: str = "checks", known: t.Optional[t.Collection[str]] = None) -> list[str]:
    """What is wrong with a lab file's checks, a sentence each: the key, the value, what would be right.

    ``known`` names the facts that a query may start from (None: ``FACTS``).
    """
    require_jmespath()
    checks = plain(checks)
    if not isinstance(checks, list):
        return [
            f"{where}: {shown(checks)} is no list; write one check after another, each with name, query and expect."
        ]
    sentences = []
    names: dict[str, int] = {}
    for number, check in enumerate(checks):
        at = f"{where}[{number}]"
        sentences += _validate(check, at, FACTS if known is None else known)
        name = check.get("name") if isinstance(check, dict) else None
        if isinstance(name, str):
            if name in names:
                sentences.append(
                    f"{at}.name: {name!r} is also the name of {where}[{names[name]}]; give each check its own."
                )
            names.setdefault(name, number)
    return sentences


def _validate(check: t.Any, at: str, known: t.Optional[t.Collection[str]]) -> list[str]:
    if not isinstance(check, dict):
        return [f"{at}: {shown(check)} is no check; write a mapping with name, query and expect."]
    sentences = []
    for key in check:
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, 1)
            right = f"did you mean {near[0]}?" if near else f"there are {', '.join(KEYS)}."
            sentences.append(f"{at}.{visible(key, 60)}: is no key of a check; {right}")
    name = check.get("name")
    if not isinstance(name, str) or not name.strip():
        sentences.append(f"{at}.name: {shown(name)} is no name; write what is checked, in words the student reads.")
    try:
        compiled = compile_query(check.get("query"))
    except MalformedQuery as error:
        sentences.append(_sentence(f"{at}.query: {error}"))
    else:
        sentences += [
            _sentence(f"{at}.query: {check['query']!r} starts from {fact!r}, which is no fact; {_near(fact, known)}")
            for fact in (sorted(starts(compiled.parsed) - set(known)) if known is not None else ())
        ]
    if "expect" not in check:
        sentences.append(f"{at}.expect: is missing; write the value, or a comparison such as {{at_least: 3}}.")
    else:
        try:
            parse_expectation(check["expect"])
        except MalformedExpectation as error:
            sentences.append(_sentence(f"{at}.expect: {error}"))
    if not isinstance(check.get("hint", ""), str):
        sentences.append(f"{at}.hint: {shown(check['hint'])} is no text; write what the student should look at.")
    if not _is_points(check.get("points", 1)):
        sentences.append(f"{at}.points: {shown(check['points'])} is no number of points; write 0 or more.")
    return sentences


def _sentence(text: str) -> str:
    return text if text.endswith("?") else f"{text}."


def _near(fact: str, known: t.Optional[t.Collection[str]]) -> str:
    near = difflib.get_close_matches(fact, known or (), 1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known or ())}"


def starts(node: t.Any) -> set[str]:
    """The top-level keys that a parsed query reads."""
    kind, children = node["type"], node.get("children", [])
    if kind == "field":
        return {node["value"]}
    # Of these the first part alone sees the facts; what follows sees what the first part found.
    if kind in ("subexpression", "index_expression", "pipe", "projection", "value_projection", "filter_projection"):
        return starts(children[0])
    if kind in ("flatten", "expref"):
        return starts(children[0]) if kind == "flatten" else set()
    found: set[str] = set()
    for child in children:
        if isinstance(child, dict):
            found |= starts(child)
    return found
