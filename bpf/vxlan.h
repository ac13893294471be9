/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * VXLAN, RFC 7348, section 5: 8 bytes behind UDP. Flags 0x08 (the VNI is valid), 24 reserved bits, the VNI, 8 reserved
 * bits. What is reserved is zero on transmission: collectors drop what is not.
 */
#ifndef EBM_VXLAN_H
#define EBM_VXLAN_H

#include "bpf.h"

struct vxlan_header {
	__u8 flags;
	__u8 reserved1[3];
	__be32 vni_reserved2;
};

_Static_assert(sizeof(struct vxlan_header) == 8, "RFC 7348, section 5");

#define VXLAN_FLAG_VNI 0x08

/* `vni` in host order, 24 bits. */
static __always_inline void vxlan_write(struct vxlan_header *vxlan, __u32 vni)
{
	__builtin_memset(vxlan, 0, sizeof(*vxlan));
	vxlan->flags = VXLAN_FLAG_VNI;
	vxlan->vni_reserved2 = bpf_htonl(vni << 8);
}

#endif
