/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The rules' tables: a frame's key -> the rank of the first rule that it matches. A table is replaced as a whole: each
 * generation has one, in a map of the size that it needs.
 */
#ifndef EBM_TABLES_H
#define EBM_TABLES_H

#include "key.h"

/* One map of maps a size: the verifier wants to know how large a value is. */
#define TABLES_OF(size, nodes)                               \
	struct tables_##size {                               \
		__uint(type, BPF_MAP_TYPE_ARRAY);            \
		__uint(max_entries, 1);                      \
		__type(key, __u32);                          \
		__type(value, struct ebm_node[nodes]);       \
	};                                                   \
	struct {                                             \
		__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);    \
		__uint(max_entries, EBM_LIMIT_GENERATIONS);  \
		__type(key, __u32);                          \
		__array(values, struct tables_##size);       \
	} ebm_table_##size SEC(".maps")

TABLES_OF(small, EBM_RULES_SMALL);
TABLES_OF(medium, EBM_RULES_MEDIUM);
TABLES_OF(large, EBM_RULES_LARGE);

#define TABLES_STRIDE 16 /* nodes in one turn of bpf_loop: a turn costs as much as a node */

/* On the stack: bpf_loop hands over nothing else. */
struct tables_walk {
	const struct ebm_node *nodes;
	const struct key *key;
	const struct ebm_config *config;
	__u32 at; /* a node's number, or EBM_NODE_END and a rank */
	__u32 tree;
	__u32 best;
};

/* Behind the last node of a tree: on to the next one, as long as it may have a better rule. False when there is none. */
static __always_inline bool tables_next(struct tables_walk *walk)
{
	__u32 rank = walk->at & EBM_NODE_TARGET, tree = walk->tree + 1;

	if (rank < walk->best)
		walk->best = rank;
	walk->tree = tree;
	if (tree >= walk->config->root_count || tree >= EBM_RULES_TREES || walk->config->roots[tree].rank >= walk->best)
		return false;
	walk->at = walk->config->roots[tree].node;
	return true;
}

static __always_inline long tables_stride(struct tables_walk *walk, __u32 mask)
{
	for (int i = 0; i < TABLES_STRIDE; i++) {
		const struct ebm_node *node;
		__u64 outside;
		__u32 value;

		if (walk->at & EBM_NODE_END) {
			if (!tables_next(walk))
				return 1;
			continue;
		}
		node = &walk->nodes[walk->at & mask];
		value = walk->key->word[node->yes >> EBM_NODE_WORD_SHIFT];
		value <<= node->no >> EBM_NODE_LEFT_SHIFT & 31;
		value -= node->low;
		/* All ones where it is out of the range. No branch: of traffic of many flows no processor guesses it. */
		outside = (__s64)((__u64)node->span - value) >> 63;
		barrier_var(outside);
		walk->at = (node->yes ^ ((node->yes ^ node->no) & outside)) & (EBM_NODE_END | EBM_NODE_TARGET);
	}
	return 0;
}

/* The rank of the rule, or EBM_NODE_NONE. Global, so that the verifier looks at it once. */
#define TABLES_WALK(size, nodes_count)                                                                             \
	static long tables_turn_##size(__u32 i __attribute__((unused)), struct tables_walk *walk)                  \
	{                                                                                                          \
		return tables_stride(walk, (nodes_count)-1);                                                       \
	}                                                                                                          \
	__noinline int tables_rank_##size(__u32 active)                                                            \
	{                                                                                                          \
		struct tables_walk walk = { .key = key_get(), .config = config_get(active), .best = EBM_NODE_NONE }; \
		__u32 generation = active_generation(active), zero = 0;                                            \
		void *inner = bpf_map_lookup_elem(&ebm_table_##size, &generation);                                 \
                                                                                                                   \
		if (!inner || !walk.key || !walk.config || !walk.config->root_count)                               \
			return EBM_NODE_NONE;                                                                      \
		walk.nodes = bpf_map_lookup_elem(inner, &zero);                                                    \
		if (!walk.nodes)                                                                                   \
			return EBM_NODE_NONE;                                                                      \
		walk.at = walk.config->roots[0].node;                                                              \
		bpf_loop(EBM_RULES_STEPS / TABLES_STRIDE + 1, tables_turn_##size, &walk, 0);                       \
		return walk.best;                                                                                  \
	}

TABLES_WALK(small, EBM_RULES_SMALL)
TABLES_WALK(medium, EBM_RULES_MEDIUM)
TABLES_WALK(large, EBM_RULES_LARGE)

/* The rank of the first rule that the frame whose key is at hand matches, or EBM_NODE_NONE. */
static __always_inline __u32 tables_rank(const struct ebm_config *config, __u32 active)
{
	switch (config->table) {
	case EBM_TABLE_SMALL:
		return tables_rank_small(active);
	case EBM_TABLE_MEDIUM:
		return tables_rank_medium(active);
	case EBM_TABLE_LARGE:
		return tables_rank_large(active);
	default:
		return EBM_NODE_NONE;
	}
}

#endif
