// SPDX-License-Identifier: GPL-2.0-or-later
// An XDP program that reads the headers of each packet and counts ICMP only, of IPv4 and of IPv6.

#include "packet.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2);
	__type(key, __u32);   // the protocol's number: 1 is ICMP, 58 is ICMPv6
	__type(value, __u64); // packets
} icmp_cnt SEC(".maps");

SEC("xdp")
int xdp_icmp(struct xdp_md *ctx)
{
	struct cursor cursor = { (void *)(long)ctx->data, (void *)(long)ctx->data_end };
	__u32 protocol = 0;
	__u64 none = 0;
	__be16 ethertype;

	if (!take_ethernet(&cursor, &ethertype))
		return XDP_PASS; // too short to be anything: leave it to the stack

	// Numbers in a packet are big-endian. bpf_htons turns the constant round at compile time, which costs nothing.
	if (ethertype == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = take_ipv4(&cursor);
		if (ip)
			protocol = ip->protocol;
	} else if (ethertype == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = take_ipv6(&cursor);
		if (ip)
			protocol = ip->nexthdr;
	}
	if (protocol != IPPROTO_ICMP && protocol != IPPROTO_ICMPV6)
		return XDP_PASS;

	__u64 *packets = bpf_map_lookup_elem(&icmp_cnt, &protocol);
	if (!packets) {
		bpf_map_update_elem(&icmp_cnt, &protocol, &none, BPF_NOEXIST);
		packets = bpf_map_lookup_elem(&icmp_cnt, &protocol);
	}
	if (packets)
		__sync_fetch_and_add(packets, 1);

	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
