// SPDX-License-Identifier: GPL-2.0-or-later
// Not a working program: it compiles, and the kernel's verifier refuses to load it. What is missing?

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int xdp_icmp_unchecked(struct xdp_md *ctx)
{
	struct ethhdr *ethernet = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(ethernet + 1);

	// Nothing was compared with ctx->data_end. A packet may end before its EtherType, and this would read whatever
	// lies behind it in the kernel's memory: "invalid access to packet".
	if (ethernet->h_proto == bpf_htons(ETH_P_IP) && ip->protocol == IPPROTO_ICMP)
		return XDP_DROP;

	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
