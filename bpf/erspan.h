/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * ERSPAN types II and III (draft-foschiano-erspan-03, sections 4.2 and 4.3): behind GRE with a sequence number, 8 or 12
 * bytes that tell the session, the outermost VLAN tag, whether the frame was cut, its direction, and, in type III, when
 * it was seen.
 */
#ifndef EBM_ERSPAN_H
#define EBM_ERSPAN_H

#include "bpf.h"

#define ERSPAN2_PROTOCOL 0x88be
#define ERSPAN3_PROTOCOL 0x22eb
#define ERSPAN_SESSION_MASK 0x3ff

struct erspan_header {
	__be16 version_vlan; /* 4 bits: 1 = type II, 2 = type III; 12 bits: the VID */
	__be16 cos_session;  /* COS 3, En or BSO 2, T 1, session 10 */
	__be32 word;	     /* type II: reserved 12, index 20; type III: timestamp */
	__be16 sgt;	     /* type III alone, as the next */
	__be16 flags;	     /* P 1, FT 5, hardware ID 6, D 1, Gra 2, O 1 */
};

_Static_assert(sizeof(struct erspan_header) == 12, "draft-foschiano-erspan-03, section 4.3");

#define ERSPAN2_LENGTH 8
#define ERSPAN3_LENGTH 12
#define ERSPAN3_SUBHEADER_LENGTH 8 /* where O is set */
#define ERSPAN_COS_SHIFT 13
#define ERSPAN2_TAG_KEPT 0x1800 /* En = 3: the frame still has its tag */
#define ERSPAN_TRUNCATED 0x0400
#define ERSPAN3_ETHERNET 0x8000 /* P: an Ethernet frame, FT = 0 */
#define ERSPAN3_EGRESS 0x0008	/* D */
#define ERSPAN3_GRA_100NS 0x0002
#define ERSPAN3_SUBHEADER 0x0001 /* O */
#define ERSPAN3_TICK_NS 100

/* What the header tells of a frame. */
struct erspan_frame {
	__u16 tci; /* of the outermost tag, host order */
	bool tagged;
	bool truncated;
	bool egress;
};

static __always_inline void erspan_write(struct erspan_header *erspan, bool third, __u32 session,
					 const struct erspan_frame *frame)
{
	__u16 vlan = frame->tagged ? frame->tci & 0x0fff : 0;
	__u16 cos = frame->tagged ? frame->tci >> 13 : 0;
	__u16 word = cos << ERSPAN_COS_SHIFT | (session & ERSPAN_SESSION_MASK);

	if (frame->truncated)
		word |= ERSPAN_TRUNCATED;
	if (third) {
		erspan->word = bpf_htonl((__u32)(bpf_ktime_get_tai_ns() / ERSPAN3_TICK_NS));
		erspan->sgt = 0;
		erspan->flags = bpf_htons(ERSPAN3_ETHERNET | ERSPAN3_GRA_100NS | (frame->egress ? ERSPAN3_EGRESS : 0));
	} else {
		if (frame->tagged)
			word |= ERSPAN2_TAG_KEPT;
		/* The index belongs to port and direction; its use is the platform's. */
		erspan->word = bpf_htonl(frame->egress);
	}
	erspan->version_vlan = bpf_htons((third ? 2 : 1) << 12 | vlan);
	erspan->cos_session = bpf_htons(word);
}

#endif
