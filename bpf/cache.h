/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Flows that this CPU has seen before -> the rank of their rule. For the traffic there is most of: TCP and UDP over IPv4
 * without options and IPv6 without extensions, no tag, headers in the linear part. Everything else, and what is not found,
 * asks the tables. All that rules can look at in such a frame is in the key, and whole keys are compared: an answer is never
 * another flow's. A change of the rules makes all of it void by the stamp.
 */
#ifndef EBM_CACHE_H
#define EBM_CACHE_H

#include "key.h"
#include "peel.h"

#define CACHE_SLOTS 16384 /* flows, at most: 1.1 MiB a CPU, what a core's second-level cache holds */
#define CACHE_HEADERS4 (ETH_HLEN + sizeof(struct iphdr))
#define CACHE_HEADERS6 (ETH_HLEN + sizeof(struct ipv6hdr))

/* Slots - 1, a power of two - 1; set before load: hosts with many CPUs have fewer for each. */
const volatile __u32 ebm_cache_mask = CACHE_SLOTS - 1;

struct cache_key {
	__u64 rest;	  /* ports, protocol, flags, direction, what can be read: see cache_rest */
	__u64 address[4]; /* of IPv4: both in the first, and no others */
	__u64 mac[2];	  /* these and the next where rules look at something in them */
	__u64 frame;	  /* length and interface */
};

/* What IPv4 needs stands first, in one cache line of the processor more often than not. */
struct cache_slot {
	__u32 stamp;
	__u32 rank;
	struct cache_key key;
};

/* One element a CPU: values of per-CPU maps are at most 32 KiB. Its size is set before load, by the mask. */
struct cache {
	struct cache_slot slot[CACHE_SLOTS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* the number of CPUs, set before load */
	__type(key, __u32);
	__type(value, struct cache);
} ebm_cache SEC(".maps");

/* What is known of a frame that is in the cache, or may be. */
struct cache_frame {
	struct cache_key key;
	bool plain; /* TCP, or UDP that is no tunnel's: no copy of ours */
	bool six;
	bool more; /* rules look at what is in mac and frame */
};

#define CACHE_MORE (EBM_USE_MAC | EBM_USE_LENGTH | EBM_USE_INTERFACE)

/* `transport`: what can be read behind the IP header, of IPv4; `captured`: of the frame. Both are as in the words of the same
 * name. */
static __always_inline __u64 cache_rest(__u32 ports, __u32 protocol, __u32 flags, __u32 transport, __u32 direction,
					__u32 captured)
{
	return ports | (__u64)protocol << 32 | (__u64)flags << 40 | (__u64)transport << 48 | (__u64)direction << 54 |
	       (__u64)captured << 56;
}

/* False for a frame that is not in the cache. `direction`: enum ebm_direction, 0 where rules do not look at it. */
static __always_inline bool cache_key(struct __sk_buff *skb, const struct ebm_config *config, __u32 direction,
				      __u32 ifindex, struct cache_frame *frame)
{
	const __u8 *data = (const __u8 *)(long)skb->data, *end = (const __u8 *)(long)skb->data_end;
	const struct ethhdr *eth = (const struct ethhdr *)data;
	const __u8 *transport;
	__u32 ports = 0, protocol, flags = 0, behind;

	if (data + CACHE_HEADERS4 + 12 > end || skb->vlan_present || config->views)
		return false;
	frame->plain = false;
	frame->six = false;
	frame->more = config->uses & CACHE_MORE;
	frame->key.address[0] = 0;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		const struct iphdr *ip = (const struct iphdr *)(eth + 1);

		if (*(const __u8 *)ip != 0x45 || ip->frag_off & bpf_htons(PARSE_IP_MF_OFFSET))
			return false;
		if (config->uses & EBM_USE_ADDRESSES)
			__builtin_memcpy(&frame->key.address[0], &ip->saddr, 8);
		protocol = ip->protocol;
		transport = (const __u8 *)(ip + 1);
		behind = min_u64(skb->len - CACHE_HEADERS4, EBM_RULES_TRANSPORT);
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		const struct ipv6hdr *ip = (const struct ipv6hdr *)(eth + 1);

		if (data + CACHE_HEADERS6 + 12 > end)
			return false;
		if (config->uses & EBM_USE_ADDRESSES)
			__builtin_memcpy(frame->key.address, &ip->saddr, 32);
		else
			frame->key.address[1] = frame->key.address[2] = frame->key.address[3] = 0;
		protocol = ip->nexthdr;
		transport = (const __u8 *)(ip + 1);
		behind = EBM_RULES_TRANSPORT + 1; /* says that it is IPv6 */
		frame->six = true;
	} else {
		return false;
	}
	if (protocol == IPPROTO_TCP) {
		frame->plain = true;
		/* Of IPv6 rules do not look at them. */
		if (config->uses & EBM_USE_TCP_FLAGS && !frame->six) {
			if (transport + 14 > end)
				return false;
			flags = transport[13];
		}
	} else if (protocol == IPPROTO_UDP) {
		frame->plain = !config->peer_count || !peel_is_tunnel(transport + sizeof(struct udphdr));
	} else {
		return false;
	}
	if (config->uses & EBM_USE_PORTS)
		__builtin_memcpy(&ports, transport, sizeof(ports));
	if (frame->more) {
		frame->key.mac[0] = frame->key.mac[1] = frame->key.frame = 0;
		if (config->uses & EBM_USE_MAC) {
			__builtin_memcpy(frame->key.mac, data, 8);
			__builtin_memcpy(&frame->key.mac[1], data + 8, 4);
		}
		if (config->uses & EBM_USE_LENGTH)
			frame->key.frame = (__u64)skb->len << 32;
		if (config->uses & EBM_USE_INTERFACE)
			frame->key.frame |= ifindex;
	}
	if (!(config->uses & EBM_USE_INTERFACE))
		direction = 0;
	frame->key.rest = cache_rest(ports, protocol, flags, behind, direction, min_u64(skb->len, EBM_RULES_CAPTURED));
	return true;
}

/* The slot where the frame belongs. NULL when this CPU has no cache. */
static __always_inline struct cache_slot *cache_slot(const struct cache_frame *frame)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct cache *cache = bpf_map_lookup_elem(&ebm_cache, &cpu);
	/* Multiply-shift hashing of a vector: an odd constant for each word; the upper bits of the sum. */
	__u64 hash = frame->key.address[0] * 0x9e3779b97f4a7c15 + frame->key.rest * 0xc2b2ae3d27d4eb4f;

	if (!cache)
		return NULL;
	if (frame->six)
		hash += frame->key.address[1] * 0x165667b19e3779f9 + frame->key.address[2] * 0xd6e8feb86659fd93 +
			frame->key.address[3] * 0xa0761d6478bd642f;
	if (frame->more)
		hash += frame->key.mac[0] * 0xe7037ed1a0b428db + frame->key.mac[1] * 0x8ebc6af09c88c6e3 +
			frame->key.frame * 0x589965cc75374cc3;
	return &cache->slot[hash >> 50 & ebm_cache_mask];
}

static __always_inline bool cache_has(const struct cache_slot *slot, const struct cache_frame *frame,
				      const struct ebm_config *config)
{
	const struct cache_key *a = &slot->key, *b = &frame->key;
	__u64 differ = (slot->stamp ^ config->stamp) | (a->address[0] ^ b->address[0]) | (a->rest ^ b->rest);

	if (frame->six)
		differ |= (a->address[1] ^ b->address[1]) | (a->address[2] ^ b->address[2]) |
			  (a->address[3] ^ b->address[3]);
	if (frame->more)
		differ |= (a->mac[0] ^ b->mac[0]) | (a->mac[1] ^ b->mac[1]) | (a->frame ^ b->frame);
	return !differ;
}

static __always_inline void cache_put(struct cache_slot *slot, const struct cache_frame *frame,
				      const struct ebm_config *config, __u32 rank)
{
	struct cache_key *key = &slot->key;

	key->address[0] = frame->key.address[0];
	key->rest = frame->key.rest;
	if (frame->six) {
		key->address[1] = frame->key.address[1];
		key->address[2] = frame->key.address[2];
		key->address[3] = frame->key.address[3];
	}
	if (frame->more) {
		key->mac[0] = frame->key.mac[0];
		key->mac[1] = frame->key.mac[1];
		key->frame = frame->key.frame;
	}
	slot->stamp = config->stamp;
	slot->rank = rank;
}

/* The frame's words: nothing goes into them that is not in the key, so that two frames with the same key have the same rule. */
static __always_inline void cache_words(const struct cache_frame *frame, struct key *key)
{
	__u32 *view = key->word + EBM_FIELD_VIEW;
	__u64 rest = frame->key.rest;

	for (int i = 0; i < (EBM_FIELD_VIEW + EBM_FIELD_VIEW_WORDS) / 2; i++)
		((__u64 *)key->word)[i] = 0;
	key->word[EBM_FIELD_DIRECTION] = rest >> 54 & 3;
	key->word[EBM_FIELD_CAPTURED] = rest >> 56;
	if (frame->more) {
		key->word[EBM_FIELD_INTERFACE] = (__u32)frame->key.frame;
		key->word[EBM_FIELD_LENGTH] = frame->key.frame >> 32;
		key->word[EBM_FIELD_DST_MAC_HIGH] = bpf_ntohs((__u16)frame->key.mac[0]);
		key->word[EBM_FIELD_DST_MAC_HIGH] |= (key->word[EBM_FIELD_DST_MAC_HIGH] & 0x100) << 8;
		key->word[EBM_FIELD_DST_MAC_LOW] = bpf_ntohl((__u32)(frame->key.mac[0] >> 16));
		key->word[EBM_FIELD_SRC_MAC_HIGH] = bpf_ntohs((__u16)(frame->key.mac[0] >> 48));
		key->word[EBM_FIELD_SRC_MAC_LOW] = bpf_ntohl((__u32)frame->key.mac[1]);
	}
	view[EBM_VIEW_PROTOCOL] = rest >> 32 & 0xff;
	view[EBM_VIEW_SPORT] = bpf_ntohs((__u16)rest);
	view[EBM_VIEW_DPORT] = bpf_ntohs((__u16)(rest >> 16));
	view[EBM_VIEW_TCP_FLAGS] = rest >> 40 & 0xff;
	if (frame->six) {
		view[EBM_VIEW_ETHER_TYPE] = ETH_P_IPV6;
		for (int i = 0; i < 4; i++) {
			view[EBM_VIEW_SRC + i] = bpf_ntohl(((const __u32 *)frame->key.address)[i]);
			view[EBM_VIEW_DST + i] = bpf_ntohl(((const __u32 *)frame->key.address)[4 + i]);
		}
	} else {
		view[EBM_VIEW_ETHER_TYPE] = ETH_P_IP;
		view[EBM_VIEW_SRC] = bpf_ntohl((__u32)frame->key.address[0]);
		view[EBM_VIEW_DST] = bpf_ntohl((__u32)(frame->key.address[0] >> 32));
		view[EBM_VIEW_TRANSPORT] = rest >> 48 & 0xf;
	}
}

#endif
