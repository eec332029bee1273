# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that cannot be right whatever they are about, and which of them Ansible's own validator stumbles over."""

from __future__ import annotations

import re
import typing as t

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from .errors import BadInput

# What the validator raises instead of saying: an infinite number for an int, a number for a dict with suboptions.
STUMBLES = (ArithmeticError, LookupError, TypeError, ValueError, RecursionError)
# No name, path or text of Linux holds a NUL. Surrogates from U+DC80 to U+DCFF stand for bytes (PEP 383), the others
# for none.
_IMPOSSIBLE = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")


def culprit(spec: t.Mapping[str, t.Any], values: t.Mapping[str, t.Any]) -> str:
    """The option among ``values`` over whose value the validator stumbles; "" when it is none of them alone."""
    for name, value in values.items():
        if name in spec:
            try:
                ArgumentSpecValidator({name: spec[name]}).validate({name: value})
            except STUMBLES:
                return name
    return ""


def refuse_impossible(option: str, value: t.Any) -> None:
    """Raise BadInput for a text anywhere in ``value`` that no host can hold."""
    if isinstance(value, str):
        odd = _IMPOSSIBLE.search(value)
        if odd:
            what = "a NUL" if odd[0] == "\0" else "half of a surrogate pair"
            raise BadInput(option, value, f"holds {what}", "take it out")
    elif isinstance(value, dict):
        for key, inner in value.items():
            refuse_impossible(option, key)
            refuse_impossible(f"{option}.{key}" if option else str(key), inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            refuse_impossible(option, inner)
