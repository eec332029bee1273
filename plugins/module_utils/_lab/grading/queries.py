# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JMESPath that tells an answer of nothing from a question that met nothing.

The language itself does not: the sum over a map that is not there is 0, as over one that counted nothing, and what is
not there differs from everything. The answers here are JMESPath's own; what is known beside them is whether the facts
were gathered, and whether what the query picks from them is there.
"""

from __future__ import annotations

import typing as t

try:
    from jmespath.visitor import TreeInterpreter, _Expression
except ImportError:  # checks.require_jmespath says so before anything is looked at
    TreeInterpreter = _Expression = object

Node = t.Mapping[str, t.Any]
Found = t.TypeVar("Found")


class Look(TreeInterpreter):
    """One query over one machine's facts.

    ``unknown``: the facts that the query looks into and that were not gathered. ``there``: whether the things that it
    picks from a fact, to look into them, are there. ``whole``: whether each member is there of what it puts together.
    """

    def __init__(self, facts: t.Any) -> None:
        super().__init__()
        self.unknown: list[str] = []
        self.there = True
        self.whole = True
        self._within = 0  # conditions and parts of a list, in which null is an answer like any other
        # The facts, and those within a fact such as host_network.iptables: null there means that nobody looked.
        facts = self._held = facts if isinstance(facts, dict) else {}
        self._facts: dict[int, str] = {id(facts): ""}
        self._facts.update({id(value): f"{name}." for name, value in facts.items() if isinstance(value, dict)})
        # Lists and mappings of things: to look into one of none is to look at what is not there.
        inner = [member for value in facts.values() if isinstance(value, dict) for member in value.values()]
        self._things = {id(value): value for value in (*facts.values(), *inner) if isinstance(value, (list, dict))}

    def visit_field(self, node: Node, value: t.Any) -> t.Any:
        """A fact that is null or an empty mapping was not gathered; nor was one that is missing altogether."""
        found = super().visit_field(node, value)
        prefix = self._facts.get(id(value))
        if prefix is not None and (found is None or found == {}) and (prefix == "" or node["value"] in value):
            self.unknown.append(f"{prefix}{node['value']}")
        return found

    def visit_expref(self, node: Node, value: t.Any) -> t.Any:
        """What a function such as sort_by asks of each element."""
        return _Expression(node["children"][0], TreeInterpreter())

    def visit_projection(self, node: Node, value: t.Any) -> t.Any:
        """Look into each element of a list."""
        base = self.visit(node["children"][0], value)
        return self._each(base, base, node["children"][1]) if isinstance(base, list) else None

    def visit_value_projection(self, node: Node, value: t.Any) -> t.Any:
        """Look into each value of a mapping."""
        base = self.visit(node["children"][0], value)
        return self._each(base, base.values(), node["children"][1]) if isinstance(base, dict) else None

    def visit_filter_projection(self, node: Node, value: t.Any) -> t.Any:
        """Look into each element that meets the condition."""
        base = self.visit(node["children"][0], value)
        if not isinstance(base, list):
            return None
        self._within += 1
        picked = [element for element in base if self._is_true(self.visit(node["children"][2], element))]
        self._within -= 1
        return self._each(base, picked, node["children"][1])

    def _each(self, base: t.Any, picked: t.Iterable[t.Any], into: Node) -> list[t.Any]:
        picked = list(picked)
        if into["type"] == "identity":
            return self._of(base, [element for element in picked if element is not None])
        self._within += 1
        found = [answer for answer in (self.visit(into, element) for element in picked) if answer is not None]
        self._within -= 1
        # None of these things is there, or none of them has what is looked for; but to pick none of the parts of one
        # (the entries of a map, say) is an answer.
        if not found and (picked or id(base) in self._things):
            self._missed()
        return found

    def _of(self, base: t.Any, found: Found) -> Found:
        """``found``, known as a list of things when it is made of one."""
        if id(base) in self._things and isinstance(found, list):
            self._things[id(found)] = found  # held as long as its id counts
        return found

    def visit_flatten(self, node: Node, value: t.Any) -> t.Any:
        """A list of things stays one, also when it is cut or sorted."""
        base = self.visit(node["children"][0], value)
        return self._of(base, super().visit_flatten({"children": [{"type": "literal", "value": base}]}, value))

    def visit_slice(self, node: Node, value: t.Any) -> t.Any:
        """See visit_flatten."""
        return self._of(value, super().visit_slice(node, value))

    def visit_function_expression(self, node: Node, value: t.Any) -> t.Any:
        """A function of nothing: its answer says nothing, but for those that are there to ask whether there is one."""
        if node["value"] == "not_null":
            return self._first(node["children"], value, lambda found: found is not None)
        given = [self.visit(child, value) for child in node["children"]]
        if any(argument is None for argument in given) and node["value"] != "type":
            self._missed()
        found = self._functions.call_function(node["value"], given)
        for argument in given:
            self._of(argument, found)
        return found

    def visit_or_expression(self, node: Node, value: t.Any) -> t.Any:
        """What stands behind ``||`` is there for the case that the first is not."""
        return self._first(node["children"], value, self._is_true)

    def _first(self, nodes: t.Sequence[Node], value: t.Any, good: t.Callable[[t.Any], bool]) -> t.Any:
        before, found = self.there, None
        for node in nodes:
            self.there = before
            found = self.visit(node, value)
            if good(found):
                break
        return found

    def visit_comparator(self, node: Node, value: t.Any) -> t.Any:
        """What is not there is neither equal nor different, unless the query compares with null in so many words."""
        left, right = node["children"]
        if not self._within and None not in (left.get("value", ""), right.get("value", "")):
            values = [self.visit(child, value) for child in (left, right)]
            if any(item is None for item in values):
                self._missed()
            node = {**node, "children": [{"type": "literal", "value": item} for item in values]}
        return super().visit_comparator(node, value)

    def visit_not_expression(self, node: Node, value: t.Any) -> t.Any:
        """The opposite of what is not there is not there either."""
        found = self.visit(node["children"][0], value)
        if found is None:
            self._missed()
        return super().visit_not_expression({"children": [{"type": "literal", "value": found}]}, value)

    def visit_multi_select_list(self, node: Node, value: t.Any) -> t.Any:
        """A list that the query makes."""
        return self._made(super().visit_multi_select_list(node, value))

    def visit_multi_select_dict(self, node: Node, value: t.Any) -> t.Any:
        """A mapping that the query makes."""
        return self._made(super().visit_multi_select_dict(node, value))

    def _made(self, found: t.Any) -> t.Any:
        members = found.values() if isinstance(found, dict) else found or ()
        if not self._within and any(member is None for member in members):
            self.whole = False
        return found

    def _missed(self) -> None:
        if not self._within:
            self.there = False
