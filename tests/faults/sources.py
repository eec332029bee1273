# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules of tools build and install from in a private machine, which has no network: small and local.

Each is a line of shell that makes it on the machine. bpftool and iproute2 are trees with the files that the real ones
are told by, and a program that compiles at once; Go is an archive as go.dev packs it, served on loopback, whose go
command is a script; the packages are real ones, in an archive of apt, for the real apt and dpkg with a database of
their own. What is done with them, from the fetching to the placing, is the same as with the real ones.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import tarfile

from .private import MACHINE

FOLDER = MACHINE / "sources"
ROOT = MACHINE / "root"  # the machine's own files without what is mounted over them
PREFIX = "/usr/local/src/prefix"  # where the snapshot looks
GO_VERSION = "1.26.6"
GO_PORT = 8931
GO_URL = f"http://127.0.0.1:{GO_PORT}/go{{version}}.linux-{{arch}}.tar.gz"
PACKAGES = ("ebpf-lab-faults", "ebpf-lab-faults-data")
# What apt, dpkg and their logs write to, but for the packages' own files.
OF_APT = ("/etc/apt", "/var/lib/apt", "/var/lib/dpkg", "/var/cache/apt", "/var/log")

PROGRAM = r"""
#include <stdio.h>
int main(void) { return puts("%s") < 0; }
"""
BPFTOOL = {
    "tools/bpf/bpftool/Makefile": "$(OUTPUT)bpftool: main.c\n\tgcc -O2 -o $@ $< $(EXTRA_LDFLAGS)\n",
    "tools/bpf/bpftool/main.c": PROGRAM % r"{\"version\": \"7.1.0\", \"libbpf_version\": \"1.1\", \"features\": {}}",
    "tools/lib/bpf/README": "Libbpf is here.\n",
}
IPROUTE2 = {
    "configure": '#!/bin/sh\n# knows --prefix\necho "PREFIX=${1#--prefix=}" >config.mk\n',
    "Makefile": """\
all: ip/ip
ip/ip: ip/ip.c
\tgcc -O2 -o $@ $<
install: all
\tinstall -m 0755 -d $(DESTDIR)$(SBINDIR) $(DESTDIR)$(CONF_USR_DIR)
\tinstall -m 0755 ip/ip $(DESTDIR)$(SBINDIR)
\tinstall -m 0644 etc/rt_tables $(DESTDIR)$(CONF_USR_DIR)
\tln -s ip $(DESTDIR)$(SBINDIR)/rtmon
""",
    "ip/ip.c": PROGRAM % "ip utility, iproute2-6.12.0",
    "etc/rt_tables": "254 main\n",
    "include/bpf_api.h": "/* what programs for tc include */\n",
    "include/bpf_elf.h": "/* what that includes */\n",
}
GO = {
    "go/VERSION": f"go{GO_VERSION}\n",
    "go/bin/go": f"#!/bin/sh\necho go version go{GO_VERSION} linux/amd64\n",
    "go/src/fmt/print.go": "package fmt\n",
}
# Without a terminal between them, of which apt takes notes in pieces of chance; no translations of what has none.
APT_CONF = 'Dpkg::Use-Pty "false"; Acquire::Languages "none";'
CONTROL = """\
Package: {name}
Version: 1.0-1
Architecture: all
Maintainer: nobody <nobody@localhost>
Description: a package for tests
"""


def _written(files: dict[str, str], folder: str) -> str:
    """A script that writes them; those that begin with #! are programs."""
    lines = []
    for name, text in files.items():
        content = base64.b64encode(text.encode()).decode()
        lines += [f"mkdir -p $(dirname {folder}/{name})", f"echo {content} | base64 -d >{folder}/{name}"]
        lines += [f"chmod 755 {folder}/{name}"] if text.startswith("#!") else []
    return "\n".join(lines) + "\n"


def bpftool() -> str:
    """A kernel's tree at FOLDER/bpftool."""
    return _written(BPFTOOL, f"{FOLDER}/bpftool")


def iproute2() -> str:
    """A tree at FOLDER/iproute2."""
    return _written(IPROUTE2, f"{FOLDER}/iproute2")


def _go_archive() -> bytes:
    """The same bytes each time, for the module is given their checksum."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, text in GO.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(text), 1
            member.mode = 0o755 if text.startswith("#!") else 0o644
            tar.addfile(member, io.BytesIO(text.encode()))
    return gzip.compress(packed.getvalue(), mtime=0)


def go_checksum() -> str:
    """As the module wants it."""
    return f"sha256:{hashlib.sha256(_go_archive()).hexdigest()}"


def golang() -> str:
    """PREFIX, and a server of the archive, which ends with the machine."""
    content = base64.b64encode(_go_archive()).decode()
    return f"""
mkdir -p {PREFIX} {FOLDER}/www
for arch in amd64 arm64; do echo {content} | base64 -d >{FOLDER}/www/go{GO_VERSION}.linux-$arch.tar.gz; done
setsid /usr/bin/python3 -m http.server --bind 127.0.0.1 --directory {FOLDER}/www {GO_PORT} >/dev/null 2>&1 </dev/null &
for turn in $(seq 100); do
    /usr/bin/python3 -c 'import socket; socket.create_connection(("127.0.0.1", {GO_PORT}))' 2>/dev/null && exit 0
    sleep 0.1
done
exit 1
"""


def packages() -> str:
    """PACKAGES, the first of which needs the second, in an archive; apt and dpkg, which know nothing else yet."""
    main, data = PACKAGES
    lines = [f"mkdir -p {ROOT} {FOLDER}/apt; mount --bind / {ROOT}"]
    lines += [f"mount -o remount,bind,ro {ROOT}"]
    lines += [f"mount -t tmpfs -o mode=755 tmpfs {folder}" for folder in OF_APT]
    for tool in ("apt-get", "dpkg"):  # the real ones instead of those that tests/isolate has put there
        real = f"{ROOT}/usr/bin/{tool}"
        over = f"mount --bind {real} /usr/bin/{tool}; touch {FOLDER}/{tool}.over"
        lines.append(f"if [ -w /usr/bin ]; then cp {real} /usr/bin; else {over}; fi")
    lines += ["mkdir -p /var/lib/dpkg/info /var/lib/dpkg/updates /var/log/apt; touch /var/lib/dpkg/status"]
    for name, more in ((main, f"Depends: {data}\n"), (data, "")):
        tree = f"{FOLDER}/{name}"
        control = CONTROL.format(name=name) + more
        lines.append(_written({"DEBIAN/control": control, f"opt/{name}/file": f"{name}\n"}, tree))
        lines.append(f"""
deb={FOLDER}/apt/{name}.deb
dpkg-deb --root-owner-group --build {tree} $deb
{{ cat {tree}/DEBIAN/control; echo "Filename: ./{name}.deb"; echo "Size: $(stat -c %s $deb)"
echo "SHA256: $(sha256sum $deb | cut -d' ' -f1)"; echo; }} >>{FOLDER}/apt/Packages
""")
    lines.append(f"echo '{APT_CONF}' >/etc/apt/apt.conf")
    lines.append(f"echo 'deb [trusted=yes] file:{FOLDER}/apt ./' >/etc/apt/sources.list")
    return "\n".join(lines)


def without_packages() -> str:
    """What belongs to apt and dpkg is the machine's own again."""
    return f"""
for tool in dpkg apt-get; do [ ! -e {FOLDER}/$tool.over ] || umount /usr/bin/$tool; done
umount {" ".join(reversed(OF_APT))} {ROOT}
"""
