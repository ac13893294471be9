/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Knows this instance's copies by their outer headers, where the mark does not tell: when somebody cleared it; inside the
 * tunnel of another host that mirrors what we send to it; and in ICMP errors that quote a copy. Without this a collector
 * that does not listen makes a loop (copy, error, copy of the error, error), and so do two hosts that mirror to each
 * other.
 */
#ifndef EBM_OWN_H
#define EBM_OWN_H

#include "peel.h"
#include "state.h"

#define OWN_DEPTH 4 /* tunnels in tunnels: a ring of three hosts needs three */
#define OWN_FRAGMENTS 4096
#define OWN_FRAGMENT_NS 30000000000ULL /* Linux waits as long for the rest of a datagram (ipfrag_time) */

/* RFC 792's error messages; RFC 4443's are 1 to 4. <linux/icmp.h> cannot be included without a C library. */
enum own_icmp {
	OWN_ICMP_UNREACHABLE = 3,
	OWN_ICMP_SOURCE_QUENCH = 4,
	OWN_ICMP_REDIRECT = 5,
	OWN_ICMP_TIME_EXCEEDED = 11,
	OWN_ICMP_PARAMETER_PROBLEM = 12,
	OWN_ICMP6_LAST_ERROR = 4,
};

#define OWN_ICMP_HEADER 8 /* of both versions */

/* Datagrams of ours whose first fragment came by: the later ones have no header to be known by. */
struct own_fragment {
	__u8 source[16] __attribute__((aligned(8)));
	__u8 dest[16];
	__u32 id;
	__u32 protocol;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, OWN_FRAGMENTS);
	__type(key, struct own_fragment);
	__type(value, __u64); /* when its first fragment came by, CLOCK_MONOTONIC */
} ebm_fragments SEC(".maps");

struct own_search {
	struct own_fragment packet;
	struct own_fragment first; /* the outermost that is the first fragment of a datagram; protocol 0 = none */
	struct peel_tunnel tunnel;
	struct parse_key key; /* of the frame at hand */
	__u32 offset; /* of the frame to look at; with PARSE_LAYER3: of a packet without an Ethernet header */
	__u32 quoted; /* by an ICMP error */
	__u32 found;
	__u32 done;
};

static __always_inline bool own_same(const __u8 *a, const __u8 *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;

	return x[0] == y[0] && x[1] == y[1];
}

/* Of this CPU, and not on the stack, which is too small for it. Nothing runs in between that uses it too. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct own_search);
} ebm_search SEC(".maps");

static __always_inline struct own_search *own_search_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&ebm_search, &zero);
}

/* `active`: enum ebm_active. */
static long own_compare(__u32 i, __u32 *active)
{
	struct own_search *search = own_search_get();
	int slot = config_peer(*active, i);
	const struct peel_tunnel *tunnel;
	const struct nexthop_pace *pace;
	const struct ebm_peer *peer;

	if (slot < 0 || !search)
		return 1;
	tunnel = &search->tunnel;
	peer = peer_get(*active, slot);
	pace = bpf_map_lookup_elem(&ebm_paces, &slot);
	if (!peer || !pace || !own_same(search->packet.dest, peer->remote))
		return 0;
	/* The route may have chosen another address than the one it chose for user space. */
	if (!own_same(search->packet.source, peer->local) && !own_same(search->packet.source, pace->source))
		return 0;
	if (tunnel->udp != outer_is_udp(peer->tunnel) || tunnel->port != peer->port_be)
		return 0;
	/* RFC 792 asks for eight bytes behind the IP header alone: a quoted packet may end before the tunnel's header. */
	if (tunnel->kind ? tunnel->kind != peer->tunnel || tunnel->key != peer->key : !(tunnel->cut && search->quoted))
		return 0;
	if (tunnel->kind == EBM_TUNNEL_GRE && tunnel->has_key != !!(peer->flags & EBM_PEER_FLAG_KEY))
		return 0;
	search->found = true;
	return 1;
}

/* Whose packet it is. False when it is cut off. */
static __always_inline bool own_read_addresses(struct __sk_buff *skb, const struct parse_key *key, __u32 offset,
					       struct own_fragment *packet)
{
	__builtin_memset(packet, 0, sizeof(*packet));
	packet->id = key->id;
	packet->protocol = key->protocol;
	if (key->ether_type == bpf_htons(ETH_P_IPV6))
		return bpf_skb_load_bytes(skb, offset + __builtin_offsetof(struct ipv6hdr, saddr), packet,
					  2 * sizeof(struct in6_addr)) == 0;
	return bpf_skb_load_bytes(skb, offset + __builtin_offsetof(struct iphdr, saddr), packet->source, 4) == 0 &&
	       bpf_skb_load_bytes(skb, offset + __builtin_offsetof(struct iphdr, daddr), packet->dest, 4) == 0;
}

static __always_inline bool own_is_icmp_error(__u8 protocol, __u8 type)
{
	if (protocol == IPPROTO_ICMPV6)
		return type >= 1 && type <= OWN_ICMP6_LAST_ERROR;
	return type == OWN_ICMP_UNREACHABLE || type == OWN_ICMP_SOURCE_QUENCH || type == OWN_ICMP_REDIRECT ||
	       type == OWN_ICMP_TIME_EXCEEDED || type == OWN_ICMP_PARAMETER_PROBLEM;
}

/* Whether it is worth a closer look: most frames are neither. `payload`: the first bytes behind a UDP header. */
static __always_inline bool own_may_be(const struct parse_key *key, const __u8 *payload)
{
	switch (key->protocol) {
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
	case IPPROTO_GRE:
		return true;
	case IPPROTO_UDP:
		return key->fragment || peel_is_tunnel(payload);
	default:
		return false;
	}
}

/* Always 0. Looks at one frame; leaves the next one inside it in search->offset, or search->done. Global, so that the
 * verifier looks at it once. */
__noinline int own_layer(struct __sk_buff *skb, __u32 active)
{
	struct own_search *search = own_search_get();
	__u64 *since_ns, now_ns = bpf_ktime_get_ns();
	struct parse_key *key;
	__u32 transport;
	__u8 type;

	if (!search)
		return 0;
	key = &search->key;
	search->done = true;
	__builtin_memset(key, 0, sizeof(*key));
	__builtin_memset(&search->tunnel, 0, sizeof(search->tunnel));
	parse_frame(skb, key, search->offset);
	if (!key->protocol || !own_read_addresses(skb, key, key->network, &search->packet))
		return 0;
	if (key->later) {
		since_ns = bpf_map_lookup_elem(&ebm_fragments, &search->packet);
		search->found = since_ns && now_ns - *since_ns < OWN_FRAGMENT_NS;
		return 0;
	}
	transport = key->transport;
	if (key->protocol == IPPROTO_ICMP || key->protocol == IPPROTO_ICMPV6) {
		if (key->fragment || bpf_skb_load_bytes(skb, transport, &type, sizeof(type)) < 0 ||
		    !own_is_icmp_error(key->protocol, type))
			return 0;
		/* The quoted packet, which has no Ethernet header. */
		search->offset = (transport + OWN_ICMP_HEADER) | PARSE_LAYER3;
		search->quoted = true;
		search->done = false;
		return 0;
	}
	if (key->fragment && !search->first.protocol)
		search->first = search->packet;
	if (key->protocol == IPPROTO_UDP)
		peel_udp(skb, transport, &search->tunnel);
	else if (key->protocol == IPPROTO_GRE)
		peel_gre(skb, transport, &search->tunnel);
	else
		return 0;
	bpf_loop(EBM_LIMIT_PEERS, own_compare, &active, 0);
	if (search->found) {
		if (key->fragment)
			bpf_map_update_elem(&ebm_fragments, &search->packet, &now_ns, BPF_ANY);
		if (search->first.protocol)
			bpf_map_update_elem(&ebm_fragments, &search->first, &now_ns, BPF_ANY);
		return 0;
	}
	/* The ID is somebody else's now. */
	if (key->fragment)
		bpf_map_delete_elem(&ebm_fragments, &search->packet);
	search->offset = transport + search->tunnel.length;
	search->done = search->quoted || !search->tunnel.length;
	return 0;
}

/* True for a copy of this instance, one inside somebody's tunnel, or an ICMP error about one. */
static __always_inline bool own_copy(struct __sk_buff *skb, __u32 active, __u32 offset)
{
	struct own_search *search = own_search_get();

	if (!search)
		return false;
	search->first.protocol = 0;
	search->offset = offset;
	search->quoted = false;
	search->found = false;
	search->done = false;
	for (int i = 0; i < OWN_DEPTH && !search->found && !search->done; i++)
		own_layer(skb, active);
	return search->found;
}

#endif
