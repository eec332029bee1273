# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""tests/run over stages of the test's own, and what the table of docs/testing.md says of the real ones."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
import typing as t

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
Run = t.Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: pathlib.Path) -> t.Callable[[dict[str, str]], Run]:
    """``run({"10-one": "echo 1 passed"})("--quick")``: tests/run in a tree with these stages."""

    def make(stages: dict[str, str], seconds: t.Mapping[str, int] = {}) -> Run:
        (tmp_path / "tests/stages.d").mkdir(parents=True)
        (tmp_path / "docs").mkdir()
        rows = "".join(f"| {name} | what it does | {number} |\n" for name, number in seconds.items())
        (tmp_path / "docs/testing.md").write_text(f"| stage | what | seconds |\n|---|---|---|\n{rows}")
        for name, script in {"run": "", "machine": "true", **{f"stages.d/{n}": s for n, s in stages.items()}}.items():
            path = tmp_path / "tests" / name
            path.write_text((ROOT / "tests/run").read_text() if name == "run" else f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)
        return lambda *argv: subprocess.run(
            [sys.executable, str(tmp_path / "tests/run"), *argv],
            capture_output=True, text=True, check=False, timeout=60,
            env={key: value for key, value in os.environ.items() if key != "EBPF_LAB_TEST_ALL"},
        )  # fmt: skip

    return make


@pytest.mark.parametrize(
    ("prints", "verdict", "last"),
    [
        ("2 passed", "ok", "2 passed, 0 failed"),
        ("==== 2 passed, 1 xfailed in 0.1s ====", "ok", "2 passed, 0 failed, 1 xfailed"),
        ("1 xfailed in 0.1s\n1 passed", "ok", "1 passed, 0 failed, 1 xfailed"),
        ("1 failed, 2 passed", "failed", "2 passed, 1 failed"),
        ("2 passed, 1 skipped", "failed", "2 passed, 1 failed"),
        ("2 passed, 1 xpassed", "failed", "2 passed, 1 failed"),
        ("2 passed, 1 error", "failed", "2 passed, 1 failed"),
        ("3 deselected, 1 passed", "ok", "1 passed, 0 failed"),
        ("it went well", "failed", "0 passed, 1 failed"),
        ("2 passed\nFAILED  3 passed over", "ok", "2 passed, 0 failed"),
    ],
)
def test_the_verdict_is_that_of_the_summary_lines(run: t.Any, prints: str, verdict: str, last: str) -> None:
    done = run({"10-one": f"cat <<'END'\n{prints}\nEND"})()
    assert re.search(rf"^one +{verdict} ", done.stdout, re.MULTILINE), done.stdout
    assert done.stdout.splitlines()[-1] == last
    assert done.returncode == (verdict == "failed")


def test_a_stage_that_ends_with_an_error_has_failed(run: t.Any) -> None:
    done = run({"10-one": "echo 3 passed; exit 4"})()
    assert "exit status 4" in done.stdout and done.stdout.endswith("3 passed, 1 failed\n") and done.returncode == 1


def test_which_stages_run(run: t.Any) -> None:
    stages = {
        "10-one": "# stage: quick\necho 1 passed; echo all=${EBPF_LAB_TEST_ALL-unset}",
        "20-two": "echo 1 passed; echo all=${EBPF_LAB_TEST_ALL-unset}",
        "30-three": "# stage: all, alone\necho 1 passed; echo all=${EBPF_LAB_TEST_ALL-unset}",
    }
    tests = run(stages)

    def ran(*argv: str) -> set[str]:
        return set(re.findall(r"^(\w+) +ok ", tests(*argv).stdout, re.MULTILINE))

    assert ran() == {"one", "two"}
    assert ran("--quick") == {"one"}
    assert ran("--all") == {"one", "two", "three"}
    assert ran("three", "one") == {"one", "three"}
    assert "all=unset" in tests("two").stdout and "all=1" in tests("--all", "two").stdout
    assert "there is no stage four; there are one, two, three" in tests("four").stderr


def test_arguments_are_for_one_stage(run: t.Any) -> None:
    tests = run({"10-one": 'echo 1 passed; printf "<%s>" "$@"', "20-two": "echo 1 passed"})
    assert "<-k><a b><--all>" in tests("one", "--", "-k", "a b", "--all").stdout
    for stages in ((), ("one", "two")):
        refused = tests(*stages, "--", "-x")
        assert refused.returncode == 2 and "name it, for example: ./lab test kernel -- -x" in refused.stderr


def test_the_longest_begin_and_those_that_run_alone_end(run: t.Any) -> None:
    stages = {f"{number}0-s{number}": 'echo "1 passed"; sleep 0.1' for number in range(1, 5)}
    tests = run({**stages, "50-last": "# stage: alone\necho 1 passed"}, {"s3": 30, "s4": 40, "last": 60})
    done = tests("--jobs", "1")
    assert re.findall(r"^(\w+) +ok ", done.stdout, re.MULTILINE) == ["s4", "s3", "s1", "s2", "last"]
    assert "by docs/testing.md 2.2 on a quiet machine" in done.stdout


def test_the_table_has_the_stages_that_there_are() -> None:
    rows = re.findall(
        r"^\| (\w+) \| ([^|]*) \| (\d+) \|$", (ROOT / "docs/testing.md").read_text(encoding="utf-8"), re.M
    )
    stages = {path.name.partition("-")[2]: path.read_text() for path in (ROOT / "tests/stages.d").iterdir()}
    assert sorted(name for name, _what, _seconds in rows) == sorted(stages)
    for name, what, _seconds in rows:
        marks = " ".join(re.findall(r"^# stage: (.*)$", stages[name], re.MULTILINE))
        assert ("alone" in marks) == what.endswith("; alone"), name
        assert re.search(r"\$@|\$\*|^try ", stages[name], re.MULTILINE), f"{name} does nothing with its arguments"


def test_what_each_change_has_to_pass_takes_at_most_25_minutes() -> None:
    """By the table, which holds what was measured on a quiet machine."""
    text = (ROOT / "docs/testing.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \w+ \| ([^|]*) \| (\d+) \|$", text, re.MULTILINE)
    alone = sum(int(seconds) for what, seconds in rows if what.endswith("; alone"))
    beside = [int(seconds) for what, seconds in rows if not what.endswith("; alone")]
    assert alone + max(sum(beside) / 2, *beside) <= 25 * 60


def test_a_proof_is_of_what_there_was(tmp_path: pathlib.Path) -> None:
    for name in ("plugins/module_utils/_tools/a.py", "roles/golang/tasks/main.yml", "tests/toolchain/test_a.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("as it was\n")
    program = tmp_path / "tests/toolchain/proven.py"
    program.write_text((ROOT / "tests/toolchain/proven.py").read_text(encoding="utf-8"))
    for name in proven_files():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def proven(*argv: str) -> bool:
        return subprocess.run([sys.executable, str(program), *argv], stdout=subprocess.DEVNULL).returncode == 0

    assert not proven() and proven("write") and proven()
    (tmp_path / "roles/golang/README.md").write_text("a word about it\n")
    assert proven()
    for name in ("plugins/module_utils/_tools/a.py", "roles/golang/tasks/main.yml", "tests/toolchain/test_a.py"):
        (tmp_path / name).write_text("not as it was\n")
        assert not proven(), name
        (tmp_path / name).write_text("as it was\n")
        assert proven()
    (tmp_path / "plugins/module_utils/_tools/b.py").touch()
    assert not proven()


def proven_files() -> list[str]:
    """The modules that the digest is of."""
    return [f"plugins/modules/{name}.py" for name in ("bpftool", "golang", "iproute2", "packages", "toolchain_info")]
