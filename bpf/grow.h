/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Makes a copy as long as its plan wants it: cuts it, and makes room for the outer headers. */
#ifndef EBM_GROW_H
#define EBM_GROW_H

#include "buffer.h"
#include "inner.h"

/* Of bpf_skb_adjust_room, for an IP packet that becomes a tunnel's. The 14 is the inner Ethernet header alone, whatever stands
 * before it: with the 22 of the kernel's own selftest every TCP super-packet dies at the output device. */
static __always_inline __u64 grow_flags(bool six, bool udp)
{
	return BPF_F_ADJ_ROOM_ENCAP_L2_ETH | BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN) |
	       (six ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV4) |
	       (udp ? BPF_F_ADJ_ROOM_ENCAP_L4_UDP : BPF_F_ADJ_ROOM_ENCAP_L4_GRE);
}

/* Cuts and grows the packet as the group's plan says. 0, or a negative error. */
__noinline int grow_packet(struct __sk_buff *skb, struct encap_run *run)
{
	__u64 flags;
	__be16 type;
	__u32 room;
	int err;

	if (!run)
		return -1;
	if (run->plan & PLAN_CUT) {
		err = buffer_cut(skb, run->plan & PLAN_CUT);
		if (err)
			return err;
	}
	if (!(run->plan >> PLAN_OVERHEAD_SHIFT))
		return 0;
	err = inner_read(skb, run);
	if (err)
		return err;
	room = (run->plan >> PLAN_OVERHEAD_SHIFT) + run->inner_length - ETH_HLEN;
	type = run->plan & PLAN_FAMILY6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	if (run->ip) {
		flags = grow_flags(run->plan & PLAN_FAMILY6, run->plan & PLAN_UDP);
		if (plan_way(run->plan) != PLAN_LOWER)
			flags |= BPF_F_ADJ_ROOM_FIXED_GSO;
		err = bpf_skb_adjust_room(skb, room, BPF_ADJ_ROOM_MAC, flags);
		if (!err || skb->gso_size)
			return err;
		/* Refused: it is encapsulated already. As any other frame. */
	}
	if (run->plan & PLAN_NEIGHBOUR && skb->protocol != type) {
		err = vlan_set_protocol(skb, type);
		if (err)
			return err;
	}
	return bpf_skb_change_head(skb, room, 0);
}

#endif
