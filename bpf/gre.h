/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * GRE, RFC 2784, section 2.1, with the key and the sequence number of RFC 2890, section 2: four bytes, and four for each
 * of the two that is there. No checksum. Version and reserved bits are zero.
 */
#ifndef EBM_GRE_H
#define EBM_GRE_H

#include "bpf.h"

struct gre_header {
	__be16 flags_version;
	__be16 protocol;
	__be32 option; /* the key or the sequence number; not there without its flag */
};

_Static_assert(sizeof(struct gre_header) == 8, "RFC 2890, section 2");

#define GRE_LENGTH 4	    /* without an option */
#define GRE_CHECKSUM 0x8000 /* in host order */
#define GRE_KEY 0x2000
#define GRE_SEQUENCE 0x1000
#define GRE_VERSION_MASK 0x0007

/* `option` in host order; written only where a flag asks for it. */
static __always_inline void gre_write(struct gre_header *gre, __u16 flags, __u16 protocol, __u32 option)
{
	gre->flags_version = bpf_htons(flags);
	gre->protocol = bpf_htons(protocol);
	if (flags)
		gre->option = bpf_htonl(option);
}

#endif
