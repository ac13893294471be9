/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * GENEVE, RFC 8926, section 3.4: 8 bytes behind UDP. Version 0, no options, O and C clear, the protocol type of what is
 * inside, the VNI, 8 reserved bits, which are zero on transmission.
 */
#ifndef EBM_GENEVE_H
#define EBM_GENEVE_H

#include "bpf.h"

struct geneve_header {
	__u8 version_length; /* 2 bits, 6 bits: options in units of 4 bytes */
	__u8 flags;
	__be16 protocol;
	__be32 vni_reserved;
};

_Static_assert(sizeof(struct geneve_header) == 8, "RFC 8926, section 3.4");

#define GENEVE_LENGTH_MASK 0x3f
#define GENEVE_VERSION_MASK 0xc0

/* `vni` in host order, 24 bits. */
static __always_inline void geneve_write(struct geneve_header *geneve, __u32 vni)
{
	geneve->version_length = 0;
	geneve->flags = 0;
	geneve->protocol = bpf_htons(ETH_P_TEB);
	geneve->vni_reserved = bpf_htonl(vni << 8);
}

#endif
