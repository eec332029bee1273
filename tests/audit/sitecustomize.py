# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan is pure, and this proves it: while one is being made, the interpreter refuses to look at or touch the host.

Python imports ``sitecustomize`` at its start from wherever PYTHONPATH says, so a module process that a test starts is
watched like the code that runs in the test itself (tests/conftest.py imports this file). The hook is an audit hook
(PEP 578): it sees what the interpreter is about to do, without a word in the product. It acts only below a function of
module_utils that is called ``plan`` or ``_plan...``; an import in there is not the plan's own doing and passes.
"""

from __future__ import annotations

import sys
import typing as t

# Reading and writing files, directories, sockets, other programs, and the C library behind bpf(2) and setns(2).
WATCHED = ("open", "socket.", "subprocess.", "os.", "ctypes.", "glob.", "shutil.", "tempfile.", "fcntl.")
PLACE = "/plugins/module_utils/"


class Impure(BaseException):
    """A plan did something beyond computing. Not an Exception: no handler of the product may take it for one of its."""


def _planning() -> str:
    """The plan that is being made right now, as file:function; "" when none is, or an import is under way in it."""
    frame: t.Any = sys._getframe()  # the interpreter itself may have none above this one, when it opens its script
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith("<frozen importlib"):
            return ""
        if (code.co_name == "plan" or code.co_name.startswith("_plan")) and PLACE in code.co_filename:
            return f"{code.co_filename.partition(PLACE)[2]}:{code.co_name}"
        frame = frame.f_back
    return ""


def _hook(event: str, args: tuple[t.Any, ...]) -> None:
    if event.startswith(WATCHED):
        where = _planning()
        if where:
            raise Impure(f"{where} is no pure function: it does {event}{args!r:.200}")


sys.addaudithook(_hook)
