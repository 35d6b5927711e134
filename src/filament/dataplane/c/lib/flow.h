/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The flow table: per port and connection, both directions in one row, and the port's verdict.
 *
 * The verdict is on the tuple of the end that started the flow. It holds for the policy generation
 * and the lists it was given under; otherwise the next packet is judged again. Packets of the other
 * direction are the flow's answers once a packet of it passed; otherwise they are judged on their
 * own. Where the answers' own direction is allowed when the flow's no longer is, the answerer
 * becomes the one who started; of TCP only by a new connection: one that may not go on does not. */
#pragma once

#include "address.h"
#include "claim.h"
#include "drop.h"
#include "kernel.h"
#include "member.h"
#include "parse.h"
#include "policy.h"
#include "route.h"
#include "tables.gen.h"

/* What the lists say of a flow: the rules that decided, and the action for its row. */
struct ruling {
	__u32 rule;
	__u32 security;
	__u32 security_rule;
	__u32 firewall;
	__u32 firewall_rule;
	__u8 action;
};

/* What judging a packet needs and the stack has no room for. */
struct judging {
	struct question asked;
	struct flow entry;
	struct packet quoted; /* by an error */
	struct flow_key key;
	struct address remote; /* the far address as rules may know it */
	struct ruling ruling;
	struct ruling own; /* on a packet that is no answer after all */
	__u32 remote_network; /* of the route to the far address */
	__u32 remote_groups;
	__u32 remote_tags;
	__u32 member; /* which the packet came from, of several ways back to its source */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct judging);
} judgings SEC(".maps");

/* What of a packet chooses the fat flow that it belongs to: an end's port, or (FAT_ANY) its protocol
 * alone, in the order they are tried. */
enum fat_choice { FAT_OWN_PORT, FAT_FAR_PORT, FAT_ANY, FAT_CHOICES };

#define FAT_SUBNET_BITS 64 /* of a row's prefix_length that are before its address */

_Static_assert(sizeof(struct fat_flow) == sizeof(struct fat_subnet), "fat rows differ");

/* Whether a fat flow may be chosen so, and by which port. */
static __always_inline bool may_choose(const struct flow_key *key, __u32 choice, __be16 *port)
{
	*port = choice == FAT_OWN_PORT ? key->local_port :
		choice == FAT_FAR_PORT ? key->remote_port :
					 0;
	return choice == FAT_ANY || (*port && !is_icmp(key->protocol));
}

/* The row for the addresses of a key, or NULL. */
static __noinline const struct fat_subnet *find_fat_subnet(const struct flow_key *key, __u32 by,
							    __be16 port)
{
	struct fat_subnet_key asked = {
		.prefix_length = FAT_SUBNET_BITS + 8 * sizeof(struct address),
		.vif = bpf_htonl(key->vif),
		.protocol = key->protocol,
		.by = by,
		.port = port,
		.address = by == FAT_BY_REMOTE ? key->remote : key->local,
	};
	const struct fat_subnet *found = bpf_map_lookup_elem(&fat_subnets, &asked);

	if (by != FAT_BY_BOTH || !found)
		return found;
	asked.by = found->then;
	asked.address = key->remote;
	return bpf_map_lookup_elem(&fat_subnets, &asked);
}

/* Choose a fat flow for a key; FAT_CHOICES when there is none. */
static __always_inline __u32 choose_fat_flow(const struct flow_key *key, __u32 flags,
					     const struct fat_subnet **chosen)
{
	struct fat_flow_key asked = {.vif = key->vif, .protocol = key->protocol};
	__be16 port;

	for (__u32 choice = 0; choice < FAT_CHOICES; choice++) {
		if (!may_choose(key, choice, &port))
			continue;
		asked.port = bpf_ntohs(port);
		*chosen = bpf_map_lookup_elem(&fat_flows, &asked);
		if (*chosen)
			return choice;
	}
	if (!(flags & INTERFACE_FAT_SUBNETS))
		return FAT_CHOICES;
	for (__u32 by = FAT_BY_LOCAL; by <= FAT_BY_BOTH; by++) {
		for (__u32 choice = 0; choice < FAT_CHOICES; choice++) {
			if (!may_choose(key, choice, &port))
				continue;
			*chosen = find_fat_subnet(key, by, port);
			if (*chosen)
				return choice;
		}
	}
	return FAT_CHOICES;
}

/* Keep the first `length` bits of an address. */
static __always_inline void cut_address(struct address *address, __u32 length, __u32 version)
{
	__s32 left = version == 4 ? 96 + length : length;

	for (int word = 0; word < 4; word++, left -= 32) {
		if (left <= 0)
			address->words[word] = 0;
		else if (left < 32)
			address->words[word] &= bpf_htonl(~0U << (32 - left));
	}
}

/* Put what is left of the far address, an IPv4 one or the first half of an IPv6 one, beside what
 * policy knows of it: numbers of at most FAR_END_BITS (`Ids`). `FarEnd` of forward/flows.py. */
static __always_inline void pack_far_end(struct address *remote, const struct route *route,
					 __u32 version)
{
	__u64 network = route ? route->network : 0, groups = route ? route->groups : 0;
	__u64 packed = network << 2 * FAR_END_BITS | groups << FAR_END_BITS |
		       (route ? route->tags : 0);

	if (version == 4) {
		remote->words[0] = remote->words[3];
		remote->words[1] = 0;
	}
	remote->words[2] = bpf_htonl(packed >> 32);
	remote->words[3] = bpf_htonl(packed);
}

/* What is left of the far address in a key, as an address. */
static __always_inline void unpack_remote(struct address *remote, const struct flow_key *key,
					  __u32 version)
{
	*remote = key->remote;
	if (likely(!(key->fat & FAT_REMOTE)))
		return;
	if (version == 4) {
		set_ipv4(remote, key->remote.words[0]);
	} else {
		remote->words[2] = 0;
		remote->words[3] = 0;
	}
}

/* Leave out of a key what the port's fat flows do not look at, as `_fatten` of forward/flows.py. */
__noinline int fatten(struct flow_key *key, __u32 version, __u32 flags)
{
	const struct fat_subnet *found;
	const struct route *route;
	__u32 choice;

	if (!key)
		return 0;
	choice = choose_fat_flow(key, flags, &found);
	if (choice == FAT_CHOICES)
		return 0;
	if (choice != FAT_OWN_PORT)
		key->local_port = 0;
	/* The type of ICMP stays: one may pass where another may not. */
	if (choice != FAT_FAR_PORT && !is_icmp(key->protocol))
		key->remote_port = 0;
	key->fat = found->fat;
	key->local_length = found->local_length;
	key->remote_length = found->remote_length;
	if (key->fat & FAT_LOCAL)
		cut_address(&key->local, key->local_length, version);
	if (key->fat & FAT_REMOTE) {
		route = find_route(key->vrf, &key->remote, version);
		cut_address(&key->remote, key->remote_length, version);
		pack_far_end(&key->remote, route, version);
	}
	return 0;
}

/* The key of the packet's flow at a port. What stands for ports in ICMP is the same in both
 * directions. */
static __always_inline void key_of(struct flow_key *key, const struct packet *packet,
				   const struct interface *port, bool is_from_port)
{
	key->vif = port->vif;
	key->vrf = port->vrf;
	key->protocol = packet->protocol;
	key->fat = 0;
	key->local_length = 0;
	key->remote_length = 0;
	if (is_from_port) {
		key->local = packet->source;
		key->remote = packet->destination;
	} else {
		key->local = packet->destination;
		key->remote = packet->source;
	}
	if (is_from_port || is_icmp(packet->protocol)) {
		key->local_port = packet->source_port;
		key->remote_port = packet->destination_port;
	} else {
		key->local_port = packet->destination_port;
		key->remote_port = packet->source_port;
	}
	if (unlikely(port->flags & INTERFACE_FAT_FLOWS))
		fatten(key, packet->version, port->flags);
}

/* The flags to remember of a packet: fat flows are of many connections. */
static __always_inline __u8 tcp_flags_of(const struct flow_key *key, const struct packet *packet)
{
	return likely(!key->fat) ? packet->tcp_flags : 0;
}

static __always_inline bool is_closed(const struct flow *flow)
{
	return (flow->tcp_out | flow->tcp_in) & TCP_RST || flow->tcp_out & flow->tcp_in & TCP_FIN;
}

/* How long the flow may be without a packet. */
static __always_inline __u32 idle_s(const struct flow *flow, __u32 protocol)
{
	__u8 started = flow->flags & FLOW_INBOUND ? flow->tcp_in : flow->tcp_out;

	if (flow->action != ACL_PASS && !(flow->flags & FLOW_PASSED))
		return FLOW_IDLE_DENIED_S;
	if (is_icmp(protocol))
		return FLOW_IDLE_ICMP_S;
	if (protocol != IPPROTO_TCP)
		return FLOW_IDLE_S;
	if (is_closed(flow))
		return FLOW_IDLE_TCP_CLOSED_S;
	if ((started & (TCP_SYN | TCP_ACK)) == TCP_SYN)
		return FLOW_IDLE_TCP_OPENING_S;
	return FLOW_IDLE_TCP_S;
}

static __always_inline bool is_idle(const struct flow *flow, __u32 protocol, __u64 now_ns)
{
	/* Signed: another CPU's time may be a tick later than ours. */
	__s64 age_ns = now_ns - flow->last_seen_ns;

	return age_ns > (__s64)(idle_s(flow, protocol) * SECOND_NS);
}

/* Whether the row is this packet's flow, and not one that ended before. */
static __always_inline bool is_alive(const struct flow *flow, const struct packet *packet)
{
	if (is_idle(flow, packet->protocol, packet->now_ns))
		return false;
	/* A new connection by the ports of one that is closed. */
	return (packet->tcp_flags & (TCP_SYN | TCP_ACK)) != TCP_SYN || !is_closed(flow);
}

static __always_inline bool is_current(const struct flow *flow, const struct interface *port,
				       __u32 generation)
{
	bool inbound = flow->flags & FLOW_INBOUND;
	__u32 security = inbound ? port->ingress : port->egress;
	__u32 firewall = inbound ? port->firewall_ingress : port->firewall_egress;

	return flow->generation == generation && flow->acl == port->acl &&
	       flow->security == security && flow->firewall == firewall;
}

/* Whether the packet may be the first of a connection: of TCP only a SYN is. Fat flows are many. */
static __always_inline bool may_begin(const struct flow_key *key, const struct packet *packet)
{
	return packet->protocol != IPPROTO_TCP || key->fat ||
	       (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* Whether the packet goes the way of who started the flow. */
static __always_inline bool is_forward(const struct flow *flow, bool is_from_port)
{
	return is_from_port == !(flow->flags & FLOW_INBOUND);
}

/* Judge the flow as started by the port (`outbound`), or by the far end: first by the network's
 * policy, then by the port's security groups, then by its firewall policies: all must let it pass.
 * ICMP is judged by what it began with. */
static __noinline void judge_tuple(struct judging *judging, const struct interface *port,
				   struct ruling *ruling, bool outbound, __u32 icmp)
{
	const struct flow_key *key = &judging->key;
	struct question *asked = &judging->asked;

	asked->protocol = key->protocol;
	asked->groups = judging->remote_groups;
	asked->source_network = outbound ? port->network : judging->remote_network;
	asked->destination_network = outbound ? judging->remote_network : port->network;
	asked->source = outbound ? key->local : judging->remote;
	asked->destination = outbound ? judging->remote : key->local;
	asked->source_port = bpf_ntohs(outbound ? key->local_port : key->remote_port);
	asked->port = bpf_ntohs(outbound ? key->remote_port : key->local_port);
	if (is_icmp(key->protocol)) {
		asked->source_port = 0;
		asked->port = icmp;
	}
	asked->list = port->acl;
	ask(asked);
	ruling->rule = asked->rule;
	ruling->action = asked->action;
	ruling->security = outbound ? port->egress : port->ingress;
	ruling->security_rule = RULE_NONE;
	ruling->firewall = outbound ? port->firewall_egress : port->firewall_ingress;
	ruling->firewall_rule = RULE_NONE;
	if (ruling->action != ACL_PASS)
		return;
	asked->list = ruling->security;
	ask(asked);
	ruling->security_rule = asked->rule;
	if (asked->action != ACL_PASS) {
		ruling->action = SECURITY_DENY;
		return;
	}
	asked->list = ruling->firewall;
	asked->groups = judging->remote_tags;
	ask(asked);
	ruling->firewall_rule = asked->rule;
	if (asked->action != ACL_PASS)
		ruling->action = FIREWALL_DENY;
}

static __always_inline void count_flow(struct flow *flow, const struct packet *packet,
				       __u8 tcp_flags, bool is_from_port)
{
	if (is_from_port) {
		flow->out_packets++;
		flow->out_bytes += packet->length;
		flow->tcp_out |= tcp_flags;
	} else {
		flow->in_packets++;
		flow->in_bytes += packet->length;
		flow->tcp_in |= tcp_flags;
	}
	flow->last_seen_ns = packet->now_ns;
}

static __always_inline __u32 refusal(bool is_from_port, __u8 action)
{
	if (action == SECURITY_DENY)
		return is_from_port ? DROP_SECURITY_FROM_PORT : DROP_SECURITY_TO_PORT;
	if (action == FIREWALL_DENY)
		return is_from_port ? DROP_FIREWALL_FROM_PORT : DROP_FIREWALL_TO_PORT;
	return is_from_port ? DROP_POLICY_FROM_PORT : DROP_POLICY_TO_PORT;
}

/* Enter a flow that has no row; the reason when there is no room for it. */
static __always_inline __u32 enter(const struct flow_key *key, const struct flow *entry,
				   __u32 flow_limit)
{
	struct flows_entered_key port_key = {.vif = key->vif};
	struct flows_entered *entered = bpf_map_lookup_elem(&flows_entered, &port_key);
	struct flows_swept *swept = bpf_map_lookup_elem(&flows_swept, &port_key);
	long failed;

	if (!entered || !swept)
		return DROP_FLOW_LIMIT;
	/* Signed: the agent may have swept out what it forgot with a port that had the number. */
	if (flow_limit && (__s64)(entered->count - swept->count) >= (__s64)flow_limit)
		return DROP_FLOW_LIMIT;
	failed = bpf_map_update_elem(&flows, key, entry, BPF_NOEXIST);
	if (!failed)
		__sync_fetch_and_add(&entered->count, 1);
	/* Another CPU entered it at the same moment: as good. */
	return !failed || failed == -EEXIST ? DROP_NONE : DROP_FLOW_TABLE_FULL;
}

/* Find out of what network, groups and tags the far end is: of a packet from the port the route to
 * its destination says so, of one to the port the route back to its source. */
static __always_inline void find_remote(struct judging *judging, const struct packet *packet,
					const struct route *route)
{
	bool is_from_port = route;

	judging->member = 0;
	unpack_remote(&judging->remote, &judging->key, packet->version);
	if (!is_from_port)
		route = find_route(judging->key.vrf, &packet->source, packet->version);
	judging->remote_network = route ? route->network : 0;
	judging->remote_groups = route ? route->groups : 0;
	judging->remote_tags = route ? route->tags : 0;
	if (route && !is_from_port)
		judging->member = member_from(route->next_hop, packet->outer_source,
					      packet->sender_hop);
}

/* Judge a packet that has no current verdict, and enter it; DROP_NONE or why not to pass. `route` is
 * as `police` has it. */
__noinline int judge(struct __sk_buff *skb, struct packet *packet, const struct interface *port,
		     const struct route *route, __u32 generation)
{
	bool is_from_port = route, is_answer, is_known, is_denied_already, may_pass = false;
	struct flow *known, *entry;
	struct judging *judging;
	struct ruling *ruling;
	__u32 zero = 0, reason, icmp;

	judging = bpf_map_lookup_elem(&judgings, &zero);
	if (!packet || !port || !judging)
		return DROP_POLICY_FROM_PORT; /* never: it only has to be said */
	key_of(&judging->key, packet, port, is_from_port);
	known = bpf_map_lookup_elem(&flows, &judging->key);
	entry = &judging->entry;
	ruling = &judging->ruling;
	find_remote(judging, packet, route);
	is_known = known;
	if (known && is_alive(known, packet)) {
		*entry = *known;
		may_pass = known->action == ACL_PASS;
	} else {
		__builtin_memset(entry, 0, sizeof(*entry));
		entry->started_ns = packet->now_ns;
		entry->flags = is_from_port ? 0 : FLOW_INBOUND;
		if (unlikely(port->flags & INTERFACE_STANDBY) && is_from_port)
			claim_address(skb, port, &packet->source);
	}
	is_answer = !is_forward(entry, is_from_port) && entry->flags & FLOW_PASSED;
	/* Only who started was judged, and denied: what comes the other way is not an answer. */
	is_denied_already = !is_forward(entry, is_from_port) && !is_answer &&
			    is_current(entry, port, generation);
	icmp = packet->icmp_type << 8 | packet->icmp_code;
	judging->asked.version = packet->version;
	judge_tuple(judging, port, ruling, is_from_port != is_answer,
		    is_answer ? entry->icmp : icmp);
	if (is_answer && ruling->action != ACL_PASS && may_begin(&judging->key, packet)) {
		judge_tuple(judging, port, &judging->own, is_from_port, icmp);
		if (judging->own.action == ACL_PASS) {
			ruling = &judging->own;
			is_answer = false;
		}
	}
	entry->generation = generation;
	entry->acl = port->acl;
	if (ruling->action == ACL_PASS) {
		entry->flags = (is_from_port != is_answer ? 0 : FLOW_INBOUND) | FLOW_PASSED;
	} else if (is_denied_already || (is_answer && may_begin(&judging->key, packet))) {
		entry->flags |= FLOW_BOTH_DENIED;
	} else if (!is_answer) {
		entry->flags &= ~(FLOW_BOTH_DENIED | FLOW_INBOUND);
		entry->flags |= is_from_port ? 0 : FLOW_INBOUND;
	}
	if (!is_denied_already || ruling->action == ACL_PASS) {
		entry->rule = ruling->rule;
		entry->action = ruling->action;
		entry->security = ruling->security;
		entry->security_rule = ruling->security_rule;
		entry->firewall = ruling->firewall;
		entry->firewall_rule = ruling->firewall_rule;
		if (!is_answer)
			entry->icmp = icmp;
	}
	/* Answers go back to where it came from. */
	if (judging->member)
		entry->member = judging->member;
	count_flow(entry, packet, tcp_flags_of(&judging->key, packet), is_from_port);
	if (is_known) {
		/* Whole rows only: a row may have been swept and be another flow's while we look at
		 * it, which is good enough for statistics but not for verdicts. */
		bpf_map_update_elem(&flows, &judging->key, entry, BPF_EXIST);
		reason = DROP_NONE;
	} else {
		reason = enter(&judging->key, entry, port->flow_limit);
	}
	if (ruling->action != ACL_PASS)
		return refusal(is_from_port, ruling->action);
	if (!may_pass && !reason)
		sample(skb, port->vif, port->vrf, DROP_NONE);
	return reason;
}

/* Whether an ICMP error is about a flow that may pass: then it may too. It enters nothing: what it
 * quotes is only somebody's word. */
__noinline int is_about_flow(struct __sk_buff *skb, struct packet *packet,
			     const struct interface *port, __u32 generation, __u32 is_from_port)
{
	struct judging *judging;
	struct packet *quoted;
	struct flow_key *key;
	__u32 zero = 0, offset;
	struct flow *flow;

	judging = bpf_map_lookup_elem(&judgings, &zero);
	if (!packet || !port || !judging)
		return false;
	quoted = &judging->quoted;
	key = &judging->key;
	__builtin_memset(quoted, 0, sizeof(*quoted));
	offset = packet->offset + packet->header_bytes + TRANSPORT_BYTES;
	if (packet->length < packet->header_bytes + TRANSPORT_BYTES + sizeof(struct iphdr))
		return false;
	if (!parse_ip(skb, quoted, offset, packet->version, true))
		return false;
	/* An error goes to the sender of what it is about. */
	if (!is_same_address(&quoted->source, &packet->destination))
		return false;
	key_of(key, quoted, port, !is_from_port);
	flow = bpf_map_lookup_elem(&flows, key);
	return flow && flow->action == ACL_PASS && is_current(flow, port, generation) &&
	       !is_idle(flow, key->protocol, packet->now_ns);
}

/* Remember what the first fragment of a packet says, or give a later one what that said. A later
 * one without a first stays without ports, and so matches only rules without ports. */
__noinline int follow_fragment(struct packet *packet, __u32 vif)
{
	struct fragment_key key = {};
	struct fragment *known;

	if (!packet || !(has_ports(packet->protocol) ||
			 is_icmp_of(packet->protocol, packet->version)))
		return 0;
	key.vif = vif;
	key.source = packet->source;
	key.destination = packet->destination;
	key.id = packet->fragment_id;
	key.protocol = packet->protocol;
	if (packet->is_first) {
		struct fragment entry = {
			.seen_ns = packet->now_ns,
			.source_port = packet->source_port,
			.destination_port = packet->destination_port,
			.icmp = packet->icmp_type << 8 | packet->icmp_code,
		};

		bpf_map_update_elem(&fragments, &key, &entry, BPF_ANY);
		return 0;
	}
	known = bpf_map_lookup_elem(&fragments, &key);
	if (!known || (__s64)(packet->now_ns - known->seen_ns) > (__s64)(FRAGMENT_IDLE_S * SECOND_NS))
		return 0;
	packet->source_port = known->source_port;
	packet->destination_port = known->destination_port;
	packet->icmp_type = known->icmp >> 8;
	packet->icmp_code = known->icmp;
	return 0;
}

/* DROP_NONE if the port's policy lets the packet pass, otherwise the reason. `route` is the one to
 * the destination of a packet from the port, NULL of one to it. */
static __always_inline __u32 police(struct __sk_buff *skb, struct packet *packet,
				    const struct interface *port, __u32 generation,
				    const struct route *route)
{
	bool is_from_port = route;
	struct flow_key key = {};
	struct flow *flow;
	__u8 tcp_flags;

	if (!(port->flags & INTERFACE_POLICY))
		return DROP_NONE;
	if (unlikely(packet->is_fragment))
		follow_fragment(packet, port->vif);
	if (unlikely(packet->is_error) &&
	    is_about_flow(skb, packet, port, generation, is_from_port))
		return DROP_NONE;
	key_of(&key, packet, port, is_from_port);
	flow = bpf_map_lookup_elem(&flows, &key);
	if (unlikely(!flow || !is_current(flow, port, generation) ||
		     !is_alive(flow, packet) ||
		     (flow->action != ACL_PASS && !(flow->flags & FLOW_BOTH_DENIED) &&
		      !is_forward(flow, is_from_port))))
		return judge(skb, packet, port, route, generation);
	tcp_flags = tcp_flags_of(&key, packet);
	if (is_from_port) {
		__sync_fetch_and_add(&flow->out_packets, 1);
		__sync_fetch_and_add(&flow->out_bytes, packet->length);
		if (tcp_flags & ~flow->tcp_out)
			flow->tcp_out |= tcp_flags;
	} else {
		__sync_fetch_and_add(&flow->in_packets, 1);
		__sync_fetch_and_add(&flow->in_bytes, packet->length);
		if (tcp_flags & ~flow->tcp_in)
			flow->tcp_in |= tcp_flags;
	}
	flow->last_seen_ns = packet->now_ns;
	return likely(flow->action == ACL_PASS) ? DROP_NONE
						: refusal(is_from_port, flow->action);
}
