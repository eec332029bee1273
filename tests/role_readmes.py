#!/usr/bin/env python3
# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes roles/*/README.md from each role's argument specification, which is what Ansible itself checks and shows.

tests/unit/test_roles.py says when they have to be written again; tests/examples runs the examples in them.
"""

from __future__ import annotations

import pathlib
import re
import typing as t

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[1]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())


def specification(role: str) -> dict[str, t.Any]:
    """The role's entry point main."""
    path = ROOT / "roles" / role / "meta/argument_specs.yml"
    content: dict[str, t.Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]["main"]
    return content


def markdown(text: t.Union[str, list[str]]) -> str:
    """Ansible's markup as Markdown: each O(…), V(…), C(…), M(…) and P(…) is code."""

    def code(match: re.Match[str]) -> str:
        plugin, sign, option = match[1].partition("#")
        if not sign:
            return f"`{plugin.replace('=', ': ')}`"
        option = option.rpartition(":")[2].replace("=", ": ")
        if option == "role":
            return f"`{plugin}`"
        return f"`{option}`" if match[0].count(":") > 1 else f"`{option}` of `{plugin}`"

    sentences = text if isinstance(text, str) else " ".join(text)
    return re.sub(r"\b[OVCMP]\(([^)]*)\)", code, sentences).replace("|", r"\|")


def rows(options: dict[str, t.Any], prefix: str = "") -> t.Iterator[str]:
    """A line of the table for each option, and for the keys of its elements."""
    for name, option in options.items():
        kind = option["type"] + (f" of {option['elements']}" if "elements" in option else "")
        default = yaml.safe_dump(option["default"], default_flow_style=True, width=1000) if "default" in option else ""
        default = default.replace("\n...", "").strip()
        words = markdown(option["description"])
        if "choices" in option:
            words += f" One of {', '.join(f'`{choice}`' for choice in option['choices'])}."
        shown = f"`{default}`" if default else "required" if option.get("required") else ""
        yield f"| `{prefix}{name}` | {kind} | {shown} | {words} |"
        yield from rows(option.get("options", {}), f"{prefix}{name}[].")


def readme(role: str) -> str:
    """The whole file."""
    spec = specification(role)
    described = "\n".join(f"{markdown(line)}\n" for line in spec["description"])
    table = "\n".join(rows(spec["options"]))
    return (
        f"# ebpf.lab.{role}\n\n{spec['short_description']}.\n\n{described}\n"
        f"## Variables\n\n| variable | type | default | what it says |\n|---|---|---|---|\n{table}\n\n"
        f"## Example\n\n```yaml\n{spec['examples'].strip()}\n```\n\n"
        "Licence: GPL-3.0-or-later.\n"
    )


if __name__ == "__main__":
    for each in ROLES:
        (ROOT / "roles" / each / "README.md").write_text(readme(each), encoding="utf-8")
