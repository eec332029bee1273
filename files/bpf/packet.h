/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads a packet's headers, one after the other: Ethernet, VLAN tags, IPv4 or IPv6.
 *
 * The verifier follows every path through the program and asks for a proof before each read: somewhere on the way the
 * end of what is read must have been compared with data_end. So each function here looks first, reads then, and says
 * false when the packet is too short.
 */
#ifndef PACKET_H
#define PACKET_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define VLAN_TAGS 2 /* of a packet: 802.1Q, or 802.1ad around it */

/* What stands between the addresses of Ethernet and the protocol that comes next. */
struct vlan_tag {
	__be16 tci;      /* priority and number of the VLAN */
	__be16 protocol; /* what follows the tag */
};

/* The part of a packet that was not read yet. */
struct cursor {
	void *at;
	void *end;
};

/* Take the next `size` bytes: true and the cursor behind them, or false. */
#define take(cursor, header)                                            \
	((void *)((header) + 1) <= (cursor)->end ?                      \
		 ((cursor)->at = (header) + 1, true) : false)

/* Ethernet and up to VLAN_TAGS tags. `protocol` becomes the EtherType of what follows, in network byte order. */
static __always_inline bool take_ethernet(struct cursor *cursor, __be16 *protocol)
{
	struct ethhdr *ethernet = cursor->at;

	if (!take(cursor, ethernet))
		return false;
	*protocol = ethernet->h_proto;

	/* The loop has a constant bound, so the verifier can walk through all its rounds. */
	for (int tag = 0; tag < VLAN_TAGS; tag++) {
		struct vlan_tag *vlan = cursor->at;

		if (*protocol != bpf_htons(ETH_P_8021Q) && *protocol != bpf_htons(ETH_P_8021AD))
			break;
		if (!take(cursor, vlan))
			return false;
		*protocol = vlan->protocol;
	}
	return true;
}

/* IPv4 with its options; returns the header, or NULL. */
static __always_inline struct iphdr *take_ipv4(struct cursor *cursor)
{
	struct iphdr *ip = cursor->at;

	if (!take(cursor, ip))
		return NULL;
	/* ihl counts words of 4 bytes. Less than 5 would point back into the header itself. */
	if (ip->ihl < 5 || (void *)ip + ip->ihl * 4 > cursor->end)
		return NULL;
	cursor->at = (void *)ip + ip->ihl * 4;
	return ip;
}

/* IPv6 without its extension headers; returns the header, or NULL. */
static __always_inline struct ipv6hdr *take_ipv6(struct cursor *cursor)
{
	struct ipv6hdr *ip = cursor->at;

	return take(cursor, ip) ? ip : NULL;
}

#endif
