/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Local port mirroring: the copy goes to a device of this host as it is. */
#ifndef EBM_SPAN_H
#define EBM_SPAN_H

#include "nexthop.h"

#define SPAN_CONGESTION 2 /* NET_XMIT_CN of the kernel's <linux/netdevice.h> */

/* Sends the packet to a local device. There is no look-up that tells whether it is up: only a clone's result does. The queue of
 * a device that is down or without carrier answers that it is congested. */
static __always_inline enum ebm_reason span_send(struct __sk_buff *skb, const struct nexthop *nexthop)
{
	long result = bpf_clone_redirect(skb, nexthop->ifindex, 0);

	return result < 0 || result == SPAN_CONGESTION ? EBM_REASON_NO_ROUTE : EBM_REASON_UNSPEC;
}

#endif
