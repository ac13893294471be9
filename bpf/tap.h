/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The tap: reads the original, counts it, clones it to the stage.
 *
 * Nothing here may write the packet, not even on a path that is never taken: one direct packet write makes the verifier
 * add a prologue that un-clones every cloned packet. mark, tc_index and cb are the buffer's, not the packet's;
 * all are restored.
 */
#ifndef EBM_TAP_H
#define EBM_TAP_H

#include "flow.h"
#include "job.h"
#include "own.h"
#include "parse.h"
#include "rules.h"
#include "sieve.h"
#include "size.h"

/*
 * True when the clone reached the stage; `corrected`: the number of destinations for which it was other packets than `size`
 * says. The helper's own result cannot tell: it is also that of everything the stage did.
 *
 * A device took it that is not the stage: the mirrored device was moved into another network namespace, where the stage's
 * number is somebody else's, or the stage was deleted and its number given away. No further frame may go there.
 */
static __always_inline bool tap_clone(struct __sk_buff *skb, const struct ebm_control *control, struct ebm_iface *iface,
				      __u32 word, __u32 rule, const struct parse_key *key,
				      const struct stats_size *size, __u32 *corrected)
{
	__u32 ifindex = iface->layer3 ? control->layer3_ifindex : control->stage_ifindex;
	__u32 headers = key->headers + (iface->layer3 ? ETH_HLEN : 0);
	struct scratch *scratch = scratch_get();
	__u64 copies, refused;
	__u32 mark = skb->mark, tc_index = skb->tc_index;
	struct job_saved cb;
	long result;

	/* A tap inside the stage, which is in the middle of something: a copy of ours that nobody knew. */
	if (!scratch || scratch->open || scratch->busy || scratch->sharing)
		return false;
	copies = scratch->stage_copies;
	refused = scratch->refused;
	job_save(skb, &cb);
	job_to_stage(skb, word, rule, key->hash, headers, size);
	skb->mark = control->mark;
	result = bpf_clone_redirect(skb, ifindex, 0);
	skb->mark = mark;
	skb->tc_index = tc_index;
	job_restore(skb, &cb);
	*corrected = scratch->open ? exact_settle() : 0;
	if (scratch->stage_copies != copies)
		return true;
	if (result >= 0 && scratch->refused == refused)
		iface->stopped = 1;
	return false;
}

static __always_inline __u32 tap_direction(enum ebm_direction direction)
{
	return direction == EBM_DIRECTION_EGRESS ? JOB_EGRESS : 0;
}

/* What the stage wants to know of the original: JOB_* bits. */
static __always_inline __u32 tap_word(const struct __sk_buff *skb, const struct parse_key *key, bool tunnel,
				      enum ebm_direction direction)
{
	bool ip = skb->protocol == bpf_htons(ETH_P_IP) || skb->protocol == bpf_htons(ETH_P_IPV6);
	__u32 word = tap_direction(direction);

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
static __always_inline bool tap_is_tunnelled(const __u8 *payload)
{
	__u16 type = peel_payload_type(payload);

	return payload[0] & VXLAN_FLAG_VNI || type == ETH_P_TEB || type == ETH_P_IP || type == ETH_P_IPV6 ||
	       payload[0] == 0x45 || payload[0] >> 4 == 6;
}

/* Whether the kernel may have encapsulated this packet: it does in these protocols. */
static __always_inline bool tap_is_tunnel(const struct parse_key *key, const __u8 *payload)
{
	return key->protocol == IPPROTO_GRE || key->protocol == IPPROTO_IPIP || key->protocol == IPPROTO_IPV6 ||
	       tap_is_tunnelled(payload);
}

/* It was a super-packet of other packets than it said. */
static __always_inline void tap_correct(struct ebm_iface_stats *stats, const struct ebm_rule *rule, __u32 active,
					__u32 destinations)
{
	const struct scratch *scratch = scratch_get();
	struct ebm_counter *matched;

	if (!scratch)
		return;
	stats->seen.packets += scratch->more_packets;
	stats->seen.bytes += scratch->more_bytes;
	stats->selected.packets += scratch->more_packets;
	stats->selected.bytes += scratch->more_bytes;
	stats->cloned.packets += scratch->more_packets;
	stats->cloned.bytes += scratch->more_bytes;
	stats->copies.packets += scratch->more_packets * destinations;
	stats->copies.bytes += scratch->more_bytes * destinations;
	matched = rule ? stats_rule(active, rule->counter) : NULL;
	if (matched) {
		matched->packets += scratch->more_packets;
		matched->bytes += scratch->more_bytes;
	}
}

/* What the tap found out about a frame: which rule it matches, and whether it is to be copied. */
struct tap_choice {
	const struct ebm_rule *rule; /* NULL: none */
	__u32 number;		     /* rank + 1 of a rule that says more than mirror or skip; else 0 */
	bool skip;
};

static __always_inline void tap_choose(struct __sk_buff *skb, const struct flow *flow, const struct ebm_config *config,
				       __u32 active, const struct ebm_iface *iface, enum ebm_direction direction,
				       struct tap_choice *choice)
{
	__u32 how = direction | (iface->layer3 ? RULES_LAYER3 : 0), rank;

	if (flow->known && config->sieve && !sieve_allows(active, flow))
		return;
	rank = rules_find(skb, flow, config, active, how, iface->ifindex);
	choice->rule = rule_get(active, rank);
	if (!choice->rule)
		return;
	choice->skip = !(choice->rule->flags & EBM_RULE_FLAG_MIRROR);
	if (choice->rule->peers | choice->rule->groups || choice->rule->snaplen_bytes)
		choice->number = rank + 1;
}

static __always_inline void tap_skip(__u32 active, const struct tap_choice *choice, struct ebm_iface_stats *stats,
				     const struct stats_size *size)
{
	stats_count(&stats->skipped, size);
	if (choice->rule)
		stats_matched(active, choice->rule->counter, size);
}

static __always_inline void tap_frame(struct __sk_buff *skb, enum ebm_direction direction)
{
	const struct ebm_control *control = control_get();
	struct ebm_iface *iface = iface_find(skb->ifindex);
	struct tap_choice choice = {};
	const struct ebm_config *config;
	struct ebm_iface_stats *stats;
	struct flow flow = {};
	struct parse_key key;
	struct stats_size size;
	__u32 active, word, layer3, destinations, corrected = 0;
	__u8 *payload = (__u8 *)&flow.payload;
	bool may_be_own;

	if (!control || !iface || !(iface->directions & ~iface->quiet & direction) || iface->stopped)
		return;
	if (iface->expires_ns && bpf_ktime_get_boot_ns() >= iface->expires_ns)
		return;
	active = *(const volatile __u32 *)&control->active & JOB_ACTIVE;
	config = config_get(active);
	stats = stats_iface(active, iface->slot, direction);
	if (!config || !stats)
		return;
	choice.skip = config->skip;
	if (!iface->layer3)
		flow_read(skb, &flow);
	if (config->rule_count)
		tap_choose(skb, &flow, config, active, iface, direction, &choice);
	/* Neither a copy of ours nor more than one packet of the wire: no need to look closer. */
	if (choice.skip && flow.known && !flow_may_be_own(&flow) && !skb->gso_size && skb->mark != control->mark) {
		size.packets = 1;
		size.bytes = skb->len;
		stats_count(&stats->seen, &size);
		tap_skip(active, &choice, stats, &size);
		return;
	}
	layer3 = iface->layer3 ? PARSE_LAYER3 : 0;
	__builtin_memset(&key, 0, sizeof(key));
	if (flow.known) {
		flow_key(skb, &flow, &key);
		may_be_own = config->peer_count && flow_may_be_own(&flow);
	} else {
		parse_frame(skb, &key, layer3);
		peel_payload(skb, &key, payload);
		may_be_own = own_may_be(&key, config, payload);
	}
	size_of_key(skb, &key, layer3 ? ETH_HLEN : 0, &size);
	stats_count(&stats->seen, &size);
	if (skb->mark == control->mark || (may_be_own && own_copy(skb, active, layer3))) {
		stats_count(&stats->own, &size);
		return;
	}
	destinations = config->group_count;
	if (!choice.skip && choice.rule) {
		if (!rule_samples(choice.rule, key.hash))
			choice.skip = true;
		else if (choice.rule->peers | choice.rule->groups)
			destinations = rules_count(active, choice.number - 1, key.hash);
	}
	if (choice.skip || !destinations) {
		tap_skip(active, &choice, stats, &size);
		return;
	}
	if (choice.rule)
		stats_matched(active, choice.rule->counter, &size);
	stats_count(&stats->selected, &size);
	if (flow.known && !skb->gso_size)
		word = tap_direction(direction) | (tap_is_tunnelled(payload) ? JOB_TUNNEL : 0);
	else
		word = tap_word(skb, &key, tap_is_tunnel(&key, payload), direction);
	word |= active;
	if (tap_clone(skb, control, iface, word, choice.number, &key, &size, &corrected)) {
		if (corrected)
			tap_correct(stats, choice.rule, active, corrected);
		stats_count(&stats->cloned, &size);
		stats->copies.packets += (__u64)size.packets * destinations;
		stats->copies.bytes += (__u64)size.bytes * destinations;
	} else {
		stats_count(&stats->lost, &size);
	}
}

#endif
