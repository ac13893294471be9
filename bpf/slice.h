/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The two fragments of a copy, outer IPv4: their sizes, their headers, and how each comes into the packet, one after the other.
 * The functions are global so that their stacks do not add up.
 */
#ifndef EBM_SLICE_H
#define EBM_SLICE_H

#include "fragment.h"

#define SLICE_NOT 1		/* nothing has been done to the packet */
#define SLICE_HEADER (ETH_HLEN + sizeof(struct iphdr))
#define SLICE_TUNNEL_MAX 16	/* VXLAN, GENEVE, GRE */
#define SLICE_FRAME_MIN 512
#define SLICE_FRAME_MAX FINISH_FRAME_MAX

_Static_assert(BUFFER_HEAD >= SLICE_HEADER + SLICE_TUNNEL_MAX, "the outer headers end where the copy begins");

/* The copy at hand and its destination, of this CPU; behind these what is found out here. Not on the stack, of which there is
 * too little. As long as scratch->busy nobody else writes to it. */
struct slices {
	__u32 active;
	__u32 slot;
	__u32 hash;
	__u32 id;
	__u16 selected; /* counted as such */
	__u16 tunnel;	/* bytes of its headers */
	__u16 first;	/* bytes of the copy that the first fragment holds */
	__u16 last;	/* bytes that the second one holds */
	struct finish unfinished; /* a checksum that it has */
	__u32 reserved;
	struct stats_size size;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct slices);
} ebm_slices SEC(".maps");

static __always_inline struct slices *slices_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&ebm_slices, &zero);
}

/* Sizes of the fragments: as fragment_divide. False when they are not two. */
static __always_inline bool slice_divide(struct slices *slices, const struct nexthop *nexthop, __u32 length)
{
	__u32 most = (min_u64(nexthop->mtu, PLAN_NETWORK_MAX) - sizeof(struct iphdr)) & ~7U;
	__u32 total, last;

	slices->tunnel = nexthop->outer.length - nexthop->outer.transport;
	total = slices->tunnel + length;
	if (nexthop->outer.family != 4 || slices->tunnel > SLICE_TUNNEL_MAX || most < SLICE_FRAME_MIN)
		return false;
	if (total + sizeof(struct iphdr) <= nexthop->mtu || total <= most || total > 2 * most)
		return false;
	last = total - most;
	if (last < FRAGMENT_LAST_MIN)
		last += (FRAGMENT_LAST_MIN - last + 7) & ~7U;
	slices->last = last;
	slices->first = length - last;
	return true;
}

/* Eight at a time: of single ones clang has dozens on the stack. */
static __always_inline void slice_copy(__u8 *to, const __u8 *from, __u32 eights)
{
	for (__u32 i = 0; i < eights; i++)
		*(eight_bytes *)(to + 8 * i) = *(const eight_bytes *)(from + 8 * i);
}

/* What the IP header at `ip` says of the fragment. */
static __always_inline void slice_tell(__u8 *ip, const struct outer *outer, __u32 id, __u32 payload, __u16 offset)
{
	__u16 length = bpf_htons(sizeof(struct iphdr) + payload);
	__u16 fragment = bpf_htons(offset), number = bpf_htons(id);

	*(two_bytes *)(ip + __builtin_offsetof(struct iphdr, tot_len)) = length;
	*(two_bytes *)(ip + __builtin_offsetof(struct iphdr, id)) = number;
	*(two_bytes *)(ip + __builtin_offsetof(struct iphdr, frag_off)) = fragment;
	*(two_bytes *)(ip + __builtin_offsetof(struct iphdr, check)) =
		csum_fold(outer->sum + length + number + fragment);
}

/* Writes the first fragment's headers into the buffer, in front of where the copy begins. 0, or SLICE_NOT. */
__noinline int slice_headers(struct __sk_buff *skb)
{
	const struct slices *slices = slices_get();
	struct buffer *buffer = buffer_get();
	struct outer_packet packet = {};
	struct nexthop *nexthop;
	__u32 tunnel, start;

	if (!slices || !buffer)
		return SLICE_NOT;
	nexthop = nexthop_entry(slices->slot);
	tunnel = slices->tunnel;
	if (!nexthop || tunnel > SLICE_TUNNEL_MAX)
		return SLICE_NOT;
	packet.length = sizeof(struct iphdr) + tunnel + skb->len;
	packet.hash = slices->hash;
	outer_finish(&nexthop->outer, &packet);
	start = BUFFER_HEAD - SLICE_HEADER - tunnel;
	barrier_var(start); /* clang would subtract from the pointer */
	slice_copy(buffer->bytes + start, nexthop->outer.bytes + OUTER_PAD, (SLICE_HEADER + SLICE_TUNNEL_MAX + 7) / 8);
	slice_tell(buffer->bytes + start + ETH_HLEN, &nexthop->outer, slices->id, tunnel + slices->first, FRAGMENT_MORE4);
	return 0;
}

/* Of a copy whose checksum is finished: its end, and its Ethernet header, into the buffer; room for the headers behind that.
 * 0, SLICE_NOT, or a negative error. Not with bpf_skb_change_head, which leaves the network header at the copy's own, where
 * classifiers, queues that mark congestion and devices without a link layer look for the outer one. */
__noinline int slice_tail(struct __sk_buff *skb, __u32 first, __u32 last, __u32 room)
{
	struct buffer *buffer = buffer_get();

	last -= 1; /* as in fragment_one */
	if (!buffer || first > SLICE_FRAME_MAX || last >= SLICE_FRAME_MAX)
		return SLICE_NOT;
	barrier_var(last);
	last += 1;
	if (bpf_skb_load_bytes(skb, first, buffer->bytes + BUFFER_HEAD + first, last) ||
	    bpf_skb_load_bytes(skb, 0, buffer->bytes + BUFFER_HEAD, ETH_HLEN))
		return SLICE_NOT;
	/* Refused: the kernel has encapsulated it. */
	if (bpf_skb_change_tail(skb, first, 0))
		return SLICE_NOT;
	return bpf_skb_adjust_room(skb, room, BPF_ADJ_ROOM_MAC, 0) ? -1 : 0;
}

/* Of another: all of it into the buffer, its checksum finished, and the packet as long as the first fragment. As slice_tail. */
__noinline int slice_whole(struct __sk_buff *skb, __u32 wanted)
{
	struct buffer *buffer = buffer_get();
	const struct slices *slices = slices_get();
	__u32 length = skb->len - 1; /* as in fragment_one */

	if (!slices || !buffer || length >= SLICE_FRAME_MAX)
		return SLICE_NOT;
	barrier_var(length);
	length += 1;
	if (bpf_skb_load_bytes(skb, 0, buffer->bytes + BUFFER_HEAD, length) || bpf_skb_change_tail(skb, wanted, 0))
		return SLICE_NOT;
	if (finish_forget(skb, slices->unfinished)) {
		finish_write(buffer, slices->unfinished, length);
		return 0;
	}
	if (skb->len != wanted || bpf_skb_change_tail(skb, length, 0))
		return -1;
	return bpf_skb_store_bytes(skb, 0, buffer->bytes + BUFFER_HEAD, length, 0) ? -1 : SLICE_NOT;
}

/* Puts a fragment into the packet, from the buffer. 0, or a negative error. */
__noinline int slice_store(struct __sk_buff *skb, __u32 start, __u32 length)
{
	struct buffer *buffer = buffer_get();

	length -= 1; /* as in fragment_one */
	if (!buffer || start > BUFFER_HEAD + SLICE_FRAME_MAX || length >= SLICE_FRAME_MAX)
		return -1;
	barrier_var(length);
	length += 1;
	return bpf_skb_store_bytes(skb, 0, buffer->bytes + start, length, BPF_F_RECOMPUTE_CSUM);
}

/* Makes the first fragment of the packet. 0, SLICE_NOT, or a negative error. */
static __always_inline int slice_first(struct __sk_buff *skb, const struct slices *slices)
{
	__u32 room = SLICE_HEADER + slices->tunnel, start = BUFFER_HEAD - room;
	int err = slice_headers(skb);

	if (err)
		return err;
	if (slices->unfinished.start) {
		room += slices->first;
		err = slice_whole(skb, room);
	} else {
		err = slice_tail(skb, slices->first, slices->last, room);
		room += ETH_HLEN;
	}
	return err ? err : slice_store(skb, start, room);
}

/* Makes the second fragment of the packet. 0, or a negative error. */
__noinline int slice_second(struct __sk_buff *skb)
{
	const struct slices *slices = slices_get();
	struct buffer *buffer = buffer_get();
	const struct nexthop *nexthop;
	__u32 start;

	if (!slices || !buffer)
		return -1;
	nexthop = nexthop_entry(slices->slot);
	start = BUFFER_HEAD + slices->first - SLICE_HEADER;
	if (!nexthop || start > BUFFER_HEAD + SLICE_FRAME_MAX)
		return -1;
	slice_copy(buffer->bytes + start, nexthop->outer.bytes + OUTER_PAD, SLICE_HEADER / 8);
	*(two_bytes *)(buffer->bytes + start + SLICE_HEADER - 2) =
		*(const two_bytes *)(nexthop->outer.bytes + OUTER_PAD + SLICE_HEADER - 2);
	slice_tell(buffer->bytes + start + ETH_HLEN, &nexthop->outer, slices->id, slices->last,
		   (slices->tunnel + slices->first) >> 3);
	if (buffer_resize(skb, SLICE_HEADER + slices->last))
		return -1;
	return slice_store(skb, start, SLICE_HEADER + slices->last);
}

#endif
