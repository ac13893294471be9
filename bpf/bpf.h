/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the kernel's UAPI headers lack or spell differently from version to version; verdicts and byte order. */
#ifndef EBM_BPF_H
#define EBM_BPF_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define EBM_AF_INET 2 /* <sys/socket.h> is no UAPI header */
#define EBM_AF_INET6 10

/* TCX_NEXT (kernel 6.6) and TC_ACT_UNSPEC are the same number: one object serves TCX and cls_bpf. */
enum ebm_verdict {
	EBM_VERDICT_NEXT = -1,
	EBM_VERDICT_DROP = 2, /* TC_ACT_SHOT, TCX_DROP */
};

#define EBM_TC_PRIO_BULK 2 /* <linux/pkt_sched.h>: copies give way to production */

#ifndef BPF_FIB_LOOKUP_SRC
#define BPF_FIB_LOOKUP_SRC (1U << 4) /* kernel 6.7 */
#endif

/* True where bpf_fib_lookup can tell the source address of a route; set before load. */
const volatile bool ebm_fib_tells_source = false;

/* Where the kernel's own packet (struct sk_buff) has `csum_start` and `csum_offset`, and `head` and `data`, one behind the
 * other; in bytes. 0 = not known, or not to be read; set before load. */
const volatile __u16 ebm_skb_checksum = 0;
const volatile __u16 ebm_skb_head = 0;

/* Bytes in one access, whatever they are and wherever they stand: kernels for processors that cannot do that refuse it. */
typedef __u64 __attribute__((may_alias)) eight_bytes;
typedef __u32 __attribute__((may_alias)) four_bytes;
typedef __u16 __attribute__((may_alias)) two_bytes;

static __always_inline __u64 min_u64(__u64 a, __u64 b)
{
	return a < b ? a : b;
}

/* The number of the lowest bit; `set` is not 0. Without branches, of which the verifier would follow each: a de Bruijn sequence
 * has other six bits at each place. */
static __always_inline __u32 set_first(__u64 set)
{
	static const __u8 place[64] = {
		0,  1,	2,  53, 3,  7,	54, 27, 4,  38, 41, 8,	34, 55, 48, 28, 62, 5,	39, 46, 44, 42,
		22, 9,	24, 35, 59, 56, 49, 18, 29, 11, 63, 52, 6,  26, 37, 40, 33, 47, 61, 45, 43, 21,
		23, 58, 17, 10, 51, 25, 36, 32, 60, 20, 57, 16, 50, 31, 19, 15, 30, 14, 13, 12,
	};

	__u32 bit = place[(set & -set) * 0x022fdd63cc95386d >> 58];

	/* clang knows what stands in the table and leaves the mask out; the verifier does not. */
	barrier_var(bit);
	return bit & 63;
}

#endif
