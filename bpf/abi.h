/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Every type that crosses the border between the datapath and user space: what the pinned maps hold.
 *
 * The Rust side gets these through the skeleton, so they are written once. Rules that keep it so:
 * integers in wire order end in _be, addresses are bytes in wire order, enums start at _UNSPEC = 0, no
 * anonymous unions, no padding that is not named. A number that has been given to a reason, a direction
 * or a tunnel is never given to another one. A change of layout raises EBM_SCHEMA.
 */
#ifndef EBM_ABI_H
#define EBM_ABI_H

#include <linux/types.h>
#include "abi_rules.h"

/* Layout of the pinned maps. Pins of another schema are refused, never guessed at. */
enum ebm_schema {
	EBM_SCHEMA_UNSPEC = 0,
	EBM_SCHEMA_CURRENT = 6,
};

enum ebm_limit {
	EBM_LIMIT_UNSPEC = 0,
	EBM_LIMIT_GENERATIONS = 2, /* one in use, one being built */
	EBM_LIMIT_BANKS = 2,	   /* of counters: one in use, one for the next reset */
	EBM_LIMIT_PEERS = 64,	   /* one bit each in a 64-bit set */
	EBM_LIMIT_INTERFACES = 256,
	EBM_LIMIT_BUCKETS = 1024, /* interface table: a load of 1/4 keeps probe sequences short */
	EBM_LIMIT_PROBES = 16,	  /* longest probe sequence in it */
	EBM_LIMIT_REASONS = 16,
	EBM_LIMIT_NAME = 32, /* bytes of a peer's or group's name, with its terminating zero */
	EBM_LIMIT_RATE_SHIFT = 16, /* of ebm_peer.rate_cost: binary places behind the nanosecond */
};

enum ebm_direction {
	EBM_DIRECTION_UNSPEC = 0,
	EBM_DIRECTION_INGRESS = 1,
	EBM_DIRECTION_EGRESS = 2,
	EBM_DIRECTION_BOTH = 3,
};

enum ebm_tunnel {
	EBM_TUNNEL_UNSPEC = 0,
	EBM_TUNNEL_VXLAN = 1, /* RFC 7348 */
	EBM_TUNNEL_GENEVE = 2, /* RFC 8926 */
	EBM_TUNNEL_GRE = 3, /* RFC 2784 and 2890, transparent Ethernet bridging */
	EBM_TUNNEL_ERSPAN2 = 4,
	EBM_TUNNEL_ERSPAN3 = 5,
	EBM_TUNNEL_SPAN = 6, /* the plain frame to a local device */
};

/* What becomes of a copy that does not fit the path. */
enum ebm_oversize {
	EBM_OVERSIZE_UNSPEC = 0,
	EBM_OVERSIZE_FRAGMENT = 1,
	EBM_OVERSIZE_TRUNCATE = 2,
	EBM_OVERSIZE_DROP = 3,
};

/* What becomes of a TCP super-packet. */
enum ebm_gso {
	EBM_GSO_UNSPEC = 0,
	EBM_GSO_FAST = 1, /* grown as it is */
	EBM_GSO_WIRE = 2, /* cut into the segments that were on the wire first */
};

/* Why a copy did not leave. */
enum ebm_reason {
	EBM_REASON_UNSPEC = 0,
	EBM_REASON_NO_ROUTE = 1,
	EBM_REASON_NO_NEIGHBOUR = 2,
	EBM_REASON_FORWARDING_OFF = 3,
	EBM_REASON_TOO_BIG = 4,	     /* does not fit the path */
	EBM_REASON_NO_ROOM = 5,	     /* the kernel cannot grow this packet */
	EBM_REASON_RATE = 6,
	EBM_REASON_LOOP = 7,	     /* the route leads back into the stage */
	EBM_REASON_STAGE_FULL = 8,
	EBM_REASON_NOT_ETHERNET = 9,
	EBM_REASON_NO_MEMORY = 10,
};

/* The word that the tap reads once a frame: which generation and which bank of counters are in use. */
enum ebm_active {
	EBM_ACTIVE_UNSPEC = 0,
	EBM_ACTIVE_GENERATION = 1, /* bit 0 */
	EBM_ACTIVE_BANK = 2,	   /* bit 1 */
};

enum ebm_peer_flag {
	EBM_PEER_FLAG_UNSPEC = 0,
	EBM_PEER_FLAG_LOCAL_AUTO = 1, /* local was chosen by the route, not by the user */
	EBM_PEER_FLAG_KEY = 2, /* GRE: the header has a key */
	EBM_PEER_FLAG_HOST = 4, /* the collector is this host itself */
	EBM_PEER_FLAG_RATE_PACKETS = 8, /* the rate is in frames, not in bits a second */
};

/* ebm_control, one element, mapped into user space: `active` is changed by one aligned store. */
struct ebm_control {
	__u32 active;	     /* enum ebm_active */
	__u32 mark;	     /* of this instance's copies; never 0 */
	__u32 stage_ifindex; /* the bridge */
	__u32 layer3_ifindex; /* the tun device for taps on devices without an Ethernet header; 0 = none yet */
};

/* ebm_meta, one element: read and written by user space alone. */
struct ebm_meta {
	__u32 schema; /* enum ebm_schema */
	__u32 next_version;
	__u64 netns_cookie;
	__u64 build; /* which datapath the pinned programs are */
	__u8 tc_mode; /* 1: cls_bpf, 0: TCX */
	__u8 reserved[7];
};

/*
 * ebm_config, one element a generation. A frame is copied to each group; inside one, its flow decides which member gets
 * it. A peer without a group is a group of one.
 */
struct ebm_config {
	__u32 group_count; /* the destinations of a frame */
	__u32 peer_count;
	__u32 only_version; /* of the peer that gets every copy, where there is but one; else 0 */
	__u32 only_slot;    /* its slot */
	__u32 rule_count; /* 0: no key is made; the default decides */
	__u32 stamp; /* new with every change of the tables; what is cached under another is void. Never 0 where there are rules */
	__u32 uses; /* enum ebm_use */
	__u8 table; /* enum ebm_table */
	__u8 views; /* beyond the first */
	__u8 skip; /* 1: a frame that no rule matches is skipped */
	__u8 root_count;
	__u32 sieve; /* 1: ask ebm_sieves first; 0: there are too many boxes, or they have nearly everything */
	/* Up to here it is what frames need of it, close together, as long as there is one peer and no rule. */
	__u8 first[EBM_LIMIT_PEERS]; /* of a group: where its members begin */
	__u8 count[EBM_LIMIT_PEERS]; /* of a group: its members, at least one */
	__u8 members[EBM_LIMIT_PEERS]; /* peer slots, group by group: every peer once */
	struct ebm_root roots[EBM_RULES_TREES]; /* by rising rank */
};

/* ebm_peers, EBM_LIMIT_PEERS elements a generation. A slot whose version is 0 is free. */
struct ebm_peer {
	__u32 version; /* new with every change of the peer */
	__u32 flags;   /* enum ebm_peer_flag */
	__u8 name[EBM_LIMIT_NAME];
	__u8 group[EBM_LIMIT_NAME]; /* empty: none */
	__u8 local[16];		    /* IPv4 in the first four bytes */
	__u8 remote[16];
	__u32 key;	      /* VNI (24 bits), GRE key (32) or ERSPAN session (10), host order */
	__u32 dev_ifindex;    /* SPAN: the device; else the output device that the user wants; 0 = the route's */
	__u32 snaplen_bytes;  /* of the frame from its first MAC byte, tags included; 0 = all of it */
	__u32 reserved;
	__u64 rate;	      /* bits or frames a second, as the user gave it; 0 = no limit */
	__u64 rate_cost;      /* nanoseconds a byte or frame, << EBM_LIMIT_RATE_SHIFT */
	__u64 rate_burst_ns;
	__u16 port_be;	      /* UDP destination port; 0 for tunnels without */
	__u8 tunnel;	      /* enum ebm_tunnel */
	__u8 family;	      /* 4 or 6; 0 for SPAN */
	__u8 ttl;
	__u8 tos;	      /* DSCP << 2 */
	__u8 oversize;	      /* enum ebm_oversize */
	__u8 gso;	      /* enum ebm_gso */
};

/* ebm_ifaces, EBM_LIMIT_BUCKETS elements: open addressing by ifindex. A bucket whose ifindex is 0 is free. */
struct ebm_iface {
	__u32 ifindex;
	__u32 slot; /* of the counters, below EBM_LIMIT_INTERFACES */
	__u64 expires_ns; /* CLOCK_BOOTTIME; 0 = never */
	__u64 device_rx;  /* the device's own packet counters when ours began: does the tap see all? */
	__u64 device_tx;
	__u8 name[16];
	__u8 directions;  /* enum ebm_direction, both = 3 */
	__u8 clsact_ours; /* 1: we made the qdisc, and take it away when nobody uses it; 2: as long as our filter is in it */
	__u8 leased;	  /* 1: by a command that renews expires_ns as long as it runs */
	__u8 quiet;	  /* directions in which one tap is being exchanged for another: neither counts */
	__u32 stopped;	  /* 1: the tap found that its clones go to a device that is not the stage */
	__u8 layer3;	  /* 1: the device has no Ethernet header */
	__u8 reserved[7];
};

/* ebm_if_stats: seen = own + skipped + selected; selected = cloned + lost. */
struct ebm_iface_stats {
	struct ebm_counter seen;
	struct ebm_counter own;
	struct ebm_counter skipped;
	struct ebm_counter selected;
	struct ebm_counter cloned;
	struct ebm_counter lost;
	struct ebm_counter copies; /* destinations asked for, over the cloned frames */
};

/* ebm_peer_stats: selected = sent + sum of lost; truncated is a part of sent. */
struct ebm_peer_stats {
	struct ebm_counter selected;
	struct ebm_counter sent;
	struct ebm_counter truncated;
	struct ebm_counter lost[EBM_LIMIT_REASONS]; /* by enum ebm_reason */
};

/* ebm_losses: one a peer and CPU. */
struct ebm_loss {
	__u64 boot_ns; /* CLOCK_BOOTTIME; 0 = none so far */
	__u32 reason;  /* enum ebm_reason */
	__u32 reserved;
};

_Static_assert(sizeof(struct ebm_loss) == 16, "ABI");
_Static_assert(sizeof(struct ebm_control) == 16, "ABI");
_Static_assert(sizeof(struct ebm_meta) == 32, "ABI");
_Static_assert(sizeof(struct ebm_config) == 292, "ABI");
_Static_assert(sizeof(struct ebm_peer) == 152, "ABI");
_Static_assert(sizeof(struct ebm_iface) == 64, "ABI");
_Static_assert(sizeof(struct ebm_iface_stats) == 7 * 16, "ABI");
_Static_assert(sizeof(struct ebm_peer_stats) == (3 + EBM_LIMIT_REASONS) * 16, "ABI");

#endif
