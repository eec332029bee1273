// SPDX-License-Identifier: GPL-2.0-or-later
// An XDP program that says so in the kernel's trace buffer and then drops every packet.

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp-drop")
int xdp_deny(struct xdp_md *ctx)
{
	// Each call writes one line to the trace buffer, which `cat /sys/kernel/tracing/trace_pipe` shows. That is for
	// looking while you learn, not for work: it slows down every packet, and all programs share the one buffer.
	bpf_printk("You Shall Not Pass!!\n");

	// XDP_DROP frees the packet at once: ping gets no answer, and tcpdump on this interface sees nothing.
	return XDP_DROP;
}

// bpf_printk is one of the helpers that ask for the GPL. With another licence here the verifier refuses the program:
// "cannot call GPL-restricted function from non-GPL compatible program".
char _license[] SEC("license") = "GPL";
