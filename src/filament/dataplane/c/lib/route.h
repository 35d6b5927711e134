/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Routes and next hops. */
#pragma once

#include "address.h"
#include "kernel.h"
#include "tables.gen.h"

/* The longest prefix of the VRF that holds `address`, or NULL. */
static __always_inline struct route *find_route(__u32 vrf, const struct address *address,
						__u8 version)
{
	if (version == 4) {
		struct route_key key = {
			.prefix_length = 64,
			.vrf = bpf_htonl(vrf),
			.address = address->words[3],
		};

		return bpf_map_lookup_elem(&routes, &key);
	} else {
		struct routes6_key key = {
			.prefix_length = 160,
			.vrf = bpf_htonl(vrf),
			.address = *address,
		};

		/* Its rows have the shape of `routes`. */
		return bpf_map_lookup_elem(&routes6, &key);
	}
}
_Static_assert(sizeof(struct route) == sizeof(struct routes6), "routes and routes6 differ");

/* The next hop, or NULL: a row of zeros is an absent one. */
static __always_inline struct next_hop *find_next_hop(__u32 id)
{
	struct next_hop_key key = {.id = id};
	struct next_hop *next_hop = bpf_map_lookup_elem(&next_hops, &key);

	return next_hop && next_hop->type ? next_hop : NULL;
}

static __always_inline struct interface *find_port(__u32 ifindex)
{
	struct interface_key key = {.ifindex = ifindex};

	return bpf_map_lookup_elem(&interfaces, &key);
}
