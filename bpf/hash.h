/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Which flow it is, in one number that is the same in both directions, on every CPU and host. */
#ifndef EBM_HASH_H
#define EBM_HASH_H

#include "bpf.h"

/* The finaliser of MurmurHash3: each input bit changes each output bit with a probability near one half. */
static __always_inline __u32 parse_mix(__u32 h)
{
	h ^= h >> 16;
	h *= 0x85ebca6b;
	h ^= h >> 13;
	h *= 0xc2b2ae35;
	h ^= h >> 16;
	return h;
}

/*
 * The ends of a flow, each a number of 64 bits, and what is between them. Odd constants spread the words of an end over all bits, so
 * that sum and exclusive or of two ends, which do not tell which is which, are those of no other pair: of the plain addresses
 * they are, wherever hosts of two networks talk to each other, as two addresses may exchange any of their bits.
 */
struct parse_ends {
	__u64 source, dest;
	__u32 kind; /* protocol, or type of Ethernet */
};

#define PARSE_MIX1 0x9e3779b97f4a7c15ULL
#define PARSE_MIX2 0xc2b2ae3d27d4eb4fULL
#define PARSE_MIX3 0x165667b19e3779f9ULL
#define PARSE_MIX4 0xd6e8feb86659fd93ULL
#define PARSE_MIX5 0xa0761d6478bd642fULL

static __always_inline void parse_ends(struct parse_ends *ends, __u32 kind, __u32 source, __u32 dest)
{
	ends->kind = kind;
	ends->source = source * PARSE_MIX1;
	ends->dest = dest * PARSE_MIX1;
}

/* `addresses`: as in an IPv6 header. */
static __always_inline void parse_ends6(struct parse_ends *ends, __u32 kind, const __u64 *addresses)
{
	ends->kind = kind;
	ends->source = addresses[0] * PARSE_MIX1 + addresses[1] * PARSE_MIX5;
	ends->dest = addresses[2] * PARSE_MIX1 + addresses[3] * PARSE_MIX5;
}

static __always_inline void parse_ports(struct parse_ends *ends, __u16 source, __u16 dest)
{
	ends->source += source * PARSE_MIX2;
	ends->dest += dest * PARSE_MIX2;
}

/* Of the flow, the same in both directions. */
static __always_inline __u32 parse_hash(const struct parse_ends *ends)
{
	__u64 hash = (ends->source ^ ends->dest) * PARSE_MIX3 + (ends->source + ends->dest) + ends->kind * PARSE_MIX4;

	hash ^= hash >> 32;
	return hash * PARSE_MIX4 >> 32;
}

#endif
