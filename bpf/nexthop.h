/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Peer -> output device, MAC addresses, path MTU, and the outer headers made of them.
 *
 * No frozen addresses and no daemon: a per-CPU cache that lives some tens of milliseconds stands before
 * bpf_fib_lookup, so that a changed route or neighbour is followed by itself and most packets pay for an array look-up.
 */
#ifndef EBM_NEXTHOP_H
#define EBM_NEXTHOP_H

#include "job.h"
#include "outer.h"

/* Jiffies cost one load, a clock 20 ns: 20 of them are 20 ms at HZ=1000, 80 ms at 250, 200 ms at 100. */
#define NEXTHOP_CACHE_JIFFIES 20

#define NEXTHOP_PROBE_NS 100000000ULL	 /* while the neighbour is unknown: a probe each 100 ms */
#define NEXTHOP_REFRESH_NS 1000000000ULL /* so that the kernel keeps the neighbour: once a second */

#define NEXTHOP_MTU_MAX 65535 /* IPv4's total length (RFC 791); `lo` says 65536, which sixteen bits cannot hold */

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
	__u32 sum;    /* outer_build's */
	__u32 id;     /* the next IP ID, in the lower half */
	struct outer_header outer;
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

/* What a result of bpf_fib_lookup means for a copy; 0 = the next hop is known. */
static __always_inline enum ebm_reason nexthop_reason(long result)
{
	switch (result) {
	case BPF_FIB_LKUP_RET_SUCCESS:
		return EBM_REASON_UNSPEC;
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		return EBM_REASON_NO_NEIGHBOUR;
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
		return EBM_REASON_FORWARDING_OFF;
	default:
		return EBM_REASON_NO_ROUTE;
	}
}

/* The cache entry of a peer on this CPU, good or not; NULL only for a slot out of range. */
static __always_inline struct nexthop *nexthop_entry(__u32 slot)
{
	return bpf_map_lookup_elem(&ebm_nexthops, &slot);
}

/*
 * Asks the kernel and fills the cache. `resolve` says that this packet may serve as a probe: it is an IP packet, whose
 * skb->protocol adjust_room makes the outer family; the helper drops any other in silence.
 *
 * Returns enum nexthop_verdict. Global, so that the verifier looks at it once and not once a path that leads here.
 */
__noinline int nexthop_refresh(struct __sk_buff *skb, __u32 active, __u32 slot, __u32 stage_ifindex, bool resolve)
{
	const struct ebm_peer *peer = peer_get(active, slot);
	struct nexthop *nexthop = nexthop_entry(slot);
	struct nexthop_pace *pace = bpf_map_lookup_elem(&ebm_paces, &slot);
	struct bpf_fib_lookup fib = {};
	__u64 now_ns = bpf_ktime_get_ns();
	__u32 flags = 0;
	__be32 source;
	long result;

	if (!peer || !nexthop || !pace)
		return NEXTHOP_LOST;
	if (pace->version != peer->version)
		*pace = (struct nexthop_pace){ .version = peer->version };
	/* tot_len: any value but 0 makes the kernel tell the path MTU. */
	fib.tot_len = 1;
	fib.family = EBM_AF_INET;
	fib.l4_protocol = IPPROTO_UDP;
	fib.dport = peer->port_be;
	fib.tos = peer->tos;
	fib.ifindex = stage_ifindex;
	__builtin_memcpy(&fib.ipv4_dst, peer->remote, sizeof(fib.ipv4_dst));
	if (ebm_fib_tells_source && peer->flags & EBM_PEER_FLAG_LOCAL_AUTO)
		flags = BPF_FIB_LOOKUP_SRC;
	else
		__builtin_memcpy(&fib.ipv4_src, peer->local, sizeof(fib.ipv4_src));
	result = bpf_fib_lookup(skb, &fib, sizeof(fib), flags);

	nexthop->version = peer->version;
	nexthop->reason = nexthop_reason(result);
	/* A loss is not cached: the neighbour may answer any moment, and copies that are lost cost little else. */
	nexthop->expires = nexthop->reason ? 0 : bpf_jiffies64() + NEXTHOP_CACHE_JIFFIES;
	if (nexthop->reason == EBM_REASON_NO_ROUTE)
		return NEXTHOP_LOST;
	if (nexthop->reason == EBM_REASON_NO_NEIGHBOUR &&
	    !(resolve && nexthop_due(&pace->probed_ns, now_ns, NEXTHOP_PROBE_NS)))
		return NEXTHOP_LOST;
	if (nexthop->reason == EBM_REASON_FORWARDING_OFF) {
		/* Somebody reset our device's setting: the last known device still serves, packet by packet. */
		nexthop->ifindex = pace->ifindex;
	} else {
		nexthop->ifindex = fib.ifindex;
		pace->ifindex = fib.ifindex;
	}
	if (nexthop->ifindex == stage_ifindex) {
		nexthop->reason = EBM_REASON_LOOP;
		return NEXTHOP_LOST;
	}
	if (nexthop->reason) {
		__u32 mtu = 0;

		/* The lookup tells the MTU with a good result only. */
		if (bpf_check_mtu(skb, nexthop->ifindex, &mtu, 0, 0) < 0 && !mtu)
			return NEXTHOP_LOST;
		nexthop->mtu = min_u64(mtu, NEXTHOP_MTU_MAX);
	} else {
		nexthop->mtu = fib.mtu_result ? fib.mtu_result : NEXTHOP_MTU_MAX;
	}
	/* Where the look-up does not say (no neighbour, an older kernel): the last good one, or user space's. Other CPUs write
	 * to pace, so it is read once. */
	source = flags & BPF_FIB_LOOKUP_SRC ? *(const volatile __be32 *)&pace->source : 0;
	if (flags & BPF_FIB_LOOKUP_SRC && !nexthop->reason && fib.ipv4_src)
		source = fib.ipv4_src;
	if (!source)
		__builtin_memcpy(&source, peer->local, sizeof(source));
	pace->source = source;
	nexthop->sum = outer_build(&nexthop->outer, peer, source, fib.dmac, fib.smac);
	if (!nexthop->id)
		nexthop->id = bpf_get_prandom_u32();

	if (nexthop->reason)
		return resolve ? NEXTHOP_RESOLVE : NEXTHOP_LOST;
	return resolve && nexthop_due(&pace->refreshed_ns, now_ns, NEXTHOP_REFRESH_NS) ? NEXTHOP_RESOLVE : NEXTHOP_SEND;
}

/* True where bpf_redirect_neigh has a device and the outer headers to go by. */
static __always_inline bool nexthop_can_resolve(const struct nexthop *nexthop)
{
	return nexthop->ifindex && nexthop->reason != EBM_REASON_NO_ROUTE && nexthop->reason != EBM_REASON_LOOP;
}

/* False for a device without a link layer (tun, WireGuard), which has no address of its own. */
static __always_inline bool nexthop_is_ethernet(const struct nexthop *nexthop)
{
	const __u8 *mac = nexthop->outer.eth.h_source;

	return mac[0] | mac[1] | mac[2] | mac[3] | mac[4] | mac[5];
}

/* What is to be done with a copy for this peer now. */
static __always_inline enum nexthop_verdict nexthop_decide(struct __sk_buff *skb, const struct ebm_peer *peer,
							   __u32 slot, const struct nexthop *nexthop,
							   const struct encap_job *job, bool resolve)
{
	if (nexthop->version != peer->version || bpf_jiffies64() >= nexthop->expires)
		return nexthop_refresh(skb, job->active, slot, job->stage_ifindex, resolve);
	return NEXTHOP_SEND;
}

#endif
