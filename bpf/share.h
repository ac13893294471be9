/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Which destinations share a packet: those whose plan is the same, unless it is for one alone. */
#ifndef EBM_SHARE_H
#define EBM_SHARE_H

#include "plan.h"

/* The number of the highest bit; `set` is not 0. */
static __always_inline __u32 share_last(__u64 set)
{
	__u32 slot = 0;

	for (__u32 width = 32; width; width /= 2) {
		if (set >> width) {
			set >>= width;
			slot += width;
		}
	}
	return slot;
}

/* bpf_loop hands over stack memory alone. */
struct share_loop {
	struct encap_run *run;
};

static long share_join(__u32 slot, struct share_loop *loop)
{
	struct encap_run *run = loop->run;
	struct nexthop *nexthop = nexthop_entry(slot);

	if (nexthop && run->todo >> (slot & (EBM_LIMIT_PEERS - 1)) & 1 && nexthop->plan == run->plan)
		run->group |= 1ULL << (slot & (EBM_LIMIT_PEERS - 1));
	return 0;
}

/* Always 0. The next group: destinations of todo that share a packet. They are taken from it. */
__noinline int share_next(struct encap_run *run)
{
	struct share_loop loop = { .run = run };
	struct nexthop *nexthop;

	if (!run)
		return 0;
	run->group = 0;
	if (!run->todo)
		return 0;
	run->last = share_last(run->todo);
	nexthop = nexthop_entry(run->last);
	if (!nexthop)
		return 0;
	run->plan = nexthop->plan;
	if (run->plan & PLAN_NEIGHBOUR || plan_way(run->plan) == PLAN_FRAGMENT || !(run->todo & (run->todo - 1)))
		run->group = 1ULL << (run->last & (EBM_LIMIT_PEERS - 1));
	else
		bpf_loop(EBM_LIMIT_PEERS, share_join, &loop, 0);
	run->todo &= ~run->group;
	return 0;
}

#endif
