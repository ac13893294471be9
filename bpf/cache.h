/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Keys that this CPU has seen before -> the rank of their rule: whole keys are compared, so that it is never another's.
 * A change of the rules makes all of it void by the stamp. Keys of several views are looked up in the tables each time.
 */
#ifndef EBM_CACHE_H
#define EBM_CACHE_H

#include "key.h"

#define CACHE_SLOTS 4096 /* 416 KiB a CPU: what a core's second-level cache holds, and as many flows at a time */

struct cache_slot {
	__u64 word[KEY_CACHED];
	__u32 stamp;
	__u32 rank;
};

/* One element a CPU: values of per-CPU maps are at most 32 KiB. */
struct cache {
	struct cache_slot slot[CACHE_SLOTS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* the number of CPUs, set before load */
	__type(key, __u32);
	__type(value, struct cache);
} ebm_cache SEC(".maps");

/* The slot where the key belongs. NULL when this CPU has no cache. */
static __always_inline struct cache_slot *cache_slot(const struct key *key)
{
	/* Multiply-shift hashing of a vector: odd constants, one a word; the sum's upper bits. */
	static const __u64 odd[KEY_CACHED] = {
		0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f, 0x165667b19e3779f9, 0xd6e8feb86659fd93,
		0xa0761d6478bd642f, 0xe7037ed1a0b428db, 0x8ebc6af09c88c6e3, 0x589965cc75374cc3,
		0x1d8e4e27c47d124f, 0xeb44accab455d165, 0x9fb21c651e98df25, 0xff51afd7ed558ccd,
	};
	const __u64 *word = (const __u64 *)key->word;
	__u32 cpu = bpf_get_smp_processor_id();
	struct cache *cache = bpf_map_lookup_elem(&ebm_cache, &cpu);
	__u64 hash = 0;

	if (!cache)
		return NULL;
	for (int i = 0; i < KEY_CACHED; i++)
		hash += word[i] * odd[i];
	return &cache->slot[hash >> 52 & (CACHE_SLOTS - 1)];
}

static __always_inline bool cache_has(const struct cache_slot *slot, const struct key *key, __u32 stamp)
{
	const __u64 *word = (const __u64 *)key->word;
	__u64 differ = slot->stamp ^ stamp;

	for (int i = 0; i < KEY_CACHED; i++)
		differ |= slot->word[i] ^ word[i];
	return !differ;
}

static __always_inline void cache_put(struct cache_slot *slot, const struct key *key, __u32 stamp, __u32 rank)
{
	const __u64 *word = (const __u64 *)key->word;

	for (int i = 0; i < KEY_CACHED; i++)
		slot->word[i] = word[i];
	slot->stamp = stamp;
	slot->rank = rank;
}

#endif
