# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: query
short_description: Ask data a JMESPath query
version_added: "1.0.0"
author: the ebpf.lab authors (@ebpf-lab)
description:
  - Selects and reshapes data with L(JMESPath,https://jmespath.org), in any playbook.
  - The data is brought to plain types first, so that it works with the tagged values of ansible-core 2.19 and later.
requirements:
  - jmespath on the control node
positional: query
options:
  _input:
    description: Any data, for example the facts of M(ebpf.lab.lab).
    type: raw
    required: true
  query:
    description:
      - The JMESPath expression. Text stands in single quotes, numbers and other literals in backquotes.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Which program is on veth1?
  ansible.builtin.debug:
    msg: "{{ facts | ebpf.lab.query(\"attachments[?interface=='veth1'] | [0].program\") }}"
  vars:
    facts:
      attachments:
        - interface: veth1
          program: xdp_allow
"""

RETURN = r"""
_value:
  description: What the query found; null when it found nothing.
  type: raw
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.ebpf.lab.plugins.module_utils._lab.grading.outcomes import MalformedQuery, QueryFailed, search


def query(data: t.Any, query: str) -> t.Any:
    """Answer ``query`` over ``data``; every failure is one sentence."""
    try:
        return search(query, data)
    except (MalformedQuery, ImportError) as error:
        raise AnsibleFilterError(f"ebpf.lab.query: {error}") from None
    except QueryFailed as error:
        raise AnsibleFilterError(f"ebpf.lab.query: {query!r} does not fit the data: {error}.") from None


class FilterModule:
    """Tells Ansible the filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"query": query}
