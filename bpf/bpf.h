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

static __always_inline __u64 min_u64(__u64 a, __u64 b)
{
	return a < b ? a : b;
}

#endif
