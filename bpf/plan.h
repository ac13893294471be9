/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A copy and a destination -> what is to be done: send it as it is, with a lowered segment size, cut, in fragments, leave it
 * to exact, or lose it for a reason. Copies whose plan is the same share one packet, which is grown once.
 *
 * The functions that do the work are global: the verifier looks at each once, and not once a path that leads to it.
 * So encap_run holds numbers alone, no pointers.
 */
#ifndef EBM_PLAN_H
#define EBM_PLAN_H

#include "finish.h"
#include "job.h"
#include "nexthop.h"

/* SKB_MAX_ALLOC of 4 KiB pages, 16,064 bytes: no helper makes a packet longer that is not GSO. Without the Ethernet header. */
#define PLAN_NETWORK_MAX 16000
#define PLAN_HEADROOM 64     /* NET_SKB_PAD of the kernel, at least */
#define PLAN_OUTER_MAX 65535 /* IPv4's total length (RFC 791) */
#define PLAN_KEEP_MIN 60     /* of a frame that is cut: less is no use to anybody */

/* nexthop->plan: what one packet of a group of destinations has in common. */
#define PLAN_CUT 0x1ffff	/* bytes to keep of the packet; 0 = all */
#define PLAN_WAY_SHIFT 17
#define PLAN_WAY 0x7
#define PLAN_NEIGHBOUR (1U << 20) /* the kernel finds the neighbour: for one destination alone */
#define PLAN_FAMILY6 (1U << 21)
#define PLAN_UDP (1U << 22)
#define PLAN_OVERHEAD_SHIFT 24

enum plan_way {
	PLAN_LOST = 0,
	PLAN_FIXED = 1,
	PLAN_LOWER = 2,	   /* a super-packet, with its segment size lowered by the room */
	PLAN_FRAGMENT = 3, /* for one destination alone */
	PLAN_EXACT = 4,
};

#define PLAN_EALREADY 114 /* <errno.h> is no UAPI header */

struct encap_run {
	struct encap_job job;
	__u64 todo;	  /* destinations that are sent from here */
	__u64 exact;	  /* those that exact shall send */
	__u64 group;	  /* of todo: those of the packet at hand */
	__u32 plan;	  /* of the group */
	__u32 last;	  /* slot of the group's last */
	__u32 ip;	  /* adjust_room will take the packet */
	__u32 finished;	  /* its checksum, if it has one, is finished: it may be cut */
	__u32 out_ifindex; /* where the last one goes; 0 = nowhere */
	__u32 tag;	  /* bytes of the tag in the metadata */
	__u32 inner_length;
	struct erspan_frame frame;
	__u8 inner[OUTER_INNER_MAX]; /* the copy's Ethernet header, with its tags */
};

_Static_assert(sizeof(struct encap_run) == __builtin_offsetof(struct encap_run, inner) + OUTER_INNER_MAX, "no hole at the end");

static __always_inline __u32 plan_way(__u32 plan)
{
	return plan >> PLAN_WAY_SHIFT & PLAN_WAY;
}

/* Bytes to keep of the frame: the smaller of what the peer and the rule want; 0 = all. */
static __always_inline __u32 plan_snaplen(const struct encap_run *run, const struct ebm_peer *peer)
{
	__u32 rule = run->job.snaplen_bytes;

	return rule && (!peer->snaplen_bytes || rule < peer->snaplen_bytes) ? rule : peer->snaplen_bytes;
}

/* A super-packet. */
static __always_inline enum plan_way plan_super(struct __sk_buff *skb, const struct encap_run *run,
						const struct ebm_peer *peer, const struct nexthop *nexthop,
						enum ebm_reason *reason)
{
	__u32 overhead = nexthop->outer.length, tag = overhead ? run->tag : 0;
	__u32 frame = run->job.headers + skb->gso_size + tag; /* the largest on the wire */
	__u32 snaplen = plan_snaplen(run, peer);
	bool tcp = run->job.word & JOB_TCP;

	/* Exact sees one only when somebody gave the bridge its offloads back. */
	if (run->job.finished && !tcp && overhead)
		goto no_room;
	if (!run->job.finished && ((!tcp && overhead) || peer->gso == EBM_GSO_WIRE || outer_has_sequence(peer->tunnel) ||
				   (snaplen && snaplen < frame)))
		return PLAN_EXACT;
	/* One that was received may be a list of packets (rx-gro-list), and to each of these, as long as the segment size is theirs,
	 * the kernel copies the outer headers into the room that drivers leave in front, without a look at how much that is
	 * (skb_segment_list; TCP since 6.10). */
	if (frame + overhead <= nexthop->mtu + ETH_HLEN)
		return skb->ingress_ifindex && overhead + tag > PLAN_HEADROOM && !run->job.finished ? PLAN_EXACT :
												      PLAN_FIXED;
	if (overhead && frame - ETH_HLEN <= nexthop->mtu + tag && skb->gso_size > overhead + tag)
		return PLAN_LOWER;
	if (!run->job.finished)
		return PLAN_EXACT;
no_room:
	*reason = EBM_REASON_NO_ROOM;
	return PLAN_LOST;
}

/* A frame of the wire's size. `keep` is what remains of it: inner bytes, with the tag in the metadata. */
static __always_inline enum plan_way plan_frame(struct __sk_buff *skb, const struct encap_run *run,
						const struct ebm_peer *peer, const struct nexthop *nexthop,
						__u32 *keep, enum ebm_reason *reason)
{
	__u32 overhead = nexthop->outer.length;
	__u32 limit = overhead ? min_u64(nexthop->mtu, PLAN_NETWORK_MAX) : nexthop->mtu + run->tag;
	__u32 whole = skb->len + run->tag, excess;
	__u32 snaplen = plan_snaplen(run, peer);
	enum plan_way way = PLAN_FIXED;

	limit += ETH_HLEN; /* of the largest outer frame */
	*keep = snaplen ? min_u64(whole, snaplen) : whole;
	if (*keep + overhead > limit) {
		if (peer->oversize == EBM_OVERSIZE_FRAGMENT && overhead) {
			way = PLAN_FRAGMENT;
			limit = PLAN_OUTER_MAX + ETH_HLEN;
			/* RFC 8200, 3: the payload length does not count the header. */
			if (nexthop->outer.family == 6)
				limit += sizeof(struct ipv6hdr);
		}
		excess = *keep + overhead > limit ? *keep + overhead - limit : 0;
		if (peer->oversize == EBM_OVERSIZE_DROP || (excess && excess + PLAN_KEEP_MIN > *keep)) {
			*reason = EBM_REASON_TOO_BIG;
			return PLAN_LOST;
		}
		*keep -= excess;
	}
	if (run->finished)
		return way;
	/* Without a helper that finishes checksums: a packet with one may not be cut, nor grown by change_head. */
	if (way == PLAN_FRAGMENT || *keep < whole || (overhead && !run->ip && !(run->job.word & JOB_PLAIN)))
		return PLAN_EXACT;
	return way;
}

/* Always 0. Decides for one destination; a copy that cannot be sent is counted as lost. */
__noinline int plan_slot(struct __sk_buff *skb, struct encap_run *run, __u32 slot)
{
	enum ebm_reason reason = EBM_REASON_UNSPEC;
	enum nexthop_verdict verdict;
	const struct ebm_peer *peer;
	struct ebm_peer_stats *stats;
	struct nexthop *nexthop;
	enum plan_way way;
	__u32 keep, plan;

	if (!run || slot >= EBM_LIMIT_PEERS || !(run->job.set >> slot & 1))
		return 0;
	peer = peer_get(run->job.active, slot);
	nexthop = nexthop_entry(slot);
	stats = stats_peer(run->job.active, slot);
	if (!peer || !nexthop || !stats)
		return 0;
	if (!run->job.finished)
		stats_count(&stats->selected, &run->job.size);
	/* Whatever the way is, exact looks for it again. */
	verdict = nexthop_decide(skb, peer, slot, nexthop, &run->job);
	if (verdict == NEXTHOP_LOST) {
		stats_lost(run->job.active, slot, &run->job.size, nexthop->reason);
		return 0;
	}
	if (skb->gso_size) {
		keep = run->job.size.bytes;
		way = plan_super(skb, run, peer, nexthop, &reason);
	} else {
		way = plan_frame(skb, run, peer, nexthop, &keep, &reason);
	}
	if (way == PLAN_EXACT) {
		run->exact |= 1ULL << slot;
		return 0;
	}
	if (way != PLAN_LOST && !rate_allows(peer, slot, run->job.size.packets, keep)) {
		reason = EBM_REASON_RATE;
		way = PLAN_LOST;
	}
	if (way == PLAN_LOST) {
		stats_lost(run->job.active, slot, &run->job.size, reason);
		return 0;
	}
	plan = way << PLAN_WAY_SHIFT | nexthop->outer.length << PLAN_OVERHEAD_SHIFT;
	if (!skb->gso_size && keep < skb->len + run->tag)
		plan |= (keep - run->tag) & PLAN_CUT;
	if (verdict == NEXTHOP_RESOLVE) {
		plan |= PLAN_NEIGHBOUR;
		nexthop->due = false;
	}
	if (nexthop->outer.family == 6)
		plan |= PLAN_FAMILY6;
	if (outer_is_udp(peer->tunnel))
		plan |= PLAN_UDP;
	nexthop->plan = plan;
	run->todo |= 1ULL << slot;
	return 0;
}

#define PLAN_JUMBO 0xc2 /* RFC 2675, 2 */

/*
 * Takes the jumbo header out of a super-packet that has one. The kernel would, where it cuts the packet, but not behind the
 * headers of a tunnel: there it looks at skb->protocol (ipv6_has_hopopt_jumbo). Always 0.
 */
__noinline int plan_shorten_jumbo(struct __sk_buff *skb)
{
	struct {
		struct ipv6hdr ip;
		__u8 options[PARSE_IP6_JUMBO];
	} head;

	if (!skb->gso_size || skb->protocol != bpf_htons(ETH_P_IPV6) || parse_read(skb, ETH_HLEN, &head, sizeof(head)) < 0)
		return 0;
	if (head.ip.payload_len || head.ip.nexthdr != IPPROTO_HOPOPTS || head.options[2] != PLAN_JUMBO)
		return 0;
	if (!bpf_skb_adjust_room(skb, -PARSE_IP6_JUMBO, BPF_ADJ_ROOM_NET, BPF_F_ADJ_ROOM_FIXED_GSO))
		bpf_skb_store_bytes(skb, ETH_HLEN + __builtin_offsetof(struct ipv6hdr, nexthdr), head.options, 1,
				    BPF_F_RECOMPUTE_CSUM);
	return 0;
}

/* Always 0. What all destinations want to know of the packet. */
__noinline int plan_measure(struct __sk_buff *skb, struct encap_run *run)
{
	if (!run)
		return 0;
	plan_shorten_jumbo(skb);
	run->tag = skb->vlan_present ? sizeof(struct vlan_tag) : 0;
	run->ip = skb->protocol == bpf_htons(ETH_P_IP) || skb->protocol == bpf_htons(ETH_P_IPV6);
	run->frame.egress = run->job.word & JOB_EGRESS;
	run->finished = run->job.finished || finish_is_done(skb);
	/* A packet that the kernel has encapsulated is refused, before anything else is looked at; an impossible one as well. */
	if (run->job.word & JOB_TUNNEL && run->ip &&
	    bpf_skb_adjust_room(skb, 0, BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN)) == -PLAN_EALREADY)
		run->ip = false;
	return 0;
}

#endif
