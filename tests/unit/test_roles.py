# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each role says of itself: README, specification, defaults and example tell the same."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.ebpf.lab.tests.role_readmes import ROLES, ROOT, readme, specification


@pytest.mark.case("K24")
@pytest.mark.parametrize("role", ROLES)
def test_the_readme_is_that_of_the_specification(role: str) -> None:
    written = (ROOT / "roles" / role / "README.md").read_text(encoding="utf-8")
    assert written == readme(role), "write it again: .venv/bin/python tests/role_readmes.py"


@pytest.mark.parametrize("role", ROLES)
def test_the_defaults_are_those_of_the_specification(role: str) -> None:
    options = specification(role)["options"]
    defaults = yaml.safe_load((ROOT / "roles" / role / "defaults/main.yml").read_text(encoding="utf-8"))
    assert defaults == {name: option.get("default") for name, option in options.items()}


@pytest.mark.parametrize("role", ROLES)
def test_the_example_fits_the_specification(role: str) -> None:
    validator = ArgumentSpecValidator(specification(role)["options"])
    tasks: list[dict[str, t.Any]] = yaml.safe_load(specification(role)["examples"])
    for task in tasks:
        assert task["ansible.builtin.import_role"] == {"name": f"ebpf.lab.{role}"}
        assert not validator.validate(task.get("vars", {})).error_messages
