// SPDX-License-Identifier: GPL-2.0-or-later
// A tc filter for the way in: it drops IPv4 echo requests and lets everything else pass. Whoever is behind the
// interface cannot ping this host, while this host can still ping it: the answers are echo replies.
//
// XDP comes before the kernel has made its own record of the packet (the skb), tc comes after that. So a filter here is
// slower than XDP, but it also runs on the way out, knows the skb's mark, VLAN and priority, and works on any interface.

#include <linux/pkt_cls.h> // TC_ACT_OK, TC_ACT_SHOT
#include <linux/icmp.h>
#include "packet.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64); // packets
} echo_dropped SEC(".maps");

SEC("tc")
int tc_no_echo(struct __sk_buff *skb)
{
	struct cursor cursor = { (void *)(long)skb->data, (void *)(long)skb->data_end };
	__u32 zero = 0;
	__be16 ethertype;

	if (!take_ethernet(&cursor, &ethertype) || ethertype != bpf_htons(ETH_P_IP))
		return TC_ACT_OK;
	struct iphdr *ip = take_ipv4(&cursor);
	// Only the first fragment of a packet holds the header of what is inside; the offset is in the lower 13 bits.
	if (!ip || ip->protocol != IPPROTO_ICMP || ip->frag_off & bpf_htons(0x1fff))
		return TC_ACT_OK;
	struct icmphdr *icmp = cursor.at;
	if (!take(&cursor, icmp) || icmp->type != ICMP_ECHO)
		return TC_ACT_OK;

	__u64 *packets = bpf_map_lookup_elem(&echo_dropped, &zero);
	if (packets)
		__sync_fetch_and_add(packets, 1);
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "GPL";
