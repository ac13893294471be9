/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The rules' tables: a frame's key -> the rank of the first rule that it matches. A table is replaced as a whole: each
 * generation has one, in a map of the size that it needs.
 */
#ifndef EBM_TABLES_H
#define EBM_TABLES_H

#include "state.h"

/* One map of maps a size: the verifier wants to know how large a value is. */
#define TABLES_OF(size, nodes)                                     \
	struct tables_inner_##size {                               \
		__uint(type, BPF_MAP_TYPE_ARRAY);                  \
		__uint(max_entries, 1);                            \
		__type(key, __u32);                                \
		__type(value, struct ebm_node[nodes]);             \
	};                                                         \
	struct {                                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);          \
		__uint(max_entries, EBM_LIMIT_GENERATIONS);        \
		__type(key, __u32);                                \
		__array(values, struct tables_inner_##size);       \
	} ebm_table_##size SEC(".maps")

TABLES_OF(small, EBM_RULES_SMALL);
TABLES_OF(medium, EBM_RULES_MEDIUM);
TABLES_OF(large, EBM_RULES_LARGE);

#endif
