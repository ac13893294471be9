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

#include "flow.h"
#include "key.h"

#define CACHE_SLOTS 16384 /* wide slots, at most, and twice as many lines: 3.1 MiB a CPU, of which busy flows touch their lines alone */
#define CACHE_WAYS 2
#define CACHE_LINES (2 * CACHE_SLOTS)

/* Slots - 1, a power of two - 1; set before load: hosts with many CPUs have fewer for each. */
const volatile __u32 ebm_cache_mask = CACHE_SLOTS - 1;

/* Of cache_key.rest, behind the ports: where its parts begin. */
enum cache_rest {
	CACHE_PROTOCOL = 32,
	CACHE_TCP_FLAGS = 40, /* of IPv4: of IPv6 rules do not look at them */
	CACHE_DIRECTION = 48,
	CACHE_SIX = 50,
	CACHE_CAPTURED = 56,
};

/* What rules look at is in it; the rest is 0. */
struct cache_key {
	__u64 rest; /* ports, and enum cache_rest */
	__u64 address;
	__u64 frame; /* length and interface */
};

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

struct cache_wide_key {
	struct cache_key narrow;
	__u64 address[3]; /* the others of IPv6 */
	__u64 mac[2];
};

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

/* What of a key rules look at, by enum ebm_use: a table, as six questions a frame cost more than all the rest. */
#define CACHE_IF(uses, use, bits) ((uses) & (use) ? (bits) : 0ULL)
#define CACHE_MASK(uses)                                                                                            \
	{                                                                                                           \
		.rest = CACHE_IF(uses, EBM_USE_PORTS, 0xffffffffULL) | 0xffULL << CACHE_PROTOCOL |                  \
			CACHE_IF(uses, EBM_USE_TCP_FLAGS, 0xffULL << CACHE_TCP_FLAGS) |                             \
			CACHE_IF(uses, EBM_USE_INTERFACE, 0x3ULL << CACHE_DIRECTION) | 1ULL << CACHE_SIX |          \
			0xffULL << CACHE_CAPTURED,                                                                  \
		.address = CACHE_IF(uses, EBM_USE_ADDRESSES, ~0ULL),                                                \
		.frame = CACHE_IF(uses, EBM_USE_LENGTH, 0xffffffffULL << 32) |                                      \
			 CACHE_IF(uses, EBM_USE_INTERFACE, 0xffffffffULL),                                          \
	}
#define CACHE_MASKS4(uses) CACHE_MASK(uses), CACHE_MASK((uses) + 1), CACHE_MASK((uses) + 2), CACHE_MASK((uses) + 3)
#define CACHE_MASKS16(uses) CACHE_MASKS4(uses), CACHE_MASKS4((uses) + 4), CACHE_MASKS4((uses) + 8), CACHE_MASKS4((uses) + 12)
#define CACHE_USES 64

static const struct cache_key cache_masks[CACHE_USES] = { CACHE_MASKS16(0), CACHE_MASKS16(16), CACHE_MASKS16(32),
							  CACHE_MASKS16(48) };

_Static_assert(EBM_USE_INTERFACE * 2 == CACHE_USES, "each combination has a mask");

static __always_inline bool cache_is_wide(const struct flow *flow, __u32 uses)
{
	return flow->six || uses & EBM_USE_MAC;
}

/* `direction`: enum ebm_direction. How much can be read behind the IP header need not be in it: of a flow it is always all
 * that rules look at. */
static __always_inline void cache_narrow(const struct __sk_buff *skb, const struct flow *flow, __u32 uses,
					 __u32 direction, __u32 ifindex, struct cache_key *key)
{
	const struct cache_key *mask = &cache_masks[uses & (CACHE_USES - 1)];
	__u64 length = skb->len;

	key->rest = flow->ports | (__u64)flow->protocol << CACHE_PROTOCOL | (__u64)flow->tcp_flags << CACHE_TCP_FLAGS |
		    (__u64)direction << CACHE_DIRECTION | (__u64)flow->six << CACHE_SIX |
		    min_u64(length, EBM_RULES_CAPTURED) << CACHE_CAPTURED;
	key->rest &= mask->rest;
	key->address = flow->address & mask->address;
	key->frame = (length << 32 | ifindex) & mask->frame;
}

_Static_assert(FLOW_TRANSPORT == EBM_RULES_TRANSPORT, "what rules look at behind an IPv4 header is there");

/* What is in a wide key besides. False only for the verifier: flow_read has seen that all of it is there. */
static __always_inline bool cache_wide(const struct __sk_buff *skb, const struct flow *flow, __u32 uses,
				       struct cache_wide_key *key)
{
	const __u8 *data = (const __u8 *)(long)skb->data, *end = (const __u8 *)(long)skb->data_end;

	if (data + ETH_HLEN > end)
		return false;
	__builtin_memset(key->address, 0, sizeof(key->address));
	__builtin_memset(key->mac, 0, sizeof(key->mac));
	if (flow->six && uses & EBM_USE_ADDRESSES) {
		if (data + FLOW_IP6 > end)
			return false;
		__builtin_memcpy(key->address, data + FLOW_ADDRESSES6 + 8, sizeof(key->address));
	}
	if (uses & EBM_USE_MAC) {
		__builtin_memcpy(&key->mac[0], data, 8);
		__builtin_memcpy(&key->mac[1], data + 8, 4);
	}
	return true;
}

/* Multiply-shift hashing of a vector: an odd constant for each word; the upper bits of the sum. */
static __always_inline __u64 cache_hash(const struct cache_key *key)
{
	return key->address * 0x9e3779b97f4a7c15 + key->rest * 0xc2b2ae3d27d4eb4f + key->frame * 0x589965cc75374cc3;
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

/* The frame's words: nothing goes into them that is not in the key, so that two frames with the same key have the same rule. */
static __always_inline void cache_words(const struct cache_wide_key *from, struct key *key)
{
	__u32 *view = key->word + EBM_FIELD_VIEW;
	__u64 rest = from->narrow.rest;

	for (int i = 0; i < (EBM_FIELD_VIEW + EBM_FIELD_VIEW_WORDS) / 2; i++)
		((__u64 *)key->word)[i] = 0;
	key->word[EBM_FIELD_DIRECTION] = rest >> CACHE_DIRECTION & 3;
	key->word[EBM_FIELD_CAPTURED] = rest >> CACHE_CAPTURED;
	key->word[EBM_FIELD_INTERFACE] = (__u32)from->narrow.frame;
	key->word[EBM_FIELD_LENGTH] = from->narrow.frame >> 32;
	key->word[EBM_FIELD_DST_MAC_HIGH] = bpf_ntohs((__u16)from->mac[0]);
	key->word[EBM_FIELD_DST_MAC_HIGH] |= (key->word[EBM_FIELD_DST_MAC_HIGH] & 0x100) << 8;
	key->word[EBM_FIELD_DST_MAC_LOW] = bpf_ntohl((__u32)(from->mac[0] >> 16));
	key->word[EBM_FIELD_SRC_MAC_HIGH] = bpf_ntohs((__u16)(from->mac[0] >> 48));
	key->word[EBM_FIELD_SRC_MAC_LOW] = bpf_ntohl((__u32)from->mac[1]);
	view[EBM_VIEW_PROTOCOL] = rest >> CACHE_PROTOCOL & 0xff;
	view[EBM_VIEW_SPORT] = bpf_ntohs((__u16)rest);
	view[EBM_VIEW_DPORT] = bpf_ntohs((__u16)(rest >> 16));
	view[EBM_VIEW_TCP_FLAGS] = rest >> CACHE_TCP_FLAGS & 0xff;
	view[EBM_VIEW_SRC] = bpf_ntohl((__u32)from->narrow.address);
	if (rest >> CACHE_SIX & 1) {
		view[EBM_VIEW_ETHER_TYPE] = ETH_P_IPV6;
		view[EBM_VIEW_SRC + 1] = bpf_ntohl((__u32)(from->narrow.address >> 32));
		for (int i = 0; i < 2; i++) {
			view[EBM_VIEW_SRC + 2 + i] = bpf_ntohl(((const __u32 *)from->address)[i]);
			view[EBM_VIEW_DST + i] = bpf_ntohl(((const __u32 *)from->address)[2 + i]);
			view[EBM_VIEW_DST + 2 + i] = bpf_ntohl(((const __u32 *)from->address)[4 + i]);
		}
	} else {
		view[EBM_VIEW_ETHER_TYPE] = ETH_P_IP;
		view[EBM_VIEW_DST] = bpf_ntohl((__u32)(from->narrow.address >> 32));
		view[EBM_VIEW_TRANSPORT] = EBM_RULES_TRANSPORT;
	}
}

#endif
