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
#define RULES_READY (1U << 28) /* beside the direction, and beside RULES_UNKNOWN: the key is made */

/* The rank of the frame's rule, or EBM_NODE_NONE, by the tables. Global, so that the verifier looks at it once. */
__noinline int rules_rank(struct __sk_buff *skb, __u32 active, __u32 direction, __u32 ifindex)
{
	const struct ebm_config *config = config_get(active);
	struct key_frame frame = {};
	struct key *key = key_get();

	if (!config || !key)
		return EBM_NODE_NONE;
	if (direction & RULES_READY)
		return tables_rank(config, active);
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

#define RULES_PLAIN (1U << 29) /* beside the rank: the frame can be no copy of ours, and is one packet of the wire */
#define RULES_UNKNOWN (1U << 30) /* in its place: not in the cache */
#define RULES_REMEMBER (1U << 31) /* beside the direction, where a rank belongs into the cache */

/*
 * The same by the cache: the rank, or RULES_UNKNOWN; with RULES_PLAIN. Where it is not in the cache and belongs there, its key is
 * made (RULES_READY). With RULES_REMEMBER: puts `rank` there. Two steps, and not one within the other, whose stack would come on
 * top of this one's.
 */
__noinline int rules_cached(struct __sk_buff *skb, __u32 active, __u32 direction, __u32 ifindex, __u32 rank)
{
	const struct ebm_config *config = config_get(active);
	struct cache_frame frame = {};
	struct cache_slot *slot;
	struct key *key;
	__u32 plain;

	if (!config || direction & RULES_LAYER3 ||
	    !cache_key(skb, config, direction & EBM_DIRECTION_BOTH, ifindex, &frame))
		return RULES_UNKNOWN;
	plain = frame.plain && !skb->gso_size ? RULES_PLAIN : 0;
	slot = cache_slot(&frame);
	if (!slot)
		return RULES_UNKNOWN | plain;
	if (direction & RULES_REMEMBER) {
		cache_put(slot, &frame, config, rank);
		return rank | plain;
	}
	if (cache_has(slot, &frame, config))
		return slot->rank | plain;
	key = key_get();
	if (!key)
		return RULES_UNKNOWN | plain;
	cache_words(&frame, key);
	return RULES_UNKNOWN | RULES_READY | plain;
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

static __always_inline __u32 rules_count(__u64 set)
{
	set -= set >> 1 & 0x5555555555555555;
	set = (set & 0x3333333333333333) + (set >> 2 & 0x3333333333333333);
	set = (set + (set >> 4)) & 0x0f0f0f0f0f0f0f0f;
	return set * 0x0101010101010101 >> 56;
}

#endif
