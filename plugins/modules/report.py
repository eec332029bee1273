# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: report
short_description: Write the teacher's report
version_added: "1.0.0"
author:
  - the ebpf.lab authors (@ebpf-lab)
description:
  - Writes one self-contained HTML page, and JSON, CSV and JUnit XML beside it, from the results that
    M(ebpf.lab.results) kept. The page has a row a machine and a column a stage; it loads nothing from anywhere.
  - What counts is the best that a machine ever earned at each stage, of the points of the whole lab. A machine has
    passed when it has all of them. Otherwise it is in progress, has not started, was unreachable or not graded.
  - For each failed check it shows what was expected, what was found, and the hint; for each machine what changed since
    the run before. Machines that could not be reached are rows, too.
  - Everything that came from a machine is shown as text, cut where it is long, and disarmed for spreadsheets.
  - One task for all machines; use it with C(run_once). It runs on the control node and needs no connection.
extends_documentation_fragment: [ebpf.lab.attributes.control_node, ebpf.lab.lab_file.kept]
options:
  lab:
    description: The lab's name. Without it, the lab that was verified last.
    type: str
    default: ""
  hosts:
    description: Machines that are to be rows even if they were never verified.
    type: list
    elements: str
    default: []
  others:
    description: Whether machines that are not in O(hosts) are rows, too, when there are results of them.
    type: bool
    default: true
  dest:
    description: The folder to write to. The default is C(ebpf.lab/reports) below Ansible's home folder.
    type: path
seealso:
  - module: ebpf.lab.results
"""

EXAMPLES = r"""
- name: Write the report of the lab that was verified last
  ebpf.lab.report:
  run_once: true
"""

RETURN = r"""
lab:
  description: The lab's name.
  returned: success
  type: str
  sample: lecture2
paths:
  description: The files, by their kind.
  returned: when not in check mode
  type: dict
  sample:
    html: /home/teacher/.ansible/ebpf.lab/reports/lecture2.html
    json: /home/teacher/.ansible/ebpf.lab/reports/lecture2.json
    csv: /home/teacher/.ansible/ebpf.lab/reports/lecture2.csv
    junit: /home/teacher/.ansible/ebpf.lab/reports/lecture2.junit.xml
totals:
  description: How many machines are in which state, their points, and those of the whole lab for all of them.
  returned: success
  type: dict
  sample:
    machines: 30
    in progress: 7
    not started: 2
    unreachable: 1
    failed: 0
    passed: 20
    unseen: 0
    drifted: 4
    points: 2071
    max_points: 2460
"""
