/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Peer -> output device, MAC addresses, path MTU, and the outer headers made of them.
 *
 * No frozen addresses and no daemon: a per-CPU cache that lives some tens of milliseconds stands before
 * bpf_fib_lookup, so that a changed route or neighbour is followed by itself and most packets pay for an array look-up.
 */
#ifndef EBM_NEXTHOP_H
#define EBM_NEXTHOP_H

#include "fib.h"
#include "job.h"
#include "rate.h"

/* Jiffies cost one load, a clock 20 ns: 20 of them are 20 ms at HZ=1000, 80 ms at 250, 200 ms at 100. */
#define NEXTHOP_CACHE_JIFFIES 20

#define NEXTHOP_PROBE_NS 100000000ULL	 /* while the neighbour is unknown: a probe each 100 ms */
#define NEXTHOP_REFRESH_NS 1000000000ULL /* so that the kernel keeps the neighbour: once a second */

#define NEXTHOP_LOOPBACK 1 /* the number of `lo` in every network namespace */

enum nexthop_verdict {
	NEXTHOP_SEND = 0,    /* by the MAC addresses of the cache */
	NEXTHOP_RESOLVE = 1, /* with bpf_redirect_neigh, once */
	NEXTHOP_LOST = 2,    /* for nexthop->reason */
};

struct nexthop {
	__u64 expires; /* jiffies */
	__u32 version; /* of the peer this was made for */
	__u32 ifindex;
	__u32 mtu;
	__u32 reason; /* enum ebm_reason; 0 = good */
	__u32 id;     /* the next IP ID, in the lower half */
	__u32 plan;   /* of the copy at hand: plan.h */
	__u32 neighbour; /* each packet goes through the kernel's neighbour code: no MAC addresses are known */
	__u32 due;	 /* a packet shall go this way, to find the neighbour or to keep it fresh */
	__u32 direct;	 /* nothing but the size of a plain frame need be looked at: direct.h */
	__u32 reserved;
	struct outer outer;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EBM_LIMIT_PEERS);
	__type(key, __u32);
	__type(value, struct nexthop);
} ebm_nexthops SEC(".maps");

static __always_inline bool nexthop_due(__u64 *last_ns, __u64 now_ns, __u64 interval_ns)
{
	if (now_ns - *last_ns < interval_ns)
		return false;
	*last_ns = now_ns;
	return true;
}

/* The cache entry of a peer on this CPU, good or not; NULL only for a slot out of range. */
static __always_inline struct nexthop *nexthop_entry(__u32 slot)
{
	return bpf_map_lookup_elem(&ebm_nexthops, &slot);
}

/* Nothing leads to the peer: remembered as long as a way would be, as asking costs more than most copies. */
static __always_inline enum nexthop_verdict nexthop_no_route(struct nexthop *nexthop)
{
	nexthop->reason = EBM_REASON_NO_ROUTE;
	nexthop->expires = bpf_jiffies64() + NEXTHOP_CACHE_JIFFIES;
	return NEXTHOP_LOST;
}

/* A local device: there is no way to look up. */
static __always_inline enum nexthop_verdict nexthop_span(struct __sk_buff *skb, const struct ebm_peer *peer,
							 struct nexthop *nexthop)
{
	nexthop->ifindex = peer->dev_ifindex;
	nexthop->mtu = fib_device_mtu(skb, peer->dev_ifindex);
	nexthop->reason = EBM_REASON_UNSPEC;
	nexthop->outer.length = 0;
	nexthop->outer.tunnel = EBM_TUNNEL_SPAN;
	nexthop->neighbour = false;
	if (!nexthop->mtu)
		return nexthop_no_route(nexthop);
	nexthop->expires = bpf_jiffies64() + NEXTHOP_CACHE_JIFFIES;
	return NEXTHOP_SEND;
}

static __always_inline bool nexthop_is_zero(const __u8 *address)
{
	const __u64 *words = (const __u64 *)address;

	return !(words[0] | words[1]);
}

static __always_inline bool nexthop_is_zero6(const __u8 *mac)
{
	return !(mac[0] | mac[1] | mac[2] | mac[3] | mac[4] | mac[5]);
}

/* The source address of the outer header, 16 bytes: the look-up's, where it told one; else the last one, or user space's. */
static __always_inline void nexthop_source(const struct ebm_peer *peer, const struct bpf_fib_lookup *fib, bool told,
					   struct nexthop_pace *pace, __u8 *source)
{
	__builtin_memset(source, 0, 16);
	if (told && peer->flags & EBM_PEER_FLAG_LOCAL_AUTO && ebm_fib_tells_source) {
		if (peer->family == 6)
			__builtin_memcpy(source, fib->ipv6_src, 16);
		else
			__builtin_memcpy(source, &fib->ipv4_src, sizeof(fib->ipv4_src));
	} else if (peer->flags & EBM_PEER_FLAG_LOCAL_AUTO) {
		__builtin_memcpy(source, pace->source, 16);
	}
	if (nexthop_is_zero(source))
		__builtin_memcpy(source, peer->local, 16);
	__builtin_memcpy(pace->source, source, 16);
}

/*
 * Asks the kernel and fills the cache. Returns enum nexthop_verdict. Global, so that the verifier looks at it once and
 * not once a path that leads here.
 */
__noinline int nexthop_refresh(struct __sk_buff *skb, __u32 active, __u32 slot, __u32 stage_ifindex)
{
	const struct ebm_peer *peer = peer_get(active, slot);
	struct nexthop *nexthop = nexthop_entry(slot);
	struct nexthop_pace *pace = bpf_map_lookup_elem(&ebm_paces, &slot);
	struct bpf_fib_lookup *fib = fib_space_get();
	__u64 now_ns = bpf_ktime_get_ns();
	__u8 source[16] __attribute__((aligned(8)));
	bool forwarding_off, told;

	if (!peer || !nexthop || !pace || !fib)
		return NEXTHOP_LOST;
	if (pace->version != peer->version) {
		__builtin_memset(pace->source, 0, sizeof(pace->source));
		pace->probed_ns = 0;
		pace->refreshed_ns = 0;
		pace->ifindex = 0;
		pace->version = peer->version;
		rate_reset(slot);
	}
	nexthop->version = peer->version;
	nexthop->expires = 0;
	nexthop->direct = false;
	if (peer->tunnel == EBM_TUNNEL_SPAN)
		return nexthop_span(skb, peer, nexthop);

	nexthop->neighbour = false;
	nexthop->reason = fib_ask(skb, peer, fib, stage_ifindex, 0);
	nexthop->ifindex = fib->ifindex;
	if (peer->dev_ifindex && fib->ifindex != peer->dev_ifindex &&
	    (!nexthop->reason || nexthop->reason == EBM_REASON_NO_NEIGHBOUR)) {
		/* The user wants another device than the routes do. Where it does not forward the kernel does not tell. */
		nexthop->reason = fib_ask(skb, peer, fib, peer->dev_ifindex, BPF_FIB_LOOKUP_OUTPUT);
		nexthop->ifindex = peer->dev_ifindex;
		nexthop->neighbour = nexthop->reason == EBM_REASON_FORWARDING_OFF && peer->family == 4;
		if (nexthop->neighbour)
			nexthop->reason = EBM_REASON_UNSPEC;
		/* IPv6 takes the best route, whatever its device: the neighbour code would ask for another network's gateway. */
		else if (nexthop->reason == EBM_REASON_FORWARDING_OFF || fib->ifindex != peer->dev_ifindex)
			nexthop->reason = EBM_REASON_NO_ROUTE;
	}
	told = !nexthop->reason && !nexthop->neighbour;
	if (nexthop->reason == EBM_REASON_NO_ROUTE && peer->flags & EBM_PEER_FLAG_HOST) {
		/* The look-up is a forwarder's, and has no way to the host itself. */
		nexthop->reason = EBM_REASON_UNSPEC;
		nexthop->ifindex = NEXTHOP_LOOPBACK;
		nexthop->neighbour = true;
	}
	if (nexthop->reason == EBM_REASON_NO_ROUTE)
		return nexthop_no_route(nexthop);
	forwarding_off = nexthop->reason == EBM_REASON_FORWARDING_OFF;
	/* Somebody reset our device's setting: the last known device still serves, packet by packet. */
	if (forwarding_off)
		nexthop->ifindex = pace->ifindex;
	else
		pace->ifindex = nexthop->ifindex;
	if (nexthop->ifindex == stage_ifindex)
		nexthop->reason = EBM_REASON_LOOP;
	if (!nexthop->ifindex || nexthop->ifindex == stage_ifindex)
		return NEXTHOP_LOST;
	/* A device without a link layer (tun, WireGuard) takes the packet from its network header on, which for a copy can be
	 * the original's: the neighbour code sets it. */
	if (told && nexthop_is_zero6(fib->smac))
		nexthop->neighbour = true;
	/* The look-up tells the MTU with a good result only. */
	nexthop->mtu = told ? fib->mtu_result : 0;
	if (!nexthop->mtu)
		nexthop->mtu = fib_device_mtu(skb, nexthop->ifindex);
	if (!nexthop->mtu)
		return nexthop_no_route(nexthop);
	nexthop_source(peer, fib, told, pace, source);
	outer_build(&nexthop->outer, peer, source, fib->dmac, fib->smac);
	if (!nexthop->id)
		nexthop->id = bpf_get_prandom_u32();

	if (forwarding_off)
		return NEXTHOP_RESOLVE;
	/* This loss is not cached: the neighbour may answer any moment, and copies that are lost cost little else. */
	if (nexthop->reason)
		nexthop->due |= nexthop_due(&pace->probed_ns, now_ns, NEXTHOP_PROBE_NS);
	else
		nexthop->due |= nexthop_due(&pace->refreshed_ns, now_ns, NEXTHOP_REFRESH_NS);
	if (nexthop->reason)
		return nexthop->due ? NEXTHOP_RESOLVE : NEXTHOP_LOST;
	nexthop->expires = bpf_jiffies64() + NEXTHOP_CACHE_JIFFIES;
	nexthop->direct = !nexthop->neighbour && !peer->rate && !peer->snaplen_bytes && !outer_has_sequence(peer->tunnel);
	return nexthop->neighbour || nexthop->due ? NEXTHOP_RESOLVE : NEXTHOP_SEND;
}

/* Whether the entry is of this version of the peer, and not too old. */
static __always_inline bool nexthop_is_fresh(const struct nexthop *nexthop, __u32 version)
{
	return nexthop->version == version && bpf_jiffies64() < nexthop->expires;
}

/* What is to be done with a copy for this peer now. */
static __always_inline enum nexthop_verdict nexthop_decide(struct __sk_buff *skb, const struct ebm_peer *peer,
							   __u32 slot, const struct nexthop *nexthop,
							   const struct encap_job *job)
{
	if (!nexthop_is_fresh(nexthop, peer->version))
		return nexthop_refresh(skb, job->active, slot, job->stage_ifindex);
	if (nexthop->reason)
		return NEXTHOP_LOST;
	return nexthop->neighbour || nexthop->due ? NEXTHOP_RESOLVE : NEXTHOP_SEND;
}

#endif
