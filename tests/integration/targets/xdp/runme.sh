#!/usr/bin/env bash
# The role xdp and the modules that look at what it did: runs, drift, and the way back.
set -eux -o pipefail
# shellcheck source=tests/integration/four_runs.sh
. ../../four_runs.sh

state_of_host() {
    ip -brief link
    ip -n vns1 -details link show vpeer1 | grep -c xdp || true
    find /sys/fs/bpf /opt/ebpf-lab 2>/dev/null || true
    [ ! -e /var/lib/ebpf.lab ] || ls /var/lib/ebpf.lab
}

ip netns add vns1
ip link add veth1 type veth peer name vpeer1 netns vns1
ip addr add 192.168.100.1/24 dev veth1
ip link set veth1 up
ip -n vns1 addr add 192.168.100.2/24 dev vpeer1
ip -n vns1 link set vpeer1 up
state_of_host >"$output/host-before"

four_runs 5
ansible-playbook -i "${INVENTORY_PATH:-../../inventory}" prove.yml

# What a student may do meanwhile.
ip link set dev veth1 xdpdrv off
rm /sys/fs/bpf/ebpf/pkt_cnt
touch -d "2001-01-01" /opt/ebpf-lab/xdp_pass.o
echo >>/opt/ebpf-lab/xdp_pass.o
play repaired
[ "$(changed repaired)" -gt 0 ] || fail "nothing was repaired"
unchanged
ansible-playbook -i "${INVENTORY_PATH:-../../inventory}" prove.yml

four_runs 5 --extra-vars state=absent
state_of_host | diff "$output/host-before" - || fail "the host is not as it was"
