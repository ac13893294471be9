/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the rules say of a frame that a test run hands over: `filter test`. Sends nothing, counts nothing, caches nothing.
 */
#ifndef EBM_PROBE_H
#define EBM_PROBE_H

#include "rules.h"

/* skb->cb on the way in. */
enum probe_in {
	PROBE_IN_LENGTH,   /* of the frame on the wire */
	PROBE_IN_CAPTURED, /* bytes of it in the packet, which may be longer: test runs want 14 */
	PROBE_IN_DIRECTION, /* enum ebm_direction */
	PROBE_IN_INTERFACE, /* ifindex */
};

/* On the way out. */
enum probe_out {
	PROBE_OUT_RULE, /* rank + 1; 0 = none */
	PROBE_OUT_VERDICT,
	PROBE_OUT_SET_LO, /* destinations by slot */
	PROBE_OUT_SET_HI,
	PROBE_OUT_SNAPLEN, /* the rule's; 0 = none */
};

#define PROBE_MIRROR 1 /* bits of the verdict */
#define PROBE_SAMPLED_OUT 2

/* Fills in cb. 0, or 1 when there is no configuration. */
static __always_inline int probe_frame(struct __sk_buff *skb)
{
	const struct ebm_control *control = control_get();
	const struct ebm_config *config;
	struct key *key = key_get();
	const struct ebm_rule *rule;
	struct parse_key parsed = {};
	struct key_frame frame = {};
	__u32 active, rank = EBM_NODE_NONE, verdict;
	__u64 set = 0;

	if (!control || !key)
		return 1;
	active = control->active & (EBM_ACTIVE_GENERATION | EBM_ACTIVE_BANK);
	config = config_get(active);
	if (!config)
		return 1;
	/* Kernels from 6.18 on want the whole IP header: without this a cut frame would be read where nothing was captured. */
	if (skb->len > skb->cb[PROBE_IN_CAPTURED])
		bpf_skb_change_tail(skb, skb->cb[PROBE_IN_CAPTURED] > ETH_HLEN ? skb->cb[PROBE_IN_CAPTURED] : ETH_HLEN, 0);
	frame.uses = config->uses;
	frame.views = config->views;
	frame.length = skb->cb[PROBE_IN_LENGTH];
	frame.captured = skb->cb[PROBE_IN_CAPTURED];
	if (config->rule_count) {
		key_fill(skb, key, &frame);
		key->word[EBM_FIELD_DIRECTION] = skb->cb[PROBE_IN_DIRECTION];
		key->word[EBM_FIELD_INTERFACE] = skb->cb[PROBE_IN_INTERFACE];
		rank = tables_rank(config, active);
	}
	rule = rule_get(active, rank);
	parse_frame(skb, &parsed, 0);
	if (rule)
		verdict = rule->flags & EBM_RULE_FLAG_MIRROR ? PROBE_MIRROR : 0;
	else
		verdict = config->skip ? 0 : PROBE_MIRROR;
	if (verdict && rule && !rule_samples(rule, parsed.hash))
		verdict = PROBE_SAMPLED_OUT;
	if (verdict & PROBE_MIRROR)
		set = rules_destinations(rule, active, parsed.hash);
	skb->cb[PROBE_OUT_RULE] = rule ? rank + 1 : 0;
	skb->cb[PROBE_OUT_VERDICT] = verdict;
	skb->cb[PROBE_OUT_SET_LO] = set;
	skb->cb[PROBE_OUT_SET_HI] = set >> 32;
	skb->cb[PROBE_OUT_SNAPLEN] = rule ? rule->snaplen_bytes : 0;
	return 0;
}

#endif
