/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Which rule a frame matches, and what that means: mirror or skip, and to whom. */
#ifndef EBM_RULES_H
#define EBM_RULES_H

#include "cache.h"
#include "tables.h"

#define RULES_SAMPLING 0x7f4a7c15 /* makes another hash of the flow's: its bits choose members of groups and ports as well */

/* NULL for what is no rank. */
static __always_inline const struct ebm_rule *rule_get(__u32 active, __u32 rank)
{
	__u32 index = active_generation(active) * EBM_RULES_MAX + rank;

	return rank < EBM_RULES_MAX ? bpf_map_lookup_elem(&ebm_rules, &index) : NULL;
}

#define RULES_LAYER3 0x100 /* beside the direction: a packet without an Ethernet header */

/* The rank of the frame's rule, or EBM_NODE_NONE, by the tables. Global, so that the verifier looks at it once. */
__noinline int rules_rank(struct __sk_buff *skb, __u32 active, __u32 direction, __u32 ifindex)
{
	const struct ebm_config *config = config_get(active);
	struct key_frame frame = {};
	struct key *key = key_get();

	if (!config || !key)
		return EBM_NODE_NONE;
	frame.uses = config->uses;
	frame.views = config->views;
	frame.layer3 = direction & RULES_LAYER3;
	frame.missing = (skb->vlan_present ? sizeof(struct parse_vlan) : 0) + (frame.layer3 ? ETH_HLEN : 0);
	frame.length = skb->len + frame.missing;
	frame.captured = frame.length;
	key_fill(skb, key, &frame);
	key->word[EBM_FIELD_DIRECTION] = direction & EBM_DIRECTION_BOTH;
	key->word[EBM_FIELD_INTERFACE] = ifindex;
	return tables_rank(config, active);
}

/* The same for a flow whose key is wide, or that is not in the cache: puts it there. */
__noinline int rules_flow(struct __sk_buff *skb, const struct flow *flow, __u32 active, __u32 direction, __u32 ifindex)
{
	const struct ebm_config *config = config_get(active);
	struct cache_wide_key *from = cache_key_get();
	struct cache_slot *slot = NULL;
	struct cache_line *line;
	struct key *key = key_get();
	__u32 rank;

	if (!flow || !config || !key || !from)
		return EBM_NODE_NONE;
	cache_narrow(skb, flow, config->uses, direction & EBM_DIRECTION_BOTH, ifindex, &from->narrow);
	if (!cache_wide(skb, flow, config->uses, from))
		return EBM_NODE_NONE;
	if (cache_is_wide(flow, config->uses)) {
		slot = cache_slot(from);
		if (slot && cache_is_wide_flow(slot, from, config->stamp))
			return slot->rank;
	}
	cache_words(from, key);
	rank = tables_rank(config, active);
	if (slot) {
		cache_put_wide(slot, from, config->stamp, rank);
	} else {
		line = cache_line(&from->narrow);
		if (line)
			cache_put(line, &from->narrow, config->stamp, rank);
	}
	return rank;
}

/* The same, by what is quickest. `direction`: with RULES_LAYER3. */
static __always_inline __u32 rules_find(struct __sk_buff *skb, const struct flow *flow, const struct ebm_config *config,
					__u32 active, __u32 direction, __u32 ifindex)
{
	struct cache_line *line;
	struct cache_key key;

	if (!flow->known || config->views)
		return rules_rank(skb, active, direction, ifindex);
	if (!cache_is_wide(flow, config->uses)) {
		cache_narrow(skb, flow, config->uses, direction, ifindex, &key);
		line = cache_line(&key);
		if (line && cache_is(&line->way[0], &key, config->stamp))
			return line->way[0].rank;
		if (line && cache_is(&line->way[1], &key, config->stamp))
			return line->way[1].rank;
	}
	return rules_flow(skb, flow, active, direction, ifindex);
}

/* Whether a sampling rule chooses the flow with this hash: the same on every host, and in both directions. */
static __always_inline bool rule_samples(const struct ebm_rule *rule, __u32 hash)
{
	return parse_mix(hash ^ RULES_SAMPLING) <= rule->sample;
}

struct rules_loop {
	__u64 groups;
	__u64 set;
	__u32 active;
	__u32 hash;
};

static long rules_member(__u32 i __attribute__((unused)), struct rules_loop *loop)
{
	__u32 group;
	int slot;

	if (!loop->groups)
		return 1;
	group = set_first(loop->groups);
	loop->groups &= loop->groups - 1;
	slot = config_slot(loop->active, group, loop->hash);
	if (slot >= 0)
		loop->set |= 1ULL << (slot & (EBM_LIMIT_PEERS - 1));
	return 0;
}

/* The destinations of a frame by slot: those of its rule, else one of every group. */
static __always_inline __u64 rules_destinations(const struct ebm_rule *rule, __u32 active, __u32 hash)
{
	bool everyone = !rule || !(rule->peers | rule->groups);
	struct rules_loop loop = { .groups = everyone ? ~0ULL : rule->groups, .set = everyone ? 0 : rule->peers };

	loop.active = active;
	loop.hash = hash;
	if (loop.groups)
		bpf_loop(EBM_LIMIT_PEERS, rules_member, &loop, 0);
	return loop.set;
}

/* How many they are, by the rule's rank. Global: the set and its loop would be on the tap's stack. */
__noinline int rules_count(__u32 active, __u32 rank, __u32 hash)
{
	__u64 set = rules_destinations(rule_get(active, rank), active, hash);

	set -= set >> 1 & 0x5555555555555555;
	set = (set & 0x3333333333333333) + (set >> 2 & 0x3333333333333333);
	set = (set + (set >> 4)) & 0x0f0f0f0f0f0f0f0f;
	return set * 0x0101010101010101 >> 56;
}

#endif
