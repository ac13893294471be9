/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the kernel knows of the way to a peer: its routes, neighbours and devices, asked for one packet. */
#ifndef EBM_FIB_H
#define EBM_FIB_H

#include "abi.h"
#include "bpf.h"
#include "outer.h"

#define FIB_MTU_MAX 65535 /* IPv4's total length (RFC 791); `lo` says 65536, which sixteen bits cannot hold */

/* The helper's parameters, of this CPU: kernel 6.1 rounds the stack of each function up, and this is a quarter of it. Bytes,
 * because the skeleton has no anonymous unions. */
struct fib_space {
	__u8 bytes[sizeof(struct bpf_fib_lookup)];
} __attribute__((aligned(8)));

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fib_space);
} ebm_fib SEC(".maps");

static __always_inline struct bpf_fib_lookup *fib_space_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&ebm_fib, &zero);
}

/* What a result of bpf_fib_lookup means for a copy; 0 = the next hop is known. */
static __always_inline enum ebm_reason fib_reason(long result)
{
	switch (result) {
	case BPF_FIB_LKUP_RET_SUCCESS:
		return EBM_REASON_UNSPEC;
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		return EBM_REASON_NO_NEIGHBOUR;
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
		return EBM_REASON_FORWARDING_OFF;
	default:
		return EBM_REASON_NO_ROUTE;
	}
}

/* The IP MTU of a device, 0 when it is gone. The helper fails for packets that do not fit, and tells the MTU all the same. */
static __always_inline __u32 fib_device_mtu(struct __sk_buff *skb, __u32 ifindex)
{
	__u32 mtu = 0;

	if (bpf_check_mtu(skb, ifindex, &mtu, 0, 0) < 0 && !mtu)
		return 0;
	return min_u64(mtu, FIB_MTU_MAX);
}

/* Asks for the way to the peer, from the stage or (flags: BPF_FIB_LOOKUP_OUTPUT) out of a device. */
static __always_inline enum ebm_reason fib_ask(struct __sk_buff *skb, const struct ebm_peer *peer,
					       struct bpf_fib_lookup *fib, __u32 ifindex, __u32 flags)
{
	bool source = ebm_fib_tells_source && peer->flags & EBM_PEER_FLAG_LOCAL_AUTO;

	__builtin_memset(fib, 0, sizeof(*fib));
	/* tot_len: any value but 0 makes the kernel tell the path MTU. */
	fib->tot_len = 1;
	fib->l4_protocol = outer_is_udp(peer->tunnel) ? IPPROTO_UDP : IPPROTO_GRE;
	fib->dport = peer->port_be;
	fib->ifindex = ifindex;
	if (peer->family == 6) {
		fib->family = EBM_AF_INET6;
		fib->flowinfo = bpf_htonl((__u32)peer->tos << 20);
		__builtin_memcpy(fib->ipv6_dst, peer->remote, sizeof(fib->ipv6_dst));
		if (!source)
			__builtin_memcpy(fib->ipv6_src, peer->local, sizeof(fib->ipv6_src));
	} else {
		fib->family = EBM_AF_INET;
		fib->tos = peer->tos;
		__builtin_memcpy(&fib->ipv4_dst, peer->remote, sizeof(fib->ipv4_dst));
		if (!source)
			__builtin_memcpy(&fib->ipv4_src, peer->local, sizeof(fib->ipv4_src));
	}
	return fib_reason(bpf_fib_lookup(skb, fib, sizeof(*fib), flags | (source ? BPF_FIB_LOOKUP_SRC : 0)));
}

#endif
