/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Checksums that are left to be finished by the device that sends the packet: whether a copy has one. */
#ifndef EBM_FINISH_H
#define EBM_FINISH_H

#include "bpf.h"

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

#endif
