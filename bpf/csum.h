/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The Internet checksum (RFC 1071), over words as they lie in memory: one's complement sums do not care for byte order. */
#ifndef EBM_CSUM_H
#define EBM_CSUM_H

#include "bpf.h"

/* The unfolded sum of `length` bytes, which is even. */
static __always_inline __u32 csum_words(const void *data, __u32 length)
{
	const __u8 *bytes = data;
	__u32 sum = 0;

	for (__u32 i = 0; i < length; i += 2) {
		__u16 word;

		__builtin_memcpy(&word, bytes + i, sizeof(word));
		sum += word;
	}
	return sum;
}

/* Folds until nothing carries: after one fold some sums still do. */
static __always_inline __u16 csum_fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

#endif
