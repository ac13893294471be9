/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A copy -> its destinations: plan each, grow the copy once, send it.
 *
 * Destinations with the same plan share one packet: it is cloned for all but the last. The others get a clone of the
 * ungrown copy, which comes back to the stage with the set of its destinations: a grown packet is never shrunk again.
 */
#ifndef EBM_ENCAP_H
#define EBM_ENCAP_H

#include "fragment.h"
#include "grow.h"
#include "share.h"
#include "span.h"

enum encap_step {
	ENCAP_PLAN,
	ENCAP_SEND, /* to each of the group */
};

/* Writes the outer headers for one destination, and the copy's own Ethernet header, into the grown packet. */
static __always_inline int encap_write(struct __sk_buff *skb, struct encap_run *run, struct nexthop *nexthop,
				       __u32 slot)
{
	/* 64 bits: kernel 6.1 forgets the bounds of 32 where clang extends them to be added to a pointer. */
	__u64 length = nexthop->outer.length, inner = run->inner_length;

	/* Two comparisons: of the single one that clang makes of them kernel 6.1 does not learn the bounds. */
	if (length < OUTER_MIN)
		return -1;
	barrier_var(length);
	if (length > OUTER_MAX)
		return -1;
	if (inner < ETH_HLEN)
		return -1;
	barrier_var(inner);
	if (inner > OUTER_INNER_MAX)
		return -1;
	inner_finish_outer(run, nexthop, slot, skb->len - ETH_HLEN);
	__builtin_memcpy(nexthop->outer.bytes + OUTER_PAD + length, run->inner, sizeof(run->inner));
	return bpf_skb_store_bytes(skb, 0, nexthop->outer.bytes + OUTER_PAD, length + inner, BPF_F_RECOMPUTE_CSUM);
}

/* Write, and send a clone; for the last of the group: write, and leave the packet to the caller. 0, or the reason of the
 * loss. Global, so that the verifier looks at it once. */
__noinline int encap_tunnel(struct __sk_buff *skb, struct encap_run *run, __u32 slot)
{
	struct nexthop *nexthop = nexthop_entry(slot);

	if (!run || !nexthop)
		return EBM_REASON_NO_MEMORY;
	if (encap_write(skb, run, nexthop, slot))
		return EBM_REASON_NO_MEMORY;
	if (slot == run->last)
		run->out_ifindex = nexthop->ifindex;
	else if (bpf_clone_redirect(skb, nexthop->ifindex, 0) < 0)
		return EBM_REASON_NO_MEMORY;
	return EBM_REASON_UNSPEC;
}

/* Counts a copy as sent, or as lost for a reason. */
static __always_inline void encap_count(struct encap_run *run, __u32 slot, enum ebm_reason reason)
{
	struct ebm_peer_stats *stats = stats_peer(run->job.active, slot);

	if (reason) {
		run->out_ifindex = 0;
		stats_lost(run->job.active, slot, &run->job.size, reason);
	} else if (stats) {
		stats_count(&stats->sent, &run->job.size);
		if (run->plan & PLAN_CUT)
			stats_count(&stats->truncated, &run->job.size);
	}
}

/* Sends the packet in fragments, to the group's only destination. Not a step of encap_each, whose stack would come on top of
 * this one's. */
static __always_inline void encap_fragment(struct __sk_buff *skb, struct encap_run *run, struct scratch *scratch)
{
	int reason = EBM_REASON_LOOP;

	if (!scratch->busy) {
		scratch->busy = true;
		reason = fragment_send(skb, run, run->last);
		scratch->busy = false;
	}
	encap_count(run, run->last, reason);
}

/* Always 0. Sends the packet to one of the group. */
__noinline int encap_send_slot(struct __sk_buff *skb, struct encap_run *run, __u32 slot)
{
	struct nexthop *nexthop = nexthop_entry(slot);

	if (!run || !nexthop || slot >= EBM_LIMIT_PEERS || !(run->group >> slot & 1))
		return 0;
	encap_count(run, slot, nexthop->outer.length ? encap_tunnel(skb, run, slot) : span_send(skb, nexthop));
	return 0;
}

static __always_inline void encap_do(struct __sk_buff *skb, struct encap_run *run, __u32 step, __u32 slot)
{
	switch (step) {
	case ENCAP_PLAN:
		plan_slot(skb, run, slot);
		break;
	case ENCAP_SEND:
		encap_send_slot(skb, run, slot);
		break;
	}
}

struct encap_loop {
	struct __sk_buff *skb;
	struct encap_run *run;
	__u32 step;
	__u64 set; /* destinations to come */
};

static long encap_visit(__u32 i, struct encap_loop *loop)
{
	int slot = config_slot(loop->run->job.active, i, loop->run->job.hash);

	if (slot < 0)
		return 1;
	encap_do(loop->skb, loop->run, loop->step, slot);
	return 0;
}

static long encap_visit_set(__u32 i __attribute__((unused)), struct encap_loop *loop)
{
	__u32 slot;

	if (!loop->set)
		return 1;
	slot = set_first(loop->set);
	loop->set &= loop->set - 1;
	encap_do(loop->skb, loop->run, loop->step, slot);
	return 0;
}

/* Always 0. Does a step (enum encap_step) for each destination: to plan, for those of the job; else, for those of the group, by
 * rising slot, so that its last is the last. */
__noinline int encap_each(struct __sk_buff *skb, struct encap_run *run, __u32 step)
{
	struct encap_loop loop = { .skb = skb, .run = run, .step = step };
	const struct ebm_config *config;
	int slot;

	if (!run)
		return 0;
	loop.set = step == ENCAP_PLAN ? run->job.set : run->group;
	if (run->job.everyone && step == ENCAP_PLAN) {
		config = config_get(run->job.active);
		if (!config || config->group_count != 1) {
			bpf_loop(EBM_LIMIT_PEERS, encap_visit, &loop, 0);
			return 0;
		}
		slot = config_slot(run->job.active, 0, run->job.hash);
		loop.set = slot < 0 ? 0 : 1ULL << (slot & (EBM_LIMIT_PEERS - 1));
	}
	/* One destination is the common case, and does without the helper. */
	if (loop.set && !(loop.set & (loop.set - 1)))
		encap_do(skb, run, step, set_first(loop.set));
	else if (loop.set)
		bpf_loop(EBM_LIMIT_PEERS, encap_visit_set, &loop, 0);
	return 0;
}

/* Always 0. The copy is lost for all of the group. */
__noinline int encap_lose(struct encap_run *run, __u32 reason)
{
	struct stats_loss loss = { .reason = reason };

	if (!run)
		return 0;
	loss.size = run->job.size;
	loss.set = run->group;
	loss.active = run->job.active;
	bpf_loop(EBM_LIMIT_PEERS, stats_lose, &loss, 0);
	return 0;
}

/* A clone of the ungrown copy to the stage for each group but the last, which gets the copy itself. That one is left in
 * run->group, unless exact gets the copy. */
static long encap_share(__u32 i __attribute__((unused)), struct encap_loop *loop)
{
	struct encap_run *run = loop->run;

	share_next(run);
	if (!run->group || (!run->todo && !run->exact))
		return 1;
	job_resend(loop->skb, &run->job, run->group);
	/* A negative result can be nothing else: the stage's own verdicts on such a clone are never negative. */
	if (bpf_clone_redirect(loop->skb, run->job.stage_ifindex, 0) < 0)
		encap_lose(run, EBM_REASON_NO_MEMORY);
	return 0;
}

/* Always 0. Does it for all groups. Global, so that the loop is not under the stack of all that comes after it. */
__noinline int encap_share_all(struct __sk_buff *skb, struct encap_run *run)
{
	struct encap_loop loop = { .skb = skb, .run = run };

	if (run)
		bpf_loop(EBM_LIMIT_PEERS + 1, encap_share, &loop, 0);
	return 0;
}

/* Sends the copy to the job's destinations. The verdict on it: redirected, dropped, or on to exact. */
static __always_inline int encap_send(struct __sk_buff *skb, struct encap_run *run, struct scratch *scratch)
{
	plan_measure(skb, run);
	if (run->job.word & JOB_RESEND)
		run->todo = run->job.set;
	else
		encap_each(skb, run, ENCAP_PLAN);
	if (!run->exact && !(run->todo & (run->todo - 1))) {
		/* One destination at most: nothing to share. */
		share_next(run);
	} else {
		scratch->sharing += 1;
		encap_share_all(skb, run);
		scratch->sharing -= 1;
	}
	if (run->exact) {
		exact_hand_over(skb, scratch, &run->job, run->exact);
		return EBM_VERDICT_NEXT;
	}
	if (!run->group)
		return EBM_VERDICT_DROP;
	skb->priority = EBM_TC_PRIO_BULK;
	skb->tc_index = 0;
	if (plan_way(run->plan) == PLAN_FRAGMENT) {
		encap_fragment(skb, run, scratch);
	} else if (grow_packet(skb, run)) {
		encap_lose(run, EBM_REASON_NO_ROOM);
		return EBM_VERDICT_DROP;
	} else {
		encap_each(skb, run, ENCAP_SEND);
	}
	if (!run->out_ifindex)
		return EBM_VERDICT_DROP;
	if (run->plan & PLAN_NEIGHBOUR)
		return bpf_redirect_neigh(run->out_ifindex, NULL, 0, 0);
	return bpf_redirect(run->out_ifindex, 0);
}

#endif
