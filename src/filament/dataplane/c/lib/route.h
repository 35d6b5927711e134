/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Routes and next hops. */
#pragma once

#include "kernel.h"
#include "tables.gen.h"

/* The longest prefix of the VRF that holds `address`, or NULL. */
static __always_inline struct route *find_route(__u32 vrf, __be32 address)
{
	struct route_key key = {.prefix_length = 64, .vrf = bpf_htonl(vrf), .address = address};

	return bpf_map_lookup_elem(&routes, &key);
}

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
