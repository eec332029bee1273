# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input: whatever a module or a lab file is given, it converges or says one sentence that names the place.

Run it with tests/isolate. EBPF_LAB_EXAMPLES is the number of random arguments a module (25 by default; 1000 in the
long proof).
"""

from __future__ import annotations

import json
import os
import typing as t

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from .forked import Answer, call, documentation, examples, on_hosts
from .strange import Tried, arguments

EXAMPLES = int(os.environ.get("EBPF_LAB_EXAMPLES", "25"))
# These wait as long as they are told to: being still at it is no failure of theirs.
PATIENT = {"reachability", "bpf_trace_info", "bpf_stats_info", "bpf_test_run", "packages"}


def judged(module: str, given_arguments: t.Mapping[str, t.Any], answer: Answer) -> None:
    """Fail unless the answer is a result, or a failure that a reader can act on."""
    if answer.timed_out:
        assert module in PATIENT, f"{module} was still at it after a minute"
        return
    result = answer.result
    assert result is not None, f"{module} printed no result: {answer.output[-2000:]}"
    if not result.get("failed"):
        return
    assert not result.get("changed"), f"{module} failed and says that it changed something: {result}"
    said = result.get("msg")
    assert isinstance(said, str) and said.strip(), f"{module} failed without a word: {result}"
    assert not result.get("exception"), f"{module}: {result['exception']}"
    assert "Traceback" not in answer.output, f"{module}: {answer.output[-3000:]}"


@pytest.mark.parametrize("module", on_hosts())
def test_a_module_is_given_something_strange(module: str, tried: Tried) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def proof(data: st.DataObject) -> None:
        chosen = data.draw(arguments(documentation(module).get("options") or {}, examples(module)))
        note(json.dumps(chosen)[:2000])
        answer = call(module, chosen)
        with tried:
            judged(module, chosen, answer)

    proof()
