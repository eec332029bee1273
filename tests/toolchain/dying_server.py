# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An http server that promises a whole file and dies in the middle of it: dying_server.py ADDRESS PORT FILE."""

from __future__ import annotations

import http.server
import pathlib
import sys

CONTENT = pathlib.Path(sys.argv[3]).read_bytes()


class Dying(http.server.BaseHTTPRequestHandler):
    """Answers every request with the first third of the file."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // 3])
        self.close_connection = True


http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Dying).serve_forever()
