/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Equal-cost multi-path: a flow takes one of the members of a composite next hop, and keeps it.
 *
 * The port's row of the flow remembers the member, for as long as that is one; so only the flows of
 * a member that goes away choose again. What began at the far end goes back where it came from. */
#pragma once

#include "flow.h"
#include "kernel.h"
#include "member.h"
#include "parse.h"
#include "tables.gen.h"

/* The member for a packet from a port, which its policy let pass; 0 when there is none. */
__noinline int choose_member(struct packet *packet, const struct interface *port,
			     __u32 next_hop_id, __u32 seed)
{
	struct next_hop *next_hop = find_next_hop(next_hop_id);
	struct flow *flow = NULL;
	struct flow_key key = {};
	__u32 member;

	if (!packet || !port || !next_hop || !next_hop->members)
		return 0;
	if (port->flags & INTERFACE_POLICY) {
		key_of(&key, packet, port, true);
		flow = bpf_map_lookup_elem(&flows, &key);
		if (flow && flow->member && is_member(next_hop_id, flow->member))
			return flow->member;
	}
	member = member_at(next_hop_id,
			   flow_hash(packet, next_hop->flags, seed) % next_hop->members);
	if (flow)
		flow->member = member;
	return member;
}

/* Which of the ports here a packet to several is for: the one that has its flow. */
struct receiver {
	const struct packet *packet;
	__u32 next_hop;
	__u32 found;
};

static long try_receiver(__u32 index, void *context)
{
	struct receiver *receiver = context;
	__u32 member = member_at(receiver->next_hop, index);
	struct next_hop *next_hop = find_next_hop(member);
	struct flow_key key = {};
	struct interface *port;
	struct flow *flow;

	if (!next_hop || next_hop->type != NEXT_HOP_INTERFACE)
		return 0;
	port = find_port(next_hop->ifindex);
	if (!port)
		return 0;
	key_of(&key, receiver->packet, port, false);
	flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow || flow->action != ACL_PASS || is_idle(flow, key.protocol, receiver->packet->now_ns))
		return 0;
	receiver->found = member;
	return 1;
}

/* The member for a packet from another host: one that is here; 0 when there is none. */
__noinline int choose_local_member(struct packet *packet, __u32 next_hop_id, __u32 seed)
{
	struct next_hop *next_hop = find_next_hop(next_hop_id);
	struct receiver receiver = {.packet = packet, .next_hop = next_hop_id};

	if (!packet || !next_hop || !next_hop->local_members)
		return 0;
	bpf_loop(next_hop->local_members, try_receiver, &receiver, 0);
	if (receiver.found)
		return receiver.found;
	return member_at(next_hop_id,
			 flow_hash(packet, next_hop->flags, seed) % next_hop->local_members);
}
