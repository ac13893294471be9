/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A copy -> its destinations: plan each, grow the copy once, send it.
 *
 * Destinations whose copies grow in the same way share one packet: it is cloned for all but the last. Those that need
 * another way (a lowered segment size, a resolution of the neighbour) get a clone of the ungrown copy, which comes
 * back to the stage with the set of its destinations: a grown packet is never shrunk again.
 */
#ifndef EBM_ENCAP_H
#define EBM_ENCAP_H

#include "plan.h"

enum encap_step {
	ENCAP_SELECT, /* count the copy as asked for */
	ENCAP_PLAN,
	ENCAP_RESEND, /* a clone to the stage for each that shall resolve and is not in the group */
	ENCAP_SEND,   /* to each of the group */
	ENCAP_LOSE,   /* for each of the group */
};

/* Grows the packet and reads what belongs behind the outer headers. 0, or a negative error. */
__noinline int encap_grow(struct __sk_buff *skb, struct encap_run *run, bool lower)
{
	struct vlan_stack stack = {};
	struct ethhdr eth;
	__u32 room;
	int err;

	if (!run)
		return -1;
	err = vlan_strip(skb, &stack);
	if (err)
		return err;
	err = bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth));
	if (err)
		return err;
	/* MAC addresses, tags, type: the tags go back to where they were on the wire. */
	__builtin_memcpy(run->inner, &eth, 2 * ETH_ALEN);
	room = 2 * ETH_ALEN;
	for (__u32 i = 0; i < VLAN_TAGS; i++) {
		if (i < stack.count) {
			__builtin_memcpy(run->inner + 2 * ETH_ALEN + i * sizeof(struct vlan_tag), &stack.tags[i],
					 sizeof(struct vlan_tag));
			room += sizeof(struct vlan_tag);
		}
	}
	if (room > sizeof(run->inner) - sizeof(eth.h_proto))
		return -1;
	__builtin_memcpy(run->inner + room, &eth.h_proto, sizeof(eth.h_proto));
	run->header_length = OUTER_OVERHEAD + room + sizeof(eth.h_proto);
	room = run->header_length - ETH_HLEN;

	if (run->ip) {
		/* The 14 is the inner Ethernet header alone, whatever stands before it: with the 22 of the kernel's own
		 * selftest every TCP super-packet dies at the output device. */
		__u64 flags = BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP |
			      BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH;

		err = bpf_skb_adjust_room(skb, room, BPF_ADJ_ROOM_MAC, lower ? flags : flags | BPF_F_ADJ_ROOM_FIXED_GSO);
		if (!err || skb->gso_size)
			return err;
		/* Refused (it is encapsulated already): as any other frame. A probe it can no longer be. */
		run->ip = false;
		run->by_neighbour = false;
	}
	return bpf_skb_change_head(skb, room, 0);
}

/* Writes the headers for one destination into the grown packet. */
static __always_inline int encap_write(struct __sk_buff *skb, struct encap_run *run, struct nexthop *nexthop)
{
	__u32 length = run->header_length;

	run->outer = nexthop->outer;
	outer_finish(&run->outer, nexthop->sum, skb->len - ETH_HLEN, nexthop->id, run->job.hash);
	/* A super-packet's segments count on from its ID. */
	nexthop->id += run->job.size.packets;
	/* Two comparisons: of the single one that clang makes of them kernel 6.1 does not learn the bounds. */
	if (length < OUTER_OVERHEAD + ETH_HLEN)
		return -1;
	barrier_var(length);
	if (length > ENCAP_HEADER_MAX)
		return -1;
	return bpf_skb_store_bytes(skb, 0, &run->outer.eth, length, 0);
}

/* Always 0. Write, and send a clone; for the last of the group: write, and leave the packet to the caller. */
__noinline int encap_send_slot(struct __sk_buff *skb, struct encap_run *run, __u32 slot)
{
	struct nexthop *nexthop = nexthop_entry(slot);

	if (!run || !nexthop || slot >= EBM_LIMIT_PEERS || !(run->group >> slot & 1))
		return 0;
	/* A device without a link layer takes the packet from its network header on, and change_head leaves that at the
	 * original's: the original itself would leave, out of its tunnel. */
	if (!run->ip && !nexthop_is_ethernet(nexthop)) {
		stats_lost(run->job.active, slot, &run->job.size, EBM_REASON_NOT_ETHERNET);
		return 0;
	}
	if (encap_write(skb, run, nexthop)) {
		stats_lost(run->job.active, slot, &run->job.size, EBM_REASON_NO_MEMORY);
		return 0;
	}
	if (slot == run->last)
		run->out_ifindex = nexthop->ifindex;
	else if (bpf_clone_redirect(skb, nexthop->ifindex, 0) < 0) {
		stats_lost(run->job.active, slot, &run->job.size, EBM_REASON_NO_MEMORY);
		return 0;
	}
	stats_sent(run->job.active, slot, &run->job.size);
	return 0;
}

/* Sends a clone of the ungrown copy to the stage, for some of the destinations. False when it did not get there: a
 * negative result can be nothing else, the stage's own verdicts on such a clone are never negative. */
static __always_inline bool encap_resend(struct __sk_buff *skb, struct encap_run *run, __u64 set, bool neighbour)
{
	job_resend(skb, &run->job, set, neighbour);
	return bpf_clone_redirect(skb, run->job.stage_ifindex, 0) >= 0;
}

static __always_inline void encap_do(struct __sk_buff *skb, struct encap_run *run, __u32 step, __u32 slot)
{
	struct ebm_peer_stats *stats;

	switch (step) {
	case ENCAP_SELECT:
		stats = stats_peer(run->job.active, slot);
		if (stats)
			stats_count(&stats->selected, &run->job.size);
		break;
	case ENCAP_PLAN:
		plan_slot(skb, run, slot);
		break;
	case ENCAP_RESEND:
		if (run->resolve & ~run->group & 1ULL << slot && !encap_resend(skb, run, 1ULL << slot, true))
			stats_lost(run->job.active, slot, &run->job.size, EBM_REASON_NO_MEMORY);
		break;
	case ENCAP_SEND:
		encap_send_slot(skb, run, slot);
		break;
	case ENCAP_LOSE:
		if (run->group >> slot & 1)
			stats_lost(run->job.active, slot, &run->job.size, run->reason);
		break;
	}
}

struct encap_loop {
	struct __sk_buff *skb;
	struct encap_run *run;
	__u32 step;
};

static long encap_visit(__u32 i, struct encap_loop *loop)
{
	int slot = config_slot(loop->run->job.active, i, loop->run->job.hash);

	if (slot < 0)
		return 1;
	encap_do(loop->skb, loop->run, loop->step, slot);
	return 0;
}

/* Always 0. Does a step (enum encap_step) for each destination. */
__noinline int encap_each(struct __sk_buff *skb, struct encap_run *run, __u32 step)
{
	struct encap_loop loop = { .skb = skb, .run = run, .step = step };

	if (run)
		bpf_loop(EBM_LIMIT_PEERS, encap_visit, &loop, 0);
	return 0;
}

static __always_inline void encap_lose(struct __sk_buff *skb, struct encap_run *run, __u64 set, enum ebm_reason reason)
{
	run->group = set;
	run->reason = reason;
	encap_each(skb, run, ENCAP_LOSE);
}

/*
 * Chooses the destinations that get this packet, and sends clones of it to the stage for the others. A resolution comes
 * first: bpf_redirect_neigh takes the packet itself. True when this packet shall be grown with a lower segment size.
 */
static __always_inline bool encap_choose(struct __sk_buff *skb, struct encap_run *run)
{
	__u64 fixed = run->fixed & ~run->resolve, lower = run->lower & ~run->resolve;
	__u64 group = lower ? lower : fixed;

	if (run->resolve) {
		group = 1ULL << plan_last(run->resolve);
		run->by_neighbour = true;
	}
	if (fixed && group != fixed && !encap_resend(skb, run, fixed, false))
		encap_lose(skb, run, fixed, EBM_REASON_NO_MEMORY);
	if (lower && group != lower && !encap_resend(skb, run, lower, false))
		encap_lose(skb, run, lower, EBM_REASON_NO_MEMORY);
	run->group = group;
	if (run->resolve & ~group)
		encap_each(skb, run, ENCAP_RESEND);
	run->last = plan_last(group);
	return run->lower & group;
}

/* Sends the copy to the job's destinations. Returns the stage's verdict on it: redirected, or dropped. */
static __always_inline int encap_send(struct __sk_buff *skb, struct encap_run *run)
{
	const struct nexthop *nexthop;
	bool lower;

	plan_measure(skb, run);
	encap_each(skb, run, ENCAP_PLAN);
	if (!(run->fixed | run->lower))
		return EBM_VERDICT_DROP;
	lower = encap_choose(skb, run);
	skb->priority = EBM_TC_PRIO_BULK;
	if (encap_grow(skb, run, lower)) {
		encap_lose(skb, run, run->group, EBM_REASON_NO_ROOM);
		return EBM_VERDICT_DROP;
	}
	nexthop = nexthop_entry(run->last);
	if (!run->by_neighbour && nexthop && nexthop->reason) {
		/* It was to be a probe, and had to be grown in a way that the neighbour code cannot send. */
		encap_lose(skb, run, run->group, nexthop->reason);
		return EBM_VERDICT_DROP;
	}
	encap_each(skb, run, ENCAP_SEND);
	if (!run->out_ifindex)
		return EBM_VERDICT_DROP;
	return run->by_neighbour ? bpf_redirect_neigh(run->out_ifindex, NULL, 0, 0) : bpf_redirect(run->out_ifindex, 0);
}

#endif
