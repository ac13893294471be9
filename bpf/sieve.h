/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Whether any rule may match a flow: struct ebm_sieve. Thirteen loads, which do not wait for each other, of memory that stays in the
 * processor's caches however many flows there are. */
#ifndef EBM_SIEVE_H
#define EBM_SIEVE_H

#include "flow.h"
#include "state.h"

static __always_inline __u64 sieve_row(const struct ebm_sieve *sieve, __u32 row, __u8 value)
{
	return sieve->allowed[row * EBM_SIEVE_VALUES + value];
}

static __always_inline bool sieve_allows(__u32 active, const struct flow *flow)
{
	__u32 generation = active_generation(active);
	const struct ebm_sieve *sieve = bpf_map_lookup_elem(&ebm_sieves, &generation);
	__u64 left;

	if (!sieve)
		return true;
	left = sieve_row(sieve, EBM_SIEVE_PROTOCOL, flow->protocol | flow->six * EBM_SIEVE_SIX);
	for (int i = 0; i < 4; i++)
		left &= sieve_row(sieve, EBM_SIEVE_SPORT + i, flow->ports >> 8 * i);
	if (flow->six)
		return left;
	for (int i = 0; i < 8; i++)
		left &= sieve_row(sieve, EBM_SIEVE_SRC + i, flow->address >> 8 * i);
	return left;
}

#endif
