/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How a copy carries what the tap knew about its original: mark and cb from the tap to the stage (both arrive with the
 * clone), mark, priority and tc_index from the stage to exact (they survive the bridge and the segmentation; cb does not).
 */
#ifndef EBM_JOB_H
#define EBM_JOB_H

#include "bpf.h"
#include "size.h"
#include "state.h"
#include "stats.h"

enum job_cb {
	JOB_CB_WORD,   /* JOB_* bits below, and the wire packets in the upper half */
	JOB_CB_HASH,
	JOB_CB_SET_LO, /* destinations, when JOB_RESEND */
	JOB_CB_SET_HI,
	JOB_CB_BYTES,  /* wire bytes */
	JOB_CB_WORDS,
};

#define JOB_ACTIVE 0x3	 /* enum ebm_active, as the tap read it */
#define JOB_DIRECT 0x4	 /* the stage can grow it as it is; else it goes on to exact */
#define JOB_RESEND 0x8	 /* the stage sent this clone to itself, for some of the destinations */
#define JOB_NEIGHBOUR 0x10 /* with JOB_RESEND: let the kernel resolve the neighbour with this one */
#define JOB_PACKETS_SHIFT 16

/* In priority, above JOB_ACTIVE: the stage has counted this copy and handed it over. A copy that comes to exact without it
 * passed the bridge while somebody had detached the stage's program; the tap has counted it as lost. */
#define JOB_HANDED_OVER 0x65626d00

/* The copy at hand and what is to be done with it. */
struct encap_job {
	__u32 active;
	__u32 hash;
	__u32 stage_ifindex;
	__u32 direct;
	__u32 resend;
	__u32 neighbour;
	struct stats_size size;
	__u64 set; /* destinations by slot, of those that the configuration has */
};

static __always_inline void job_to_stage(struct __sk_buff *skb, __u32 word, __u32 hash, const struct stats_size *size)
{
	skb->cb[JOB_CB_WORD] = word | size->packets << JOB_PACKETS_SHIFT;
	skb->cb[JOB_CB_HASH] = hash;
	skb->cb[JOB_CB_BYTES] = size->bytes;
}

static __always_inline void job_resend(struct __sk_buff *skb, const struct encap_job *job, __u64 set, bool neighbour)
{
	__u32 word = job->active | JOB_DIRECT | JOB_RESEND | (neighbour ? JOB_NEIGHBOUR : 0);

	job_to_stage(skb, word, job->hash, &job->size);
	skb->cb[JOB_CB_SET_LO] = (__u32)set;
	skb->cb[JOB_CB_SET_HI] = (__u32)(set >> 32);
}

static __always_inline void stage_job(struct encap_job *job, struct __sk_buff *skb, const struct ebm_control *control)
{
	__u32 word = skb->cb[JOB_CB_WORD];

	job->active = word & JOB_ACTIVE;
	job->direct = word & JOB_DIRECT;
	job->resend = word & JOB_RESEND;
	job->neighbour = word & JOB_NEIGHBOUR;
	job->hash = skb->cb[JOB_CB_HASH];
	job->stage_ifindex = control->stage_ifindex;
	job->size.packets = word >> JOB_PACKETS_SHIFT;
	job->size.bytes = skb->cb[JOB_CB_BYTES];
	job->set = job->resend ? skb->cb[JOB_CB_SET_LO] | (__u64)skb->cb[JOB_CB_SET_HI] << 32 : ~0ULL;
}

/* The generation and the bank go into priority, sixteen bits of the hash (a source port needs fourteen) into tc_index. */
static __always_inline void exact_hand_over(struct __sk_buff *skb, const struct encap_job *job)
{
	skb->priority = JOB_HANDED_OVER | job->active;
	skb->tc_index = job->hash >> 16;
}

static __always_inline bool exact_is_handed_over(const struct __sk_buff *skb)
{
	return (skb->priority & ~JOB_ACTIVE) == JOB_HANDED_OVER;
}

static __always_inline void exact_job(struct encap_job *job, struct __sk_buff *skb, const struct ebm_control *control)
{
	job->active = skb->priority & JOB_ACTIVE;
	job->hash = skb->tc_index << 16;
	job->stage_ifindex = control->stage_ifindex;
	job->direct = true;
	job->set = ~0ULL;
	size_of_frame(skb, &job->size);
}

#endif
