// SPDX-License-Identifier: GPL-2.0-or-later
// Two XDP programs that send each packet straight out of another interface: a cable between two ports of a bridge that
// the bridge knows nothing of.

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define LEFT  0
#define RIGHT 1

// A device map holds interfaces. Its values can be set from user space only, by the interface's number, and in the
// namespace that the interface is in.
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);   // the port that the packets left by
	__type(value, __u64); // packets
} redirected SEC(".maps");

static __always_inline int send_to(__u32 port)
{
	__u64 *packets = bpf_map_lookup_elem(&redirected, &port);
	if (packets)
		__sync_fetch_and_add(packets, 1);

	// XDP_REDIRECT when the map has an interface for this key. When it has none, the lower bits of the flags are the
	// verdict: the packet goes to the bridge as before.
	return bpf_redirect_map(&ports, port, XDP_PASS);
}

// For the left port: what the left namespace sends goes to the right one.
SEC("xdp")
int xdp_to_right(struct xdp_md *ctx)
{
	return send_to(RIGHT);
}

SEC("xdp")
int xdp_to_left(struct xdp_md *ctx)
{
	return send_to(LEFT);
}

// A veth takes redirected packets only when its other end has an XDP program too: that is what makes the kernel set up
// the ring by which they arrive. So each namespace needs one as well, and this lab uses xdp_count for it.

char _license[] SEC("license") = "GPL";
