/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The copy's own Ethernet header: read before the copy is grown or cut into fragments, written behind the outer headers. */
#ifndef EBM_INNER_H
#define EBM_INNER_H

#include "plan.h"

/* The outermost tag, for tunnels that tell it: one in the metadata, or the first in the payload. */
static __always_inline void inner_note_tag(struct __sk_buff *skb, const struct ethhdr *eth,
					   const struct vlan_stack *stack, struct erspan_frame *frame)
{
	__be16 tci = 0;

	frame->tagged = stack->count ||
			((eth->h_proto == bpf_htons(ETH_P_8021Q) || eth->h_proto == bpf_htons(ETH_P_8021AD)) &&
			 bpf_skb_load_bytes(skb, sizeof(*eth), &tci, sizeof(tci)) == 0);
	frame->tci = bpf_ntohs(stack->count ? stack->tags[0].tci : tci);
}

/* Takes the tags out of the metadata and reads the header, with the tags where they were on the wire: MAC addresses, tags,
 * type. 0, or a negative error. Global, so that the verifier looks at it once. */
__noinline int inner_read(struct __sk_buff *skb, struct encap_run *run)
{
	struct vlan_stack stack = {};
	__u32 length = 2 * ETH_ALEN;
	struct ethhdr eth;
	int err;

	if (!run)
		return -1;
	err = vlan_strip(skb, &stack);
	if (err)
		return err;
	err = bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth));
	if (err)
		return err;
	__builtin_memcpy(run->inner, &eth, 2 * ETH_ALEN);
	for (__u32 i = 0; i < VLAN_TAGS; i++) {
		if (i < stack.count) {
			__builtin_memcpy(run->inner + 2 * ETH_ALEN + i * sizeof(struct vlan_tag), &stack.tags[i],
					 sizeof(struct vlan_tag));
			length += sizeof(struct vlan_tag);
		}
	}
	if (length > sizeof(run->inner) - sizeof(eth.h_proto))
		return -1;
	__builtin_memcpy(run->inner + length, &eth.h_proto, sizeof(eth.h_proto));
	run->inner_length = length + sizeof(eth.h_proto);
	inner_note_tag(skb, &eth, &stack, &run->frame);
	run->frame.truncated = run->plan & PLAN_CUT;
	return 0;
}

/* Finishes the outer headers for one destination of this copy; `length` is that of the IP packet. */
static __always_inline void inner_finish_outer(const struct encap_run *run, struct nexthop *nexthop, __u32 slot,
					       __u32 length)
{
	struct outer_packet packet = { .length = length, .id = nexthop->id, .hash = run->job.hash, .frame = run->frame };
	struct nexthop_pace *pace;

	if (outer_has_sequence(nexthop->outer.tunnel)) {
		pace = bpf_map_lookup_elem(&ebm_paces, &slot);
		if (pace)
			packet.sequence = __sync_fetch_and_add(&pace->sequence, 1);
	}
	/* A super-packet's segments count on from its ID. */
	nexthop->id += run->job.size.packets;
	outer_finish(&nexthop->outer, &packet);
}

#endif
