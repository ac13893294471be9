/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the books and the stage want to know of a frame. */
#ifndef EBM_FACTS_H
#define EBM_FACTS_H

#include "flow.h"
#include "job.h"
#include "own.h"
#include "parse.h"
#include "rules.h"
#include "size.h"

struct facts {
	struct stats_size size;
	__u32 word;    /* JOB_* bits */
	__u32 hash;    /* of the flow, the same in both directions */
	__u32 headers; /* of a super-packet: what each segment repeats */
	__u32 own;     /* a copy of this instance, or an error about one */
};

static __always_inline __u32 facts_direction(enum ebm_direction direction)
{
	return direction == EBM_DIRECTION_EGRESS ? JOB_EGRESS : 0;
}

/* What the stage wants to know of the original: JOB_* bits. */
static __always_inline __u32 facts_word(const struct __sk_buff *skb, const struct parse_key *key, bool tunnel,
				      enum ebm_direction direction)
{
	bool ip = skb->protocol == bpf_htons(ETH_P_IP) || skb->protocol == bpf_htons(ETH_P_IPV6);
	__u32 word = facts_direction(direction);

	/* Of the super-packets bpf_skb_adjust_room takes TCP, without a tag in the payload. */
	if (key->protocol == IPPROTO_TCP)
		return ip && skb->gso_size ? word | JOB_TCP : word;
	if (tunnel)
		return word | JOB_TUNNEL;
	if (key->ether_type == bpf_htons(ETH_P_ARP) || key->ether_type == bpf_htons(ETH_P_LLDP) ||
	    bpf_ntohs(key->ether_type) < ETH_P_802_3_MIN)
		word |= JOB_PLAIN;
	return word;
}

/* Whether the kernel may have put this behind a UDP header: VXLAN (with its extensions), GENEVE, or IP (bareudp, FOU). Of other
 * packets than UDP there is no payload here, but zeros. */
static __always_inline bool facts_is_tunnelled(const __u8 *payload)
{
	__u16 type = peel_payload_type(payload);

	return payload[0] & VXLAN_FLAG_VNI || type == ETH_P_TEB || type == ETH_P_IP || type == ETH_P_IPV6 ||
	       payload[0] == 0x45 || payload[0] >> 4 == 6;
}

/* Whether the kernel may have encapsulated this packet: it does in these protocols. */
static __always_inline bool facts_is_tunnel(const struct parse_key *key, const __u8 *payload)
{
	return key->protocol == IPPROTO_GRE || key->protocol == IPPROTO_IPIP || key->protocol == IPPROTO_IPV6 ||
	       facts_is_tunnelled(payload);
}

/* Those of one packet of the wire that flow_read knows, but for `own`. */
static __always_inline void facts_of_flow(struct __sk_buff *skb, const struct flow *flow, enum ebm_direction direction,
					  struct facts *facts)
{
	facts->hash = flow_hash(skb, flow);
	facts->word = facts_direction(direction) | (facts_is_tunnelled((const __u8 *)&flow->payload) ? JOB_TUNNEL : 0);
}

/* Those of any frame, but for `own`: returns whether it may be. `direction`: with RULES_LAYER3. Global, so that the verifier looks
 * at it once. */
__noinline int facts_look(struct __sk_buff *skb, struct facts *facts, __u32 direction)
{
	__u32 mac = direction & RULES_LAYER3 ? ETH_HLEN : 0;
	__u8 payload[PEEL_PAYLOAD];
	struct parse_key key = {};

	if (!facts)
		return 0;
	parse_frame(skb, &key, mac ? PARSE_LAYER3 : 0);
	peel_payload(skb, &key, payload);
	size_of_key(skb, &key, mac, &facts->size);
	facts->word = facts_word(skb, &key, facts_is_tunnel(&key, payload), direction & EBM_DIRECTION_BOTH);
	facts->hash = key.hash;
	facts->headers = key.headers + mac;
	return own_may_be(&key, payload);
}

#endif
