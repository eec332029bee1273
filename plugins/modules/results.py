# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: results
short_description: Keep what verify found on the control node, and show it
version_added: "1.0.0"
author:
  - the ebpf.lab authors (@ebpf-lab)
description:
  - Takes what M(ebpf.lab.lab) returned for each machine of the play, keeps it for the report, and shows it in the
    terminal. One machine is shown check by check with the hints, a class as a table with a line a machine.
  - Every grade is added to the machine's record, and the best of each stage counts. A later run lowers nothing.
  - A machine that could not be reached, or not be graded, is kept as such; its earlier grades stay.
  - A machine whose journal names no stage and on which nothing of the lab is has not started. It has no points, and no
    check of it has failed.
  - The newest result of a stage and the one before it are kept as well, so that the report can tell what drifted.
  - One task for all machines; use it with C(run_once). It runs on the control node and needs no connection. Nothing
    that a machine said is templated, and every control character in it is shown as an escape.
extends_documentation_fragment: [ebpf.lab.attributes.control_node, ebpf.lab.lab_file.kept]
attributes:
  check_mode:
    description: Shows the results and keeps none.
options:
  lab:
    description: The name of a lab of this collection, or the path of a lab file.
    type: str
    required: true
  variable:
    description: The name of the variable that the task M(ebpf.lab.lab) registered. The name alone, not its value.
    type: str
    required: true
  stage:
    description:
      - The stage that was asked for. Without it, the one that each machine was graded at.
      - V(all) shows for each stage what holds now, beside the best that was earned there. That is no grade. Nothing is
        kept, and a check that fails does not make the task fail.
    type: str
    default: ""
  fail:
    description: Whether the task fails when a check failed, a machine has not started, or a machine has no grade.
    type: bool
    default: true
seealso:
  - module: ebpf.lab.lab
  - module: ebpf.lab.report
"""

EXAMPLES = r"""
- name: Grade the machine
  ebpf.lab.lab:
    lab: xdp_hello
    state: verified
  register: verified
  ignore_unreachable: true

- name: Keep and show the results
  ebpf.lab.results:
    lab: xdp_hello
    variable: verified
    fail: false
  run_once: true
"""

RETURN = r"""
folder:
  description: Where the lab's results are, on the control node.
  returned: success
  type: str
  sample: /home/teacher/.ansible/ebpf.lab/results/lecture2
msg:
  description: One sentence with the verdict.
  returned: always
  type: str
  sample: 7 of 40 checks failed on 3 of 8 machines, 1 machine was unreachable.
points:
  description: The points that all machines together have now, at the stages that were graded.
  returned: success
  type: float
  sample: 33
max_points:
  description: The points that they could have there.
  returned: success
  type: float
  sample: 40
lab_points:
  description: The best that all machines together ever earned, at each stage of the lab.
  returned: success
  type: float
  sample: 61
lab_max_points:
  description: The points of the whole lab, for all machines.
  returned: success
  type: float
  sample: 656
"""
