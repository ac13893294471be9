/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What is compared of a flow that is in the cache: all of it that rules look at, and nothing else. A frame's words for the tables are
 * made of the same key, so that two frames with one key have one rule.
 */
#ifndef EBM_CACHEKEY_H
#define EBM_CACHEKEY_H

#include "flow.h"
#include "key.h"

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

struct cache_wide_key {
	struct cache_key narrow;
	__u64 address[3]; /* the others of IPv6 */
	__u64 mac[2];
};

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
