# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of errors, warnings and deprecations, out of what ansible-core wraps them in.

Since 2.19 a module's exception and its warnings reach the control node as objects with an ``event``: its message, a
help text, a trace, and a chain of causes. The classes are internal to ansible-core, so what counts here is what a value
has, not what it is. The words are a host's: whoever prints them makes them visible first.
"""

from __future__ import annotations

import typing as t

CAUSES = 10  # of a chain; ansible-core itself stops there


def is_message(value: t.Any) -> bool:
    """Whether the value is such an object."""
    return hasattr(getattr(value, "event", None), "msg")


def words(message: t.Any) -> str:
    """What it says: its own sentence, then those of its causes that it does not repeat, then its help text."""
    said: list[str] = []
    for event, follows in _chain(message.event):
        text = str(event.msg or "").strip()
        if follows and text and not any(text in earlier for earlier in said):
            said.append(text)
    help_text = str(getattr(message.event, "help_text", None) or "").strip()
    sentence = ": ".join(said)
    if help_text and sentence and sentence[-1] not in ".!?":
        sentence += "."
    return f"{sentence} {help_text}".strip()


def trace(message: t.Any) -> str:
    """The traces of a message and its causes, the first cause first, as Python prints them; "" when there is none."""
    events = [event for event, _follows in _chain(message.event)]
    parts = [str(getattr(event, "formatted_traceback", None) or "").strip("\n") for event in reversed(events)]
    return "\n\n".join(part for part in parts if part)


def _chain(event: t.Any) -> t.Iterator[tuple[t.Any, bool]]:
    """The event and its causes, each with whether it belongs to the sentence."""
    follows = True
    for _count in range(CAUSES):
        yield event, follows
        chain = getattr(event, "chain", None)
        if chain is None:
            return
        follows = follows and bool(getattr(chain, "follow", True))
        event = chain.event
