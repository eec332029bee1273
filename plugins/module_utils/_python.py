# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Imported first by each module: a Python that is too old for the others is told of in the module's answer."""

from __future__ import annotations

import json
import sys

OLDEST = (3, 9)

if sys.version_info < OLDEST:
    _is, _wanted = (".".join(map(str, version)) for version in (sys.version_info[:3], OLDEST))
    _msg = (
        f"ebpf.lab needs Python {_wanted} or newer on its hosts, and {sys.executable} is Python {_is}. Set "
        "ansible_python_interpreter to a newer one; Debian 12 and Ubuntu 22.04 have one at /usr/bin/python3."
    )
    sys.stdout.write(json.dumps({"failed": True, "changed": False, "msg": _msg}) + "\n")
    sys.exit(1)  # pylint: disable=ansible-bad-function
