/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Members of composite next hops: which there are, and what chooses among them. */
#pragma once

#include "address.h"
#include "kernel.h"
#include "parse.h"
#include "route.h"
#include "tables.gen.h"

static __always_inline __u32 rotate(__u32 word, __u32 by)
{
	return word << by | word >> (32 - by);
}

/* What the fields of a packet that a composite looks at come to. `seed` is the host's own, so that
 * hosts one behind the other do not all choose alike. */
static __always_inline __u32 flow_hash(const struct packet *packet, __u32 fields, __u32 seed)
{
	__u32 hash = seed, ports = 0;

	if (fields & ECMP_SOURCE)
		hash ^= bpf_ntohl(fold_address(&packet->source));
	hash = rotate(hash * 0x9e3779b1u, 15);
	if (fields & ECMP_DESTINATION)
		hash ^= bpf_ntohl(fold_address(&packet->destination));
	hash *= 0x85ebca6bu;
	/* Fragments of a packet belong together, and not all have ports. */
	if (!packet->is_fragment) {
		if (fields & ECMP_SOURCE_PORT)
			ports |= (__u32)bpf_ntohs(packet->source_port) << 16;
		if (fields & ECMP_DESTINATION_PORT)
			ports |= bpf_ntohs(packet->destination_port);
	}
	hash = rotate(hash ^ ports, 13);
	if (fields & ECMP_PROTOCOL)
		hash ^= packet->protocol;
	/* Every bit of the fields must reach the lowest ones, which decide between two members. */
	hash = (hash ^ hash >> 16) * 0x85ebca6bu;
	hash = (hash ^ hash >> 13) * 0xc2b2ae35u;
	return hash ^ hash >> 16;
}

/* The member at a position; 0 when there is none. */
static __always_inline __u32 member_at(__u32 next_hop_id, __u32 index)
{
	struct member_key key = {.next_hop = next_hop_id, .index = index};
	struct member *member = bpf_map_lookup_elem(&members, &key);

	return member ? member->member : 0;
}

static __always_inline bool is_member(__u32 next_hop_id, __u32 member)
{
	struct place_key key = {.next_hop = next_hop_id, .member = member};

	return bpf_map_lookup_elem(&places, &key);
}

/* Whether a route leads to a port, alone or among others. */
static __always_inline bool leads_to(const struct route *route, const struct interface *port)
{
	return route->next_hop == port->next_hop || is_member(route->next_hop, port->next_hop);
}

/* Where a packet to a port came from, and the member of a composite that leads there. */
struct origin {
	__u32 next_hop;
	__be32 outer_source; /* of a packet from another host */
	__u32 sender_hop; /* of a packet from a port here */
	__u32 found;
};

static long try_origin(__u32 index, void *context)
{
	struct origin *origin = context;
	__u32 member = member_at(origin->next_hop, index);
	struct next_hop *next_hop = find_next_hop(member);

	if (!next_hop)
		return 0;
	if (next_hop->type == NEXT_HOP_TUNNEL
		    ? !origin->outer_source || next_hop->remote != origin->outer_source
		    : member != origin->sender_hop)
		return 0;
	origin->found = member;
	return 1;
}

/* The member of a composite that a packet came from; 0 when there is none, or no composite. */
__noinline int member_from(__u32 next_hop_id, __be32 outer_source, __u32 sender_hop)
{
	struct origin origin = {
		.next_hop = next_hop_id,
		.outer_source = outer_source,
		.sender_hop = sender_hop,
	};
	struct next_hop *next_hop = find_next_hop(next_hop_id);

	if (next_hop && next_hop->type == NEXT_HOP_COMPOSITE)
		bpf_loop(next_hop->members, try_origin, &origin, 0);
	return origin.found;
}
