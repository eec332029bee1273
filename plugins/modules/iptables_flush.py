#!/usr/bin/python
# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Set policies and flush chains of iptables, and put them back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: iptables_flush
short_description: Set iptables policies and flush chains or tables, and put them back
version_added: "1.0.0"
author:
  - the ebpf.lab authors (@ebpf-lab)
description:
  - Sets policies and flushes named chains or whole tables in one call, in both back ends (C(iptables-nft) and
    C(iptables-legacy)) and both families (C(iptables) and C(ip6tables)), wherever such a table exists.
  - Reads the rules first, so a chain that is empty already is no change, and a table that does not exist is not made.
  - Each table is changed in one transaction, policies before flushes, so that no packet meets an empty chain with the
    policy C(DROP). The xtables lock is always waited for.
  - What was there before goes to the journal of the host, counters included; O(state=restored) puts it back.
  - User chains are emptied only when they are named or their whole table is flushed, and stay as empty chains unless
    O(delete_chains) is set. The counters of everything that stays are left as they are.
options:
  state:
    description:
      - V(present) sets O(policies) and does O(flush).
      - V(restored) puts back every policy, rule and chain that this module changed since the host booted. A rule that
        somebody has added since to a flushed chain stays, behind the saved ones, and a warning names it; other chains
        are not touched. What cannot be put back, because a tool is missing, is named, and stays in the journal.
    type: str
    choices: [present, restored]
    default: present
  policies:
    description:
      - The policies of base chains.
      - V(ACCEPT) is set wherever the chain exists. V(DROP) makes the chain in the first of O(backends) when the table
        exists in none of them.
    type: list
    elements: dict
    suboptions:
      table:
        description: The table.
        type: str
        choices: [filter, nat, mangle, raw, security]
        default: filter
      chain:
        description: The base chain, for example V(FORWARD).
        type: str
        required: true
      policy:
        description: The policy.
        type: str
        choices: [ACCEPT, DROP]
        required: true
  flush:
    description: The tables to flush.
    type: list
    elements: dict
    suboptions:
      table:
        description: The table.
        type: str
        choices: [filter, nat, mangle, raw, security]
        default: filter
      chains:
        description:
          - The chains of the table that are emptied. A chain that exists in none of the back ends is an error.
          - Without it, all chains of the table are emptied, user chains as well, as C(iptables -F) does.
        type: list
        elements: str
  delete_chains:
    description: Deletes the user chains of the tables that are flushed whole.
    type: bool
    default: false
  families:
    description: Which of C(iptables) (V(ipv4)) and C(ip6tables) (V(ipv6)) this is about.
    type: list
    elements: str
    choices: [ipv4, ipv6]
    default: [ipv4, ipv6]
  backends:
    description: Which back ends this is about.
    type: list
    elements: str
    choices: [nft, legacy]
    default: [nft, legacy]
  force:
    description:
      - Flushes also when what is left would drop packets to or from the host itself, for example the flush of
        C(INPUT) while its policy is C(DROP) and no other is asked for. This is refused otherwise, because it cuts the
        SSH session that manages the host.
    type: bool
    default: false
extends_documentation_fragment: [ebpf.lab.attributes.converges, ebpf.lab.link.netns]
attributes:
  diff_mode:
    description: Shows the policies and rules before and after.
notes:
  - Docker, libvirt and others keep rules of their own in C(nat) and C(FORWARD). They are flushed like all others, with
    a warning that says so; when such a program adds them anew, the next run flushes them again. The journal keeps each
    chain and each policy as it was when this module first changed it.
  - A legacy table that this module did not find is never looked at, since looking makes the kernel load it.
  - The C(ip6tables-nft-restore) of iptables 1.8.9 (Debian 12) ignores counters, so there the restored IPv6 rules of the
    nft back end count from zero.
  - The rules themselves are not kept over a reboot by the kernel, and so the saved ones are forgotten with it.
seealso:
  - module: ebpf.lab.ip_forward
"""

EXAMPLES = r"""
- name: Let packets through, and start from clean tables
  ebpf.lab.iptables_flush:
    policies:
      - chain: FORWARD
        policy: ACCEPT
    flush:
      - table: filter
        chains: [FORWARD]
      - table: nat

- name: Put everything back as it was
  ebpf.lab.iptables_flush:
    state: restored
"""

RETURN = r"""
tables:
  description: The tables that were looked at and exist, as they are after the run (in check mode, as they are now).
  returned: success
  type: list
  elements: dict
  contains:
    backend:
      description: The back end, V(nft) or V(legacy).
      type: str
      sample: nft
    family:
      description: The family, V(ipv4) or V(ipv6).
      type: str
      sample: ipv4
    table:
      description: The table.
      type: str
      sample: filter
    chains:
      description: The chains with their policy (null for a user chain) and number of rules.
      type: list
      elements: dict
      sample: [{name: FORWARD, policy: ACCEPT, rules: 0}]
steps:
  description: What was changed, or would be in check mode, a sentence each.
  returned: success
  type: list
  elements: str
  sample: ["set the policy of FORWARD to ACCEPT, flush FORWARD in filter (nft, ipv4)"]
"""

from ansible_collections.ebpf.lab.plugins.module_utils import _python  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.ebpf.lab.plugins.module_utils._core.module import run_module
from ansible_collections.ebpf.lab.plugins.module_utils._net.iptables.options import OPTIONS, from_params


def main() -> None:
    """The module's entry."""
    run_module(OPTIONS, from_params)


if __name__ == "__main__":
    main()
