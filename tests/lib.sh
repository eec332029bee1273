# What the stages have in common; they are started in the repository's root by ./lab test or by tests/run.
# Copyright (c) 2026 the ebpf.lab authors
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh

root=$(pwd)
scratch=$root/.ansible/test
mkdir -p "$scratch"
export PATH="$root/.venv/bin:$PATH" ANSIBLE_HOME="${ANSIBLE_HOME-$root/.ansible}"
export ANSIBLE_COLLECTIONS_PATH="${ANSIBLE_COLLECTIONS_PATH-$root/.ansible/collections}"
export PYTHONDONTWRITEBYTECODE=1 HYPOTHESIS_STORAGE_DIRECTORY="$scratch/hypothesis"
passed=0 failed=0
only=$* # the stage's own arguments

# try NAME COMMAND...: one test; what it prints is kept back unless it fails. Where the stage has arguments, it runs
# those whose name has one of them in it.
try() {
    name=$1 wanted=$only
    shift
    for word in $only; do
        case $name in *"$word"*) wanted='' ;; esac
    done
    [ -z "$wanted" ] || return 0
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

# chosen COMMAND...: one of several runs of pytest; that the stage's own arguments choose no test of it is no failure.
chosen() {
    "$@" || { code=$? && [ -n "$only" ] && [ "$code" -eq 5 ]; }
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

# environment DIRECTORY REQUIREMENTS: a venv with pinned packages, made when they changed.
environment() {
    stamp=$1/.$(cat requirements.txt "$2" | cksum | tr ' ' -)
    [ -e "$stamp" ] || {
        rm -rf "$1"
        python -m venv "$1" && "$1/bin/python" -m pip --disable-pip-version-check install -qq --requirement "$2" &&
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

# copy_collection: sets copy to a real folder with the collection's files, which is what ansible-test insists on: it
# refuses a symlink, and inside another repository it finds no target at all and calls that a success.
copy_collection() {
    copies=$(mktemp -d /var/tmp/ebpf.lab-tests.XXXXXX)
    trap 'rm -rf "$copies"' EXIT
    trap 'exit 1' INT TERM HUP
    copy=$copies/ansible_collections/ebpf/lab
    mkdir -p "$copy"
    git ls-files --cached --others --exclude-standard | while read -r file; do
        case $file in # not part of what is installed, and held to the rules of lint instead
        tests/sanity/*) ;;
        .* | benchmarks/* | docs/* | lab | molecule/* | tests/*) continue ;;
        esac
        [ ! -f "$file" ] || echo "$file"
    done | tar -cf - -T - | tar -xf - -C "$copy"
    # It makes its own environments, and downloads pip for them from a place of its own; ours is in Python already.
    PATH=$(echo "$PATH" | tr ':' '\n' | grep -v 'pyenv/shims' | paste -sd : -)
    mkdir -p "$scratch/home/.ansible/test/cache" "$scratch/pythons"
    for version in 3.9 3.12 3.13; do # it looks for other versions on PATH alone
        interpreter=$(find_python "$version") && ln -sf "$(command -v "$interpreter")" "$scratch/pythons/python$version"
    done
    PATH=$PATH:$scratch/pythons
    # It drops the environment's settings of pip, so they become a file.
    mkdir -p "$scratch/home/.config/pip"
    settings=$(python -m pip config list | sed -n "s/^[^.]*\.\([a-z-]*\)='\(.*\)'$/\1 = \2/p" | sort -u)
    printf '[global]\n%s\n' "$settings" >"$scratch/home/.config/pip/pip.conf"
    export HOME="$scratch/home"
    version=$(sed -n "s/^ *pip='\(.*\)',/\1/p" \
        "$(python -c 'import ansible_test; print(ansible_test.__path__[0])')/_internal/python_requirements.py")
    unset ANSIBLE_HOME ANSIBLE_COLLECTIONS_PATH
    cat >"$HOME/.ansible/test/cache/get_pip_$(echo "$version" | tr . _).py" <<'END'
import ensurepip, os, runpy, sys
environment = dict(os.environ)
ensurepip.bootstrap()
os.environ.clear(), os.environ.update(environment)  # ensurepip turns off pip's configuration
sys.argv[1:] = ["install", *(a for a in sys.argv[1:] if a not in ("--no-setuptools", "--no-wheel"))]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
END
}
