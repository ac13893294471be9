/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The straight way through the stage, for the copies there are most of: one destination, whose next hop is known, and an IP frame
 * without tag that fits as it is. It does what plan, share, grow and encap would do with such a copy, one after the other,
 * without asking what cannot be; everything else is left to them, or to split.h.
 */
#ifndef EBM_DIRECT_H
#define EBM_DIRECT_H

#include "encap.h"

/* No verdicts of the stage: nothing has been done to the copy, nor counted. */
#define DIRECT_NOT 1
#define DIRECT_SPLIT 3 /* a case for split.h */

/* The destination and the version of its peer, or -1 where there may be others, or where a rule says more. */
static __always_inline int direct_slot(const struct __sk_buff *skb, __u32 word, __u32 *version)
{
	const struct ebm_config *config;
	const struct ebm_peer *peer;
	int slot;

	if (word & JOB_RESEND || skb->tc_index)
		return -1;
	*version = skb->cb[JOB_CB_SET_HI];
	if (*version)
		return word >> JOB_SLOT_SHIFT & (EBM_LIMIT_PEERS - 1);
	config = config_get(word & JOB_ACTIVE);
	if (!config)
		return -1;
	slot = config->group_count == 1 ? config_slot(word & JOB_ACTIVE, 0, skb->cb[JOB_CB_HASH]) : -1;
	peer = slot < 0 ? NULL : peer_get(word & JOB_ACTIVE, slot);
	if (!peer)
		return -1;
	*version = peer->version;
	return slot;
}

/* What plan would say of this copy and this peer, as far as all its questions have their plainest answers; else PLAN_LOST. */
static __always_inline enum plan_way direct_way(struct __sk_buff *skb, __u32 active, __u32 slot, __u32 version,
						const struct nexthop *nexthop)
{
	const struct ebm_peer *peer;

	if (skb->gso_size || skb->vlan_present || skb->len > PLAN_NETWORK_MAX)
		return PLAN_LOST;
	if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6))
		return PLAN_LOST;
	if (!nexthop->direct || !nexthop_is_fresh(nexthop, version) || nexthop->due)
		return PLAN_LOST;
	if (skb->len + nexthop->outer.length <= min_u64(nexthop->mtu, PLAN_NETWORK_MAX) + ETH_HLEN)
		return PLAN_FIXED;
	peer = peer_get(active, slot);
	return peer && peer->oversize == EBM_OVERSIZE_FRAGMENT ? PLAN_FRAGMENT : PLAN_LOST;
}

/* Copies an Ethernet header in three pieces: clang would make fourteen. */
static __always_inline void direct_mac(__u8 *to, const __u8 *from)
{
	*(eight_bytes *)to = *(const eight_bytes *)from;
	*(four_bytes *)(to + 8) = *(const four_bytes *)(from + 8);
	*(two_bytes *)(to + 12) = *(const two_bytes *)(from + 12);
}

/* The verdict on the copy, DIRECT_NOT or DIRECT_SPLIT. */
static __always_inline int direct_send(struct __sk_buff *skb)
{
	const void *data = (const void *)(long)skb->data, *end = (const void *)(long)skb->data_end;
	__u32 word = skb->cb[JOB_CB_WORD], active = word & JOB_ACTIVE, version;
	int slot = direct_slot(skb, word, &version);
	struct stats_size size = { .packets = 1 };
	struct outer_packet packet = {};
	struct ebm_peer_stats *stats;
	__u64 flags, length;
	struct nexthop *nexthop;
	enum plan_way way;

	if (slot < 0 || data + ETH_HLEN > end)
		return DIRECT_NOT;
	nexthop = nexthop_entry(slot);
	stats = stats_peer(active, slot);
	if (!nexthop || !stats)
		return DIRECT_NOT;
	way = direct_way(skb, active, slot, version, nexthop);
	if (way == PLAN_FRAGMENT)
		return DIRECT_SPLIT;
	if (way == PLAN_LOST)
		return DIRECT_NOT;
	length = nexthop->outer.length;
	/* Two comparisons: see encap_write. */
	if (length < OUTER_MIN)
		return DIRECT_NOT;
	barrier_var(length);
	if (length > OUTER_MAX)
		return DIRECT_NOT;
	/* Before the packet is another one; and long enough before it is read, as what is stored in pieces cannot be read as a whole
	 * until it has left the processor's store buffer. */
	direct_mac(nexthop->outer.bytes + OUTER_PAD + length, data);
	packet.length = skb->len + length - ETH_HLEN;
	packet.hash = skb->cb[JOB_CB_HASH];
	packet.id = nexthop->id;
	outer_finish(&nexthop->outer, &packet);
	flags = grow_flags(nexthop->outer.family == 6, outer_is_udp(nexthop->outer.tunnel)) | BPF_F_ADJ_ROOM_FIXED_GSO;
	/* Refused: encapsulated already, or no memory. The packet is as it was. */
	if (bpf_skb_adjust_room(skb, length, BPF_ADJ_ROOM_MAC, flags))
		return DIRECT_NOT;
	nexthop->id += 1;
	size.bytes = skb->cb[JOB_CB_BYTES];
	stats_count(&stats->selected, &size);
	if (bpf_skb_store_bytes(skb, 0, nexthop->outer.bytes + OUTER_PAD, length + ETH_HLEN, BPF_F_RECOMPUTE_CSUM)) {
		stats_lost(active, slot, &size, EBM_REASON_NO_MEMORY);
		return EBM_VERDICT_DROP;
	}
	stats_count(&stats->sent, &size);
	skb->priority = EBM_TC_PRIO_BULK;
	return bpf_redirect(nexthop->ifindex, 0);
}

#endif
