/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Frame -> key: the words that rules compare (enum ebm_field). Offsets are libpcap's: fixed for Ethernet and IPv6, behind
 * the header length for IPv4, four bytes on for each `vlan` of the expression, and no look at what the bytes before them mean. A
 * tag in the metadata stands where it was on the wire; a packet without an Ethernet header gets the one of its copy.
 */
#ifndef EBM_KEY_H
#define EBM_KEY_H

#include "parse.h"
#include "state.h"

#define KEY_WORDS 128 /* all that a node can name: no check of bounds */
#define KEY_9100 0x9100 /* a TPID from before 802.1ad that libpcap knows */

struct key {
	__u32 word[KEY_WORDS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct key);
} ebm_key SEC(".maps");

static __always_inline struct key *key_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&ebm_key, &zero);
}

/* What key_fill wants to know of a frame besides its bytes. */
struct key_frame {
	__u32 uses;	/* enum ebm_use */
	__u32 length;	/* on the wire */
	__u32 captured; /* bytes of it that can be read */
	__u32 missing;	/* bytes in front of the network header that were on the wire and are not in the packet */
	__u32 layer3;	/* a packet without an Ethernet header */
	__u32 views;	/* beyond the first */
};

/* The bytes at an offset, host order; 0 where the packet ends before them. */
static __always_inline __u32 key_u8(struct __sk_buff *skb, __u32 offset)
{
	__u8 value;

	return parse_read(skb, offset, &value, sizeof(value)) < 0 ? 0 : value;
}

static __always_inline __u32 key_u16(struct __sk_buff *skb, __u32 offset)
{
	__be16 value;

	return parse_read(skb, offset, &value, sizeof(value)) < 0 ? 0 : bpf_ntohs(value);
}

static __always_inline __u32 key_u32(struct __sk_buff *skb, __u32 offset)
{
	__be32 value;

	return parse_read(skb, offset, &value, sizeof(value)) < 0 ? 0 : bpf_ntohl(value);
}

/* Ports; type and code of ICMP, whose protocol is `icmp`. */
static __always_inline void key_ports(struct __sk_buff *skb, __u32 *word, __u32 protocol, __u32 icmp, __u32 offset)
{
	if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP) {
		word[EBM_VIEW_SPORT] = key_u16(skb, offset);
		word[EBM_VIEW_DPORT] = key_u16(skb, offset + 2);
	} else if (protocol == icmp) {
		word[EBM_VIEW_SPORT] = key_u8(skb, offset);
		word[EBM_VIEW_DPORT] = key_u8(skb, offset + 1);
	}
}

/* `offset`: of the IP header in the packet; `behind`: bytes that can be read from there on. */
static __always_inline void key_ip4(struct __sk_buff *skb, __u32 *word, const struct key_frame *frame, __u32 offset,
				    __u32 behind)
{
	__u32 header, transport;
	struct iphdr ip = {};

	if (parse_read(skb, offset, &ip, sizeof(ip)) < 0) {
		*(__u8 *)&ip = key_u8(skb, offset);
		ip.frag_off = bpf_htons(key_u16(skb, offset + __builtin_offsetof(struct iphdr, frag_off)));
		ip.protocol = key_u8(skb, offset + __builtin_offsetof(struct iphdr, protocol));
		ip.saddr = bpf_htonl(key_u32(skb, offset + __builtin_offsetof(struct iphdr, saddr)));
		ip.daddr = bpf_htonl(key_u32(skb, offset + __builtin_offsetof(struct iphdr, daddr)));
	}
	header = ip.ihl * 4;
	transport = offset + header;
	word[EBM_VIEW_PROTOCOL] = ip.protocol;
	word[EBM_VIEW_FRAGMENT] = ip.frag_off & bpf_htons(PARSE_IP_OFFSET) ? 1 : 0;
	if (frame->uses & EBM_USE_ADDRESSES) {
		word[EBM_VIEW_SRC] = bpf_ntohl(ip.saddr);
		word[EBM_VIEW_DST] = bpf_ntohl(ip.daddr);
	}
	if (behind > header)
		word[EBM_VIEW_TRANSPORT] = min_u64(behind - header, EBM_RULES_TRANSPORT);
	if (word[EBM_VIEW_FRAGMENT])
		return;
	if (frame->uses & EBM_USE_PORTS)
		key_ports(skb, word, ip.protocol, IPPROTO_ICMP, transport);
	if (frame->uses & EBM_USE_TCP_FLAGS && ip.protocol == IPPROTO_TCP)
		word[EBM_VIEW_TCP_FLAGS] = key_u8(skb, transport + 13);
}

static __always_inline void key_ip6(struct __sk_buff *skb, __u32 *word, const struct key_frame *frame, __u32 offset)
{
	struct ipv6hdr ip = {};

	if (parse_read(skb, offset, &ip, sizeof(ip)) < 0) {
		ip.nexthdr = key_u8(skb, offset + __builtin_offsetof(struct ipv6hdr, nexthdr));
		for (int i = 0; i < 4; i++) {
			__u32 at = offset + i * 4;

			ip.saddr.in6_u.u6_addr32[i] =
				bpf_htonl(key_u32(skb, at + __builtin_offsetof(struct ipv6hdr, saddr)));
			ip.daddr.in6_u.u6_addr32[i] =
				bpf_htonl(key_u32(skb, at + __builtin_offsetof(struct ipv6hdr, daddr)));
		}
	}
	offset += sizeof(ip);
	word[EBM_VIEW_PROTOCOL] = ip.nexthdr;
	if (ip.nexthdr == IPPROTO_FRAGMENT)
		word[EBM_VIEW_FRAGMENT] = key_u8(skb, offset);
	if (frame->uses & EBM_USE_ADDRESSES) {
		for (int i = 0; i < 4; i++) {
			word[EBM_VIEW_SRC + i] = bpf_ntohl(ip.saddr.in6_u.u6_addr32[i]);
			word[EBM_VIEW_DST + i] = bpf_ntohl(ip.daddr.in6_u.u6_addr32[i]);
		}
	}
	if (frame->uses & EBM_USE_PORTS)
		key_ports(skb, word, ip.nexthdr, IPPROTO_ICMPV6, offset);
}

/* Always 0. A view; global, so that the verifier looks at it once. */
__noinline int key_view(struct __sk_buff *skb, const struct key_frame *frame, __u32 view)
{
	struct key *key = key_get();
	__u32 offset, start, type;
	__u32 *word;
	__u8 version;

	if (!frame || !key || view >= EBM_RULES_VIEWS)
		return 0;
	word = key->word + EBM_FIELD_VIEW + view * EBM_FIELD_VIEW_WORDS;
	for (int i = 0; i < EBM_FIELD_VIEW_WORDS; i++)
		word[i] = 0;
	start = ETH_HLEN + 4 * view; /* of the link's payload, on the wire */
	offset = start - frame->missing;
	if (frame->layer3 && !view) {
		version = key_u8(skb, 0);
		type = version >> 4 == 6 ? ETH_P_IPV6 : ETH_P_IP;
		offset = 0;
	} else if (skb->vlan_present && !view) {
		word[EBM_VIEW_ETHER_TYPE] = bpf_ntohs(skb->vlan_proto);
		word[EBM_VIEW_VLAN] = skb->vlan_tci & 0xfff;
		return 0;
	} else {
		type = key_u16(skb, offset - 2);
	}
	word[EBM_VIEW_ETHER_TYPE] = type;
	switch (type) {
	case ETH_P_IP:
		key_ip4(skb, word, frame, offset, frame->captured > start ? frame->captured - start : 0);
		break;
	case ETH_P_IPV6:
		key_ip6(skb, word, frame, offset);
		break;
	case ETH_P_ARP:
	case ETH_P_RARP:
		if (frame->uses & EBM_USE_ADDRESSES) {
			word[EBM_VIEW_SRC] = key_u32(skb, offset + 14);
			word[EBM_VIEW_DST] = key_u32(skb, offset + 24);
		}
		break;
	case ETH_P_8021Q:
	case ETH_P_8021AD:
	case KEY_9100:
		word[EBM_VIEW_VLAN] = key_u16(skb, offset) & 0xfff;
		break;
	}
	return 0;
}

static __always_inline void key_macs(struct __sk_buff *skb, struct key *key)
{
	__u32 high = key_u16(skb, 0);

	key->word[EBM_FIELD_DST_MAC_HIGH] = high | (high & 0x100) << 8;
	key->word[EBM_FIELD_DST_MAC_LOW] = key_u32(skb, 2);
	key->word[EBM_FIELD_SRC_MAC_HIGH] = key_u16(skb, 6);
	key->word[EBM_FIELD_SRC_MAC_LOW] = key_u32(skb, 8);
}

/* Makes the key of a frame but for its interface and direction. */
static __always_inline void key_fill(struct __sk_buff *skb, struct key *key, const struct key_frame *frame)
{
	for (int i = 0; i < EBM_FIELD_VIEW; i++)
		key->word[i] = 0;
	if (frame->uses & EBM_USE_LENGTH)
		key->word[EBM_FIELD_LENGTH] = frame->length;
	key->word[EBM_FIELD_CAPTURED] = min_u64(frame->captured, EBM_RULES_CAPTURED + 4 * frame->views);
	if (frame->uses & EBM_USE_MAC && !frame->layer3)
		key_macs(skb, key);
	for (__u32 view = 0; view < EBM_RULES_VIEWS && view <= frame->views; view++)
		key_view(skb, frame, view);
}

#endif
