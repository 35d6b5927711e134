/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The flow table: per port and packet tuple, the verdict of the port's ACL.
 *
 * A verdict holds for the policy generation and the ACL it was given under; otherwise the packet is
 * judged again. The first packet of an allowed flow also enters the reverse tuple, marked
 * FLOW_RESPONDER: answers are judged as what they answer. Where the answer's own direction is
 * allowed too when the flow's no longer is, the answerer becomes the one who started. */
#pragma once

#include "kernel.h"
#include "parse.h"
#include "policy.h"
#include "route.h"
#include "tables.gen.h"

static __always_inline void key_of(struct flow_key *key, const struct packet *packet, __u32 vif)
{
	key->vif = vif;
	key->source = packet->source;
	key->destination = packet->destination;
	key->source_port = packet->source_port;
	key->destination_port = packet->destination_port;
	key->protocol = packet->protocol;
}

/* The tuple of the answers. What stands for ports in ICMP is the same in both directions. */
static __always_inline void reverse_key(struct flow_key *reverse, const struct flow_key *key)
{
	*reverse = *key;
	reverse->source = key->destination;
	reverse->destination = key->source;
	if (key->protocol != IPPROTO_ICMP) {
		reverse->source_port = key->destination_port;
		reverse->destination_port = key->source_port;
	}
}

/* A packet on its way from or to a port, and all that judging it takes. */
struct passage {
	struct flow_key key; /* of the packet */
	__u32 vrf;
	__u32 network; /* the port's */
	__u32 acl;
	__u32 generation;
	__u32 remote_network; /* of the route to the far address; to a port: looked up when needed */
	__u32 bytes;
	__u64 now_ns;
	bool is_from_port;
};

static __always_inline bool is_idle(const struct flow *flow, __u32 protocol, __u64 now_ns)
{
	/* Signed: another CPU's time may be a tick later than ours. */
	__s64 age_ns = now_ns - flow->last_seen_ns;

	return age_ns > (__s64)((protocol == IPPROTO_TCP ? FLOW_IDLE_TCP_S : FLOW_IDLE_S) * SECOND_NS);
}

static __always_inline bool is_current(const struct flow *flow, const struct passage *passage)
{
	return flow->generation == passage->generation && flow->acl == passage->acl &&
	       !is_idle(flow, passage->key.protocol, passage->now_ns);
}

/* Judge the packet's tuple, or with `as_answer` the tuple it answers, in the port's ACL. */
static __always_inline void judge_tuple(const struct passage *passage, struct question *asked,
					bool as_answer)
{
	/* Whether the flow judged goes out from the port. */
	bool outbound = passage->is_from_port != as_answer;
	struct flow_key tuple = passage->key;

	if (as_answer)
		reverse_key(&tuple, &passage->key);
	asked->acl = passage->acl;
	asked->source_network = outbound ? passage->network : passage->remote_network;
	asked->destination_network = outbound ? passage->remote_network : passage->network;
	asked->protocol = tuple.protocol;
	asked->source = tuple.source;
	asked->destination = tuple.destination;
	asked->source_port = bpf_ntohs(tuple.source_port);
	asked->destination_port = bpf_ntohs(tuple.destination_port);
	ask(asked);
}

/* Judge a packet that has no current entry, and enter the verdict. */
static __noinline bool judge(struct passage *passage)
{
	struct question asked = {};
	struct flow_key reverse = {};
	struct flow entry = {};
	struct flow *known, *partner;
	bool is_answer;

	if (!passage->is_from_port) {
		struct route *back = find_route(passage->vrf, passage->key.source);

		passage->remote_network = back ? back->network : 0;
	}
	reverse_key(&reverse, &passage->key);
	known = bpf_map_lookup_elem(&flows, &passage->key);
	partner = bpf_map_lookup_elem(&flows, &reverse);
	if (partner && is_idle(partner, reverse.protocol, passage->now_ns))
		partner = NULL;
	/* One-way flows keep their answers' entry alive. */
	if (known && !partner && is_idle(known, reverse.protocol, passage->now_ns))
		known = NULL;
	if (known) {
		entry = *known;
		is_answer = entry.flags & FLOW_RESPONDER;
	} else {
		/* This half may have been evicted. */
		is_answer = partner && partner->action == ACL_PASS &&
			    !(partner->flags & FLOW_RESPONDER);
	}
	if (is_answer) {
		judge_tuple(passage, &asked, true);
		if (asked.action != ACL_PASS) {
			struct question own = {};

			judge_tuple(passage, &own, false);
			if (own.action == ACL_PASS) {
				asked = own;
				is_answer = false;
			}
		}
	} else {
		judge_tuple(passage, &asked, false);
	}
	entry.packets++;
	entry.bytes += passage->bytes;
	entry.last_seen_ns = passage->now_ns;
	entry.generation = passage->generation;
	entry.acl = passage->acl;
	entry.rule = asked.rule;
	entry.action = asked.action;
	entry.flags = is_answer ? FLOW_RESPONDER : 0;
	/* Whole rows only: an LRU row may become another flow's while we look at it, which is good
	 * enough for statistics but not for verdicts. */
	bpf_map_update_elem(&flows, &passage->key, &entry, BPF_ANY);
	if (asked.action != ACL_PASS || is_answer)
		return asked.action == ACL_PASS;
	entry.packets = partner ? partner->packets : 0;
	entry.bytes = partner ? partner->bytes : 0;
	entry.last_seen_ns = partner ? partner->last_seen_ns : passage->now_ns;
	entry.flags = FLOW_RESPONDER;
	bpf_map_update_elem(&flows, &reverse, &entry, BPF_ANY);
	return true;
}

/* Whether an ICMP error is about a flow that may pass: then it may too. It enters nothing: what it
 * quotes is only somebody's word. */
static __noinline bool is_about_flow(struct __sk_buff *skb, struct packet *packet,
				     struct passage *passage)
{
	__u32 offset = packet->offset + packet->header_bytes + TRANSPORT_BYTES;
	struct flow_key key = {}, quoted_key = {};
	struct packet quoted = {};
	struct flow *flow;

	if (packet->length < packet->header_bytes + TRANSPORT_BYTES + sizeof(struct iphdr))
		return false;
	if (!parse_ipv4(skb, &quoted, offset, true))
		return false;
	/* An error goes to the sender of what it is about. */
	if (quoted.source != packet->destination)
		return false;
	key_of(&quoted_key, &quoted, passage->key.vif);
	reverse_key(&key, &quoted_key);
	flow = bpf_map_lookup_elem(&flows, &key);
	return flow && flow->action == ACL_PASS && flow->generation == passage->generation &&
	       flow->acl == passage->acl && !is_idle(flow, key.protocol, passage->now_ns);
}

/* Whether the port's policy lets the packet pass. */
static __always_inline bool may_pass(struct __sk_buff *skb, struct packet *packet,
				     const struct interface *port, __u32 generation,
				     bool is_from_port, __u32 remote_network)
{
	struct passage passage = {};
	struct flow *flow;

	if (!(port->flags & INTERFACE_POLICY))
		return true;
	key_of(&passage.key, packet, port->vif);
	passage.acl = port->acl;
	passage.generation = generation;
	passage.now_ns = bpf_ktime_get_coarse_ns();
	if (unlikely(packet->is_error) && is_about_flow(skb, packet, &passage))
		return true;
	flow = bpf_map_lookup_elem(&flows, &passage.key);
	if (likely(flow && is_current(flow, &passage))) {
		__sync_fetch_and_add(&flow->packets, 1);
		__sync_fetch_and_add(&flow->bytes, packet->length);
		flow->last_seen_ns = passage.now_ns;
		return flow->action == ACL_PASS;
	}
	passage.vrf = port->vrf;
	passage.network = port->network;
	passage.remote_network = remote_network;
	passage.bytes = packet->length;
	passage.is_from_port = is_from_port;
	return judge(&passage);
}
