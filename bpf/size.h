/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How large a frame is on the wire: the unit of the books. A super-packet counts the packets that it stands for. */
#ifndef EBM_SIZE_H
#define EBM_SIZE_H

#include "geneve.h"
#include "parse.h"
#include "stats.h"

/* Tunnels whose super-packets the kernel cuts by their inner headers: VXLAN (RFC 7348), the port that Linux used before it
 * was assigned, GENEVE (RFC 8926). */
#define SIZE_PORT_VXLAN 4789
#define SIZE_PORT_VXLAN_LINUX 8472
#define SIZE_PORT_GENEVE 6081
#define SIZE_TUNNEL_HEADER 8 /* both: behind UDP, GENEVE's options not counted */

/* In a super-packet inside a tunnel each segment repeats the headers of both frames. */
static __always_inline void size_tunnelled(struct __sk_buff *skb, struct parse_key *key)
{
	__u32 offset = key->transport + 8 + SIZE_TUNNEL_HEADER;
	struct parse_key inner = {};
	__u8 options;

	if (key->protocol != IPPROTO_UDP || key->fragment)
		return;
	if (key->dest_port == bpf_htons(SIZE_PORT_GENEVE)) {
		if (parse_read(skb, key->transport + 8, &options, sizeof(options)) < 0)
			return;
		offset += (options & GENEVE_LENGTH_MASK) * 4;
	} else if (key->dest_port != bpf_htons(SIZE_PORT_VXLAN) && key->dest_port != bpf_htons(SIZE_PORT_VXLAN_LINUX)) {
		return;
	}
	parse_frame(skb, &inner, offset);
	if (inner.protocol == IPPROTO_TCP) {
		key->headers = inner.headers;
		key->inner_tcp = true;
	}
}

static __always_inline __u32 size_segments(const struct __sk_buff *skb, const struct parse_key *key)
{
	__u32 length = skb->len - key->jumbo;
	__u32 payload = length > key->headers ? length - key->headers : 0;
	__u32 segments = skb->gso_segs;

	/* gso_segs is 0 in super-packets from virtual machines, and may be stale. Behind a UDP header there may be a
	 * tunnel that we do not know, so that there the division is only the second choice. */
	if (!segments || key->protocol == IPPROTO_TCP || key->inner_tcp) {
		__u32 computed = (payload + skb->gso_size - 1) / skb->gso_size;

		if (computed > segments)
			segments = computed;
	}
	return segments ? min_u64(segments, 0xffff) : 1;
}

/*
 * The frame's size on the wire: a super-packet counts its segments, a tag in the metadata its four bytes, a packet of a
 * device without an Ethernet header (`mac` = ETH_HLEN, else 0) the one that its copy gets.
 */
static __always_inline void size_of_key(struct __sk_buff *skb, struct parse_key *key, __u32 mac,
					struct stats_size *size)
{
	__u32 tag = skb->vlan_present ? sizeof(struct parse_vlan) : 0;

	if (skb->gso_size)
		size_tunnelled(skb, key);
	size->packets = skb->gso_size ? size_segments(skb, key) : 1;
	size->bytes = skb->len - key->jumbo + tag + mac + (size->packets - 1) * (key->headers + tag + mac);
}

/* The same for a frame that has not been parsed. Always 0. */
__noinline int size_of_frame(struct __sk_buff *skb, struct stats_size *size)
{
	struct parse_key key = {};

	if (!size)
		return 0;
	/* Of a single packet the headers do not matter. */
	if (skb->gso_size)
		parse_frame(skb, &key, 0);
	size_of_key(skb, &key, 0, size);
	return 0;
}

#endif
