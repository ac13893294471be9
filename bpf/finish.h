/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Checksums that are left to be finished by the device that sends the packet: whether a copy has one, and how to finish it in
 * the buffer. No helper finishes one in the packet.
 */
#ifndef EBM_FINISH_H
#define EBM_FINISH_H

#include <linux/if_ether.h>
#include <linux/udp.h>
#include "buffer.h"
#include "csum.h"

#define FINISH_FRAME_MAX 9216
#define FINISH_SUM_STEP 512 /* bpf_csum_diff takes no more before Linux 6.13 */
#define FINISH_START_MAX 256
#define FINISH_TCP_CHECK 16 /* of its header (RFC 9293, 3.1) */

/* True when the kernel has nothing to do with the packet's checksum, and has not looked at it: one more level of trust makes
 * this known, and is taken back. */
static __always_inline bool finish_is_none(struct __sk_buff *skb)
{
	bpf_csum_level(skb, BPF_CSUM_LEVEL_INC);
	if (bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY) < 0)
		return false;
	bpf_csum_level(skb, BPF_CSUM_LEVEL_RESET);
	return true;
}

/* True when the packet's checksum, if it has one, is finished: the kernel has checked it, one way or the other, or does not
 * care. */
static __always_inline bool finish_is_done(struct __sk_buff *skb)
{
	return bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY) >= 0 || bpf_csum_update(skb, 0) >= 0 || finish_is_none(skb);
}

/* The sum over the frame in the buffer from `start` on; what stands behind the frame, up to the next multiple of four, becomes
 * zero. */
static __always_inline __u32 finish_sum(struct buffer *buffer, __u32 start, __u32 length)
{
	__u64 at = start;
	__u32 sum = 0;

	/* finish_find has seen to it; kernel 6.1 forgets that where clang 14 puts the number together from its bytes. */
	barrier_var(at);
	if (at > FINISH_START_MAX)
		return 0;
	at += BUFFER_HEAD;
	__builtin_memset(buffer->bytes + BUFFER_HEAD + length, 0, 4);
	length -= start;
	if (length > FINISH_FRAME_MAX)
		return 0;
	for (__u32 i = 0; i < FINISH_FRAME_MAX / FINISH_SUM_STEP && length >= FINISH_SUM_STEP; i++) {
		sum = bpf_csum_diff(NULL, 0, (__be32 *)(buffer->bytes + at), FINISH_SUM_STEP, sum);
		at += FINISH_SUM_STEP;
		length -= FINISH_SUM_STEP;
		if (at > BUFFER_HEAD + FINISH_FRAME_MAX)
			return 0;
	}
	length = (length + 3) & (FINISH_SUM_STEP | (FINISH_SUM_STEP - 4));
	barrier_var(length);
	if (length > FINISH_SUM_STEP)
		return 0;
	return bpf_csum_diff(NULL, 0, (__be32 *)(buffer->bytes + at), length, sum);
}

/* Where a checksum is that is to be finished, from the frame's first byte. */
struct finish {
	__u16 start; /* where summing begins; 0 = there is none, or nobody knows */
	__u16 field;
};

/*
 * Of a packet that has one. No helper tells; the kernel's own packet does. Of TCP and UDP, plain or behind whatever other
 * headers: SCTP leaves another sum to be finished (CRC32c, RFC 9260, 6.8), whose field is 8 bytes behind the start.
 */
static __always_inline struct finish finish_find(struct __sk_buff *skb)
{
	struct finish nowhere = {}, found;
	struct { __u16 start, offset; } checksum;
	struct { __u64 head, data; } bytes;
	__u64 start;

	if (!ebm_skb_head || bpf_probe_read_kernel(&checksum, sizeof(checksum), (void *)skb + ebm_skb_checksum) ||
	    bpf_probe_read_kernel(&bytes, sizeof(bytes), (void *)skb + ebm_skb_head))
		return nowhere;
	if (checksum.offset != FINISH_TCP_CHECK && checksum.offset != __builtin_offsetof(struct udphdr, check))
		return nowhere;
	start = checksum.start - (bytes.data - bytes.head);
	if (start < ETH_HLEN || start > FINISH_START_MAX || start + checksum.offset + sizeof(__u16) > skb->len)
		return nowhere;
	found.start = start;
	found.field = start + checksum.offset;
	return found;
}

/* Zero is written as its other form, as skb_checksum_help does. */
static __always_inline void finish_write(struct buffer *buffer, struct finish found, __u32 length)
{
	__u16 check = csum_fold(finish_sum(buffer, found.start, length));
	__u64 field = found.field;

	/* As in finish_sum. */
	barrier_var(field);
	if (field > FINISH_START_MAX + FINISH_TCP_CHECK)
		return;
	if (!check)
		check = 0xffff;
	__builtin_memcpy(buffer->bytes + BUFFER_HEAD + field, &check, sizeof(check));
}

/* Takes the bytes behind the Ethernet header, puts as many zeros there, and says whether the checksum is forgotten. */
static __always_inline bool finish_pull(struct __sk_buff *skb, __s32 bytes)
{
	if (bpf_skb_adjust_room(skb, -bytes, BPF_ADJ_ROOM_MAC, 0))
		return false;
	return !bpf_skb_adjust_room(skb, bytes, BPF_ADJ_ROOM_MAC, 0) && finish_is_none(skb);
}

/*
 * Makes the packet forget that its checksum is to be finished, at the price of its first bytes; its length is the same. The
 * kernel forgets it when a packet begins behind where summing does (skb_postpull_rcsum), before Linux 6.2 and the stable
 * kernels of January 2023 one byte later. False when it does not.
 */
static __always_inline bool finish_forget(struct __sk_buff *skb, struct finish found)
{
	return finish_pull(skb, found.start + 1) || finish_pull(skb, found.start + 2);
}

#endif
