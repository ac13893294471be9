/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The straight way of a copy that leaves in two fragments, outer IPv4, to one destination whose next hop is known: what
 * fragment.h does with any copy, without a plan and without a loop. The first fragment is the packet itself, of which only
 * the tail goes through the buffer. A copy with an unfinished checksum goes through it as a whole and gets the checksum there,
 * where it can be found; else it goes through the bridge first.
 */
#ifndef EBM_SPLIT_H
#define EBM_SPLIT_H

#include "direct.h"
#include "slice.h"

#define SPLIT_NOT DIRECT_NOT

/* The verdict on the copy, or SPLIT_NOT. */
static __always_inline int split_send(struct __sk_buff *skb, struct slices *slices, struct scratch *scratch,
				      struct nexthop *nexthop, struct ebm_peer_stats *stats)
{
	enum ebm_reason reason = EBM_REASON_NO_ROOM;
	int err;

	if (!slice_divide(slices, nexthop, skb->len))
		return SPLIT_NOT;
	slices->id = fragment_next_id();
	err = slice_first(skb, slices);
	if (err > 0)
		return SPLIT_NOT;
	if (!slices->selected)
		stats_count(&stats->selected, &slices->size);
	skb->priority = EBM_TC_PRIO_BULK;
	skb->tc_index = 0;
	if (!err) {
		reason = EBM_REASON_NO_MEMORY;
		/* What goes out may come by another tap, whose copies must leave the buffer alone. */
		scratch->busy = true;
		err = bpf_clone_redirect(skb, nexthop->ifindex, 0) < 0 || slice_second(skb);
		scratch->busy = false;
	}
	if (err) {
		stats_lost(slices->active, slices->slot, &slices->size, reason);
		return EBM_VERDICT_DROP;
	}
	stats_count(&stats->sent, &slices->size);
	return bpf_redirect(nexthop->ifindex, 0);
}

/* The same, of a destination: where all that plan asks of it has its plainest answer. */
static __always_inline int split_copy(struct __sk_buff *skb, struct slices *slices, struct scratch *scratch)
{
	const struct ebm_peer *peer = peer_get(slices->active, slices->slot);
	struct nexthop *nexthop = nexthop_entry(slices->slot);
	struct ebm_peer_stats *stats = stats_peer(slices->active, slices->slot);

	if (!peer || !nexthop || !stats || peer->oversize != EBM_OVERSIZE_FRAGMENT)
		return SPLIT_NOT;
	if (skb->gso_size || skb->vlan_present || skb->len < SLICE_FRAME_MIN || skb->len > SLICE_FRAME_MAX)
		return SPLIT_NOT;
	if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6))
		return SPLIT_NOT;
	if (!nexthop->direct || !nexthop_is_fresh(nexthop, peer->version) || nexthop->due)
		return SPLIT_NOT;
	return split_send(skb, slices, scratch, nexthop, stats);
}

/* On to exact, which gets packets whose checksums are finished. */
static __always_inline int split_hand_over(struct __sk_buff *skb, const struct slices *slices, struct scratch *scratch)
{
	struct encap_job job = {
		.word = skb->cb[JOB_CB_WORD], .active = slices->active, .hash = slices->hash, .size = slices->size
	};
	struct ebm_peer_stats *stats = stats_peer(slices->active, slices->slot);

	if (!stats)
		return SPLIT_NOT;
	stats_count(&stats->selected, &slices->size);
	exact_hand_over(skb, scratch, &job, 1ULL << (slices->slot & (EBM_LIMIT_PEERS - 1)));
	return EBM_VERDICT_NEXT;
}

/* For the stage, where direct_send says so. Global, so that its stack is not under that of the long way. */
__noinline int split_stage(struct __sk_buff *skb)
{
	__u32 word = skb->cb[JOB_CB_WORD];
	struct scratch *scratch = scratch_get();
	struct slices *slices = slices_get();
	__u32 version;
	int slot = direct_slot(skb, word, &version), verdict;

	if (!scratch || !slices || slot < 0 || scratch->busy)
		return SPLIT_NOT;
	slices->active = word & JOB_ACTIVE;
	slices->slot = slot;
	slices->hash = skb->cb[JOB_CB_HASH];
	slices->selected = false;
	slices->size.packets = 1;
	slices->size.bytes = skb->cb[JOB_CB_BYTES];
	slices->unfinished = (struct finish){};
	if (finish_is_done(skb))
		return split_copy(skb, slices, scratch);
	slices->unfinished = finish_find(skb);
	verdict = slices->unfinished.start ? split_copy(skb, slices, scratch) : SPLIT_NOT;
	return verdict == SPLIT_NOT ? split_hand_over(skb, slices, scratch) : verdict;
}

/* For exact, of a copy for one destination that no rule says more about. Global, as split_stage. */
__noinline int split_exact(struct __sk_buff *skb)
{
	struct scratch *scratch = scratch_get();
	struct slices *slices = slices_get();
	__u32 bytes = skb->len;
	int verdict;

	if (!scratch || !slices || scratch->busy || scratch->rule || !scratch->set || scratch->set & (scratch->set - 1))
		return SPLIT_NOT;
	slices->active = scratch->active;
	slices->slot = set_first(scratch->set);
	slices->hash = scratch->hash;
	slices->selected = true;
	slices->unfinished = (struct finish){};
	slices->size.packets = 1;
	slices->size.bytes = bytes;
	verdict = split_copy(skb, slices, scratch);
	if (verdict != SPLIT_NOT) {
		scratch->arrived_packets += 1;
		scratch->arrived_bytes += bytes;
	}
	return verdict;
}

#endif
