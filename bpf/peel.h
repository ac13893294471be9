/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Reads the headers of tunnels that somebody wrote, this host or another: what is inside, and by which key. */
#ifndef EBM_PEEL_H
#define EBM_PEEL_H

#include <linux/udp.h>
#include "outer.h"
#include "parse.h"

/* A tunnel's header, as far as a peer is known by it. */
struct peel_tunnel {
	__u32 kind;   /* of enum ebm_tunnel; 0 = none that we know, or cut off */
	__u32 key;
	__u32 length; /* of the headers up to the inner frame; 0 = nothing inside can be looked at */
	__be16 port;
	bool has_key;
	bool udp;
	bool cut; /* the packet ends before the tunnel's header does */
	__u8 reserved[3];
};

#define PEEL_PAYLOAD 4

/* Reads the first bytes behind a UDP header; all zero in other packets, and where they are cut off. */
static __always_inline void peel_payload(struct __sk_buff *skb, const struct parse_key *key, __u8 *payload)
{
	__builtin_memset(payload, 0, PEEL_PAYLOAD);
	if (key->protocol == IPPROTO_UDP &&
	    parse_read(skb, key->transport + sizeof(struct udphdr), payload, PEEL_PAYLOAD) < 0)
		__builtin_memset(payload, 0, PEEL_PAYLOAD);
}

/* Where GENEVE has its protocol type; host order. */
static __always_inline __u16 peel_payload_type(const __u8 *payload)
{
	return payload[2] << 8 | payload[3];
}

/* Whether these bytes behind a UDP header may be VXLAN or GENEVE. */
static __always_inline bool peel_is_tunnel(const __u8 *payload)
{
	return payload[0] == VXLAN_FLAG_VNI || peel_payload_type(payload) == ETH_P_TEB;
}

/* VXLAN or GENEVE by the bytes behind the UDP header: a peer of somebody else may have any port. */
static __always_inline void peel_udp(struct __sk_buff *skb, __u32 offset, struct peel_tunnel *tunnel)
{
	struct geneve_header geneve;
	struct vxlan_header vxlan;
	struct udphdr udp;

	tunnel->udp = true;
	if (parse_read(skb, offset, &udp, sizeof(udp)) < 0)
		return;
	tunnel->port = udp.dest;
	tunnel->cut = parse_read(skb, offset + sizeof(udp), &vxlan, sizeof(vxlan)) < 0;
	if (tunnel->cut)
		return;
	__builtin_memcpy(&geneve, &vxlan, sizeof(geneve));
	tunnel->key = bpf_ntohl(vxlan.vni_reserved2) >> 8;
	if (vxlan.flags == VXLAN_FLAG_VNI) {
		tunnel->kind = EBM_TUNNEL_VXLAN;
		tunnel->length = sizeof(udp) + sizeof(vxlan);
	} else if (!(geneve.version_length & GENEVE_VERSION_MASK) && geneve.protocol == bpf_htons(ETH_P_TEB)) {
		tunnel->kind = EBM_TUNNEL_GENEVE;
		tunnel->length = sizeof(udp) + sizeof(geneve) + (geneve.version_length & GENEVE_LENGTH_MASK) * 4;
	}
}

static __always_inline void peel_gre(struct __sk_buff *skb, __u32 offset, struct peel_tunnel *tunnel)
{
	struct {
		__be16 flags, protocol;
	} gre;
	struct erspan_header erspan = {};
	__u32 length = GRE_LENGTH;
	__be32 key = 0;

	if (parse_read(skb, offset, &gre, sizeof(gre)) < 0 || gre.flags & bpf_htons(GRE_VERSION_MASK))
		return;
	if (gre.flags & bpf_htons(GRE_CHECKSUM))
		length += 4;
	tunnel->has_key = gre.flags & bpf_htons(GRE_KEY);
	if (tunnel->has_key) {
		if (parse_read(skb, offset + length, &key, sizeof(key)) < 0)
			return;
		length += 4;
	}
	if (gre.flags & bpf_htons(GRE_SEQUENCE))
		length += 4;
	if (gre.protocol == bpf_htons(ETH_P_TEB)) {
		tunnel->kind = EBM_TUNNEL_GRE;
		tunnel->key = bpf_ntohl(key);
	} else if (gre.protocol == bpf_htons(ERSPAN2_PROTOCOL) || gre.protocol == bpf_htons(ERSPAN3_PROTOCOL)) {
		tunnel->cut = parse_read(skb, offset + length, &erspan, ERSPAN2_LENGTH) < 0;
		if (tunnel->cut)
			return;
		tunnel->key = bpf_ntohs(erspan.cos_session) & ERSPAN_SESSION_MASK;
		tunnel->kind = EBM_TUNNEL_ERSPAN2;
		length += ERSPAN2_LENGTH;
		if (gre.protocol == bpf_htons(ERSPAN3_PROTOCOL)) {
			tunnel->kind = EBM_TUNNEL_ERSPAN3;
			if (parse_read(skb, offset + length + 2, &erspan.flags, sizeof(erspan.flags)) < 0)
				return;
			length += ERSPAN3_LENGTH - ERSPAN2_LENGTH;
			if (erspan.flags & bpf_htons(ERSPAN3_SUBHEADER))
				length += ERSPAN3_SUBHEADER_LENGTH;
		}
	}
	if (tunnel->kind)
		tunnel->length = length;
}

#endif
