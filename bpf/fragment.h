/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A copy that does not fit the path -> outer IP fragments (RFC 791, section 3.2; RFC 8200, section 4.5), any number of
 * them. What is to be fragmented is put together in a buffer; the packet itself is cut to the size of one fragment, gets
 * one slice after the other, and a clone of it is sent each time.
 */
#ifndef EBM_FRAGMENT_H
#define EBM_FRAGMENT_H

#include "buffer.h"
#include "inner.h"

/* struct frag_hdr of the kernel, which is no UAPI. */
struct fragment_header6 {
	__u8 nexthdr;
	__u8 reserved;
	__be16 offset; /* 13 bits, 2 reserved, more-fragments flag */
	__be32 id;
};

#define FRAGMENT_MORE4 0x2000
#define FRAGMENT_MORE6 0x0001
#define FRAGMENT_TUNNEL_MAX 20	/* GRE with an option, ERSPAN III */
#define FRAGMENT_LAST_MIN 128	/* no helper makes a packet shorter than its original's headers */
#define FRAGMENT_COUNT_MAX 2048 /* IP MTU 68, the least of RFC 791, leaves 48 bytes a fragment */

/* The next ID of a datagram that is sent in fragments. One for all peers and CPUs: several peers may be at one collector,
 * which puts together what has the same addresses, protocol and ID. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} ebm_fragment_id SEC(".maps");

struct fragment_loop {
	struct __sk_buff *skb;
	struct encap_run *run;
	__u32 slot;
	__u32 start; /* of what is to be fragmented, in the buffer */
	__u32 total; /* bytes of it */
	__u32 slice; /* of it a fragment, but the last */
	__u32 count; /* of fragments */
	__u32 id;
	__u32 header; /* bytes in front of a slice: Ethernet and IP */
	__u32 failed;
};

static __always_inline __u32 fragment_next_id(void)
{
	const struct ebm_control *control = control_get();
	__u32 zero = 0, *next = bpf_map_lookup_elem(&ebm_fragment_id, &zero);

	/* RFC 7739: IDs of IPv6 fragments should not be easy to guess. The mark is random. */
	return next && control ? __sync_fetch_and_add(next, 1) + control->mark : 0;
}

/* Ethernet and IP header of the fragment that begins at `offset`, which has FRAGMENT_MORE6 where more follow. 0, or a negative
 * error. Global, so that its stack is not under that of what makes the packet shorter. */
__noinline int fragment_write_header(struct __sk_buff *skb, __u32 slot, __u32 id, __u32 offset, __u32 length)
{
	const struct nexthop *nexthop = nexthop_entry(slot);
	const struct outer *outer = nexthop ? &nexthop->outer : NULL;
	struct {
		__u8 pad[OUTER_PAD];
		__u8 eth[ETH_HLEN];
		union {
			struct iphdr ip;
			struct {
				struct ipv6hdr ip6;
				struct fragment_header6 fragment;
			};
		};
	} header = {};

	if (!outer)
		return -1;
	if (outer->family == 6) {
		__builtin_memcpy(header.eth, outer->bytes + OUTER_PAD, ETH_HLEN + sizeof(header.ip6));
		header.fragment.nexthdr = header.ip6.nexthdr;
		header.fragment.offset = bpf_htons(offset);
		header.fragment.id = bpf_htonl(id);
		header.ip6.nexthdr = IPPROTO_FRAGMENT;
		header.ip6.payload_len = bpf_htons(sizeof(header.fragment) + length);
		return bpf_skb_store_bytes(skb, 0, header.eth, ETH_HLEN + sizeof(header.ip6) + sizeof(header.fragment),
					   BPF_F_RECOMPUTE_CSUM);
	}
	__builtin_memcpy(header.eth, outer->bytes + OUTER_PAD, ETH_HLEN + sizeof(header.ip));
	header.ip.tot_len = bpf_htons(sizeof(header.ip) + length);
	header.ip.id = bpf_htons(id);
	header.ip.frag_off = bpf_htons(offset >> 3 | (offset & FRAGMENT_MORE6 ? FRAGMENT_MORE4 : 0));
	header.ip.check = 0;
	header.ip.check = csum_fold(csum_words(&header.ip, sizeof(header.ip)));
	return bpf_skb_store_bytes(skb, 0, header.eth, ETH_HLEN + sizeof(header.ip), BPF_F_RECOMPUTE_CSUM);
}

/* Fills the packet with the i-th fragment and sends it; the last one is left to the caller. 0 to go on, 1 to stop. */
static long fragment_one(__u32 i, struct fragment_loop *loop)
{
	struct nexthop *nexthop = nexthop_entry(loop->slot);
	struct buffer *buffer = buffer_get();
	__u32 offset = i * loop->slice, length = loop->slice, from;
	bool more = i + 1 < loop->count;
	struct __sk_buff *skb = loop->skb;
	long err = 0;

	loop->failed = true;
	if (!nexthop || !buffer)
		return 1;
	if (!more) {
		length = loop->total - offset;
		err = buffer_resize(skb, loop->header + length);
	}
	from = loop->start + offset;
	if (err || from >= BUFFER_HEAD + BUFFER_PACKET_MAX)
		return 1;
	/* Kernel 6.1 does not learn from a comparison with 0 that a size is not 0: one less is compared, one more used. */
	length -= 1;
	if (length >= BUFFER_SLICE_MAX)
		return 1;
	barrier_var(length);
	length += 1;
	if (fragment_write_header(skb, loop->slot, loop->id, offset | (more ? FRAGMENT_MORE6 : 0), length) ||
	    bpf_skb_store_bytes(skb, loop->header, buffer->bytes + from, length, BPF_F_RECOMPUTE_CSUM))
		return 1;
	if (!more)
		loop->run->out_ifindex = nexthop->ifindex;
	else if (loop->run->plan & PLAN_NEIGHBOUR) {
		job_emit(skb, nexthop->ifindex);
		err = bpf_clone_redirect(skb, loop->run->job.stage_ifindex, 0);
	} else {
		err = bpf_clone_redirect(skb, nexthop->ifindex, 0);
	}
	loop->failed = err < 0;
	return loop->failed;
}

/* Puts what is to be fragmented into the buffer: the tunnel's headers, the Ethernet header, the rest of the frame. The
 * length of the rest, or a negative error. Global, so that the verifier looks at it once. */
__noinline int fragment_fill(struct __sk_buff *skb, struct encap_run *run, __u32 slot)
{
	struct nexthop *nexthop = nexthop_entry(slot);
	struct buffer *buffer = buffer_get();
	__u32 inner, tunnel, transport, rest, keep, ethernet, start;

	if (!run || !nexthop || !buffer)
		return -1;
	transport = nexthop->outer.transport;
	tunnel = nexthop->outer.length - transport;
	inner = run->inner_length;
	if (transport > OUTER_NETWORK + sizeof(struct ipv6hdr) || tunnel > FRAGMENT_TUNNEL_MAX || inner < ETH_HLEN)
		return -1;
	barrier_var(inner);
	if (inner > OUTER_INNER_MAX)
		return -1;
	rest = skb->len - ETH_HLEN;
	keep = run->plan & PLAN_CUT;
	if (keep && keep + run->tag < rest + inner)
		rest = keep + run->tag - inner;
	rest -= 1; /* as in fragment_one */
	if (rest >= 0xffff)
		return -1;
	barrier_var(rest);
	rest += 1;
	inner_finish_outer(run, nexthop, slot, transport - ETH_HLEN + tunnel + inner + rest);
	/* Numbers first, then one addition: a pointer that had something taken away is unbounded for the verifier. */
	ethernet = BUFFER_HEAD - inner;
	barrier_var(ethernet);
	start = ethernet - tunnel;
	barrier_var(start);
	if (start > BUFFER_HEAD || ethernet > BUFFER_HEAD)
		return -1;
	__builtin_memcpy(buffer->bytes + start, nexthop->outer.bytes + OUTER_PAD + transport,
			 FRAGMENT_TUNNEL_MAX);
	__builtin_memcpy(buffer->bytes + ethernet, run->inner, sizeof(run->inner));
	if (bpf_skb_load_bytes(skb, ETH_HLEN, buffer->bytes + BUFFER_HEAD, rest))
		return -1;
	return rest;
}

/* Sizes of the fragments. False when the path is too narrow for any. */
static __always_inline bool fragment_divide(struct fragment_loop *loop, __u32 mtu)
{
	__u32 most = ((__u32)min_u64(mtu, PLAN_NETWORK_MAX) - (loop->header - ETH_HLEN)) & ~7U;
	__u32 least = min_u64(FRAGMENT_LAST_MIN, most / 2), last;

	if (mtu <= loop->header || !most)
		return false;
	loop->count = (loop->total + most - 1) / most;
	loop->slice = most;
	if (loop->count < 2 || loop->count > FRAGMENT_COUNT_MAX)
		return loop->count == 1;
	last = loop->total - (loop->count - 1) * most;
	if (last < least)
		loop->slice -= ((least - last) / (loop->count - 1) + 7) & ~7U;
	return true;
}

/* Sends all fragments but the last, which is left in the packet, for run->out_ifindex. 0, or the reason of the loss. */
__noinline int fragment_send(struct __sk_buff *skb, struct encap_run *run, __u32 slot)
{
	struct nexthop *nexthop = nexthop_entry(slot);
	struct fragment_loop loop = { .skb = skb, .run = run, .slot = slot };
	__be16 type;
	int rest;

	if (!run || !nexthop)
		return EBM_REASON_NO_ROUTE;
	if (inner_read(skb, run))
		return EBM_REASON_NO_ROOM;
	rest = fragment_fill(skb, run, slot);
	if (rest < 0)
		return EBM_REASON_NO_ROOM;
	type = nexthop->outer.family == 6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	loop.header = ETH_HLEN + (nexthop->outer.family == 6 ?
					  sizeof(struct ipv6hdr) + sizeof(struct fragment_header6) :
					  sizeof(struct iphdr));
	loop.total = nexthop->outer.length - nexthop->outer.transport + run->inner_length + rest;
	loop.start = BUFFER_HEAD - (loop.total - rest);
	loop.id = fragment_next_id();
	if (!fragment_divide(&loop, nexthop->mtu))
		return EBM_REASON_TOO_BIG;
	if (run->plan & PLAN_NEIGHBOUR && skb->protocol != type && vlan_set_protocol(skb, type))
		return EBM_REASON_NO_ROOM;
	if (buffer_resize(skb, loop.header + loop.slice))
		return EBM_REASON_NO_ROOM;
	bpf_loop(loop.count, fragment_one, &loop, 0);
	return loop.failed ? EBM_REASON_NO_MEMORY : 0;
}

#endif
