#!/usr/bin/env bash
# The roles host_network and topology, and reachability: four runs, drift, and the way back.
set -eux -o pipefail
# shellcheck source=tests/integration/four_runs.sh
. ../../four_runs.sh

state_of_host() {
    ip -brief link
    ip netns
    iptables-nft-save | sed -e '/^#/d' -e 's/ \[.*//'
    sysctl net.ipv4.ip_forward
    ls /etc/sysctl.d
    [ ! -e /var/lib/ebpf.lab ] || ls /var/lib/ebpf.lab
}

sysctl -w net.ipv4.ip_forward=0
iptables-nft -w -P FORWARD DROP
iptables-nft -w -A FORWARD -p tcp --dport 80 -j ACCEPT
iptables-nft -w -t nat -A POSTROUTING -s 10.9.0.0/16 -j MASQUERADE
state_of_host >"$output/host-before"

four_runs 3
same_diff
[ "$(iptables-nft -w -S FORWARD)" = "-P FORWARD ACCEPT" ] || fail "FORWARD was not flushed"
[ "$(cat /proc/sys/net/ipv4/ip_forward)" = 1 ] || fail "the host does not forward"

# What a student may do meanwhile.
ip -n vns1 addr del 192.168.100.2/24 dev vpeer1
ip link set veth1 down
four_runs 1
same_diff
ip netns del vns1
iptables-nft -w -A FORWARD -j DROP
sysctl -w net.ipv4.ip_forward=0
four_runs 3
same_diff
ip netns exec vns1 ping -c 1 -W 1 192.168.100.1

four_runs 3 --extra-vars state=absent
state_of_host | diff "$output/host-before" - || fail "the host is not as it was"
