/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Takes the VLAN tags off a copy, so that they can be written into the inner frame: a tag that stays in the metadata
 * would leave on the outer frame. And uses the tag helpers for the one thing that no other helper can do: they set
 * skb->protocol.
 */
#ifndef EBM_VLAN_H
#define EBM_VLAN_H

#include "bpf.h"

/* Of those that reach the metadata, as they all do one after the other on a frame that arrives. */
#define VLAN_TAGS 4

struct vlan_tag {
	__be16 proto;
	__be16 tci;
} __attribute__((packed));

struct vlan_stack {
	struct vlan_tag tags[VLAN_TAGS]; /* outermost first */
	__u32 count;
};

/*
 * 0, or a negative error. Tags that the kernel keeps in the payload stay there, unless they stand behind one in the
 * metadata: a pop moves the next one from the payload into the metadata, and that one must come out as well.
 */
static __always_inline int vlan_strip(struct __sk_buff *skb, struct vlan_stack *stack)
{
	stack->count = 0;
	for (int i = 0; i < VLAN_TAGS; i++) {
		int err;

		if (!skb->vlan_present)
			return 0;
		/* The kernel keeps vlan_proto in wire order, vlan_tci in host order. */
		stack->tags[i].proto = (__be16)skb->vlan_proto;
		stack->tags[i].tci = bpf_htons(skb->vlan_tci);
		stack->count = i + 1;
		err = bpf_skb_vlan_pop(skb);
		/* It fails when what would be the next tag is cut off: then it stays in the payload, as on the wire. */
		if (err)
			return skb->vlan_present ? err : 0;
	}
	return skb->vlan_present ? -1 : 0;
}

/*
 * Makes `proto` the protocol of a copy without a tag in its metadata: bpf_redirect_neigh and devices without a link layer go
 * by that. A second push moves the first tag into the payload; a pop takes it out again, and believes the type behind it,
 * which is overwritten in between. The frame's own type is lost: its header must have been read before. 0, or a negative
 * error.
 */
static __always_inline int vlan_set_protocol(struct __sk_buff *skb, __be16 proto)
{
	int err = bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), 0);

	if (!err)
		err = bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), 0);
	if (!err)
		err = bpf_skb_store_bytes(skb, 2 * ETH_ALEN + sizeof(struct vlan_tag), &proto, sizeof(proto),
					  BPF_F_RECOMPUTE_CSUM);
	if (!err)
		err = bpf_skb_vlan_pop(skb);
	if (!err)
		err = bpf_skb_vlan_pop(skb);
	return err;
}

#endif
