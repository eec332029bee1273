// SPDX-License-Identifier: GPL-2.0-or-later
// An XDP program that lets each IPv4 sender have so many packets a second, and drops what is more.
//
// Each packet costs time: at 5 packets a second one costs 200 ms. A sender may run up a debt of time as large as its
// burst costs; as the clock goes on, the debt melts. So one number for each sender is enough: until when it has spent.

#include "packet.h"

#define SECOND 1000000000ULL // nanoseconds

// Set from outside, while the program runs. No limit (0) lets everything pass.
struct limit {
	__u32 packets_per_second;
	__u32 burst; // packets at once, after a pause
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct limit);
} limits SEC(".maps");

// LRU: when the map is full, that sender goes which was quiet for longest. A plain hash would stay full for ever after
// somebody had sent from many addresses.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);   // the sender's address, in network byte order
	__type(value, __u64); // the moment until which it has spent, in nanoseconds since boot
} spent SEC(".maps");

struct verdicts {
	__u64 passed;
	__u64 dropped;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct verdicts);
} rate_cnt SEC(".maps");

// Whether the sender may have one more packet now. Two CPUs that ask for one sender at the same moment may both be told
// yes: one packet too many is cheaper than a lock around every packet.
static __always_inline bool allowed(__u32 sender, const struct limit *limit)
{
	__u64 cost = SECOND / limit->packets_per_second;
	__u64 burst = cost * (limit->burst ? limit->burst : 1);
	__u64 now = bpf_ktime_get_ns();
	__u64 *until = bpf_map_lookup_elem(&spent, &sender);
	__u64 next = (until && *until > now ? *until : now) + cost;

	if (next > now + burst)
		return false;
	bpf_map_update_elem(&spent, &sender, &next, BPF_ANY);
	return true;
}

SEC("xdp")
int xdp_rate_limit(struct xdp_md *ctx)
{
	struct cursor cursor = { (void *)(long)ctx->data, (void *)(long)ctx->data_end };
	__u32 zero = 0;
	__be16 ethertype;

	// ARP has to pass, or the sender can soon not be answered any more.
	if (!take_ethernet(&cursor, &ethertype) || ethertype != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	struct iphdr *ip = take_ipv4(&cursor);
	if (!ip)
		return XDP_PASS;

	// An array has all its entries from the start, but the verifier asks for the comparison with NULL all the same.
	struct limit *limit = bpf_map_lookup_elem(&limits, &zero);
	struct verdicts *count = bpf_map_lookup_elem(&rate_cnt, &zero);
	if (!limit || !count || !limit->packets_per_second)
		return XDP_PASS;

	if (allowed(ip->saddr, limit)) {
		__sync_fetch_and_add(&count->passed, 1);
		return XDP_PASS;
	}
	__sync_fetch_and_add(&count->dropped, 1);
	return XDP_DROP;
}

char _license[] SEC("license") = "GPL";
