# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which programs and libraries a stage needs on a host."""

from __future__ import annotations

from .._core import interpreter
from .._core.errors import Missing
from .._core.host import Host
from .._kernel import bpftool
from .schema import Lab, Stage


def need_tools(host: Host, lab: Lab, stage: Stage) -> None:
    """Raise Missing with all that the stage needs and this host has not, LibraryBroken for what cannot be imported."""
    tools = ["ip"]
    if stage.objects:
        tools += ["clang", "bpftool"]
        if any(lab.objects[name]["method"] == "llc" for name in stage.objects):
            tools.append("llc")
        if any(lab.objects[name]["disassemble"] for name in stage.objects):
            tools.append("llvm-objdump")
    if stage.traffic:
        tools.append("ping")
    if lab.host_network["policies"] or lab.host_network["flush"]:
        tools.append("iptables")
    missing = [tool for tool in tools if host.runner.which(tool) is None]
    silent = "bpftool" in tools and "bpftool" not in missing and bpftool.missing(host.runner)
    missing += ["bpftool"] if silent else []
    missing += _libraries(thorough=bool(missing))
    if missing:
        raise Missing(
            f"This host lacks what the lab needs: {', '.join(missing)}" + (f" ({silent})." if silent else "."),
            f"Install it with the role ebpf.lab.{'bpftool' if missing == ['bpftool'] else 'prerequisites'}.",
            missing,
        )


def _libraries(thorough: bool) -> list[str]:
    """The libraries that are nowhere on this host. Raises Missing for what another Python has, LibraryBroken.

    That they import is seen here only when it is ``thorough``: it costs, and a run without a change imports nothing.
    The steps of a plan name theirs, and those are tried before the first step.
    """
    names = interpreter.LIBRARIES if thorough else interpreter.lacking(interpreter.LIBRARIES)
    bad = [library for library in map(interpreter.here, names) if not library.works]
    if not bad:
        return []
    error = interpreter.trouble(bad)
    if isinstance(error, Missing) and not error.python:
        return list(error.names)
    raise error
