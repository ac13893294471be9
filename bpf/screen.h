/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Whether any rule may match a flow: struct ebm_screen. Thirteen loads, which do not wait for each other, of memory that stays in the
 * processor's caches however many flows there are. */
#ifndef EBM_SCREEN_H
#define EBM_SCREEN_H

#include "flow.h"
#include "state.h"

static __always_inline __u64 screen_row(const struct ebm_screen *screen, __u32 row, __u8 value)
{
	return screen->allowed[row * EBM_SCREEN_VALUES + value];
}

static __always_inline bool screen_allows(__u32 active, const struct flow *flow)
{
	__u32 generation = active_generation(active);
	const struct ebm_screen *screen = bpf_map_lookup_elem(&ebm_screens, &generation);
	__u64 left;

	if (!screen)
		return true;
	left = screen_row(screen, EBM_SCREEN_PROTOCOL, flow->protocol | flow->six * EBM_SCREEN_SIX);
	for (int i = 0; i < 4; i++)
		left &= screen_row(screen, EBM_SCREEN_SPORT + i, flow->ports >> 8 * i);
	if (flow->six)
		return left;
	for (int i = 0; i < 8; i++)
		left &= screen_row(screen, EBM_SCREEN_SRC + i, flow->address >> 8 * i);
	return left;
}

#endif
