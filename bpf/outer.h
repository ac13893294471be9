/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The outer headers of a peer, one behind the other: built once a next hop (outer_build: all that is the same for each
 * packet) and finished once a packet (outer_finish: lengths, IDs, checksum, source port, sequence number). Writers are
 * pure: memory in, memory out.
 */
#ifndef EBM_OUTER_H
#define EBM_OUTER_H

#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include "abi.h"
#include "bpf.h"
#include "csum.h"
#include "erspan.h"
#include "geneve.h"
#include "gre.h"
#include "vlan.h"
#include "vxlan.h"

#define OUTER_PAD 2 /* not sent; aligns all that stands behind the 14 bytes of the Ethernet header */
#define OUTER_MAX (ETH_HLEN + sizeof(struct ipv6hdr) + sizeof(struct gre_header) + ERSPAN3_LENGTH)
#define OUTER_MIN (ETH_HLEN + sizeof(struct iphdr) + GRE_LENGTH)
/* The Ethernet header and the tags of the copy, which one store writes with the outer headers. */
#define OUTER_INNER_MAX (ETH_HLEN + VLAN_TAGS * sizeof(struct vlan_tag))
#define OUTER_NETWORK (OUTER_PAD + ETH_HLEN)

#define OUTER_PORT_FIRST 49152 /* RFC 7348, 5 and RFC 8926, 3.3: the source port is from the dynamic range */
#define OUTER_PORT_MASK 0x3fff
#define OUTER_FLOW_MASK 0xfffff /* RFC 8200, 6: 20 bits */

struct outer {
	__u32 sum;	 /* of the IPv4 header's constant words */
	__u8 length;	 /* of all headers, Ethernet to tunnel; 0 = SPAN, no headers */
	__u8 transport;	 /* offset of UDP or GRE from the Ethernet header */
	__u8 tunnel;	 /* enum ebm_tunnel */
	__u8 family;	 /* 4 or 6 */
	__u32 key;	 /* ERSPAN: the session */
	__u8 bytes[OUTER_PAD + OUTER_MAX + OUTER_INNER_MAX];
};

/* What the headers need to know of a packet. */
struct outer_packet {
	__u32 length; /* of the IP packet; a super-packet's may not fit sixteen bits */
	__u32 id;
	__u32 hash;
	__u32 sequence;
	struct erspan_frame frame;
};

static __always_inline bool outer_is_udp(__u32 tunnel)
{
	return tunnel == EBM_TUNNEL_VXLAN || tunnel == EBM_TUNNEL_GENEVE;
}

/* Each packet has a sequence number, so that a super-packet must be cut first. */
static __always_inline bool outer_has_sequence(__u32 tunnel)
{
	return tunnel == EBM_TUNNEL_ERSPAN2 || tunnel == EBM_TUNNEL_ERSPAN3;
}

static __always_inline void outer_write_eth(struct ethhdr *eth, const __u8 *dest, const __u8 *source, __u16 type)
{
	__builtin_memcpy(eth->h_dest, dest, ETH_ALEN);
	__builtin_memcpy(eth->h_source, source, ETH_ALEN);
	eth->h_proto = bpf_htons(type);
}

/* DF is clear, so that a smaller path further on fragments and does not drop. */
static __always_inline void outer_write_ip(struct iphdr *ip, const struct ebm_peer *peer, const __u8 *source,
					   __u8 protocol)
{
	__builtin_memset(ip, 0, sizeof(*ip));
	ip->version = 4;
	ip->ihl = 5;
	ip->tos = peer->tos;
	ip->ttl = peer->ttl;
	ip->protocol = protocol;
	__builtin_memcpy(&ip->saddr, source, sizeof(ip->saddr));
	__builtin_memcpy(&ip->daddr, peer->remote, sizeof(ip->daddr));
}

static __always_inline void outer_write_ip6(struct ipv6hdr *ip, const struct ebm_peer *peer, const __u8 *source,
					    __u8 protocol)
{
	ip->version = 6;
	ip->priority = peer->tos >> 4;
	ip->flow_lbl[0] = peer->tos << 4;
	ip->flow_lbl[1] = 0;
	ip->flow_lbl[2] = 0;
	ip->payload_len = 0;
	ip->nexthdr = protocol;
	ip->hop_limit = peer->ttl;
	__builtin_memcpy(&ip->saddr, source, sizeof(ip->saddr));
	__builtin_memcpy(&ip->daddr, peer->remote, sizeof(ip->daddr));
}

/* RFC 7348, 5 and RFC 6935, 5: the UDP checksum is zero, over IPv6 too. */
static __always_inline void outer_write_udp(struct udphdr *udp, __be16 dest)
{
	udp->source = 0;
	udp->dest = dest;
	udp->len = 0;
	udp->check = 0;
}

/* The tunnel's header and what it stands on. Returns the length of both. */
static __always_inline __u32 outer_write_tunnel(__u8 *at, const struct ebm_peer *peer)
{
	struct udphdr *udp = (struct udphdr *)at;
	struct gre_header *gre = (struct gre_header *)at;

	switch (peer->tunnel) {
	case EBM_TUNNEL_VXLAN:
		outer_write_udp(udp, peer->port_be);
		vxlan_write((struct vxlan_header *)(udp + 1), peer->key);
		return sizeof(*udp) + sizeof(struct vxlan_header);
	case EBM_TUNNEL_GENEVE:
		outer_write_udp(udp, peer->port_be);
		geneve_write((struct geneve_header *)(udp + 1), peer->key);
		return sizeof(*udp) + sizeof(struct geneve_header);
	case EBM_TUNNEL_GRE:
		gre_write(gre, peer->flags & EBM_PEER_FLAG_KEY ? GRE_KEY : 0, ETH_P_TEB, peer->key);
		return peer->flags & EBM_PEER_FLAG_KEY ? sizeof(*gre) : GRE_LENGTH;
	case EBM_TUNNEL_ERSPAN2:
		gre_write(gre, GRE_SEQUENCE, ERSPAN2_PROTOCOL, 0);
		return sizeof(*gre) + ERSPAN2_LENGTH;
	default:
		gre_write(gre, GRE_SEQUENCE, ERSPAN3_PROTOCOL, 0);
		return sizeof(*gre) + ERSPAN3_LENGTH;
	}
}

/* `source`: 16 bytes, as in ebm_peer. */
static __always_inline void outer_build(struct outer *outer, const struct ebm_peer *peer, const __u8 *source,
					const __u8 *dest_mac, const __u8 *source_mac)
{
	struct ethhdr *eth = (struct ethhdr *)(outer->bytes + OUTER_PAD);
	__u8 *network = outer->bytes + OUTER_NETWORK;
	__u8 protocol = outer_is_udp(peer->tunnel) ? IPPROTO_UDP : IPPROTO_GRE;
	__u32 length;

	outer->tunnel = peer->tunnel;
	outer->family = peer->family;
	outer->key = peer->key;
	if (peer->family == 6) {
		outer_write_eth(eth, dest_mac, source_mac, ETH_P_IPV6);
		outer_write_ip6((struct ipv6hdr *)network, peer, source, protocol);
		outer->sum = 0;
		length = ETH_HLEN + sizeof(struct ipv6hdr);
		outer->length = length + outer_write_tunnel(network + sizeof(struct ipv6hdr), peer);
	} else {
		outer_write_eth(eth, dest_mac, source_mac, ETH_P_IP);
		outer_write_ip((struct iphdr *)network, peer, source, protocol);
		outer->sum = csum_words(network, sizeof(struct iphdr));
		length = ETH_HLEN + sizeof(struct iphdr);
		outer->length = length + outer_write_tunnel(network + sizeof(struct iphdr), peer);
	}
	outer->transport = length;
}

/* Finishes what stands behind the IP header; `fits` is the IP payload's length, 0 for one that does not fit. */
static __always_inline void outer_finish_tunnel(struct outer *outer, __u8 *at, const struct outer_packet *packet,
						__u32 fits)
{
	struct udphdr *udp = (struct udphdr *)at;
	struct gre_header *gre = (struct gre_header *)at;

	if (outer_is_udp(outer->tunnel)) {
		udp->source = bpf_htons(OUTER_PORT_FIRST + (packet->hash >> 16 & OUTER_PORT_MASK));
		udp->len = bpf_htons(fits);
	} else if (outer_has_sequence(outer->tunnel)) {
		gre->option = bpf_htonl(packet->sequence);
		erspan_write((struct erspan_header *)(gre + 1), outer->tunnel == EBM_TUNNEL_ERSPAN3, outer->key,
			     &packet->frame);
	}
}

/*
 * A super-packet's length may not fit sixteen bits: then the lengths are 0 and the segmentation writes each segment's
 * own.
 */
static __always_inline void outer_finish(struct outer *outer, const struct outer_packet *packet)
{
	__u8 *network = outer->bytes + OUTER_NETWORK;
	struct ipv6hdr *ip6 = (struct ipv6hdr *)network;
	struct iphdr *ip = (struct iphdr *)network;
	__u32 fits;

	if (outer->family == 6) {
		__u32 flow = packet->hash >> 12 & OUTER_FLOW_MASK;

		fits = packet->length - sizeof(*ip6) <= 0xffff ? packet->length - sizeof(*ip6) : 0;
		ip6->payload_len = bpf_htons(fits);
		/* RFC 6438: the flow label spreads tunnelled flows. */
		ip6->flow_lbl[0] = (ip6->flow_lbl[0] & 0xf0) | flow >> 16;
		ip6->flow_lbl[1] = flow >> 8;
		ip6->flow_lbl[2] = flow;
		outer_finish_tunnel(outer, network + sizeof(*ip6), packet, fits);
	} else {
		fits = packet->length <= 0xffff ? packet->length : 0;
		ip->tot_len = bpf_htons(fits);
		ip->id = bpf_htons(packet->id);
		ip->check = csum_fold(outer->sum + ip->tot_len + ip->id);
		outer_finish_tunnel(outer, network + sizeof(*ip), packet, fits ? fits - sizeof(*ip) : 0);
	}
}

#endif
