/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Frame -> key: where the headers are, which flow it is. Reads only, and reads frames whose headers are not in the
 * linear part: bpf_skb_pull_data would change the original.
 */
#ifndef EBM_PARSE_H
#define EBM_PARSE_H

#include <linux/if_vlan.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include "bpf.h"
#include "hash.h"

#define PARSE_VLAN_TAGS 3     /* in the payload; a deeper stack is treated as no IP */
#define PARSE_IP6_EXTENSIONS 6 /* RFC 8200, 4.1: each but Destination Options at most once */
#define PARSE_IP_MF_OFFSET 0x3fff /* RFC 791: more-fragments flag and offset */
#define PARSE_IP_OFFSET 0x1fff
#define PARSE_IP6_OFFSET 0xfff8 /* RFC 8200, 4.5 */
#define PARSE_IP6_JUMBO 8
#define PARSE_OFFSET_MAX 1023	 /* of an inner frame: four tunnels deep */
#define PARSE_LAYER3 0x80000000U /* in `offset`: what is there begins with its IP header */

struct parse_vlan {
	__be16 tci;
	__be16 next_proto;
};

struct parse_ip6_extension {
	__u8 next;
	__u8 length; /* in units of 8 bytes, the first not counted; of 4 bytes, two not counted, in AH (RFC 4302, 2.2) */
	__be16 fragment; /* Fragment header only, as the next */
	__be32 id;
};

struct parse_key {
	__u32 hash;	  /* of the flow, the same in both directions */
	__u32 headers;	  /* bytes up to the transport payload: what each segment of a super-packet repeats */
	__u32 network;	  /* offset of the IP header */
	__u32 transport;  /* offset of what stands behind the IP headers */
	__be16 ether_type; /* behind the tags */
	__be16 dest_port; /* 0 where there is none */
	__u8 protocol;	  /* IP protocol; 0 for other frames */
	bool fragment;	  /* an IP fragment, the first included */
	bool inner_tcp;	  /* a TCP super-packet inside a tunnel; `headers` are those of both frames */
	bool later;	  /* a fragment that is not the first: behind the IP headers there is no transport header */
	__u32 id;	  /* of a fragment, wire order */
	__u32 jumbo;	  /* bytes of a super-packet that no segment gets, and `headers` does not count */
};

/* 0, or a negative error when the frame ends before `length` bytes. */
static __always_inline int parse_read(struct __sk_buff *skb, __u32 offset, void *to, __u32 length)
{
	const void *data = (const void *)(long)skb->data;
	const void *end = (const void *)(long)skb->data_end;

	if (offset <= 0x3fff && data + offset + length <= end) {
		__builtin_memcpy(to, data + offset, length);
		return 0;
	}
	return bpf_skb_load_bytes(skb, offset, to, length);
}

/* Adds the ports to the ends, and the transport header to `headers`. A fragment has neither. */
static __always_inline void parse_transport(struct __sk_buff *skb, __u32 offset, struct parse_key *key,
					    struct parse_ends *ends)
{
	struct {
		__be16 source, dest;
	} ports;
	__u8 data_offset;

	key->headers = offset;
	key->transport = offset;
	if (key->fragment)
		return;
	switch (key->protocol) {
	case IPPROTO_TCP:
		if (parse_read(skb, offset + 12, &data_offset, 1) < 0)
			return;
		key->headers = offset + (data_offset >> 4) * 4;
		break;
	case IPPROTO_UDP:
		key->headers = offset + 8;
		break;
	case IPPROTO_SCTP:
		key->headers = offset + 12;
		break;
	default:
		return;
	}
	if (parse_read(skb, offset, &ports, sizeof(ports)) < 0)
		return;
	key->dest_port = ports.dest;
	parse_ports(ends, ports.source, ports.dest);
}

static __always_inline void parse_ipv4(struct __sk_buff *skb, __u32 offset, struct parse_key *key,
				       struct parse_ends *ends)
{
	struct iphdr ip;

	if (parse_read(skb, offset, &ip, sizeof(ip)) < 0)
		return;
	key->protocol = ip.protocol;
	key->fragment = ip.frag_off & bpf_htons(PARSE_IP_MF_OFFSET);
	key->later = ip.frag_off & bpf_htons(PARSE_IP_OFFSET);
	key->id = ip.id;
	parse_ends(ends, ip.protocol, ip.saddr, ip.daddr);
	parse_transport(skb, offset + ip.ihl * 4, key, ends);
}

static __always_inline bool parse_is_extension(__u8 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING || protocol == IPPROTO_FRAGMENT ||
	       protocol == IPPROTO_DSTOPTS || protocol == IPPROTO_AH;
}

static __always_inline void parse_ipv6(struct __sk_buff *skb, __u32 offset, struct parse_key *key,
				       struct parse_ends *ends)
{
	union {
		struct ipv6hdr ip;
		__u64 words[5]; /* of which the last four are the addresses */
	} header;
	__u8 next, hashed = 0;
	bool jumbo;

	if (parse_read(skb, offset, &header.ip, sizeof(header.ip)) < 0)
		return;
	next = header.ip.nexthdr;
	jumbo = skb->gso_size && !header.ip.payload_len && next == IPPROTO_HOPOPTS;
	offset += sizeof(header.ip);
	for (int i = 0; i < PARSE_IP6_EXTENSIONS && parse_is_extension(next); i++) {
		struct parse_ip6_extension extension;

		if (parse_read(skb, offset, &extension, sizeof(extension)) < 0)
			break;
		if (next == IPPROTO_FRAGMENT) {
			/* What every fragment has: behind the first one's there may be more extensions. */
			hashed = extension.next;
			key->fragment = true;
			key->later = extension.fragment & bpf_htons(PARSE_IP6_OFFSET);
			key->id = extension.id;
			offset += 8;
		} else if (next == IPPROTO_AH) {
			offset += (extension.length + 2) * 4;
		} else {
			offset += (extension.length + 1) * 8;
		}
		next = extension.next;
		if (key->later)
			break;
	}
	key->protocol = next;
	parse_ends6(ends, key->fragment ? hashed : next, header.words + 1);
	parse_transport(skb, offset, key, ends);
	/* Super-packets beyond 64 KiB have a jumbo option (RFC 2675) that no segment gets. */
	if (jumbo) {
		key->headers -= PARSE_IP6_JUMBO;
		key->jumbo = PARSE_IP6_JUMBO;
	}
}

/* Fills the key from the Ethernet header on. The offset of what stands behind it and its tags; 0 when that is cut off. */
static __always_inline __u32 parse_ethernet(struct __sk_buff *skb, __u32 offset, struct parse_key *key,
					    struct parse_ends *ends)
{
	struct ethhdr eth;
	__u32 source, dest;

	if (parse_read(skb, offset, &eth, sizeof(eth)) < 0)
		return 0;
	offset += sizeof(eth);
	key->ether_type = eth.h_proto;
	for (int i = 0; i < PARSE_VLAN_TAGS; i++) {
		struct parse_vlan tag;

		if (key->ether_type != bpf_htons(ETH_P_8021Q) && key->ether_type != bpf_htons(ETH_P_8021AD))
			break;
		if (parse_read(skb, offset, &tag, sizeof(tag)) < 0)
			return 0;
		key->ether_type = tag.next_proto;
		offset += sizeof(tag);
	}
	/* Frames without IP hash their MAC addresses. */
	__builtin_memcpy(&source, eth.h_source + 2, sizeof(source));
	__builtin_memcpy(&dest, eth.h_dest + 2, sizeof(dest));
	parse_ends(ends, key->ether_type, source, dest);
	return offset;
}

/*
 * Fills the key of the frame that begins `offset` bytes into the packet: 0, or behind a tunnel's headers; PARSE_LAYER3
 * for a packet without an Ethernet header. Whatever cannot be read stays zero. Always 0; global, so that the verifier
 * looks at it once.
 */
__noinline int parse_frame(struct __sk_buff *skb, struct parse_key *key, __u32 offset)
{
	struct parse_ends ends = {};
	__u8 version;

	if (!key)
		return 0;
	if (offset & PARSE_LAYER3) {
		offset &= ~PARSE_LAYER3;
		if (offset > PARSE_OFFSET_MAX || parse_read(skb, offset, &version, sizeof(version)) < 0)
			return 0;
		key->ether_type = version >> 4 == 6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	} else {
		if (offset > PARSE_OFFSET_MAX)
			return 0;
		offset = parse_ethernet(skb, offset, key, &ends);
		if (!offset)
			return 0;
	}
	key->headers = offset;
	key->network = offset;
	if (key->ether_type == bpf_htons(ETH_P_IP))
		parse_ipv4(skb, offset, key, &ends);
	else if (key->ether_type == bpf_htons(ETH_P_IPV6))
		parse_ipv6(skb, offset, key, &ends);
	key->hash = parse_hash(&ends);
	return 0;
}

#endif
