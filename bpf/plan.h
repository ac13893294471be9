/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A copy -> what each of its destinations needs: does it fit the path as it is, with a lowered segment size, or not;
 * shall the kernel resolve the neighbour with it.
 *
 * The functions that do the work are global: the verifier looks at each once, and not once a path that leads to it.
 * So encap_run holds numbers alone, no pointers.
 */
#ifndef EBM_PLAN_H
#define EBM_PLAN_H

#include "job.h"
#include "nexthop.h"
#include "parse.h"
#include "vlan.h"

#define ENCAP_ROOM_MAX (OUTER_OVERHEAD + VLAN_TAGS * sizeof(struct vlan_tag))
#define ENCAP_HEADER_MAX (ENCAP_ROOM_MAX + ETH_HLEN)

struct encap_run {
	struct encap_job job;
	/* Destinations whose copy fits as it is, with a lowered segment size; of both: those that shall resolve. */
	__u64 fixed, lower, resolve;
	__u64 group;	   /* the destinations of the step at hand */
	__u32 need;	   /* outer IP bytes of the largest packet on the wire */
	__u32 lowered;	   /* the same with the segment size lowered by the room; 0 = it cannot be */
	__u32 last;	   /* slot of the group's last */
	__u32 reason;	   /* of ENCAP_LOSE */
	__u32 out_ifindex; /* where the last one goes; 0 = nowhere, it could not be written */
	__u32 header_length; /* outer headers, inner Ethernet header, tags */
	__u32 ip;	   /* adjust_room will take it, and so will bpf_redirect_neigh */
	__u32 by_neighbour;
	struct outer_header outer;
	__u8 inner[ETH_HLEN + VLAN_TAGS * sizeof(struct vlan_tag)]; /* stands right behind it */
	__u8 reserved[2];
};

_Static_assert(__builtin_offsetof(struct encap_run, inner) ==
		       __builtin_offsetof(struct encap_run, outer) + sizeof(struct outer_header),
	       "one store writes both");
_Static_assert(sizeof(struct encap_run) % 8 == 0, "no hole at the end");

/* True when the copy, of which `need` and `lowered` are known, fits; notes how. */
static __always_inline bool plan_fit(struct encap_run *run, const struct nexthop *nexthop, __u64 bit)
{
	if (run->need <= nexthop->mtu)
		run->fixed |= bit;
	else if (run->lowered && run->lowered <= nexthop->mtu)
		run->lower |= bit;
	else
		return false;
	return true;
}

/* Always 0. Notes what the destination needs; a copy that cannot be sent is counted as lost. */
__noinline int plan_slot(struct __sk_buff *skb, struct encap_run *run, __u32 slot)
{
	enum nexthop_verdict verdict;
	const struct ebm_peer *peer;
	struct nexthop *nexthop;

	if (!run || slot >= EBM_LIMIT_PEERS || !(run->job.set >> slot & 1))
		return 0;
	peer = peer_get(run->job.active, slot);
	nexthop = nexthop_entry(slot);
	if (!peer || !nexthop)
		return 0;
	verdict = nexthop_decide(skb, peer, slot, nexthop, &run->job, run->ip);
	/* A clone that the stage sent to itself as a probe: that has been decided. */
	if (run->job.neighbour && nexthop_can_resolve(nexthop))
		verdict = NEXTHOP_RESOLVE;
	if (verdict == NEXTHOP_LOST)
		stats_lost(run->job.active, slot, &run->job.size, nexthop->reason);
	else if (!plan_fit(run, nexthop, 1ULL << slot))
		stats_lost(run->job.active, slot, &run->job.size, EBM_REASON_TOO_BIG);
	else if (verdict == NEXTHOP_RESOLVE)
		run->resolve |= 1ULL << slot;
	return 0;
}

/* Always 0. The size of the largest packet on the wire, as it is and with the segment size lowered by the room. */
__noinline int plan_measure(struct __sk_buff *skb, struct encap_run *run)
{
	__u32 tag = skb->vlan_present ? sizeof(struct vlan_tag) : 0;
	__u32 added = OUTER_OVERHEAD - ETH_HLEN + tag;
	struct parse_key key = {};

	if (!run)
		return 0;
	run->ip = skb->protocol == bpf_htons(ETH_P_IP) || skb->protocol == bpf_htons(ETH_P_IPV6);
	if (!skb->gso_size) {
		run->need = skb->len + added;
		return 0;
	}
	parse_frame(skb, &key, 0);
	run->need = key.headers + skb->gso_size + added;
	if (skb->gso_size > OUTER_OVERHEAD + tag)
		run->lowered = run->need - OUTER_OVERHEAD - tag;
	return 0;
}

/* The highest bit's number; `set` is not 0. Destinations are in ascending order, so it is the last one's slot. */
static __always_inline __u32 plan_last(__u64 set)
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

#endif
