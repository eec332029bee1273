# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the product has written down about a host is broken, or where it lies is: whatever its format may be.

Called in a private machine. A lab is brought up, and the bytes of its records are changed, in one way after another;
each time another run meets them. It goes on without, or says one sentence; it changes nothing of the owner's, and what
says that all was taken down has taken it down. Afterwards the good records are put back, and lead back to before.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import typing as t

from . import product
from .cases import well
from .kills import Answers, unhelpful
from .private import JOURNAL, MACHINE, TryFailed, furnish, left_over, sh, snapshot
from .product import Command, ended, failed

SHARES = {  # how many tries share the ways of a kind
    "records cut short": 30,
    "records of garbage": 6,
    "records of other types": 30,
    "records of elsewhere": 8,
    "records out of reach": 6,
}
OWNERS = "/etc/sysctl.d/50-owner.conf"
# What each value is replaced by, in turn.
OTHERS: tuple[t.Any, ...] = (
    *(None, True, False, -1, 1 << 70, 1.5, "", "x", "\0", "a/../b", "\udcff", [], {}, [[]], {"x": 1}, [None]),
    json.loads("[" * 200 + "]" * 200),
)
LONGEST = 1500  # characters of a sentence that somebody reads
PATIENCE = 45.0
MEMORY = 2 << 30
Files = dict[pathlib.Path, bytes]
Way = tuple[str, t.Callable[[], object]]  # what it is, and what does it


def commands() -> dict[str, Command]:
    """The runs that meet broken records, in turn."""
    return {
        "down": product.down(),
        "up": product.up("hello", traffic=False),
        "verify": product.verify(),
        "a module": product.module("netns", name=["n1"]),
        "down --check": product.down(check=True),
        "reset": product.reset(traffic=False),
        "restored": product.module("iptables_flush", state="restored"),
    }


def broken(given: Answers) -> Answers:
    """The ``nth`` share of the ways of a kind, or ``most`` of them drawn by chance, from the one after ``tried`` on.

    ``done`` is False when the machine serves no more before all have been tried: the rest needs a new one.
    """
    kind, nth = given["scenario"], given["nth"]
    furnish()
    before = snapshot()
    kept, after = _brought_up()
    ways = WAYS[kind](kept)
    numbers = list(range(len(ways)))
    numbers = numbers[(nth - 1) % SHARES[kind] :: SHARES[kind]]
    if "most" in given:
        numbers = random.Random(given["seed"]).sample(numbers, min(given["most"], len(numbers)))
    runs = list(commands().items())
    wrong: list[str] = []
    tried = given.get("tried", 0)
    for number in numbers[tried:]:
        name, spoil = ways[number]
        who, command = runs[(number + number // len(runs)) % len(runs)]
        spoil()
        tried += 1
        said, found = _met(who, command, before, after)
        made = {} if said else _kept()
        _restore(kept)
        if left_over(after):
            # It did something. What failed had written down what it did; what went well has records of its own.
            if made and who != "down":
                _restore(made)
                product.down().run()
                _restore(kept)
            why = failed(product.down().run())
            sh("ip", "netns", "del", "n1", check=False)  # the module's own
            left = left_over(before)
            if said or who == "down":
                found += [f"with the good records back, down: {why}"] if why else []
                found += [f"with the good records back, down leaves: {line}" for line in left]
            wrong += [f"{name}, {who}: {line}" for line in found[:5]]
            if why or left:  # this machine serves no more
                break
            kept, after = _brought_up()
            ways = WAYS[kind](kept)
            continue
        wrong += [f"{name}, {who}: {line}" for line in found[:5]]
    return {"hit": bool(numbers), "tried": tried, "done": tried == len(numbers), "wrong": wrong}


def _kept() -> Files:
    if not JOURNAL.is_dir():
        return {}
    return {path: path.read_bytes() for path in sorted(JOURNAL.rglob("*")) if path.is_file()}


def _brought_up() -> tuple[Files, dict[str, t.Any]]:
    well(product.up("hello", traffic=False))
    files = _kept()
    if not files:
        raise TryFailed(f"a lab that is up has written nothing below {JOURNAL}")
    return files, snapshot()


def _met(who: str, command: Command, before: dict[str, t.Any], after: dict[str, t.Any]) -> tuple[str, list[str]]:
    """A run meets the broken records: why it failed, and what is not as it should be."""
    # With a bound, for what is endless.
    process = Command(("prlimit", f"--as={MEMORY}", *command.argv), command.stdin).start()
    try:
        answer = ended(process, PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return "endless", [f"was still at it after {PATIENCE:g} s"]
    said = failed(answer)
    wrong = unhelpful(answer)
    if "defect of ebpf.lab" in said and not wrong:
        wrong.append(f"calls it a defect of its own: {said:.300}")
    if len(said) > LONGEST:
        wrong.append(f"is no sentence, with {len(said)} characters: {said[:100]!r}")
    _reachable()
    now = snapshot()
    if who == "down" and not said:
        wrong += [f"says that all is down, and leaves: {line}" for line in _but_records(left_over(before))[:3]]
    theirs, ours, is_now = _flat(before), _flat(after), _flat(now)
    foreign = {path: value for path, value in theirs.items() if ours.get(path) == value}
    wrong += [f"changed the owner's {path}" for path, value in foreign.items() if is_now.get(path) != value][:3]
    return said, wrong


def _but_records(lines: list[str]) -> list[str]:
    """Records that cannot be read may stay: somebody may be able to."""
    return [line for line in lines if str(JOURNAL) not in line]


def _flat(value: t.Any, path: str = "") -> dict[str, str]:
    """A snapshot as its places and what is there, but for lists, which are one thing, and our own records."""
    if isinstance(value, dict) and value:
        found: dict[str, str] = {}
        for key, inner in value.items():
            found.update(_flat(inner, f"{path} | {key}"))
        return found
    return {} if str(JOURNAL) in path or path == " | mounts" else {path: json.dumps(value, sort_keys=True)}


def _reachable() -> None:
    """Take away what was put over the records."""
    while sh("mountpoint", "-q", str(JOURNAL), check=False).returncode == 0:
        sh("umount", str(JOURNAL))


def _restore(kept: Files) -> None:
    """The good records in their place."""
    _reachable()
    if JOURNAL.is_dir() and not JOURNAL.is_symlink():
        shutil.rmtree(JOURNAL)
    else:
        JOURNAL.unlink(missing_ok=True)
    for path, content in kept.items():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_bytes(content)
        path.chmod(0o600)


# --- the ways


def _written(path: pathlib.Path, what: str, content: bytes) -> Way:
    return f"{path.name}: {what}", lambda: path.write_bytes(content)


def _cut_short(kept: Files) -> list[Way]:
    """Each file ends after so many bytes."""
    return [
        _written(path, f"cut at {length}", content[:length])
        for path, content in kept.items()
        for length in range(0, len(content), 7)
    ]


def _garbage(kept: Files) -> list[Way]:
    """Other content altogether, a byte or a piece of another one, a file that is far too long."""
    chance = random.Random(1)
    ways: list[Way] = []
    for path, content in kept.items():
        half = len(content) // 2
        whole = {
            "null": b"null",
            "a number": b"5",
            "a list": b"[]",
            "an object": b"{}",
            "text": b'"x"',
            "NaN": b"NaN",
            "blanks": b" \n\n",
            "NUL": b"\0" * 4096,
            "random": chance.randbytes(4096),
            "not UTF-8": content[:half] + b"\xff\xfe" + content[half:],
            "UTF-16": content.decode("utf-8", "replace").encode("utf-16"),
            "BOM": b"\xef\xbb\xbf" + content,
            "carriage returns": content.replace(b"\n", b"\r\n"),
            "twice": content * 2,
            "a tail": content + b"x",
            "a blank line before": b"\n" + content,
            "deep": b"[" * 100000,
            "deep objects": b'{"a":' * 100000,
            "huge": content + b"\n" * 50_000_000,
            "a huge text": content.replace(b'"', b'"' + b"x" * 2_000_000, 1),
            "a huge number": re.sub(rb"\d+", b"9" * 6000, content, count=1),
            "an endless number": re.sub(rb"\d+", b"1e999", content, count=1),
        }
        for _turn in range(40):
            at, byte = chance.randrange(len(content)), chance.randrange(256)
            whole[f"byte {at} is {byte}"] = content[:at] + bytes([byte]) + content[at + 1 :]
            start, size = chance.randrange(len(content)), chance.randrange(1, 200)
            whole[f"{size} bytes from {start} are gone"] = content[:start] + content[start + size :]
            start, size = chance.randrange(len(content)), chance.randrange(1, 200)
            whole[f"{size} bytes from {start} are there twice"] = content[: start + size] + content[start:]
        ways += [_written(path, what, made) for what, made in whole.items()]
    return ways


def _other_types(kept: Files) -> list[Way]:
    """Each value in what is JSON, or lines of JSON, is one of another type, or is not there, or has a strange key."""
    ways: list[Way] = []
    for path, content in kept.items():
        documents = _documents(content)
        every = [(at, place) for at, document in enumerate(documents) for place in _places(document)]
        for number, (at, place) in enumerate(every):
            where = ".".join(map(str, place))[:90] or "all"
            for other in (OTHERS[2 * number % len(OTHERS)], OTHERS[(2 * number + 1) % len(OTHERS)]):
                made = _joined(documents, at, _with(documents[at], place, other))
                ways.append(_written(path, f"{where} is {json.dumps(other)[:20]}", made))
            if place and number % 2:
                made = _joined(documents, at, _with(documents[at], place, None, gone=True))
                ways.append(_written(path, f"{where} is not there", made))
    return ways


def _elsewhere(kept: Files) -> list[Way]:
    """Of another format, another boot, of kinds that nobody knows, and about paths that lead out of their folder."""
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    ways: list[Way] = []
    for path, content in kept.items():

        def way(what: str, made: bytes, path: pathlib.Path = path, content: bytes = content) -> None:
            if made != content:
                ways.append(_written(path, what, made))

        for number in (b"0", b"2", b"999", b"-1", b'"1"', b"1.0", b"true", b"null"):
            way(f"the format is {number.decode()}", re.sub(rb'("format"\s*:\s*)\d+', rb"\g<1>" + number, content))
        way("another boot", content.replace(boot, b"00000000-0000-4000-8000-000000000000"))
        way("no boot", content.replace(boot, b""))
        kinds = sorted(set(re.findall(rb'"([a-z]+):', content)))
        for kind in kinds:
            way(f"{kind.decode()} is a kind that nobody knows", content.replace(b'"' + kind + b":", b'"xyzzy:'))
            way(
                f"{kind.decode()} has no name",
                re.sub(rb'"' + kind + rb':[^"]*"', b'"' + kind + b':"', content, count=1),
            )
            for other in kinds:
                way(f"{kind.decode()} is {other.decode()}", content.replace(b'"' + kind + b":", b'"' + other + b":", 1))
        for place in sorted(set(re.findall(rb'(?<=[":])/[^":]+(?=")', content))):
            up = b"/.." * place.count(b"/")
            for what, there in (("the owner's file", OWNERS.encode()), ("a folder", b"/etc"), ("nothing", b"/x/y")):
                way(f"{place.decode()} leads to {what}", content.replace(place + b'"', place + up + there + b'"'))
            way(f"{place.decode()} is relative", content.replace(place + b'"', place.strip(b"/") + b'"'))
            way(f"{place.decode()} has a dot", content.replace(place + b'"', place + b'/./"'))
    return ways


def _out_of_reach(kept: Files) -> list[Way]:
    """The folder or a file is something else, somebody else's, not to be written, or there is no room."""
    aside = MACHINE / "aside"

    def folder(make: t.Callable[[], object]) -> t.Callable[[], object]:
        def spoil() -> object:
            shutil.rmtree(aside, ignore_errors=True)
            shutil.move(str(JOURNAL), str(aside))
            return make()

        return spoil

    def full(size: int) -> None:
        """A file system that has its records and so many bytes of room."""
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(JOURNAL, aside)
        used = sum(-(-len(content) // 4096) for content in kept.values())
        sh("mount", "-t", "tmpfs", "-o", f"nr_blocks={used + size},mode=700", "tmpfs", str(JOURNAL))
        for path in kept:
            (JOURNAL / path.relative_to(JOURNAL)).write_bytes(kept[path])

    def read_only() -> None:
        sh("mount", "--bind", str(JOURNAL), str(JOURNAL))
        sh("mount", "-o", "remount,bind,ro", str(JOURNAL))

    ways: list[Way] = [
        ("the folder is a file", folder(lambda: JOURNAL.write_text("x", encoding="ascii"))),
        ("the folder is a link to nothing", folder(lambda: JOURNAL.symlink_to("/nonexistent/x"))),
        ("the folder is a link to itself", folder(lambda: JOURNAL.symlink_to(JOURNAL))),
        ("the folder is a link to the owner's", folder(lambda: JOURNAL.symlink_to("/usr/local/src/owner"))),
        ("the folder is a fifo", folder(lambda: os.mkfifo(JOURNAL))),
        ("the folder is somebody else's", lambda: (os.chown(JOURNAL, 65534, 65534), JOURNAL.chmod(0o777))),
        ("the folder cannot be entered", lambda: JOURNAL.chmod(0)),
        ("the file system is read-only", read_only),
        *((f"there is room for {size} blocks", lambda size=size: full(size)) for size in (0, 1, 2)),
    ]
    for path in kept:

        def is_now(make: t.Callable[[], object], path: pathlib.Path = path) -> t.Callable[[], object]:
            def spoil() -> object:
                path.unlink()
                return make()

            return spoil

        ways += [
            (f"{path.name} is a folder", is_now(path.mkdir)),
            (f"{path.name} is a fifo", is_now(lambda path=path: os.mkfifo(path))),
            (f"{path.name} is /dev/zero", is_now(lambda path=path: sh("mknod", str(path), "c", "1", "5"))),
            (f"{path.name} is a link to nothing", is_now(lambda path=path: path.symlink_to("/nonexistent/x"))),
            (f"{path.name} is a link to itself", is_now(lambda path=path: path.symlink_to(path))),
            (f"{path.name} is a link to the owner's", is_now(lambda path=path: path.symlink_to(OWNERS))),
            (f"{path.name} is a socket", is_now(lambda path=path: os.mknod(path, 0o140600))),
            (f"{path.name} is somebody else's", lambda path=path: os.chown(path, 65534, 65534)),
            (f"{path.name} cannot be read", lambda path=path: path.chmod(0)),
            (f"{path.name} is open to all", lambda path=path: path.chmod(0o666)),
        ]
    return ways


WAYS: dict[str, t.Callable[[Files], list[Way]]] = {
    "records cut short": _cut_short,
    "records of garbage": _garbage,
    "records of other types": _other_types,
    "records of elsewhere": _elsewhere,
    "records out of reach": _out_of_reach,
}


# --- JSON


def _documents(content: bytes) -> list[t.Any]:
    """The documents of a file: one, or one in each line, or none that we know."""
    try:
        return [json.loads(content)]
    except ValueError:
        pass
    found = []
    for line in content.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            return []
    return found


def _joined(documents: t.Sequence[t.Any], at: int, changed: t.Any) -> bytes:
    return b"".join(json.dumps(changed if i == at else one).encode() + b"\n" for i, one in enumerate(documents))


def _places(value: t.Any, path: tuple[t.Any, ...] = ()) -> t.Iterator[tuple[t.Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from _places(one, (*path, key))


def _with(value: t.Any, path: t.Sequence[t.Any], other: t.Any, gone: bool = False) -> t.Any:
    """A copy of a value with another one at a place, or nothing there."""
    if not path:
        return other
    value = json.loads(json.dumps(value))
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    if gone:
        del inner[path[-1]]
    else:
        inner[path[-1]] = other
    return value
