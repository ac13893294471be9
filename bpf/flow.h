/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The frames there are most of, read by plain loads: TCP, UDP and ICMP over IPv4 without options and IPv6 without extensions, no
 * tag, no fragment, headers in the linear part. For these the tap needs no parser that is ready for anything.
 */
#ifndef EBM_FLOW_H
#define EBM_FLOW_H

#include "own.h"
#include "parse.h"

/* Addresses and ports are taken apart where they are words already. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "and the other way round elsewhere");

#define FLOW_IP4 (ETH_HLEN + sizeof(struct iphdr)) /* where TCP, UDP or ICMP begins */
#define FLOW_IP6 (ETH_HLEN + sizeof(struct ipv6hdr))
#define FLOW_ADDRESSES6 (FLOW_IP6 - 2 * sizeof(struct in6_addr))
#define FLOW_TRANSPORT 14 /* bytes behind the IP header that are read: up to TCP's flags; UDP's header and PEEL_PAYLOAD are less */

struct flow {
	__u64 address;	  /* wire order; of IPv4: both; of IPv6: the first half of the source */
	__u32 ports;	  /* wire order: source and destination; of ICMP type and code, as rules have them */
	__u32 payload;	  /* of UDP: the first bytes behind its header; else 0 */
	__u8 protocol;
	__u8 tcp_flags;	  /* byte 13 of TCP */
	__u8 known;	  /* it is such a frame */
	__u8 six;
	__u8 icmp;	  /* of IPv4 over IPv4, of IPv6 over IPv6 */
};

/* `flow` is all zero. */
static __always_inline void flow_read(struct __sk_buff *skb, struct flow *flow)
{
	const __u8 *data = (const __u8 *)(long)skb->data, *end = (const __u8 *)(long)skb->data_end;
	const __u8 *network = data + ETH_HLEN, *transport;
	__u16 ether_type;
	__u32 udp;

	if (data + FLOW_IP4 + FLOW_TRANSPORT > end || skb->vlan_present)
		return;
	/* Not by struct ethhdr, which is packed: clang would read byte by byte. */
	ether_type = *(const two_bytes *)(data + 2 * ETH_ALEN);
	if (ether_type == bpf_htons(ETH_P_IP)) {
		const struct iphdr *ip = (const struct iphdr *)network;

		if (*network != 0x45 || ip->frag_off & bpf_htons(PARSE_IP_MF_OFFSET))
			return;
		__builtin_memcpy(&flow->address, &ip->saddr, sizeof(flow->address));
		flow->protocol = ip->protocol;
		transport = (const __u8 *)(ip + 1);
	} else if (ether_type == bpf_htons(ETH_P_IPV6)) {
		const struct ipv6hdr *ip = (const struct ipv6hdr *)network;

		if (data + FLOW_IP6 + FLOW_TRANSPORT > end)
			return;
		__builtin_memcpy(&flow->address, &ip->saddr, sizeof(flow->address));
		flow->protocol = ip->nexthdr;
		flow->six = true;
		transport = (const __u8 *)(ip + 1);
	} else {
		return;
	}
	if (flow->protocol == (flow->six ? IPPROTO_ICMPV6 : IPPROTO_ICMP)) {
		flow->icmp = true;
		flow->ports = transport[0] << 8 | (__u32)transport[1] << 24;
		flow->known = true;
		return;
	}
	/* TCP is 6, UDP is 17. From here on without branches between the two: their packets come in any order. */
	if (flow->protocol >= 32 || !((1U << IPPROTO_TCP | 1U << IPPROTO_UDP) >> flow->protocol & 1))
		return;
	udp = -(__u32)(flow->protocol & 1);
	barrier_var(udp); /* clang would branch all the same */
	flow->ports = *(const __u32 *)transport;
	flow->payload = *(const __u32 *)(transport + sizeof(struct udphdr)) & udp;
	/* Of IPv6 libpcap does not look at them. */
	flow->tcp_flags = flow->six ? 0 : transport[13] & ~udp;
	flow->known = true;
}

/* Whether it may be a copy of ours or the kernel's own tunnel's, or an ICMP error that quotes one. */
static __always_inline bool flow_may_be_own(const struct flow *flow)
{
	return peel_is_tunnel((const __u8 *)&flow->payload) ||
	       (flow->icmp && own_is_icmp_error(flow->protocol, flow->ports >> 8));
}

/* The hash that parse_frame makes of the same frame. */
static __always_inline __u32 flow_hash(const struct __sk_buff *skb, const struct flow *flow)
{
	const __u8 *data = (const __u8 *)(long)skb->data, *end = (const __u8 *)(long)skb->data_end;
	struct parse_ends ends;

	/* Where flow_read has read them. */
	if (flow->six && data + FLOW_IP6 <= end)
		parse_ends6(&ends, flow->protocol, (const __u64 *)(data + FLOW_ADDRESSES6));
	else
		parse_ends(&ends, flow->protocol, (__u32)flow->address, flow->address >> 32);
	if (!flow->icmp)
		parse_ports(&ends, flow->ports, flow->ports >> 16);
	return parse_hash(&ends);
}

#endif
