/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Flows (flow.h) that this CPU has seen before -> the rank of their rule. Everything else, and what is not found, asks the
 * tables. All that rules can look at in such a frame is in the key, and whole keys are compared: an answer is never another
 * flow's. A change of the rules makes all of it void by the stamp.
 *
 * What most rules look at of IPv4 fits half a cache line of the processor, so that a line holds two flows that may take each
 * other's place. IPv6, and rules that look at MAC addresses, need more and have a place of their own.
 */
#ifndef EBM_CACHE_H
#define EBM_CACHE_H

#include "cachekey.h"

#define CACHE_SLOTS 16384 /* wide slots, at most, and twice as many lines: 3.1 MiB a CPU, of which busy flows touch their lines alone */
#define CACHE_WAYS 2
#define CACHE_LINES (2 * CACHE_SLOTS)

/* Slots - 1, a power of two - 1; set before load: hosts with many CPUs have fewer for each. */
const volatile __u32 ebm_cache_mask = CACHE_SLOTS - 1;

struct cache_way {
	__u32 stamp;
	__u32 rank;
	struct cache_key key;
};

/* The newer flow first. */
struct cache_line {
	struct cache_way way[CACHE_WAYS];
};

_Static_assert(sizeof(struct cache_line) == 64, "a cache line");

struct cache_slot {
	__u32 stamp;
	__u32 rank;
	struct cache_wide_key key;
};

struct cache {
	struct cache_line line[CACHE_LINES];
};

struct cache_wide {
	struct cache_slot slot[CACHE_SLOTS];
};

/* One element a CPU: values of per-CPU maps are at most 32 KiB. Its size is set before load, by the mask. What can be mapped by
 * user space begins at a page, and hence at a line. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* the number of CPUs, set before load */
	__type(key, __u32);
	__type(value, struct cache);
} ebm_cache SEC(".maps");

/* The same. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cache_wide);
} ebm_cache_wide SEC(".maps");

/* Of this CPU, and not on the stack, which is too small for it. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cache_wide_key);
} ebm_cache_key SEC(".maps");

static __always_inline struct cache_wide_key *cache_key_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&ebm_cache_key, &zero);
}

/* Where the flow belongs. NULL when this CPU has no cache. */
static __always_inline struct cache_line *cache_line(const struct cache_key *key)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct cache *cache = bpf_map_lookup_elem(&ebm_cache, &cpu);

	return cache ? &cache->line[cache_hash(key) >> 49 & (ebm_cache_mask * 2 + 1)] : NULL;
}

static __always_inline bool cache_is(const struct cache_way *way, const struct cache_key *key, __u32 stamp)
{
	return !((way->stamp ^ stamp) | (way->key.rest ^ key->rest) | (way->key.address ^ key->address) |
		 (way->key.frame ^ key->frame));
}

static __always_inline void cache_put(struct cache_line *line, const struct cache_key *key, __u32 stamp, __u32 rank)
{
	line->way[1] = line->way[0];
	line->way[0].key = *key;
	line->way[0].rank = rank;
	line->way[0].stamp = stamp;
}

/* The same for flows with a wide key. */
static __always_inline struct cache_slot *cache_slot(const struct cache_wide_key *key)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct cache_wide *cache = bpf_map_lookup_elem(&ebm_cache_wide, &cpu);
	__u64 hash = cache_hash(&key->narrow) + key->address[0] * 0x165667b19e3779f9 +
		     key->address[1] * 0xd6e8feb86659fd93 + key->address[2] * 0xa0761d6478bd642f +
		     key->mac[0] * 0xe7037ed1a0b428db + key->mac[1] * 0x8ebc6af09c88c6e3;

	return cache ? &cache->slot[hash >> 50 & ebm_cache_mask] : NULL;
}

static __always_inline bool cache_is_wide_flow(const struct cache_slot *slot, const struct cache_wide_key *key, __u32 stamp)
{
	const __u64 *a = (const __u64 *)&slot->key, *b = (const __u64 *)key;
	__u64 differ = slot->stamp ^ stamp;

	for (__u32 i = 0; i < sizeof(*key) / 8; i++)
		differ |= a[i] ^ b[i];
	return !differ;
}

static __always_inline void cache_put_wide(struct cache_slot *slot, const struct cache_wide_key *key, __u32 stamp,
					   __u32 rank)
{
	slot->key = *key;
	slot->stamp = stamp;
	slot->rank = rank;
}

#endif
