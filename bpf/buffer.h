/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A place for one copy, of each CPU: fragments are made from it, and packets whose tail the kernel does not cut get their
 * bytes back from it.
 */
#ifndef EBM_BUFFER_H
#define EBM_BUFFER_H

#include "bpf.h"

#define BUFFER_HEAD 64	    /* the tunnel's headers and the inner Ethernet header end here */
#define BUFFER_PACKET_MAX 0x10000
#define BUFFER_SLICE_MAX 0x3fff

/* The last SLICE_MAX bytes are never read: so the verifier sees that no slice ends behind the buffer. */
struct buffer {
	__u8 bytes[BUFFER_HEAD + BUFFER_PACKET_MAX + BUFFER_SLICE_MAX + 1];
};

/* One a CPU: user space sets max_entries. Not a per-CPU map, whose values end at 32 KiB. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct buffer);
} ebm_frames SEC(".maps");

static __always_inline struct buffer *buffer_get(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&ebm_frames, &cpu);
}

#define BUFFER_STEP 0xff8 /* bpf_skb_adjust_room takes less than 4 KiB at a time */
#define BUFFER_STEPS 20	  /* 64 KiB */

struct buffer_loop {
	struct __sk_buff *skb;
	__u32 length;
	__u32 reserved;
};

/* One step towards the length. 1 to stop. */
static long buffer_step(__u32 i __attribute__((unused)), struct buffer_loop *loop)
{
	__s64 missing = (__s64)loop->length - loop->skb->len;

	if (!missing)
		return 1;
	if (missing > BUFFER_STEP)
		missing = BUFFER_STEP;
	if (missing < -BUFFER_STEP)
		missing = -BUFFER_STEP;
	return bpf_skb_adjust_room(loop->skb, missing, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO) != 0;
}

/*
 * Gives the packet a length; what is in it is lost. bpf_skb_change_tail refuses packets that the kernel has encapsulated and
 * leaves the transport header whole; where it does not want, the packet is cut, or grown, behind its Ethernet header. 0, or a
 * negative error. Global, so that the verifier looks at it once.
 */
__noinline int buffer_resize(struct __sk_buff *skb, __u32 length)
{
	struct buffer_loop loop = { .skb = skb, .length = length };
	int err = bpf_skb_change_tail(skb, length, 0);

	if (!err)
		return 0;
	bpf_loop(BUFFER_STEPS, buffer_step, &loop, 0);
	return skb->len == length ? 0 : err;
}

/* Cuts the packet to its first `length` bytes, which stay. 0, or a negative error. */
__noinline int buffer_cut(struct __sk_buff *skb, __u32 length)
{
	struct buffer *buffer = buffer_get();
	int err;

	if (bpf_skb_change_tail(skb, length, 0) == 0)
		return 0;
	length -= 1; /* as in fragment_one */
	if (!buffer || length >= BUFFER_PACKET_MAX)
		return -1;
	barrier_var(length);
	length += 1;
	err = bpf_skb_load_bytes(skb, 0, buffer->bytes, length);
	if (!err)
		err = buffer_resize(skb, length);
	if (!err)
		err = bpf_skb_store_bytes(skb, 0, buffer->bytes, length, BPF_F_RECOMPUTE_CSUM);
	return err;
}

#endif
