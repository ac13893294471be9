/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The tap: reads the original, counts it, clones it to the stage.
 *
 * Nothing here may write the packet, not even on a path that is never taken: one direct packet write makes the verifier
 * add a prologue that un-clones every cloned packet. mark, tc_index and cb are the buffer's, not the packet's;
 * all are restored.
 */
#ifndef EBM_TAP_H
#define EBM_TAP_H

#include "facts.h"
#include "sieve.h"

/* By what a frame is judged. */
struct tap {
	const struct ebm_control *control;
	struct ebm_iface *iface;
	const struct ebm_config *config;
	struct ebm_iface_stats *stats;
	__u32 active; /* enum ebm_active */
	enum ebm_direction direction;
};

/*
 * True when the clone reached the stage; `corrected`: the number of destinations for which it was other packets than its size
 * says. The helper's own result cannot tell: it is also that of everything the stage did.
 *
 * A device took it that is not the stage: the mirrored device was moved into another network namespace, where the stage's
 * number is somebody else's, or the stage was deleted and its number given away. No further frame may go there.
 */
static __always_inline bool tap_clone(struct __sk_buff *skb, const struct tap *tap, __u32 rule,
				      const struct facts *facts, __u32 *corrected)
{
	const struct ebm_control *control = tap->control;
	__u32 ifindex = tap->iface->layer3 ? control->layer3_ifindex : control->stage_ifindex;
	struct scratch *scratch = scratch_get();
	__u64 copies, refused;
	__u32 mark = skb->mark, tc_index = skb->tc_index, word;
	struct job_saved cb;
	long result;

	/* A tap inside the stage, which is in the middle of something: a copy of ours that nobody knew. */
	if (!scratch || scratch->open || scratch->busy || scratch->sharing)
		return false;
	copies = scratch->stage_copies;
	refused = scratch->refused;
	job_save(skb, &cb);
	word = facts->word | tap->active | (tap->config->only_slot & (EBM_LIMIT_PEERS - 1)) << JOB_SLOT_SHIFT;
	job_to_stage(skb, word, rule, facts->hash, facts->headers | (__u64)tap->config->only_version << 32, &facts->size);
	skb->mark = control->mark;
	result = bpf_clone_redirect(skb, ifindex, 0);
	skb->mark = mark;
	skb->tc_index = tc_index;
	job_restore(skb, &cb);
	*corrected = scratch->open ? exact_settle() : 0;
	if (scratch->stage_copies != copies)
		return true;
	if (result >= 0 && scratch->refused == refused)
		tap->iface->stopped = 1;
	return false;
}

/* It was a super-packet of other packets than it said. */
static __always_inline void tap_correct(struct ebm_iface_stats *stats, const struct ebm_rule *rule, __u32 active,
					__u32 destinations)
{
	const struct scratch *scratch = scratch_get();
	struct ebm_counter *matched;

	if (!scratch)
		return;
	stats->seen.packets += scratch->more_packets;
	stats->seen.bytes += scratch->more_bytes;
	stats->selected.packets += scratch->more_packets;
	stats->selected.bytes += scratch->more_bytes;
	stats->cloned.packets += scratch->more_packets;
	stats->cloned.bytes += scratch->more_bytes;
	stats->copies.packets += scratch->more_packets * destinations;
	stats->copies.bytes += scratch->more_bytes * destinations;
	matched = rule ? stats_rule(active, rule->counter) : NULL;
	if (matched) {
		matched->packets += scratch->more_packets;
		matched->bytes += scratch->more_bytes;
	}
}

/* What the tap found out about a frame: which rule it matches, and whether it is to be copied. */
struct tap_choice {
	const struct ebm_rule *rule; /* NULL: none */
	__u32 number;		     /* rank + 1 of a rule that says more than mirror or skip; else 0 */
	bool skip;
};

/* The direction, with RULES_LAYER3. */
static __always_inline __u32 tap_how(const struct tap *tap)
{
	return tap->direction | (tap->iface->layer3 ? RULES_LAYER3 : 0);
}

static __always_inline void tap_choose(struct __sk_buff *skb, const struct flow *flow, const struct tap *tap,
				       struct tap_choice *choice)
{
	__u32 rank;

	if (flow->known && tap->config->sieve && !sieve_allows(tap->active, flow))
		return;
	rank = rules_find(skb, flow, tap->config, tap->active, tap_how(tap), tap->iface->ifindex);
	choice->rule = rule_get(tap->active, rank);
	if (!choice->rule)
		return;
	choice->skip = !(choice->rule->flags & EBM_RULE_FLAG_MIRROR);
	if (choice->rule->peers | choice->rule->groups || choice->rule->snaplen_bytes)
		choice->number = rank + 1;
}

static __always_inline void tap_skip(const struct tap *tap, const struct tap_choice *choice,
				     const struct stats_size *size)
{
	stats_count(&tap->stats->skipped, size);
	if (choice->rule)
		stats_matched(tap->active, choice->rule->counter, size);
}

static __always_inline bool tap_is_own(struct __sk_buff *skb, const struct tap *tap, bool may_be)
{
	return skb->mark == tap->control->mark ||
	       (may_be && tap->config->peer_count && own_copy(skb, tap->active, tap->iface->layer3 ? PARSE_LAYER3 : 0));
}

/* Counts a frame, and clones it where it is to be copied. */
static __always_inline void tap_take(struct __sk_buff *skb, const struct tap *tap, const struct tap_choice *choice,
				     const struct facts *facts)
{
	__u32 destinations = tap->config->group_count, corrected = 0;
	const struct stats_size *size = &facts->size;
	struct ebm_iface_stats *stats = tap->stats;
	bool skip = choice->skip;

	stats_count(&stats->seen, size);
	if (facts->own) {
		stats_count(&stats->own, size);
		return;
	}
	if (!skip && choice->rule) {
		if (!rule_samples(choice->rule, facts->hash))
			skip = true;
		else if (choice->rule->peers | choice->rule->groups)
			destinations = rules_count(tap->active, choice->number - 1, facts->hash);
	}
	if (skip || !destinations) {
		tap_skip(tap, choice, size);
		return;
	}
	if (choice->rule)
		stats_matched(tap->active, choice->rule->counter, size);
	stats_count(&stats->selected, size);
	if (tap_clone(skb, tap, choice->number, facts, &corrected)) {
		if (corrected)
			tap_correct(stats, choice->rule, tap->active, corrected);
		stats_count(&stats->cloned, size);
		stats->copies.packets += (__u64)size->packets * destinations;
		stats->copies.bytes += (__u64)size->bytes * destinations;
	} else {
		stats_count(&stats->lost, size);
	}
}

/* One packet of the wire, of those that flow_read knows: there are most of these. */
static __always_inline void tap_single(struct __sk_buff *skb, const struct flow *flow, const struct tap *tap,
				       const struct tap_choice *choice)
{
	struct facts facts = { .size = { .packets = 1, .bytes = skb->len } };

	facts.own = tap_is_own(skb, tap, flow_may_be_own(flow));
	if (choice->skip && !facts.own) {
		stats_count(&tap->stats->seen, &facts.size);
		tap_skip(tap, choice, &facts.size);
		return;
	}
	facts_of_flow(skb, flow, tap->direction, &facts);
	tap_take(skb, tap, choice, &facts);
}

static __always_inline void tap_frame(struct __sk_buff *skb, enum ebm_direction direction)
{
	struct tap tap = { .control = control_get(), .iface = iface_find(skb->ifindex), .direction = direction };
	const struct ebm_iface *iface = tap.iface;
	struct tap_choice choice = {};
	struct facts facts = {};
	struct flow flow = {};

	if (!tap.control || !iface || !(iface->directions & ~iface->quiet & direction) || iface->stopped)
		return;
	if (iface->expires_ns && bpf_ktime_get_boot_ns() >= iface->expires_ns)
		return;
	tap.active = *(const volatile __u32 *)&tap.control->active & JOB_ACTIVE;
	tap.config = config_get(tap.active);
	tap.stats = stats_iface(tap.active, iface->slot, direction);
	if (!tap.config || !tap.stats)
		return;
	choice.skip = tap.config->skip;
	if (!iface->layer3)
		flow_read(skb, &flow);
	if (tap.config->rule_count)
		tap_choose(skb, &flow, &tap, &choice);
	if (flow.known && !skb->gso_size) {
		tap_single(skb, &flow, &tap, &choice);
		return;
	}
	facts.own = tap_is_own(skb, &tap, facts_look(skb, &facts, tap_how(&tap)));
	tap_take(skb, &tap, &choice, &facts);
}

#endif
