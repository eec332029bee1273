// SPDX-License-Identifier: GPL-2.0-or-later
// An XDP program that counts packets and their bytes, both in one value of one map.

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

// A value may be any struct. Its type goes into the object as BTF, so bpftool shows the members by their names.
struct volume {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32); // the number of the interface
	__type(value, struct volume);
} pkt_bytes SEC(".maps");

SEC("xdp")
int xdp_count_bytes(struct xdp_md *ctx)
{
	__u32 interface = ctx->ingress_ifindex;

	// data and data_end are the packet's first byte and the one after its last. In struct xdp_md they are numbers
	// of 32 bits; the casts make them pointers, and the verifier then knows them as the packet's bounds.
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	__u64 length = data_end - data; // from the Ethernet header to the end, without the checksum

	struct volume *seen = bpf_map_lookup_elem(&pkt_bytes, &interface);
	if (!seen) {
		struct volume none = {};
		bpf_map_update_elem(&pkt_bytes, &interface, &none, BPF_NOEXIST);
		seen = bpf_map_lookup_elem(&pkt_bytes, &interface);
	}
	// Each addition is atomic, the two together are not: a reader may see the packet without its bytes.
	if (seen) {
		__sync_fetch_and_add(&seen->packets, 1);
		__sync_fetch_and_add(&seen->bytes, length);
	}

	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
