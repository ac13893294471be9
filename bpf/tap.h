/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The tap: reads the original, counts it, clones it to the stage.
 *
 * Nothing here may write the packet, not even on a path that is never taken: one direct packet write makes the verifier
 * add a prologue that un-clones every cloned packet. mark and cb are the buffer's, not the packet's; both are
 * restored.
 */
#ifndef EBM_TAP_H
#define EBM_TAP_H

#include "job.h"
#include "own.h"
#include "parse.h"
#include "size.h"

struct tap_loss {
	struct stats_size size;
	__u32 active;
	__u32 hash;
};

static long tap_lose_one(__u32 i, struct tap_loss *loss)
{
	int slot = config_slot(loss->active, i, loss->hash);

	if (slot < 0)
		return 1;
	stats_lost(loss->active, slot, &loss->size, EBM_REASON_STAGE_FULL);
	return 0;
}

/* What the stage let go on to exact, and did not get there: somebody set it down, or filters on the bridge. */
static __always_inline void tap_lose(__u32 active, __u32 hash, const struct stats_size *size, __u64 packets, __u64 bytes)
{
	struct tap_loss loss = { .active = active, .hash = hash };

	if (packets >= size->packets)
		return;
	loss.size.packets = size->packets - packets;
	loss.size.bytes = bytes < size->bytes ? size->bytes - bytes : 0;
	bpf_loop(EBM_LIMIT_PEERS, tap_lose_one, &loss, 0);
}

/*
 * True when the clone reached the stage. The helper's own result cannot tell: it is also that of everything the stage did.
 *
 * A device took it that is not the stage: the mirrored device was moved into another network namespace, where the stage's
 * number is somebody else's, or the stage was deleted and its number given away. No further frame may go there.
 */
static __always_inline bool tap_clone(struct __sk_buff *skb, const struct ebm_control *control, struct ebm_iface *iface,
				      __u32 word, __u32 hash, const struct stats_size *size)
{
	struct scratch *scratch = scratch_get();
	__u32 mark = skb->mark;
	__u32 cb[JOB_CB_WORDS];
	struct scratch before;
	long result;

	if (!scratch)
		return false;
	before = *scratch;
	for (int i = 0; i < JOB_CB_WORDS; i++)
		cb[i] = skb->cb[i];
	job_to_stage(skb, word, hash, size);
	skb->mark = control->mark;
	result = bpf_clone_redirect(skb, control->stage_ifindex, 0);
	skb->mark = mark;
	for (int i = 0; i < JOB_CB_WORDS; i++)
		skb->cb[i] = cb[i];
	if (scratch->stage_copies == before.stage_copies) {
		if (result >= 0)
			iface->stopped = 1;
		return false;
	}
	if (!(word & JOB_DIRECT))
		tap_lose(word & JOB_ACTIVE, hash, size, scratch->exact_packets - before.exact_packets,
			 scratch->exact_bytes - before.exact_bytes);
	return true;
}

/* Of the super-packets the stage can grow those that bpf_skb_adjust_room takes: TCP, no tag in the payload. */
static __always_inline bool tap_is_direct(const struct __sk_buff *skb, const struct parse_key *key)
{
	if (!skb->gso_size)
		return true;
	return key->protocol == IPPROTO_TCP &&
	       (skb->protocol == bpf_htons(ETH_P_IP) || skb->protocol == bpf_htons(ETH_P_IPV6));
}

static __always_inline void tap_frame(struct __sk_buff *skb, enum ebm_direction direction)
{
	const struct ebm_control *control = control_get();
	struct ebm_iface *iface = iface_find(skb->ifindex);
	const struct ebm_config *config;
	struct ebm_iface_stats *stats;
	struct parse_key key = {};
	struct stats_size size, copies;
	__u32 active, word;

	if (!control || !iface || !(iface->directions & ~iface->quiet & direction) || iface->stopped)
		return;
	if (iface->expires_ns && bpf_ktime_get_boot_ns() >= iface->expires_ns)
		return;
	active = *(const volatile __u32 *)&control->active & JOB_ACTIVE;
	config = config_get(active);
	stats = stats_iface(active, iface->slot, direction);
	if (!config || !stats)
		return;
	parse_frame(skb, &key, 0);
	size_of_key(skb, &key, &size);
	stats_count(&stats->seen, &size);
	if (skb->mark == control->mark || (own_may_be(&key, config) && own_copy(skb, &key, active))) {
		stats_count(&stats->own, &size);
		return;
	}
	if (!config->group_count) {
		stats_count(&stats->skipped, &size);
		return;
	}
	stats_count(&stats->selected, &size);
	word = active | (tap_is_direct(skb, &key) ? JOB_DIRECT : 0);
	copies.packets = size.packets * config->group_count;
	copies.bytes = size.bytes * config->group_count;
	if (tap_clone(skb, control, iface, word, key.hash, &size)) {
		stats_count(&stats->cloned, &size);
		stats_count(&stats->copies, &copies);
	} else {
		stats_count(&stats->lost, &size);
	}
}

#endif
