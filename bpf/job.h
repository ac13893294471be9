/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How a copy carries what the tap knew about its original: mark and cb from the tap to the stage (both arrive with the
 * clone); from the stage to exact a ticket in priority and tc_index (which survive the bridge and the segmentation; cb does
 * not), with which exact finds the rest in this CPU's scratch.
 */
#ifndef EBM_JOB_H
#define EBM_JOB_H

#include "bpf.h"
#include "rules.h"
#include "size.h"
#include "state.h"
#include "stats.h"

enum job_cb {
	JOB_CB_WORD,   /* JOB_* bits below, and the wire packets in the upper half */
	JOB_CB_HASH,   /* with JOB_EMIT: the device */
	JOB_CB_SET_LO, /* destinations, with JOB_RESEND; else of a super-packet the bytes that each segment repeats */
	JOB_CB_SET_HI, /* without JOB_RESEND: ebm_config.only_version */
	JOB_CB_BYTES,  /* wire bytes */
	JOB_CB_WORDS,
};

#define JOB_ACTIVE 0x3	  /* enum ebm_active, as the tap read it */
#define JOB_TCP 0x4	  /* a TCP super-packet that can be grown as it is */
#define JOB_RESEND 0x8	  /* the stage sent this clone to itself, for some of the destinations; all is decided */
#define JOB_EMIT 0x10	  /* the same, with its outer headers: let the kernel find the neighbour */
#define JOB_EGRESS 0x20	  /* the original was on its way out */
#define JOB_TUNNEL 0x40	  /* the original is a tunnel's packet: the kernel may have encapsulated it */
#define JOB_PLAIN 0x80	  /* the original is of a type that cannot have an unfinished checksum */
#define JOB_FINISHED 0x100 /* with JOB_RESEND: sent by exact, the kernel has finished checksums */
#define JOB_SLOT_SHIFT 9 /* six bits: ebm_config.only_slot */
#define JOB_PACKETS_SHIFT 16

/* The copy at hand and what is to be done with it. */
struct encap_job {
	__u32 word;
	__u32 active;
	__u32 hash;
	__u32 headers; /* of a super-packet: what each segment repeats */
	__u32 stage_ifindex;
	__u32 rule;	     /* rank + 1 of a rule that says to whom or how much; 0 = none */
	__u32 snaplen_bytes; /* that rule's; 0 = all of the frame */
	__u32 finished; /* the kernel has cut the copy into segments and finished its checksums: this is exact */
	struct stats_size size;
	__u64 set; /* destinations by slot */
	__u32 everyone; /* one of every group, and `set` is all ones. It may be that by itself: 64 peers that a rule names */
	__u32 reserved;
};

/* cb is written two words at a time, the first one in the lower half: JOB_CB_WORD with JOB_CB_HASH, JOB_CB_SET_LO with
 * JOB_CB_SET_HI. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "and in the upper half elsewhere");
_Static_assert(JOB_CB_WORD == 0 && JOB_CB_HASH == 1 && JOB_CB_SET_LO == 2 && JOB_CB_SET_HI == 3, "pairs");
_Static_assert(JOB_CB_WORDS == 5, "job_save and job_restore know them all");
_Static_assert(JOB_FINISHED < 1 << JOB_SLOT_SHIFT && EBM_LIMIT_PEERS << JOB_SLOT_SHIFT <= 1 << JOB_PACKETS_SHIFT, "no overlap");

/* What others have in cb, while the copy's job is there. */
struct job_saved {
	__u64 low, high;
	__u32 last;
};

static __always_inline void job_save(const struct __sk_buff *skb, struct job_saved *cb)
{
	cb->low = *(const volatile eight_bytes *)&skb->cb[0];
	cb->high = *(const volatile eight_bytes *)&skb->cb[2];
	cb->last = skb->cb[4];
}

static __always_inline void job_restore(struct __sk_buff *skb, const struct job_saved *cb)
{
	*(volatile eight_bytes *)&skb->cb[0] = cb->low;
	*(volatile eight_bytes *)&skb->cb[2] = cb->high;
	skb->cb[4] = cb->last;
}

/* `rule`: as in encap_job. It travels in tc_index: no word of cb is free. `set`: JOB_CB_SET_LO and, above it, JOB_CB_SET_HI. */
static __always_inline void job_to_stage(struct __sk_buff *skb, __u32 word, __u32 rule, __u32 hash, __u64 set,
					 const struct stats_size *size)
{
	skb->tc_index = rule;
	*(volatile eight_bytes *)&skb->cb[JOB_CB_WORD] = word | size->packets << JOB_PACKETS_SHIFT | (__u64)hash << 32;
	*(volatile eight_bytes *)&skb->cb[JOB_CB_SET_LO] = set;
	skb->cb[JOB_CB_BYTES] = size->bytes;
}

static __always_inline void job_resend(struct __sk_buff *skb, const struct encap_job *job, __u64 set)
{
	__u32 word = (job->word & 0xffff) | job->active | JOB_RESEND | (job->finished ? JOB_FINISHED : 0);

	job_to_stage(skb, word, job->rule, job->hash, set, &job->size);
}

static __always_inline void job_emit(struct __sk_buff *skb, __u32 ifindex)
{
	skb->cb[JOB_CB_WORD] = JOB_EMIT;
	skb->cb[JOB_CB_HASH] = ifindex;
}

/* Always 0. Looks up what the rule says. With `set`: to whom, too. Global, so that its stack is not under all that comes after. */
__noinline int job_rule(struct encap_job *job, __u32 set)
{
	const struct ebm_rule *rule;

	if (!job)
		return 0;
	rule = job->rule ? rule_get(job->active, job->rule - 1) : NULL;
	job->snaplen_bytes = rule ? rule->snaplen_bytes : 0;
	if (set && rule && rule->peers | rule->groups) {
		job->set = rules_destinations(rule, job->active, job->hash);
		job->everyone = 0;
	}
	return 0;
}

static __always_inline void stage_job(struct encap_job *job, struct __sk_buff *skb, const struct ebm_control *control)
{
	__u32 word = skb->cb[JOB_CB_WORD];

	job->word = word;
	job->active = word & JOB_ACTIVE;
	job->finished = word & JOB_FINISHED;
	job->hash = skb->cb[JOB_CB_HASH];
	job->headers = skb->cb[JOB_CB_SET_LO];
	job->stage_ifindex = control->stage_ifindex;
	job->size.packets = word >> JOB_PACKETS_SHIFT;
	job->size.bytes = skb->cb[JOB_CB_BYTES];
	job->rule = skb->tc_index;
	job->set = word & JOB_RESEND ? skb->cb[JOB_CB_SET_LO] | (__u64)skb->cb[JOB_CB_SET_HI] << 32 : ~0ULL;
	job->everyone = !(word & JOB_RESEND);
	job_rule(job, !(word & JOB_RESEND));
	skb->tc_index = 0;
}

/* The copy goes on through the bridge, for these destinations. */
static __always_inline void exact_hand_over(struct __sk_buff *skb, struct scratch *scratch,
					    const struct encap_job *job, __u64 set)
{
	scratch->set = set;
	scratch->active = job->active;
	scratch->hash = job->hash;
	scratch->word = job->word & (JOB_EGRESS | JOB_TUNNEL);
	scratch->rule = job->rule;
	scratch->ticket += 1;
	scratch->packets = job->size.packets;
	scratch->bytes = job->size.bytes;
	scratch->arrived_packets = 0;
	scratch->arrived_bytes = 0;
	scratch->open = true;
	skb->priority = scratch->ticket;
	skb->tc_index = bpf_get_smp_processor_id();
}

/* Whether the stage handed this copy over. One that comes without a ticket passed the bridge while somebody had detached the
 * stage's program; one that comes late was held up by a queue. Both have been counted as lost. */
static __always_inline bool exact_is_handed_over(const struct __sk_buff *skb, const struct scratch *scratch)
{
	return scratch->open && skb->priority == scratch->ticket &&
	       skb->tc_index == (__u16)bpf_get_smp_processor_id();
}

static __always_inline void exact_job(struct encap_job *job, struct __sk_buff *skb, const struct ebm_control *control,
				      struct scratch *scratch)
{
	job->word = scratch->word;
	job->active = scratch->active;
	job->finished = true;
	job->hash = scratch->hash;
	job->stage_ifindex = control->stage_ifindex;
	job->set = scratch->set;
	job->rule = scratch->rule;
	job_rule(job, false);
	skb->tc_index = 0;
	size_of_frame(skb, &job->size);
	scratch->arrived_packets += job->size.packets;
	scratch->arrived_bytes += job->size.bytes;
}

static long exact_select_one(__u32 slot, struct stats_loss *more)
{
	struct ebm_peer_stats *stats = stats_peer(more->active, slot);
	struct scratch *scratch = scratch_get();

	if (stats && scratch && more->set >> (slot & (EBM_LIMIT_PEERS - 1)) & 1) {
		stats->selected.packets += scratch->more_packets;
		stats->selected.bytes += scratch->more_bytes;
	}
	return 0;
}

/*
 * After a clone to the stage. What went on to exact, and did not get there (somebody set the stage down, or filters on the
 * bridge), is lost. Where the kernel made other packets of a super-packet than its numbers promise (those of virtual
 * machines say little), the difference has been selected as well. Returns how many destinations that concerns: what it is
 * stands in scratch.
 */
__noinline int exact_settle(void)
{
	struct scratch *scratch = scratch_get();
	struct stats_loss loss = {};
	int destinations = 0;

	if (!scratch || !scratch->open)
		return 0;
	scratch->open = false;
	if (scratch->arrived_packets == scratch->packets && scratch->arrived_bytes == scratch->bytes)
		return 0;
	loss.set = scratch->set;
	loss.active = scratch->active;
	if (scratch->arrived_packets < scratch->packets) {
		loss.size.packets = scratch->packets - scratch->arrived_packets;
		if (scratch->bytes > scratch->arrived_bytes)
			loss.size.bytes = scratch->bytes - scratch->arrived_bytes;
		loss.reason = EBM_REASON_STAGE_FULL;
		bpf_loop(EBM_LIMIT_PEERS, stats_lose, &loss, 0);
		return 0;
	}
	scratch->more_packets = (__s64)scratch->arrived_packets - scratch->packets;
	scratch->more_bytes = (__s64)scratch->arrived_bytes - scratch->bytes;
	bpf_loop(EBM_LIMIT_PEERS, exact_select_one, &loss, 0);
	for (int i = 0; i < EBM_LIMIT_PEERS; i++)
		destinations += loss.set >> i & 1;
	return destinations;
}

#endif
