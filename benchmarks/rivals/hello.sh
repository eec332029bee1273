#!/bin/sh
# The hello lab as a careful shell script: looks before it changes, and says what it changed. Runs on the machine.
# Its first argument is the folder of the sources.
# Copyright (c) 2026 the ebpf.lab authors
# SPDX-License-Identifier: GPL-3.0-or-later
set -eu
export LC_ALL=C PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin
sources=$1
work=/usr/local/src/hello
pins=/sys/fs/bpf/ebpf

change() { # say it, do it
    echo "changed: $*"
    "$@"
}

has() { # has TEXT COMMAND...: whether the command prints a line that holds the text
    text=$1
    shift
    "$@" | grep -qF -- "$text"
}

has '-P FORWARD ACCEPT' iptables -S FORWARD || change iptables -P FORWARD ACCEPT
! has '-A ' iptables -S FORWARD || change iptables -F FORWARD
! has '-A ' iptables -t nat -S || change iptables -t nat -F
settings=/etc/sysctl.d/60-hello.conf
write_settings() { echo 'net.ipv4.ip_forward = 1' >"$settings"; }
has 'net.ipv4.ip_forward = 1' cat "$settings" 2>/dev/null ||
    change write_settings
[ "$(cat /proc/sys/net/ipv4/ip_forward)" = 1 ] || change sysctl -qw net.ipv4.ip_forward=1

[ -e /run/netns/vns1 ] || change ip netns add vns1
[ -e /sys/class/net/veth1 ] || change ip link add veth1 type veth peer name vpeer1 netns vns1
has ' 192.168.100.1/24 ' ip -o addr show dev veth1 || change ip addr add 192.168.100.1/24 dev veth1
has ',UP' ip -o link show dev veth1 || change ip link set veth1 up
has ',UP' ip -n vns1 -o link show dev lo || change ip -n vns1 link set lo up
has ' 192.168.100.2/24 ' ip -n vns1 -o addr show dev vpeer1 || change ip -n vns1 addr add 192.168.100.2/24 dev vpeer1
has ',UP' ip -n vns1 -o link show dev vpeer1 || change ip -n vns1 link set vpeer1 up
routes=$(ip -n vns1 route show)
has '192.168.100.1 dev vpeer1' echo "$routes" || change ip -n vns1 route add 192.168.100.1 dev vpeer1
has 'default via 192.168.100.1' echo "$routes" || change ip -n vns1 route add default via 192.168.100.1

mkdir -p "$work" "$pins"
if ! cmp -s "$sources/xdp_pass.c" "$work/xdp_pass.c"; then
    change cp "$sources/xdp_pass.c" "$work/xdp_pass.c"
fi
if ! [ "$work/xdp_pass.o" -nt "$work/xdp_pass.c" ]; then
    change clang -O2 -g -Wall -target bpf "-I/usr/include/$(uname -m)-linux-gnu" -S -emit-llvm \
        -c "$work/xdp_pass.c" -o "$work/xdp_pass.ll"
    change llc -march=bpf -filetype=obj -o "$work/xdp_pass.o" "$work/xdp_pass.ll"
fi
[ "$(llvm-objdump -d --no-show-raw-insn "$work/xdp_pass.o" | grep -c '^ *[0-9]*:')" = 2 ] # two instructions
[ -e "$pins/xdp_allow" ] || change bpftool prog loadall "$work/xdp_pass.o" "$pins" type xdp
id=$(bpftool prog show pinned "$pins/xdp_allow" | sed -n '1s/:.*//p')
has "prog/xdp id $id " ip link show dev veth1 ||
    change bpftool net attach xdp id "$id" dev veth1 overwrite

ping -q -n -c 3 -i 0.2 -W 1 192.168.100.2 >/dev/null
ip netns exec vns1 ping -q -n -c 3 -i 0.2 -W 1 192.168.100.1 >/dev/null
