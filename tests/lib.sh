# What the stages have in common; they are started in the repository's root by ./lab test or by tests/run.
# Copyright (c) 2026 the ebpf.lab authors
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh

root=$(pwd)
scratch=$root/.ansible/test
mkdir -p "$scratch"
export PATH="$root/.venv/bin:$PATH" ANSIBLE_HOME="${ANSIBLE_HOME-$root/.ansible}"
export ANSIBLE_COLLECTIONS_PATH="${ANSIBLE_COLLECTIONS_PATH-$root/.ansible/collections}"
export PYTHONDONTWRITEBYTECODE=1
passed=0 failed=0

# try NAME COMMAND...: one test; what it prints is kept back unless it fails.
try() {
    name=$1
    shift
    if "$@" >"$scratch/try.$$" 2>&1; then
        passed=$((passed + 1))
        echo "ok      $name"
    else
        failed=$((failed + 1))
        echo "FAILED  $name: $*"
        cat "$scratch/try.$$"
    fi
    rm -f "$scratch/try.$$"
}

# summary: the line that tests/run counts, and the exit status.
summary() {
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
    exit
}

# packages DIRECTORY REQUIREMENTS [pip options]: pinned packages in a directory for PYTHONPATH, made when they changed.
packages() {
    directory=$1 requirements=$2
    shift 2
    stamp=$directory/.$(cksum "$requirements" | tr ' /' --)
    [ -e "$stamp" ] || {
        rm -rf "$directory"
        python -m pip --disable-pip-version-check install -qq --target "$directory" --requirement "$requirements" "$@" &&
            : >"$stamp"
    }
}

# find_python VERSION: an interpreter of that version that runs; a pyenv shim can be on PATH and not work.
find_python() {
    for python in "python$1" "/usr/bin/python$1" "$HOME/.pyenv/versions/$1".*/bin/python3; do
        "$python" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" >/dev/null 2>&1 || continue
        echo "$python"
        return 0
    done
    return 1
}
