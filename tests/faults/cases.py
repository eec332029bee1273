# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collected cases about killed, failing and simultaneous runs, each by its own commands in a private machine.

Each function is called there by test_cases.py and returns what is not as it should be, a line each.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time
import typing as t

from . import product
from .kills import unhelpful
from .private import (
    INSTANCES,
    JOURNAL,
    MACHINE,
    ROOT,
    SCRATCH,
    TryFailed,
    compile_program,
    furnish,
    journal,
    left_over,
    sh,
    snapshot,
)
from .product import Command, failed
from .supervisor import GO_ON, PASSING, Answer, Call, Decide

PINS = "/sys/fs/bpf/ebpf"
DEEP = "[" * 900 + "]" * 900
# What a run writes for itself, before and beside what it was asked for.
OWN = (str(JOURNAL), "/run/lock", "/run/ebpf")
Given = dict[str, t.Any]
Wrong = list[str]


# --- tools


def well(command: Command) -> Given:
    """A run that has to end well, or the case is not the one that it should be."""
    answer = command.run()
    if failed(answer):
        raise TryFailed(f"this run should have ended well: {failed(answer)}")
    return answer


def begins(prefix: str, answer: Answer, nth: int = 1) -> Decide:
    """Gives this answer to the ``nth`` call whose name begins so."""
    seen = 0

    def decide(call: Call) -> Answer:
        nonlocal seen
        seen += call.name.startswith(prefix)
        return answer if call.name.startswith(prefix) and seen == nth else GO_ON

    return decide


def first_change(answer: Answer) -> Decide:
    """Gives this answer to the first call that changes the machine, and not only what the run notes for itself."""
    done = False

    def decide(call: Call) -> Answer:
        nonlocal done
        if done or call.name.startswith(PASSING) or call.path.startswith(OWN):
            return GO_ON
        done = True
        return answer

    return decide


KILL = Answer(kill="group")


def cut_short(command: Command, decide: Decide) -> Given:
    """Run it under ``decide``, which has to have had something to say."""
    done = command.supervised(decide)
    if not done.run.hit:
        raise TryFailed(f"the run was not hit; it came by {[str(point) for point in done.run.points]}")
    return done.result


def compiled(name: str, source: str = "") -> str:
    """An object that a student made by hand: of a shipped program, or of ``source``."""
    target = MACHINE / f"{name}.o"
    here = f"-I{ROOT}/files/bpf"
    if source:
        compile_program(source, target)
    else:
        include = f"-I/usr/include/{os.uname().machine}-linux-gnu"
        path = f"{ROOT}/files/bpf/{name}.c"
        sh("clang", "-O2", "-g", "-target", "bpf", include, here, "-c", path, "-o", str(target))
    return str(target)


def bpftool(*argv: str) -> t.Any:
    """bpftool's answer."""
    return json.loads(sh("bpftool", "-j", *argv).stdout or "null")


def there(kind: str, *names: str) -> Wrong:
    """Those links or namespaces of the user's that are gone."""
    shown = sh("ip", "netns", "list").stdout if kind == "namespace" else sh("ip", "-o", "link").stdout
    return [f"the user's {kind} {name} is gone" for name in names if not re.search(rf"\b{name}\b", shown)]


def one_sentence(answer: Given, what: str) -> Wrong:
    """A failure that a reader can do something with."""
    if not failed(answer):
        return [f"{what}: did not fail"]
    return [f"{what}: {line}" for line in unhelpful(answer)]


# --- the cases


def c1(_given: Given) -> Wrong:
    """Check mode only reads: no traffic, no load, no write."""
    well(product.up("icmp", traffic=False))
    counters = [pathlib.Path(f"/sys/class/net/veth1/statistics/{way}_packets") for way in ("rx", "tx")]
    before = [path.read_text(encoding="ascii") for path in counters]
    done = product.up("icmp", check=True).supervised()
    wrong = [f"runs {path}" for path in done.run.programs if os.path.basename(path) in ("ping", "bpftool")]
    wrong += [f"changes: {point}" for point in done.run.points]
    if [path.read_text(encoding="ascii") for path in counters] != before:
        wrong.append("packets went over veth1")
    return wrong


def c2(_given: Given) -> Wrong:
    """A foreign map that the lab's program shares has its own entries after down."""
    path = compiled("xdp_rate_limit")
    sh("mkdir", PINS, "/sys/fs/bpf/mine")
    load = ["bpftool", "prog", "loadall", path, "/sys/fs/bpf/mine/p", "type", "xdp", "pinmaps", "/sys/fs/bpf/mine/m"]
    sh(*load)
    sh("mv", "/sys/fs/bpf/mine/m/limits", f"{PINS}/limits")
    update = ["bpftool", "map", "update", "pinned", f"{PINS}/limits", *"key 0 0 0 0 value 9 0 0 0 9 0 0 0".split()]
    sh(*update)
    was = bpftool("map", "dump", "pinned", f"{PINS}/limits")[0]["value"]
    well(product.up("rate_limit", traffic=False))
    well(product.down())
    if not os.path.exists(f"{PINS}/limits"):
        return ["the foreign map's pin is gone"]
    now = bpftool("map", "dump", "pinned", f"{PINS}/limits")[0]["value"]
    return [] if now == was else [f"the foreign map holds {now} and not {was}"]


def c3(_given: Given) -> Wrong:
    """A process in the mount does not stop a teardown; the next one finishes it."""
    before = snapshot()
    well(product.up(traffic=False))
    holder = subprocess.Popen(["sleep", "300"], cwd="/sys/fs/bpf")
    answer = product.down().run()
    wrong = []
    if "taken back" in failed(answer) and not os.path.exists(f"{PINS}/xdp_allow"):
        wrong.append(f"says that all was taken back, and the pin is gone: {failed(answer)}")
    if "vns1" in sh("ip", "netns", "list").stdout:
        wrong.append("the teardown did not go on: vns1 is there")
    holder.kill()
    holder.wait()
    wrong += [f"the later down: {why}" for why in [failed(product.down().run())] if why]
    return wrong + [f"after the later down: {line}" for line in left_over(before)]


def c4(_given: Given) -> Wrong:
    """A folder that a killed run had only planned is not the lab's."""
    cut_short(product.up(traffic=False), first_change(KILL))
    product.down().run()
    sh("mkdir", PINS)
    sh("bpftool", "map", "create", f"{PINS}/mine", *"type array key 4 value 4 entries 1 name mine".split())
    product.down().run()
    return [] if os.path.exists(f"{PINS}/mine") else ["the user's pin is gone"]


def c5(_given: Given) -> Wrong:
    """Links and namespaces that a killed run had only planned are the user's when he makes them."""
    cut_short(product.up(traffic=False), first_change(KILL))
    sh("ip", "netns", "add", "vns1")
    sh("ip", "link", "add", "veth1", "type", "veth", "peer", "name", "vpeer1", "netns", "vns1")
    product.down().run()
    return there("namespace", "vns1") + there("link", "veth1")


def c6(_given: Given) -> Wrong:
    """A run that was killed at its staging folder leaves nothing after down."""
    return _killed_and_down(product.up(traffic=False), "mkdir /sys/fs/bpf/ebpf_lab_staging")


def c24(_given: Given) -> Wrong:
    """A run that was killed while it compiled leaves nothing after down."""
    return _killed_and_down(product.up(traffic=False), "chmod /usr/local/src/ebpf.lab/lecture2/")


def _killed_and_down(command: Command, prefix: str, nth: int = 1, down: t.Optional[Command] = None) -> Wrong:
    before = snapshot()
    cut_short(command, begins(prefix, KILL, nth))
    wrong = [f"down: {why}" for why in [failed((down or product.down()).run())] if why]
    return wrong + left_over(before)


def c7(_given: Given) -> Wrong:
    """A run that waited for another one's end sees the host as it is then."""
    before = snapshot()
    well(product.up("hello", traffic=False))
    second: list[subprocess.Popen[str]] = []

    def begin_the_second(call: Call) -> Answer:
        if not second and not call.name.startswith(PASSING) and not call.path.startswith(OWN):
            second.append(product.up("drop", traffic=False).start())
            _until(lambda: _waits_for_a_lock(second[0].pid), 30)
        return GO_ON

    answer = product.down().supervised(begin_the_second).result
    wrong = [f"down: {failed(answer)}"] if failed(answer) else []
    if not second:
        raise TryFailed("the first run changed nothing")
    answer = product.ended(second[0])
    wrong += [f"the run that waited: {failed(answer)}"] if failed(answer) else []
    wrong += [f"the last down: {why}" for why in [failed(product.down().run())] if why]
    return wrong + left_over(before)


def _waits_for_a_lock(pid: int) -> bool:
    """Whether a process has a lock file open."""
    found = []
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return any("lock" in os.path.basename(path) for path in found)


def _until(what: t.Callable[[], bool], patience: float) -> bool:
    deadline = time.monotonic() + patience
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def c8(_given: Given) -> Wrong:
    """What was removed by hand is forgotten at the next run."""
    well(product.module("netns", name=["n1"]))
    well(product.module("bpf_program", object=f"{SCRATCH}/owner.o", pin_path=PINS))
    sh("ip", "netns", "del", "n1")
    sh("rm", "-rf", PINS)
    well(product.down())
    return [f"{path} still has: {text}" for path, text in journal().items()]


def c10(given: Given) -> Wrong:
    """What is in the way of the journal or the lock is told in one sentence."""
    what = given["what"]
    lock, path = pathlib.Path("/run/lock/ebpf.lab.lock"), JOURNAL / "journal.jsonl"
    if what.startswith("journal"):
        JOURNAL.mkdir(mode=0o700)
    if what == "read-only /var/lib":
        _read_only("/var/lib")
    elif what == "full /var/lib":
        sh("mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", "/var/lib")
        sh("dd", "if=/dev/zero", "of=/var/lib/full", "bs=4k", check=False)
    elif what == "read-only /run":
        _read_only("/run")
    elif what == "journal is a folder":
        path.mkdir()
    elif what == "journal is deep":
        path.write_text(
            '{"format": 1, "entries": {"lab:x": {"value": ' + "[" * 900 + "]" * 900 + "}}}", encoding="ascii"
        )
    elif what == "journal has a value of another kind":
        path.write_text('{"format": 1, "entries": {"lab:x": {"claimed": true, "value": "x"}}}', encoding="ascii")
    elif what == "lock is a folder":
        lock.mkdir()
        os.chown(lock, 65534, 65534)
    elif what == "lock is a link":
        lock.symlink_to("/etc/made-by-root")
    elif what == "lock is held by an ordinary user":
        lock.parent.chmod(0o1777)  # as it is on every Debian
        held = subprocess.Popen(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "flock", str(lock), "sleep", "300"]
        )
        _until(lock.exists, 10)
        time.sleep(0.3)
        begun = time.monotonic()
        process = product.module("netns", name=["n1"]).start()
        late = not _until(lambda: process.poll() is not None, 10)
        process.kill()
        held.kill()
        return [f"an ordinary user blocks a run for more than {time.monotonic() - begun:.0f} s"] if late else []
    answer = product.up(traffic=False).run()
    if what == "lock is a link":
        return ["root made the file that an ordinary user's link names"] if os.path.exists("/etc/made-by-root") else []
    if what.startswith("lock"):
        return [f"an ordinary user stops a run: {failed(answer)[-200:]}"] if failed(answer) else []
    return one_sentence(answer, what)


def _read_only(path: str) -> None:
    sh("mount", "--bind", path, path)
    sh("mount", "-o", "remount,bind,ro", path)


def c11(_given: Given) -> Wrong:
    """A path with .. in the journal is not followed out of the work folder."""
    mine = pathlib.Path("/etc/owner.conf")
    mine.write_text("mine\n", encoding="ascii")
    digest = sh("sha256sum", str(mine)).stdout.split()[0]
    well(product.up("environment", traffic=False))
    path = JOURNAL / "journal.jsonl"
    entry = {"claimed": True, "value": {"written": digest}, "owner": "lecture2"}
    with open(path, "a", encoding="ascii") as journal:
        journal.write(json.dumps({"file:/usr/local/src/ebpf.lab/lecture2/../../../../../etc/owner.conf": entry}) + "\n")
    product.down().run()
    return [] if mine.exists() else ["/etc/owner.conf is gone"]


def c13(_given: Given) -> Wrong:
    """Without iptables' tools the rest goes down, and what could not be put back is kept and named."""
    furnish()
    before = snapshot()
    well(product.up(traffic=False))
    sbin = MACHINE / "sbin"
    sbin.mkdir()
    sh("mount", "--bind", "/usr/sbin", str(sbin))
    sh("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/usr/sbin")
    for name in os.listdir(sbin):
        if "tables" not in name:
            os.symlink(sbin / name, f"/usr/sbin/{name}")
    answer = product.down().run()
    wrong = []
    if "vns1" in sh("ip", "netns", "list").stdout:
        wrong.append(f"nothing went down: {failed(answer)}")
    if "iptables" not in failed(answer):
        wrong.append(f"does not name what could not be put back: {failed(answer)}")
    sh("umount", "/usr/sbin")
    sh("umount", str(sbin))
    wrong += [f"the later down: {why}" for why in [failed(product.down().run())] if why]
    return wrong + [f"after the later down: {line}" for line in left_over(before)]


def c16(_given: Given) -> Wrong:
    """No program is looked for by the PATH of whoever runs the module."""
    evil = MACHINE / "evil"
    evil.mkdir()
    for name in ("file", "uname", "ip", "bpftool", "clang", "sh", "ldconfig", "gcc", "cc"):
        (evil / name).write_text(f"#!/bin/sh\necho {name} >>{MACHINE}/ran\nexit 1\n", encoding="ascii")
        (evil / name).chmod(0o755)
    os.environ["PATH"] = f"{evil}:{os.environ['PATH']}"
    product.up("environment", traffic=False).run()
    ran = MACHINE / "ran"
    return (
        [f"ran {name} by PATH" for name in sorted(set(ran.read_text(encoding="ascii").split()))] if ran.exists() else []
    )


def c17(_given: Given) -> Wrong:
    """Two graders at once find what each finds alone."""
    well(product.up("count", traffic=False))
    alone = found_by(well(product.verify()))
    if not any(change for _name, change in alone):
        raise TryFailed(f"a grader alone finds no packets: {alone}")
    b_has_sent, a_is_done = threading.Event(), threading.Event()
    b_runs: list[threading.Thread] = []
    answers: dict[str, Given] = {}

    def grade(name: str, decide: Decide) -> None:
        answers[name] = product.verify().supervised(decide).result
        b_has_sent.set()

    def b_decides(call: Call) -> Answer:
        if not call.name.startswith(PASSING) and not call.path.startswith(OWN):  # puts the map back as it was
            b_has_sent.set()
            a_is_done.wait(15)
        return GO_ON

    def a_decides(call: Call) -> Answer:
        if call.path.endswith("/ping") and not b_runs:  # has read the map, has sent nothing yet
            b_runs.append(threading.Thread(target=grade, args=("second", b_decides)))
            b_runs[0].start()
            b_has_sent.wait(15)
        return GO_ON

    grade("first", a_decides)
    a_is_done.set()
    if not b_runs:
        raise TryFailed("the first grader sent nothing")
    b_runs[0].join(60)
    return [
        f"the {name} grader: {failed(answer) or found_by(answer)}, alone it is {alone}"
        for name, answer in sorted(answers.items())
        if failed(answer) or found_by(answer) != alone
    ]


def found_by(answer: Given) -> list[tuple[str, t.Any]]:
    """What a grader saw change in each map."""
    return [(entry["name"], [one["change"] for one in entry["entries"]]) for entry in answer["facts"]["maps"]]


def c18(given: Given) -> Wrong:
    """A grader that was killed leaves nothing: no trace instance, and the map as it was."""
    stage = given["stage"]
    well(product.up(stage, traffic=False))
    instances: list[str] = []

    def decide(call: Call) -> Answer:
        if call.name.startswith(f"mkdir {INSTANCES}"):
            instances.append(call.path)
        sent = not call.path.startswith(INSTANCES) and call.name.startswith("bpf MAP_")
        return KILL if (sent if stage == "count" else call.path.endswith("/ping")) else GO_ON

    done = product.verify().supervised(decide)
    if not done.run.hit and done.run.rc != -signal.SIGKILL:
        raise TryFailed("the grader was not killed")
    if stage == "count":
        well(product.verify())
        left = bpftool("map", "dump", "pinned", f"{PINS}/pkt_cnt")
        return [f"the map keeps {left}"] if left else []
    product.reset(traffic=False).run()
    product.down().run()
    left = [path for path in instances if os.path.exists(path)]
    for path in left:
        os.rmdir(path)
    return [f"the trace instance {path} stays" for path in left]


FLUSH = product.module("iptables_flush", flush=[{"table": "filter", "chains": ["FORWARD"]}])
RESTORE = product.module("iptables_flush", state="restored")


def c19(given: Given) -> Wrong:
    """A rule that the owner added after a flush, or after a flush that was killed before it began, stays."""
    sh("iptables", "-A", "FORWARD", "-s", "10.1.1.1", "-j", "ACCEPT")
    if given["killed"]:
        cut_short(FLUSH, first_change(KILL))
    else:
        well(FLUSH)
    sh("iptables", "-A", "FORWARD", "-s", "10.2.2.2", "-j", "ACCEPT")
    RESTORE.run()
    rules = sh("iptables", "-S", "FORWARD").stdout
    return [f"the rule for {net} is gone" for net in ("10.1.1.1", "10.2.2.2") if net not in rules]


TAILS = """\
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 2); __type(key, __u32); __type(value, __u32); }
    tails SEC(".maps");
SEC("xdp") int first(struct xdp_md *context) { bpf_tail_call(context, &tails, 0); return XDP_ABORTED; }
SEC("xdp") int second(struct xdp_md *context) { return XDP_TX; }
SEC("xdp") int third(struct xdp_md *context) { return XDP_DROP; }
char _license[] SEC("license") = "GPL";
"""


def c21(_given: Given) -> Wrong:
    """The program that a slot of a foreign prog array alone kept alive is back after absent."""
    mine = "/sys/fs/bpf/mine"
    path = compiled("tails", TAILS)
    sh("mkdir", mine)
    sh("bpftool", "prog", "loadall", path, f"{mine}/p", "type", "xdp", "pinmaps", f"{mine}/m")
    slot = [
        "map",
        "update",
        "pinned",
        f"{mine}/m/tails",
        "key",
        "0",
        "0",
        "0",
        "0",
        "value",
        "pinned",
        f"{mine}/p/second",
    ]
    sh("bpftool", *slot)
    wanted = bpftool("prog", "show", "pinned", f"{mine}/p/second")["id"]
    other = bpftool("prog", "show", "pinned", f"{mine}/p/third")["id"]
    os.unlink(f"{mine}/p/second")
    array = {"path": f"{mine}/m/tails"}
    well(product.module("bpf_map", **array, entries=[{"key": 0, "value": other}]))
    answer = product.module("bpf_map", **array, state="absent").run()
    time.sleep(0.2)
    held = [entry["value"] for entry in bpftool("map", "dump", "pinned", f"{mine}/m/tails")]
    number = [int.from_bytes(bytes(int(byte, 16) for byte in value), "little") for value in held]
    wrong = [f"absent: {failed(answer)}"] if failed(answer) else []
    return wrong + ([] if number == [wanted] else [f"the slot holds {number} and not the program {wanted}"])


def c22(given: Given) -> Wrong:
    """No room once for what a run notes: it is taken back, says so in one sentence, and the next run converges."""
    before = snapshot()
    seen = 0

    def decide(call: Call) -> Answer:
        nonlocal seen
        source = call.name.split(" ")[1] if " " in call.name else ""
        if call.name.startswith(given["call"]) and source.startswith(f"{JOURNAL}/"):
            seen += 1
            return Answer(error=errno.ENOSPC) if seen == 2 else GO_ON
        return GO_ON

    answer = cut_short(product.up(traffic=False), decide)
    wrong = one_sentence(answer, given["call"])
    wrong += [f"the next up: {why}" for why in [failed(product.up(traffic=False).run())] if why]
    wrong += [f"down: {why}" for why in [failed(product.down().run())] if why]
    return wrong + left_over(before)


def c23(_given: Given) -> Wrong:
    """A teardown that was killed before it unmounted bpffs is finished by the next."""
    before = snapshot()
    well(product.up(traffic=False))
    cut_short(product.down(), begins("umount2 /sys/fs/bpf", KILL))
    wrong = [f"down: {why}" for _turn in range(2) for why in [failed(product.down().run())] if why]
    return wrong + left_over(before)


def c25(given: Given) -> Wrong:
    """A file system that can only be read is told in one sentence."""
    if given["of"] == "down":
        well(product.up(traffic=False))
    command = product.down() if given["of"] == "down" else product.up(traffic=False)
    answer = cut_short(command, begins(given["call"], Answer(error=errno.EROFS)))
    wrong = one_sentence(answer, given["call"])
    if "Read-only" not in failed(answer) and "read-only" not in failed(answer) and "EROFS" not in failed(answer):
        wrong.append(f"does not say why: {failed(answer)}")
    return wrong
