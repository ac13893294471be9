/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The only place that counts. Per CPU, plain adds: nothing interrupts a program on its CPU that counts the same frame. */
#ifndef EBM_STATS_H
#define EBM_STATS_H

#include "abi.h"
#include "bpf.h"

#define STATS_DIRECTIONS 2
#define STATS_IFACE_ENTRIES (EBM_LIMIT_BANKS * EBM_LIMIT_INTERFACES * STATS_DIRECTIONS)
#define STATS_RULE_BLOCKS (EBM_RULES_MAX / EBM_RULES_BLOCK)
#define STATS_PEER_ENTRIES (EBM_LIMIT_BANKS * EBM_LIMIT_PEERS)

/* Index: (bank * EBM_LIMIT_INTERFACES + slot) * 2 + direction - 1. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STATS_IFACE_ENTRIES);
	__type(key, __u32);
	__type(value, struct ebm_iface_stats);
} ebm_if_stats SEC(".maps");

/* Index: bank * EBM_LIMIT_PEERS + slot. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STATS_PEER_ENTRIES);
	__type(key, __u32);
	__type(value, struct ebm_peer_stats);
} ebm_peer_stats SEC(".maps");

/*
 * What a slot had counted before its present owner got it: user space writes it when it gives a slot away, so that
 * counters are never written by two sides. Same indexes as above.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, STATS_IFACE_ENTRIES);
	__type(key, __u32);
	__type(value, struct ebm_iface_stats);
} ebm_if_base SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, STATS_PEER_ENTRIES);
	__type(key, __u32);
	__type(value, struct ebm_peer_stats);
} ebm_peer_base SEC(".maps");

/* Index: bank * STATS_RULE_BLOCKS + counter / EBM_RULES_BLOCK. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EBM_LIMIT_BANKS * STATS_RULE_BLOCKS);
	__type(key, __u32);
	__type(value, struct ebm_rule_stats);
} ebm_rule_stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EBM_LIMIT_BANKS * STATS_RULE_BLOCKS);
	__type(key, __u32);
	__type(value, struct ebm_rule_stats);
} ebm_rule_base SEC(".maps");

/* The last loss of a peer on this CPU: for people who ask what is wrong now. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EBM_LIMIT_PEERS);
	__type(key, __u32);
	__type(value, struct ebm_loss);
} ebm_losses SEC(".maps");

/* A frame's size in the unit of the books: wire packets and wire bytes. */
struct stats_size {
	__u32 packets;
	__u32 bytes;
};

static __always_inline __u32 stats_bank(__u32 active)
{
	return active & EBM_ACTIVE_BANK ? 1 : 0;
}

/* NULL only for a slot out of range. */
static __always_inline struct ebm_iface_stats *stats_iface(__u32 active, __u32 slot, enum ebm_direction direction)
{
	__u32 index = (stats_bank(active) * EBM_LIMIT_INTERFACES + slot) * STATS_DIRECTIONS + direction - 1;

	return bpf_map_lookup_elem(&ebm_if_stats, &index);
}

/* NULL only for a slot out of range. */
static __always_inline struct ebm_peer_stats *stats_peer(__u32 active, __u32 slot)
{
	__u32 index = stats_bank(active) * EBM_LIMIT_PEERS + slot;

	return bpf_map_lookup_elem(&ebm_peer_stats, &index);
}

static __always_inline void stats_count(struct ebm_counter *counter, const struct stats_size *size)
{
	counter->packets += size->packets;
	counter->bytes += size->bytes;
}

/* The hits of a rule. */
static __always_inline struct ebm_counter *stats_rule(__u32 active, __u32 counter)
{
	__u32 index = stats_bank(active) * STATS_RULE_BLOCKS + counter / EBM_RULES_BLOCK;
	struct ebm_rule_stats *stats = bpf_map_lookup_elem(&ebm_rule_stats, &index);

	return stats ? &stats->matched[counter % EBM_RULES_BLOCK] : NULL;
}

static __always_inline void stats_matched(__u32 active, __u32 counter, const struct stats_size *size)
{
	struct ebm_counter *matched = stats_rule(active, counter);

	if (matched)
		stats_count(matched, size);
}

static __always_inline void stats_lost(__u32 active, __u32 slot, const struct stats_size *size,
				       enum ebm_reason reason)
{
	struct ebm_peer_stats *stats = stats_peer(active, slot);
	struct ebm_loss *last = bpf_map_lookup_elem(&ebm_losses, &slot);
	__u32 index = reason;

	/* clang knows the reasons that callers give and leaves the comparison out; the verifier does not. */
	barrier_var(index);
	if (last) {
		last->boot_ns = bpf_ktime_get_boot_ns();
		last->reason = reason;
	}
	if (stats && index < EBM_LIMIT_REASONS)
		stats_count(&stats->lost[index], size);
}

/* What was to go to several peers. */
struct stats_loss {
	struct stats_size size;
	__u64 set; /* slots of the peers */
	__u32 active;
	__u32 reason; /* enum ebm_reason */
};

/* For bpf_loop, over all slots. */
static long stats_lose(__u32 slot, struct stats_loss *loss)
{
	if (loss->set >> (slot & (EBM_LIMIT_PEERS - 1)) & 1)
		stats_lost(loss->active, slot, &loss->size, loss->reason);
	return 0;
}

#endif
