# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The EXAMPLES of each module and role, run as they stand by ansible-playbook, each on an isolated machine of its own.

Each task of ours is predicted in check mode, run, and run again: the prediction has to be right, and the second run may
change nothing. What an example takes for granted (a namespace, an object) is made by the shell lines of PREPARED; a
module without an entry there fails. Those of BUILT fetch and build for minutes; the toolchain tests run them, and here
only their arguments are held against the module's own specification and its check of them.

    pytest -n 2 tests/examples
"""

from __future__ import annotations

import ast
import importlib
import os
import pathlib
import re
import subprocess
import sys
import typing as t

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.ebpf.lab.tests.role_readmes import specification

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))
PREFIX = "ebpf.lab."

NETNS = "ip netns add vns1"
NETWORK = f"""{NETNS}
ip link add veth1 type veth peer name vpeer1 netns vns1
ip addr add 192.168.100.1/24 dev veth1
ip link set veth1 up
ip -n vns1 addr add 192.168.100.2/24 dev vpeer1
ip -n vns1 link set vpeer1 up
ping -q -c 1 -W 5 192.168.100.2"""
SOURCES = f"mkdir -p /opt/lab\ncp {ROOT}/files/bpf/* /opt/lab"


def compiled(*names: str) -> str:
    """Objects of the collection's sources, without our own modules."""
    clang = "clang -O2 -g -target bpf -I/usr/include/$(uname -m)-linux-gnu -c"
    return "\n".join([SOURCES, *(f"{clang} /opt/lab/{name}.c -o /opt/lab/{name}.o" for name in names)])


def pinned(*names: str) -> str:
    """Their programs and maps pinned in /sys/fs/bpf/ebpf."""
    load = "bpftool prog loadall /opt/lab/{0}.o /sys/fs/bpf/ebpf type xdp pinmaps /sys/fs/bpf/ebpf"
    return "\n".join([compiled(*names), *(load.format(name) for name in names)])


def written(name: str, text: str) -> str:
    """A source of the test's own, in the place of a teacher's."""
    return f"{SOURCES}\ncat >/opt/lab/{name}.c <<'END'\n{text}END\n{compiled(name)}"


TC_FILTER = """#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
SEC("tc") int tc_filter(struct __sk_buff *skb) { return TC_ACT_OK; }
char _license[] SEC("license") = "GPL";
"""
XDP_FILTER = """#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
SEC("xdp") int xdp_filter(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct iphdr *ip = data + sizeof(struct ethhdr);
    if ((void *)(ip + 1) > end) return XDP_DROP;
    return ip->protocol == IPPROTO_ICMP ? XDP_PASS : XDP_DROP;
}
char _license[] SEC("license") = "GPL";
"""
LAB = "ebpf.lab.lab: {lab: xdp_hello}"
DROP = "ip link set dev veth1 xdpdrv pinned /sys/fs/bpf/ebpf/xdp_deny"

# What has to be there before a module's examples: shell lines, and tasks.
PREPARED: dict[str, tuple[str, list[str]]] = {
    "bpf_info": (
        f"{NETWORK}\n{pinned('xdp_pass')}\nip link set dev veth1 xdpdrv pinned /sys/fs/bpf/ebpf/xdp_allow",
        [],
    ),
    "bpf_map": (f"{NETWORK}\n{pinned('xdp_rate_limit', 'xdp_count', 'xdp_redirect')}", []),
    "bpf_map_info": (pinned("xdp_count"), []),
    "bpf_object": (SOURCES, []),
    "bpf_stats_info": (pinned("xdp_count"), []),
    "bpf_trace_info": (f"{NETWORK}\n{pinned('xdp_drop')}\n{DROP}", []),
    "ip_forward": ("sysctl -qw net.ipv4.ip_forward=0", []),
    "iptables_flush": (
        "iptables-nft -w -P FORWARD DROP\niptables-nft -w -t nat -A POSTROUTING -s 10.9.0.0/16 -j MASQUERADE",
        [],
    ),
    "lab": ("", []),
    "netns": ("", []),
    "preflight_info": ("", []),
    "reachability": (f"{NETWORK}\n{pinned('xdp_drop')}", []),
    "report": (
        "",
        [
            LAB,
            "{ebpf.lab.lab: {lab: xdp_hello, state: verified}, register: verified}",
            "ebpf.lab.results: {lab: xdp_hello, variable: verified}",
        ],
    ),
    "results": ("", [LAB]),
    "tc_attachment": (f"{NETWORK}\n{written('tc_filter', TC_FILTER)}", []),
    "toolchain_info": ("", []),
    "topology": ("", []),
    "veth": (NETNS, []),
    "xdp_attachment": (f"{NETWORK}\n{pinned('xdp_pass')}", []),
    "bpf_program": (compiled("xdp_pass", "xdp_count"), []),
    "bpf_test_run": (
        f"{written('xdp_filter', XDP_FILTER)}\n{pinned('xdp_count')}\n"
        "bpftool prog load /opt/lab/xdp_filter.o /sys/fs/bpf/ebpf/xdp_filter type xdp",
        [],
    ),
}
# What happens between two examples: before the one with this name.
BETWEEN = {
    "Nothing comes through while the program drops": f"ansible.builtin.command: {DROP}",
    "Pin a map of a program that is loaded already": "ansible.builtin.command: rm /sys/fs/bpf/ebpf/pkt_cnt",
}
# The same for the examples of roles; those that are not here install packages or fetch, and molecule runs them.
ROLES_PREPARED = {"bpftool": "", "host_network": "", "iproute2": "", "topology": "", "xdp": NETWORK}
READS = {"reachability", "report", "results", "bpf_test_run", *(name for name in MODULES if name.endswith("_info"))}
BUILT = {
    "bpftool": {},
    "golang": {"golang_version": "1.26.0", "golang_checksum": "sha256:" + "0" * 64},
    "iproute2": {},
    "packages": {},
}


def examples(module: str) -> str:
    """The text of a module's EXAMPLES."""
    tree = ast.parse((ROOT / f"plugins/modules/{module}.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "EXAMPLES":
            return str(ast.literal_eval(node.value))
    raise AssertionError(f"{module} has no EXAMPLES")


def tried(task: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """A task of ours as prediction, run and second run; any other task once."""
    name = next((key[len(PREFIX) :] for key in task if key.startswith(PREFIX)), "")
    if not name or name in READS - {"reachability", "bpf_test_run"}:
        return [task]
    register = task.get("register", "ran")
    wrong = f"again is failed or again is changed or predicted.changed != {register}.changed"
    return [
        {**task, "name": f"{task['name']} (predicted)", "check_mode": True, "register": "predicted"},
        {**task, "register": register},
        {**task, "name": f"{task['name']} (again)", "register": "again", "failed_when": wrong},
    ]


def playbook(tasks: list[dict[str, t.Any]]) -> str:
    play = {"name": "Examples", "hosts": "localhost", "gather_facts": False, "tasks": tasks}
    return yaml.safe_dump([play], sort_keys=False)


@pytest.mark.parametrize("module", [module for module in MODULES if module not in BUILT])
def test_examples_run(module: str, tmp_path: pathlib.Path) -> None:
    assert module in PREPARED, f"{module} has no entry in PREPARED: say what its EXAMPLES take for granted"
    shell, first = PREPARED[module]
    tasks: list[dict[str, t.Any]] = [yaml.safe_load(text) for text in first]
    examples_of = yaml.safe_load(examples(module))
    for example in examples_of:
        if example["name"] in BETWEEN:
            tasks.append(yaml.safe_load(BETWEEN[example["name"]]))
        tasks.extend(tried(example))
    stdout = play(tasks, shell, tmp_path)
    assert f"ok={len(tasks)} " in stdout, f"not every task ran:\n{stdout}"
    assert module in READS or "changed: [localhost]" in stdout.split(f"TASK [{examples_of[0]['name']}]")[1]


@pytest.mark.parametrize("role", ROLES_PREPARED)
def test_examples_of_roles_run(role: str, tmp_path: pathlib.Path) -> None:
    """Its first example is predicted, run and run again, then all of them are run."""
    tasks = yaml.safe_load(specification(role)["examples"])
    once = f"ansible-playbook --diff -i localhost, -c local {tmp_path}/once.yml"
    (tmp_path / "once.yml").write_text(playbook(tasks[:1]))
    shell = f"{ROLES_PREPARED[role]}\n{once} --check\n{once}\n{once}"
    predicted, run, again, rest = re.split(r"^PLAY RECAP.*$", play(tasks, shell, tmp_path), flags=re.MULTILINE)[:4]
    assert rest.count(f"TASK [ebpf.lab.{role} : ") >= len(tasks), rest
    assert ("changed: [localhost]" in run) == (role not in ("bpftool", "iproute2"))
    assert predicted.count("changed: [localhost]") == run.count("changed: [localhost]")
    assert "changed: [localhost]" not in again
    if role != "xdp":  # its later tasks build on what the first ones make
        assert re.findall(r"^[-+@ ].+", predicted, re.M) == re.findall(r"^[-+@ ].+", run, re.M), "another diff"


def play(tasks: list[dict[str, t.Any]], shell: str, tmp_path: pathlib.Path) -> str:
    """Run the tasks on an isolated machine, after the shell lines; returns what Ansible printed."""
    (tmp_path / "play.yml").write_text(playbook(tasks))
    (tmp_path / "ansible_collections/ebpf").mkdir(parents=True)
    (tmp_path / "ansible_collections/ebpf/lab").symlink_to(ROOT)
    script = tmp_path / "script"
    script.write_text(f"set -eu\n{shell}\nexec ansible-playbook -v --diff -i localhost, -c local {tmp_path}/play.yml\n")
    environment = {
        **os.environ,
        "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
        "ANSIBLE_COLLECTIONS_PATH": str(tmp_path),
        "ANSIBLE_HOME": str(tmp_path / "home"),
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        "ANSIBLE_NOCOLOR": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [str(ROOT / "tests/isolate"), "sh", str(script)], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("module", BUILT)
def test_arguments_of_what_is_built_elsewhere(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = importlib.import_module(f"ansible_collections.ebpf.lab.plugins.modules.{module}")
    given: list[tuple[tuple[t.Any, ...], dict[str, t.Any]]] = []
    monkeypatch.setattr(plugin, "run_module", lambda *args, **named: given.append((args, named)))
    plugin.main()
    (spec, desired, *_rest), named = given[0]
    validator = ArgumentSpecValidator(
        spec, **{key: value for key, value in named.items() if key.startswith(("required_", "mutually_"))}
    )
    text = examples(module)
    for name, value in BUILT[module].items():
        text = text.replace("{{ " + name + " }}", value)
    tasks = [task for task in yaml.safe_load(text) if PREFIX + module in task]
    assert tasks, "no example uses the module itself"
    for task in tasks:
        result = validator.validate(task[PREFIX + module] or {})
        assert not result.error_messages, f"{task['name']}: {result.error_messages}"
        desired(result.validated_parameters)  # raises BadInput


def test_every_entry_is_of_a_module() -> None:
    assert {*PREPARED, *BUILT} <= set(MODULES)
    names = {task["name"] for module in MODULES for task in yaml.safe_load(examples(module))}
    assert set(BETWEEN) <= names
