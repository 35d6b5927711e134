/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Addresses of either IP version in one shape (see tables.gen.h). */
#pragma once

#include "kernel.h"
#include "tables.gen.h"

static __always_inline void set_ipv4(struct address *address, __be32 value)
{
	address->words[0] = 0;
	address->words[1] = 0;
	address->words[2] = bpf_htonl(0xffff);
	address->words[3] = value;
}

static __always_inline bool is_same_address(const struct address *one, const struct address *other)
{
	return !((one->words[0] ^ other->words[0]) | (one->words[1] ^ other->words[1]) |
		 (one->words[2] ^ other->words[2]) | (one->words[3] ^ other->words[3]));
}

static __always_inline bool is_zero_address(const struct address *address)
{
	return !(address->words[0] | address->words[1] | address->words[2] | address->words[3]);
}

/* Neither multicast (224/4, ff00::/8) nor the limited broadcast address nor unspecified. */
static __always_inline bool is_unicast(const struct address *address, __u8 version)
{
	__be32 word = address->words[3];

	if (version == 4)
		return word && (word & bpf_htonl(0xf0000000)) != bpf_htonl(0xe0000000) &&
		       word != bpf_htonl(0xffffffff);
	return !is_zero_address(address) &&
	       (address->words[0] & bpf_htonl(0xff000000)) != bpf_htonl(0xff000000);
}

/* One word of all four: an IPv4 address itself. */
static __always_inline __be32 fold_address(const struct address *address)
{
	return address->words[0] ^ address->words[1] ^ address->words[2] ^ address->words[3] ^
	       bpf_htonl(0xffff);
}

/* fe80::/10, which is never routed. */
static __always_inline bool is_link_local(const struct address *address)
{
	return (address->words[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

static __always_inline bool is_gateway_link_local(const struct address *address)
{
	const struct address gateway = {{
		bpf_htonl(GATEWAY_LINK_LOCAL_WORD0),
		bpf_htonl(GATEWAY_LINK_LOCAL_WORD1),
		bpf_htonl(GATEWAY_LINK_LOCAL_WORD2),
		bpf_htonl(GATEWAY_LINK_LOCAL_WORD3),
	}};

	return is_same_address(address, &gateway);
}
