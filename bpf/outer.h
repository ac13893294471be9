/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The outer headers. A header is built once a next hop (outer_build: everything that is the same for each packet) and
 * finished once a packet (outer_finish: lengths, IP ID, checksum, source port). Writers are pure: memory in, memory
 * out.
 */
#ifndef EBM_OUTER_H
#define EBM_OUTER_H

#include <linux/ip.h>
#include <linux/udp.h>
#include "abi.h"
#include "bpf.h"
#include "csum.h"
#include "vxlan.h"

#define OUTER_PAD 2
/* What the outer headers add to a frame: Ethernet 14, IPv4 20, UDP 8, VXLAN 8. */
#define OUTER_OVERHEAD 50

/* The pad, which is not sent, aligns all that stands behind the 14 bytes of the Ethernet header. */
struct outer_header {
	__u8 pad[OUTER_PAD];
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
	struct vxlan_header vxlan;
};

_Static_assert(sizeof(struct outer_header) == OUTER_PAD + OUTER_OVERHEAD, "no hole");

#define OUTER_PORT_FIRST 49152 /* RFC 7348, 5: the source port is from the dynamic range, 49152-65535 */
#define OUTER_PORT_MASK 0x3fff

static __always_inline void outer_write_eth(struct ethhdr *eth, const __u8 *dest, const __u8 *source)
{
	__builtin_memcpy(eth->h_dest, dest, ETH_ALEN);
	__builtin_memcpy(eth->h_source, source, ETH_ALEN);
	eth->h_proto = bpf_htons(ETH_P_IP);
}

/* DF is clear, so that a smaller path further on fragments and does not drop. */
static __always_inline void outer_write_ip(struct iphdr *ip, const struct ebm_peer *peer, __be32 source)
{
	__builtin_memset(ip, 0, sizeof(*ip));
	ip->version = 4;
	ip->ihl = 5;
	ip->tos = peer->tos;
	ip->ttl = peer->ttl;
	ip->protocol = IPPROTO_UDP;
	ip->saddr = source;
	__builtin_memcpy(&ip->daddr, peer->remote, sizeof(ip->daddr));
}

/* RFC 7348, 5: the UDP checksum SHOULD be sent as zero. */
static __always_inline void outer_write_udp(struct udphdr *udp, __be16 dest)
{
	udp->source = 0;
	udp->dest = dest;
	udp->len = 0;
	udp->check = 0;
}

/* Returns the sum of the IP header's constant words, to which outer_finish adds the rest. */
static __always_inline __u32 outer_build(struct outer_header *outer, const struct ebm_peer *peer, __be32 source,
					 const __u8 *dest_mac, const __u8 *source_mac)
{
	outer_write_eth(&outer->eth, dest_mac, source_mac);
	outer_write_ip(&outer->ip, peer, source);
	outer_write_udp(&outer->udp, peer->port_be);
	vxlan_write(&outer->vxlan, peer->key);
	return csum_words(&outer->ip, sizeof(outer->ip));
}

/*
 * `length` is that of the IP packet. A super-packet's may not fit sixteen bits: then both lengths are 0 and the
 * segmentation writes each segment's own.
 */
static __always_inline void outer_finish(struct outer_header *outer, __u32 sum, __u32 length, __u16 id, __u32 hash)
{
	__u32 fits = length <= 0xffff ? length : 0;

	outer->ip.tot_len = bpf_htons(fits);
	outer->ip.id = bpf_htons(id);
	outer->ip.check = csum_fold(sum + outer->ip.tot_len + outer->ip.id);
	outer->udp.source = bpf_htons(OUTER_PORT_FIRST + (hash >> 16 & OUTER_PORT_MASK));
	outer->udp.len = bpf_htons(fits ? fits - sizeof(outer->ip) : 0);
}

#endif
