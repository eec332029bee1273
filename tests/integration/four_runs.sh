# What the targets have in common: a playbook is run in check mode, run, run again, and run again in check mode.
# Copyright (c) 2026 the ebpf.lab authors
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash

export ANSIBLE_NOCOLOR=1 NO_COLOR=1
output=$(mktemp -d)
trap 'rm -rf "$output"' EXIT

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# play NAME OPTIONS...: the target's play.yml with its diff; what it prints is kept under the name.
play() {
    local name=$1
    shift
    echo "=== $name: $*"
    ansible-playbook -i "${INVENTORY_PATH:-../../inventory}" play.yml --diff "$@" | tee "$output/$name"
}

# changed NAME: how many tasks of that play changed something.
changed() {
    sed -n 's/^testhost .* changed=\([0-9]*\) .*/\1/p' "$output/$1"
}

# differences NAME: what its diffs showed.
differences() {
    grep -E '^(TASK|[-+@ ])' "$output/$1"
}

# unchanged OPTIONS...: two runs, the second in check mode, have nothing to do.
unchanged() {
    play again "$@"
    [ "$(changed again)" = 0 ] || fail "the second run changed something"
    play predicted-again --check "$@"
    [ "$(changed predicted-again)" = 0 ] || fail "check mode predicts a change when there is none to make"
}

# four_runs COUNT OPTIONS...: COUNT tasks change something; check mode predicts it, nothing is left to do after it.
four_runs() {
    local count=$1
    shift
    play predicted --check "$@"
    play run "$@"
    [ "$(changed run)" = "$count" ] || fail "$(changed run) tasks changed something, expected $count"
    [ "$(changed predicted)" = "$count" ] || fail "check mode predicts $(changed predicted) changes, the run made $count"
    unchanged "$@"
}

# same_diff: check mode showed what the run did. For tasks that do not build on one another's changes.
same_diff() {
    differences predicted >"$output/before" && differences run >"$output/after"
    [ -s "$output/after" ] || fail "no diff was shown"
    diff "$output/before" "$output/after" || fail "check mode shows another diff than the run"
}
