/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The Internet checksum (RFC 1071) and its update when one word changes (RFC 1624). */
#pragma once

#include "kernel.h"

static __always_inline __u16 fold_checksum(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* RFC 1624 equation 3: HC' = ~(~HC + ~m + m'). The words are as they lie in the packet, so byte
 * order does not matter. */
static __always_inline __u16 replace_in_checksum(__u16 checksum, __u16 before, __u16 after)
{
	return fold_checksum((__u16)~checksum + (__u16)~before + after);
}
