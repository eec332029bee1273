// SPDX-License-Identifier: GPL-2.0-or-later
// The smallest XDP program: it lets every packet pass.
//
// An XDP program runs once for each packet that arrives on the interface it is attached to, before the kernel has
// made its own bookkeeping for the packet. What it returns decides what happens to the packet.

#include <linux/bpf.h>        // struct xdp_md, XDP_PASS and the other verdicts
#include <bpf/bpf_helpers.h>  // SEC() and the helper functions

// SEC() puts the function into an ELF section of this name. Loaders find programs by their sections: libbpf takes a
// section "xdp" as "this is an XDP program". It does not know "xdp-pass", so the loader has to be told the type:
//   bpftool prog loadall xdp_pass.o /sys/fs/bpf/ebpf type xdp
SEC("xdp-pass")
int xdp_allow(struct xdp_md *ctx)
{
	// XDP_PASS hands the packet on to the network stack. The value is 2: this function is two instructions long,
	// one that puts 2 into register r0 and one that exits.
	return XDP_PASS;
}

// The kernel asks for the licence: many helper functions are only for programs under the GPL.
char _license[] SEC("license") = "GPL";
