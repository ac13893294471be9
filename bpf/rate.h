/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A peer's rate, over all CPUs: the generic cell rate algorithm (ITU-T I.371, annex A), whose whole state is one number,
 * the time at which the bucket will be empty again.
 */
#ifndef EBM_RATE_H
#define EBM_RATE_H

#include "abi.h"
#include "bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EBM_LIMIT_PEERS);
	__type(key, __u32);
	__type(value, __u64);
} ebm_rates SEC(".maps");

#define RATE_TRIES 4 /* that CPUs may spoil for each other */

/* For a peer that has changed, or is new in its slot: what was owed at another rate is not its debt. */
static __always_inline void rate_reset(__u32 slot)
{
	__u64 *word = bpf_map_lookup_elem(&ebm_rates, &slot);

	if (word)
		*word = 0;
}

/* True when this many packets of this many inner bytes may be sent now; they are paid for. */
static __always_inline bool rate_allows(const struct ebm_peer *peer, __u32 slot, __u32 packets, __u32 bytes)
{
	__u64 cost, now, *word;

	if (!peer->rate)
		return true;
	word = bpf_map_lookup_elem(&ebm_rates, &slot);
	if (!word)
		return true;
	cost = (peer->flags & EBM_PEER_FLAG_RATE_PACKETS ? packets : bytes) * peer->rate_cost >> EBM_LIMIT_RATE_SHIFT;
	now = bpf_ktime_get_ns();
	for (int i = 0; i < RATE_TRIES; i++) {
		__u64 empty = *(volatile __u64 *)word;
		__u64 after = (empty > now ? empty : now) + cost;

		/* A full bucket lets a packet through that costs more than it holds: the next ones wait for it. */
		if (after - now > peer->rate_burst_ns && empty > now)
			return false;
		if (__sync_val_compare_and_swap(word, empty, after) == empty)
			return true;
	}
	/* Others were faster each time: as if it had been decided before them. */
	__sync_fetch_and_add(word, cost);
	return true;
}

#endif
