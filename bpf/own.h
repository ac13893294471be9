/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Knows this instance's copies by their outer headers, where the mark does not tell: when somebody cleared it, and in ICMP
 * errors that quote a copy. Without this a collector that does not listen makes a loop: copy, error, copy of the
 * error, error.
 */
#ifndef EBM_OWN_H
#define EBM_OWN_H

#include <linux/udp.h>
#include "parse.h"
#include "state.h"
#include "vxlan.h"

/* RFC 792's error messages; <linux/icmp.h> cannot be included without a C library. */
enum own_icmp {
	OWN_ICMP_UNREACHABLE = 3,
	OWN_ICMP_SOURCE_QUENCH = 4,
	OWN_ICMP_REDIRECT = 5,
	OWN_ICMP_TIME_EXCEEDED = 11,
	OWN_ICMP_PARAMETER_PROBLEM = 12,
};

#define OWN_ICMP_HEADER 8

struct own_headers {
	struct iphdr ip;
	struct udphdr udp;
	struct vxlan_header vxlan;
};

/* RFC 792 asks for eight bytes behind the IP header alone: an ICMP error may end before the tunnel's header. */
#define OWN_QUOTED __builtin_offsetof(struct own_headers, vxlan)

struct own_search {
	struct own_headers headers;
	__u32 active;
	bool has_vxlan;
	bool found;
	__u8 reserved[2];
};

static long own_compare(__u32 i, struct own_search *search)
{
	const struct own_headers *headers = &search->headers;
	const struct nexthop_pace *pace;
	const struct ebm_peer *peer;
	int slot = config_peer(search->active, i);
	__be32 local;

	if (slot < 0)
		return 1;
	peer = peer_get(search->active, slot);
	pace = bpf_map_lookup_elem(&ebm_paces, &slot);
	if (!peer || !pace)
		return 0;
	/* The route may have chosen another address than the one it chose for user space. */
	__builtin_memcpy(&local, peer->local, sizeof(local));
	if (headers->ip.saddr != local && headers->ip.saddr != pace->source)
		return 0;
	if (headers->udp.dest != peer->port_be ||
	    __builtin_memcmp(&headers->ip.daddr, peer->remote, sizeof(headers->ip.daddr)) ||
	    (search->has_vxlan && headers->vxlan.vni_reserved2 != bpf_htonl(peer->key << 8)))
		return 0;
	search->found = true;
	return 1;
}

static __always_inline bool own_is_icmp_error(__u8 type)
{
	return type == OWN_ICMP_UNREACHABLE || type == OWN_ICMP_SOURCE_QUENCH || type == OWN_ICMP_REDIRECT ||
	       type == OWN_ICMP_TIME_EXCEEDED || type == OWN_ICMP_PARAMETER_PROBLEM;
}

/* Whether it is worth a closer look: most frames are neither. */
static __always_inline bool own_may_be(const struct parse_key *key, const struct ebm_config *config)
{
	if (key->ether_type != bpf_htons(ETH_P_IP) || key->fragment)
		return false;
	return (key->protocol == IPPROTO_ICMP || key->protocol == IPPROTO_UDP) && config->peer_count;
}

/* 1 for a copy of this instance, or an ICMP error about one. Global, so that the verifier looks at it once. */
__noinline int own_copy(struct __sk_buff *skb, struct parse_key *key, __u32 active)
{
	struct own_search search = { .active = active };
	__u32 offset;
	__u8 type;

	if (!key)
		return 0;
	if (key->protocol == IPPROTO_UDP) {
		search.has_vxlan = true;
		if (bpf_skb_load_bytes(skb, key->network, &search.headers, sizeof(search.headers)) < 0)
			return 0;
	} else {
		if (bpf_skb_load_bytes(skb, key->transport, &type, sizeof(type)) < 0 || !own_is_icmp_error(type))
			return 0;
		offset = key->transport + OWN_ICMP_HEADER;
		search.has_vxlan = bpf_skb_load_bytes(skb, offset, &search.headers, sizeof(search.headers)) == 0;
		if (!search.has_vxlan && bpf_skb_load_bytes(skb, offset, &search.headers, OWN_QUOTED) < 0)
			return 0;
	}
	/* Ours have no IP options. */
	if (search.headers.ip.ihl != 5 || search.headers.ip.protocol != IPPROTO_UDP)
		return 0;
	bpf_loop(EBM_LIMIT_PEERS, own_compare, &search, 0);
	return search.found;
}

#endif
