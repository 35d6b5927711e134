/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The vRouter: what happens to a packet from a port and to one from the fabric.
 *
 * `forward/model.py` says the same in Python; the tests run both on the same tables and packets.
 * Written for kernels from 6.1 on: bounded by straight code and one bpf_loop, no kfuncs. */
#include "lib/kernel.h"

#include "lib/tables.gen.h"

#include "lib/arp.h"
#include "lib/checksum.h"
#include "lib/count.h"
#include "lib/deliver.h"
#include "lib/drop.h"
#include "lib/encap.h"
#include "lib/flow.h"
#include "lib/gateway.h"
#include "lib/parse.h"
#include "lib/route.h"

/* The host's row exists from the start, zeros until it is programmed. Read first in a program:
 * a verdict given under rows newer than its generation is judged again, the reverse would not be. */
static __always_inline struct host *find_host(void)
{
	struct host_key key = {};

	return bpf_map_lookup_elem(&host, &key);
}

static __always_inline void decrement_ttl(struct __sk_buff *skb, struct packet *packet)
{
	struct iphdr *ip = frame(skb, sizeof(struct ethhdr));

	if ((void *)(ip + 1) > frame_end(skb))
		return; /* parse_ipv4 saw it; only the verifier does not know */
	ip->check = replace_in_checksum(ip->check, bpf_htons(packet->ttl << 8),
					bpf_htons((packet->ttl - 1) << 8));
	packet->ttl--;
	ip->ttl = packet->ttl;
}

/* The source address must be the port's own or routed to it. */
static __always_inline bool is_own_source(const struct interface *port, __be32 source)
{
	struct route *route;

	if (likely(source == port->address && source))
		return true;
	route = find_route(port->vrf, source);
	return route && route->next_hop == port->next_hop && is_unicast(source);
}

/* To a port of this host: its network's policy, then the port. */
static __always_inline int to_port(struct __sk_buff *skb, struct packet *packet,
				   const struct host *self, const struct next_hop *next_hop,
				   __u32 next_hop_id, __u32 vif)
{
	struct interface *port = find_port(next_hop->ifindex);

	if (!port)
		return drop(vif, DROP_UNKNOWN_INTERFACE);
	if (!may_pass(skb, packet, port, self->generation, false, 0))
		return drop(port->vif, DROP_POLICY_TO_PORT);
	return hand_over(skb, port, next_hop, next_hop_id);
}

static __always_inline int route_packet(struct __sk_buff *skb, const struct interface *port,
					const struct host *self)
{
	struct packet packet = {};
	struct next_hop *next_hop;
	struct route *route;

	if (!parse_ipv4(skb, &packet, sizeof(struct ethhdr), false))
		return drop(port->vif, DROP_MALFORMED);
	if (!is_unicast(packet.destination))
		return drop(port->vif, DROP_NOT_UNICAST);
	if (!is_own_source(port, packet.source))
		return drop(port->vif, DROP_SOURCE_SPOOFED);
	route = find_route(port->vrf, packet.destination);
	if (!route)
		return drop(port->vif, DROP_NO_ROUTE);
	next_hop = find_next_hop(route->next_hop);
	if (!next_hop)
		return drop(port->vif, DROP_INVALID_NEXT_HOP);
	if (next_hop->type == NEXT_HOP_DISCARD)
		return drop(port->vif, DROP_UNASSIGNED);
	if (next_hop->type == NEXT_HOP_RECEIVE)
		return answer_echo(skb, &packet, port, route->next_hop);
	if (packet.ttl <= 1)
		return drop(port->vif, DROP_TTL_EXCEEDED);
	if (!may_pass(skb, &packet, port, self->generation, true, route->network))
		return drop(port->vif, DROP_POLICY_FROM_PORT);
	decrement_ttl(skb, &packet);
	if (next_hop->type == NEXT_HOP_TUNNEL)
		return tunnel(skb, &packet, port, self, route, next_hop);
	if (next_hop->type == NEXT_HOP_INTERFACE)
		return to_port(skb, &packet, self, next_hop, route->next_hop, port->vif);
	return drop(port->vif, DROP_INVALID_NEXT_HOP);
}

/* tc ingress of a port's device in the host. */
SEC("tc")
int from_port(struct __sk_buff *skb)
{
	struct host *self = find_host();
	struct interface *port = find_port(skb->ifindex);
	struct ethhdr *ethernet;

	if (!self || !port)
		return drop(FABRIC_VIF, DROP_UNKNOWN_INTERFACE);
	count_rx(port->vif, skb->len);
	if (skb->vlan_present)
		return drop(port->vif, DROP_UNSUPPORTED_PROTOCOL);
	if (!reach(skb, sizeof(*ethernet)))
		return drop(port->vif, DROP_MALFORMED);
	ethernet = frame(skb, 0);
	if ((void *)(ethernet + 1) > frame_end(skb))
		return drop(port->vif, DROP_MALFORMED);
	if (ethernet->h_proto == bpf_htons(ETH_P_ARP))
		return answer_arp(skb, port);
	if (ethernet->h_proto != bpf_htons(ETH_P_IP))
		return drop(port->vif, DROP_UNSUPPORTED_PROTOCOL);
	/* Any other destination is the gateway's: ports share no link with anybody else. */
	if (ethernet->h_dest[0] & 1)
		return drop(port->vif, DROP_NOT_UNICAST);
	return route_packet(skb, port, self);
}

/* Whether the frame is MPLS over UDP to this host. Everything else is the host's own business, also
 * fragments and outer options, which no tunnel end sends. */
static __always_inline bool is_tunnelled(struct __sk_buff *skb, const struct host *self)
{
	struct ethhdr *ethernet;
	struct udphdr *udp;
	struct iphdr *ip;

	if (skb->vlan_present || !reach(skb, OUTER_BYTES))
		return false;
	ethernet = frame(skb, 0);
	ip = (void *)(ethernet + 1);
	udp = (void *)(ip + 1);
	if ((void *)(udp + 1) > frame_end(skb))
		return false;
	return ethernet->h_proto == bpf_htons(ETH_P_IP) && ip->version == 4 && ip->ihl == 5 &&
	       ip->protocol == IPPROTO_UDP && ip->daddr == self->address && self->address &&
	       !(ip->frag_off & bpf_htons(IP_MORE_FRAGMENTS | IP_FRAGMENT_OFFSET)) &&
	       udp->dest == bpf_htons(MPLS_OVER_UDP_PORT);
}

/* tc ingress of every underlay device. */
SEC("tc")
int from_fabric(struct __sk_buff *skb)
{
	struct host *self = find_host();
	struct label_key key = {};
	struct packet packet = {};
	struct next_hop *next_hop;
	struct interface *port;
	struct label *label;
	struct iphdr *outer;
	__u8 outer_tos;
	__be32 *mpls;
	__u32 entry;

	if (!self || !is_tunnelled(skb, self))
		return decide(TC_ACT_OK, DROP_NONE, 0, 0);
	count_rx(FABRIC_VIF, skb->len);
	outer = frame(skb, sizeof(struct ethhdr));
	mpls = frame(skb, OUTER_BYTES - sizeof(*mpls));
	if ((void *)(mpls + 1) > frame_end(skb))
		return drop(FABRIC_VIF, DROP_MALFORMED);
	outer_tos = outer->tos;
	entry = bpf_ntohl(*mpls);
	key.label = entry >> 12;
	if (!(entry & LABEL_BOTTOM))
		return drop(FABRIC_VIF, DROP_INVALID_LABEL);
	label = bpf_map_lookup_elem(&labels, &key);
	if (!label || !label->next_hop)
		return drop(FABRIC_VIF, DROP_INVALID_LABEL);
	next_hop = find_next_hop(label->next_hop);
	if (!next_hop || next_hop->type != NEXT_HOP_INTERFACE)
		return drop(FABRIC_VIF, DROP_INVALID_NEXT_HOP);
	port = find_port(next_hop->ifindex);
	if (!port)
		return drop(FABRIC_VIF, DROP_UNKNOWN_INTERFACE);
	if (!parse_ipv4(skb, &packet, OUTER_BYTES, false))
		return drop(port->vif, DROP_MALFORMED);
	if (!may_pass(skb, &packet, port, self->generation, false, 0))
		return drop(port->vif, DROP_POLICY_TO_PORT);
	if (!merge_congestion(skb, &packet, outer_tos))
		return drop(port->vif, DROP_CONGESTION_LOST);
	if (pull_room(skb))
		return drop(port->vif, DROP_PULL_FAILED);
	return hand_over(skb, port, next_hop, label->next_hop);
}

const char license_text[] SEC("license") = "Dual BSD/GPL";
