/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The configuration that user space writes and the datapath reads: the control word, the destinations, the peers and the
 * interface table. A frame reads the control word once, in the tap; the copy carries it on, so that tap, stage and
 * exact see one generation.
 */
#ifndef EBM_STATE_H
#define EBM_STATE_H

#include "abi.h"
#include "bpf.h"

/* Mapped by user space: `active` changes by one aligned 32-bit store, never by a copy that could tear. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ebm_control);
} ebm_control SEC(".maps");

/* User space's own notes; here so that it is pinned and typed like the rest. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ebm_meta);
} ebm_meta SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EBM_LIMIT_GENERATIONS);
	__type(key, __u32);
	__type(value, struct ebm_config);
} ebm_config SEC(".maps");

/* Index: generation * EBM_LIMIT_PEERS + slot. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EBM_LIMIT_GENERATIONS * EBM_LIMIT_PEERS);
	__type(key, __u32);
	__type(value, struct ebm_peer);
} ebm_peers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, EBM_LIMIT_BUCKETS);
	__type(key, __u32);
	__type(value, struct ebm_iface);
} ebm_ifaces SEC(".maps");

/* Not in ebm_config: what is small lies in the kernel's own memory, which has larger pages than what is not. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EBM_LIMIT_GENERATIONS);
	__type(key, __u32);
	__type(value, struct ebm_sieve);
} ebm_sieves SEC(".maps");

/* Index: generation * EBM_RULES_MAX + rank. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, EBM_LIMIT_GENERATIONS * EBM_RULES_MAX);
	__type(key, __u32);
	__type(value, struct ebm_rule);
} ebm_rules SEC(".maps");

/* What is known about the way to a peer, shared by the CPUs. Two that race send one probe too many; nothing worse. */
struct nexthop_pace {
	__u64 probed_ns;
	__u64 refreshed_ns;
	__u32 ifindex;	/* the last known good device */
	__u32 version;	/* of the peer that all of this is about */
	__u32 sequence; /* the next number of a tunnel that has them */
	__u32 reserved;
	__u8 source[16];   /* the last source address; all zero = none yet */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EBM_LIMIT_PEERS);
	__type(key, __u32);
	__type(value, struct nexthop_pace);
} ebm_paces SEC(".maps");

/*
 * Read by no program. An update of a map of maps returns only when every program that ran at that moment has ended
 * (kernel commit 1ae80cf31938, 4.20); user space updates the one element to wait for a grace period.
 */
struct grace_inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} ebm_grace_inner SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct grace_inner);
} ebm_grace SEC(".maps") = { .values = { &ebm_grace_inner } };

/*
 * Of this CPU: what the stage handed over to exact, and what has come of it. Stage, bridge and exact run inside the clone
 * of the tap (or of the stage), one after the other, so that there is never more than one such copy.
 */
struct scratch {
	__u64 stage_copies; /* that reached the stage, ever */
	__u64 refused;	    /* that did not get to it, although the device was ours, ever */
	__u64 set;	    /* exact's destinations by slot */
	__u32 active;
	__u32 hash;
	__u32 word; /* JOB_* bits of job.h */
	__u32 rule; /* encap_job's */
	__u32 ticket; /* of the copy handed over */
	__u32 open;   /* it is on its way */
	__u32 busy;   /* the buffer of fragments is in use */
	__u32 sharing; /* a copy is being sent to several groups of destinations: their plans are in use */
	__u32 packets, bytes;		      /* handed over */
	__u32 arrived_packets, arrived_bytes; /* of those, at exact */
	__s64 more_packets, more_bytes;	      /* that the last one was, beyond what it said */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} ebm_scratch SEC(".maps");

static __always_inline const struct ebm_control *control_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&ebm_control, &zero);
}

static __always_inline __u32 active_generation(__u32 active)
{
	return active & EBM_ACTIVE_GENERATION ? 1 : 0;
}

/* Never NULL for what control says, but the verifier wants the check. */
static __always_inline const struct ebm_config *config_get(__u32 active)
{
	__u32 index = active_generation(active);

	return bpf_map_lookup_elem(&ebm_config, &index);
}

/* The slot of the i-th destination of a frame with this flow hash, or -1 behind the last. */
static __always_inline int config_slot(__u32 active, __u32 i, __u32 hash)
{
	const struct ebm_config *config = config_get(active);
	__u32 member;

	if (!config || i >= config->group_count || i >= EBM_LIMIT_PEERS)
		return -1;
	/* The lower half of the hash: the upper one is the outer source port. */
	member = config->first[i] + ((hash & 0xffff) * config->count[i] >> 16);
	return config->members[member & (EBM_LIMIT_PEERS - 1)] & (EBM_LIMIT_PEERS - 1);
}

/* The slot of the i-th peer, whatever its group, or -1 behind the last. */
static __always_inline int config_peer(__u32 active, __u32 i)
{
	const struct ebm_config *config = config_get(active);

	if (!config || i >= config->peer_count || i >= EBM_LIMIT_PEERS)
		return -1;
	return config->members[i] & (EBM_LIMIT_PEERS - 1);
}

/* NULL for a slot that is out of range or free. */
static __always_inline const struct ebm_peer *peer_get(__u32 active, __u32 slot)
{
	__u32 index = active_generation(active) * EBM_LIMIT_PEERS + slot;
	const struct ebm_peer *peer = bpf_map_lookup_elem(&ebm_peers, &index);

	return peer && peer->version ? peer : NULL;
}

/* NULL for an interface that is not in the table: one that is being attached or detached. */
static __always_inline struct ebm_iface *iface_find(__u32 ifindex)
{
	/* Knuth's multiplicative hash: device numbers come in runs, and runs from different times collide. */
	__u32 first = ifindex * 0x9e3779b1U >> (32 - 10);

	_Static_assert(EBM_LIMIT_BUCKETS == 1 << 10, "the shift leaves as many bits");
	for (__u32 probe = 0; probe < EBM_LIMIT_PROBES; probe++) {
		__u32 bucket = (first + probe) & (EBM_LIMIT_BUCKETS - 1);
		struct ebm_iface *iface = bpf_map_lookup_elem(&ebm_ifaces, &bucket);

		if (iface && iface->ifindex == ifindex)
			return iface;
	}
	return NULL;
}

static __always_inline struct scratch *scratch_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&ebm_scratch, &zero);
}

#endif
