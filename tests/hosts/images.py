# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Root file systems of the test hosts: what is in each, and building the ones that are missing.

An image lives in a cache outside the repository under a digest of its recipe, so that an edit here builds anew and
everything else is reused. Where packages come from is read from this machine's own apt configuration.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import typing as t

CACHE = pathlib.Path(os.environ.get("EBPF_LAB_TEST_CACHE", "/var/cache/ebpf.lab-tests"))

# What a bare machine of a school has: systemd, ssh and Python, nothing that the collection should bring itself.
BARE = (
    "apt ca-certificates dbus iproute2 iptables iputils-ping kmod openssh-server procps python3 python3-apt sudo "
    "systemd systemd-sysv"
).split()
# What the lab's hosts end up with; an image that has it spares every test the download.
TOOLS = "clang ethtool gcc jq libbpf-dev libelf-dev llvm make pkg-config python3-pyelftools python3-pyroute2 tcpdump"

MASKED = (
    "apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service "
    "fstrim.timer motd-news.timer console-getty.service getty@tty1.service systemd-networkd.service "
    "systemd-networkd.socket systemd-resolved.service systemd-timesyncd.service systemd-udevd.service "
    "systemd-udevd-kernel.socket systemd-udevd-control.socket systemd-udev-trigger.service"
).split()

# nspawn gives a /sys without /sys/fs/bpf. An empty directory there makes a host like a real one on which bpffs is not
# mounted yet, and host0 gets the address that the keeper wrote for it.
SETUP_UNIT = """\
[Unit]
Description=What nspawn leaves out of a test host
DefaultDependencies=no
Before=sysinit.target ssh.service
[Service]
Type=oneshot
RemainAfterExit=yes
EnvironmentFile=/etc/test-host.env
ExecStart=/bin/mount -o remount,rw /sys
ExecStart=/bin/mkdir -p /sys/fs/bpf
ExecStart=/bin/mount -o remount,ro /sys
ExecStart=/bin/sh -c 'ip link set lo up; ip address replace $ADDRESS dev host0; ip link set host0 up'
ExecStart=/bin/sh -c 'ip route replace default via $GATEWAY'
[Install]
WantedBy=sysinit.target
"""


@dataclasses.dataclass(frozen=True)
class Image:
    """A distribution's release with a list of packages. ``name`` is also the name of its hosts' inventory group."""

    name: str
    distribution: str
    suite: str
    packages: tuple[str, ...]

    @property
    def suites(self) -> list[str]:
        """The suites to install from: the release itself and its updates."""
        return [self.suite, f"{self.suite}-updates"]

    @property
    def components(self) -> list[str]:
        """Ubuntu keeps part of the toolchain in universe."""
        return ["main", "universe"] if self.distribution == "ubuntu" else ["main"]


def _with_tools(name: str, distribution: str, suite: str, extra: str) -> list[Image]:
    # Debian's apt brings its keys along, Ubuntu's wants to be told.
    bare = (*BARE, "debian-archive-keyring" if distribution == "debian" else "ubuntu-keyring")
    return [
        Image(name, distribution, suite, bare),
        Image(f"{name}-tools", distribution, suite, (*bare, *TOOLS.split(), *extra.split())),
    ]


IMAGES: dict[str, Image] = {
    image.name: image
    for image in [
        *_with_tools("debian12", "debian", "bookworm", "bpftool gcc-multilib"),
        *_with_tools("debian13", "debian", "trixie", "bpftool gcc-multilib"),
        *_with_tools("ubuntu2204", "ubuntu", "jammy", "linux-tools-generic"),
        *_with_tools("ubuntu2404", "ubuntu", "noble", "linux-tools-generic"),
        # Not a host: the oldest Python that the collection's modules promise to run on.
        Image("python39", "debian", "bullseye", ("python3", "python3-venv", "ca-certificates")),
    ]
}


class ImageError(Exception):
    """An image cannot be had; the message says why in one sentence."""


def archive(distribution: str) -> str:
    """The URI that this machine's apt would reach a distribution's archive at.

    Mirrors keep ``/debian`` and ``/ubuntu`` side by side, so one of them in the configuration names both.
    """
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    )
    for line in done.stdout.splitlines():
        uri = line.strip().rstrip("/")
        base, _slash, last = uri.rpartition("/")
        if last in ("debian", "ubuntu"):
            return f"{base}/{distribution}"
    raise ImageError(
        "This machine's apt sources name no archive that ends in /debian or /ubuntu, so there is nowhere to build "
        "test hosts from; add one to /etc/apt/sources.list.d and run apt-get update."
    )


def _keyring(distribution: str, say: t.Callable[[str], None]) -> pathlib.Path:
    """The archive keys of a distribution; those of Ubuntu come out of Debian's own ubuntu-keyring package."""
    name = f"{distribution}-archive-keyring.gpg"
    for place in (pathlib.Path("/usr/share/keyrings"), CACHE / "keyrings"):
        if (place / name).exists():
            return place / name
    if distribution != "ubuntu":
        raise ImageError(f"/usr/share/keyrings/{name} is missing: install the package {distribution}-archive-keyring.")
    say("fetching Ubuntu's archive keys from Debian's package ubuntu-keyring")
    where = CACHE / "keyrings.partial"
    shutil.rmtree(where, ignore_errors=True)
    _run(
        [
            "mmdebstrap",
            "--mode=root",
            "--variant=extract",
            "--include=ubuntu-keyring",
            "trixie",
            str(where),
            archive("debian"),
        ],
        where.with_suffix(".log"),
    )
    (CACHE / "keyrings").mkdir(exist_ok=True)
    shutil.copy(where / "usr/share/keyrings" / name, CACHE / "keyrings" / name)
    shutil.rmtree(where)
    return CACHE / "keyrings" / name


def _run(argv: list[str], log: pathlib.Path) -> None:
    with log.open("w", encoding="utf-8") as out:
        if subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False).returncode == 0:
            return
    tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
    raise ImageError(f"{argv[0]} failed; the end of {log} is:\n{tail}")


def chroot_argv(name: str, share: pathlib.Path, argv: t.Sequence[str]) -> list[str]:
    """The command line that runs ``argv`` inside an image with ``share`` at its own path; writes elsewhere vanish."""
    script = """
        set -e
        image=$1 share=$2 layer=/dev/shm
        shift 2
        mount -t tmpfs tmpfs "$layer"
        mkdir "$layer/upper" "$layer/work" "$layer/root"
        mount -t overlay overlay -o "lowerdir=$image,upperdir=$layer/upper,workdir=$layer/work" "$layer/root"
        mkdir -p "$layer/root$share"
        mount --rbind "$share" "$layer/root$share"
        mount --rbind /dev "$layer/root/dev"
        mount -t proc proc "$layer/root/proc"
        exec chroot "$layer/root" sh -c 'cd "$0" && exec "$@"' "$share" "$@"
    """
    return [
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--propagation",
        "private",
        "sh",
        "-c",
        script,
        "chroot",
        str(build(name)),
        str(share),
        *argv,
    ]


def digest(image: Image) -> str:
    """A name for the recipe: the same recipe has the same digest on every machine."""
    recipe = json.dumps([dataclasses.asdict(image), MASKED, SETUP_UNIT], sort_keys=True)
    return hashlib.sha256(recipe.encode()).hexdigest()[:12]


def path_of(image: Image) -> pathlib.Path:
    """Where the image is, or will be."""
    return CACHE / "images" / f"{image.name}-{digest(image)}"


def tell(line: str) -> None:
    """Progress goes to stderr: stdout belongs to the answer."""
    print(line, file=sys.stderr, flush=True)


def build(name: str, say: t.Callable[[str], None] = tell) -> pathlib.Path:
    """Return the root directory of the image ``name``, built first when the cache does not have it (1 to 3 minutes)."""
    if name not in IMAGES:
        raise ImageError(f"There is no image {name!r}; choose one of {', '.join(IMAGES)}.")
    image = IMAGES[name]
    path = path_of(image)
    if path.exists():
        return path
    if shutil.which("mmdebstrap") is None:
        raise ImageError("mmdebstrap is missing: apt-get install mmdebstrap.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f"{name}.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return path
        say(f"building the image {name} ({image.distribution} {image.suite}, {len(image.packages)} packages)")
        partial = path.with_name(path.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        keyring = _keyring(image.distribution, say)
        _run(_mmdebstrap(image, partial, keyring), path.with_name(f"{name}.log"))
        partial.rename(path)
    return path


def _mmdebstrap(image: Image, target: pathlib.Path, keyring: pathlib.Path) -> list[str]:
    uri = archive(image.distribution)
    components = " ".join(image.components)
    host = "systemd" in image.packages
    unit = "/etc/systemd/system/test-host.service"
    sources = target.with_suffix(".list")
    inside = f"/usr/share/keyrings/{image.distribution}-archive-keyring.gpg"
    sources.write_text(
        "".join(f"deb [signed-by={inside}] {uri} {suite} {components}\n" for suite in image.suites), encoding="utf-8"
    )
    hooks = [
        # mmdebstrap writes this machine's path of the keyring, which the host does not have.
        f"--customize-hook=upload {sources} /etc/apt/sources.list",
        # An archive behind https may be signed by an authority that only this machine was told of.
        "--customize-hook=upload /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt",
    ]
    if host:
        setup = target.with_suffix(".service")
        setup.write_text(SETUP_UNIT, encoding="utf-8")
        hooks += [
            f"--customize-hook=upload {setup} {unit}",
            '--customize-hook=chroot "$1" systemctl enable test-host.service',
            f'--customize-hook=chroot "$1" systemctl mask {" ".join(MASKED)}',
            # Ubuntu 24.04 starts ssh by socket; a daemon from the start answers sooner and is the same everywhere.
            '--customize-hook=chroot "$1" systemctl disable ssh.socket || true',
            '--customize-hook=chroot "$1" systemctl enable ssh.service',
            '--customize-hook=printf "UseDNS no\\nMaxStartups 100\\n" >"$1/etc/ssh/sshd_config.d/test-host.conf"',
            '--customize-hook=: >"$1/etc/machine-id"',
            '--customize-hook=rm -f "$1/etc/resolv.conf" "$1/etc/hostname"',
        ]
    return [
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        "--include=" + ",".join(image.packages),
        "--aptopt=Acquire::Languages none",
        "--aptopt=Acquire::Check-Valid-Until false",
        "--aptopt=APT::Install-Recommends false",
        *hooks,
        image.suite,
        str(target),
        *(f"deb [signed-by={keyring}] {uri} {suite} {components}" for suite in image.suites),
    ]
