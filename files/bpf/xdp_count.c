// SPDX-License-Identifier: GPL-2.0-or-later
// An XDP program that counts packets in a map and lets them pass.

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

// A map lives in the kernel beside the program. Both the program and user space read and write it:
//   bpftool map dump pinned /sys/fs/bpf/ebpf/pkt_cnt
// The struct is never used as a variable. libbpf reads from its type (BTF) which map to make.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);   // the number of the interface, as `ip link` shows it
	__type(value, __u64); // packets
} pkt_cnt SEC(".maps");

SEC("xdp")
int xdp_count(struct xdp_md *ctx)
{
	__u32 interface = ctx->ingress_ifindex;
	__u64 none = 0;

	// A lookup gives a pointer to the value inside the map, or NULL when there is no such key. The verifier
	// refuses a program that does not ask which of the two it got.
	__u64 *packets = bpf_map_lookup_elem(&pkt_cnt, &interface);
	if (!packets) {
		// The first packet of this interface makes the entry. Two CPUs may come here at once: BPF_NOEXIST keeps
		// the entry of the one that was first, and the lookup finds that one.
		bpf_map_update_elem(&pkt_cnt, &interface, &none, BPF_NOEXIST);
		packets = bpf_map_lookup_elem(&pkt_cnt, &interface);
	}
	// Another CPU may be counting at this very moment, so the addition has to be atomic.
	if (packets)
		__sync_fetch_and_add(packets, 1);

	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
