/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The rules' part of abi.h: the key of a frame, the tables that classify it, what becomes of it. The same rules of layout.
 */
#ifndef EBM_ABI_RULES_H
#define EBM_ABI_RULES_H

#include <linux/types.h>

enum ebm_rules_limit {
	EBM_RULES_UNSPEC = 0,
	EBM_RULES_MAX = 10240,
	EBM_RULES_BLOCK = 1024, /* counters of rules in one element of ebm_rule_stats */
	EBM_RULES_VIEWS = 4, /* of a frame: as it is, and behind one, two and three `vlan` */
	EBM_RULES_TREES = 8,
	EBM_RULES_SMALL = 1 << 10, /* nodes of a table, by its size */
	EBM_RULES_MEDIUM = 1 << 15,
	EBM_RULES_LARGE = 1 << 20,
	EBM_RULES_STEPS = 4096, /* nodes on a frame's way through all trees, at most */
	EBM_RULES_CAPTURED = 58, /* bytes: no field of a frame's first view ends behind it; each `vlan` moves them by four */
	EBM_RULES_TRANSPORT = 14, /* bytes behind the IPv4 header: no field ends behind them */
};

/*
 * The words of a frame's key, 32 bits each, host order: what the nodes of the rules' tables compare. First those of the whole
 * frame, then EBM_FIELD_VIEW_WORDS for each view. A field that the frame is too short for, or that its protocol has not, is 0:
 * rules compare CAPTURED and TRANSPORT as well, and ETHER_TYPE and PROTOCOL.
 */
enum ebm_field {
	EBM_FIELD_DIRECTION = 0, /* enum ebm_direction */
	EBM_FIELD_INTERFACE = 1, /* ifindex */
	EBM_FIELD_LENGTH = 2, /* bytes of the frame, tags included; of a super-packet, of all of it */
	EBM_FIELD_CAPTURED = 3, /* bytes that can be read, at most EBM_RULES_CAPTURED + 4 a `vlan` */
	EBM_FIELD_DST_MAC_HIGH = 4, /* its first two bytes; 0x10000 is added when it is a group's */
	EBM_FIELD_DST_MAC_LOW = 5, /* its last four */
	EBM_FIELD_SRC_MAC_HIGH = 6, /* its first two bytes */
	EBM_FIELD_SRC_MAC_LOW = 7,
	EBM_FIELD_VIEW = 8, /* where the first view begins */
	EBM_FIELD_VIEW_WORDS = 16,
	EBM_FIELD_WORDS = 8 + 4 * 16,
};

/* The words of a view, counted from its first. A view begins 4 bytes a `vlan` behind the one before, whether there is a tag
 * or not: libpcap moves its offsets so. */
enum ebm_view {
	EBM_VIEW_ETHER_TYPE = 0,
	EBM_VIEW_VLAN = 1, /* VID, where ETHER_TYPE is a tag's */
	EBM_VIEW_PROTOCOL = 2, /* IPv4's protocol; IPv6's next header, of the fixed header alone */
	EBM_VIEW_FRAGMENT = 3, /* IPv4: 1 when the offset is not 0; IPv6: the next header behind a fragment header, where PROTOCOL is that */
	EBM_VIEW_SRC = 4, /* four words; IPv4, ARP and RARP have one */
	EBM_VIEW_DST = 8,
	EBM_VIEW_SPORT = 12, /* of TCP, UDP and SCTP; ICMP's type. Of IPv4 where FRAGMENT is 0 */
	EBM_VIEW_DPORT = 13, /* the same; ICMP's code */
	EBM_VIEW_TCP_FLAGS = 14, /* byte 13 of TCP's header over IPv4 */
	EBM_VIEW_TRANSPORT = 15, /* bytes that can be read behind IPv4's header, at most EBM_RULES_TRANSPORT */
};

/* ebm_config.uses: what the rules look at. The rest of the key stays 0. */
enum ebm_use {
	EBM_USE_UNSPEC = 0,
	EBM_USE_MAC = 1,
	EBM_USE_LENGTH = 2,
	EBM_USE_ADDRESSES = 4,
	EBM_USE_PORTS = 8, /* and ICMP's type and code */
	EBM_USE_TCP_FLAGS = 16,
	EBM_USE_INTERFACE = 32, /* and the direction */
};

/*
 * A node of a table: key[word] << shift lies in low .. low + span, or not, and the way goes on. A way that ends names the
 * rule by its rank, or EBM_NODE_NONE.
 */
enum ebm_node_bits {
	EBM_NODE_UNSPEC = 0,
	EBM_NODE_TARGET = 0xffffff, /* of yes and no: a node's number, or a rank */
	EBM_NODE_NONE = 0xffffff, /* in the place of a rank: no rule */
	EBM_NODE_END = 1 << 24, /* of yes and no: the target is a rank */
	EBM_NODE_WORD_SHIFT = 25, /* of yes: enum ebm_field */
	EBM_NODE_LEFT_SHIFT = 25, /* of no: by how many bits the word is shifted to the left */
};

struct ebm_node {
	__u32 low;
	__u32 span; /* the largest value, minus low */
	__u32 yes; /* enum ebm_node_bits */
	__u32 no;
};

/* Where a tree begins: all trees are asked, and the rule of the lowest rank is the one; a tree whose best is worse is left out. */
struct ebm_root {
	__u32 node; /* EBM_NODE_END set: a tree of no node */
	__u32 rank; /* the lowest in the tree */
};

/*
 * Sieves TCP, UDP and ICMP before anything is looked up: a bit for each of up to 64 boxes in which all table entries lie, and for each
 * value of each byte below, the boxes that it may belong to. Where no box has all bytes of a flow there is no rule for it. Where
 * one has, there may still be none.
 */
enum ebm_sieve_row {
	EBM_SIEVE_SRC = 0, /* four rows, the first byte first; of IPv4 alone, as all addresses here */
	EBM_SIEVE_DST = 4,
	EBM_SIEVE_SPORT = 8, /* two; ICMP's type */
	EBM_SIEVE_DPORT = 10, /* two; ICMP's code */
	EBM_SIEVE_PROTOCOL = 12, /* over IPv6, EBM_SIEVE_SIX is added */
	EBM_SIEVE_ROWS = 13,
	EBM_SIEVE_SIX = 128,
	EBM_SIEVE_VALUES = 256, /* in a row */
};

/* ebm_sieves, one element a generation. */
struct ebm_sieve {
	__u64 allowed[EBM_SIEVE_ROWS * EBM_SIEVE_VALUES];
};

/* The size of a generation's table. */
enum ebm_table {
	EBM_TABLE_UNSPEC = 0, /* none */
	EBM_TABLE_SMALL = 1,
	EBM_TABLE_MEDIUM = 2,
	EBM_TABLE_LARGE = 3,
};

enum ebm_rule_flag {
	EBM_RULE_FLAG_UNSPEC = 0,
	EBM_RULE_FLAG_MIRROR = 1, /* else skip */
};

/* ebm_rules, EBM_RULES_MAX elements a generation, by rank. */
struct ebm_rule {
	__u64 peers; /* by slot */
	__u64 groups; /* by number in ebm_config; peers and groups 0: every group */
	__u32 snaplen_bytes; /* 0 = all of the frame */
	__u32 sample; /* of a frame's sampling hash: at most this; all ones: every frame */
	__u32 counter; /* its slot in ebm_rule_stats, the same as long as the rule exists */
	__u32 flags; /* enum ebm_rule_flag */
};

/* The unit is the original frame on the wire: a super-packet counts its segments. */
struct ebm_counter {
	__u64 packets;
	__u64 bytes;
};

/* ebm_rule_stats: block after block of EBM_RULES_MAX, then the other bank's. */
struct ebm_rule_stats {
	struct ebm_counter matched[EBM_RULES_BLOCK];
};

_Static_assert(sizeof(struct ebm_node) == 16, "ABI");
_Static_assert(sizeof(struct ebm_sieve) == 13 * 2048, "ABI");
_Static_assert(sizeof(struct ebm_rule) == 32, "ABI");
_Static_assert(EBM_RULES_MAX % EBM_RULES_BLOCK == 0, "ABI");
_Static_assert(EBM_FIELD_WORDS == EBM_FIELD_VIEW + EBM_RULES_VIEWS * EBM_FIELD_VIEW_WORDS, "ABI");

#endif
