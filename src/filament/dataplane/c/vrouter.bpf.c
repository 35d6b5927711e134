/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The vRouter: what happens to a packet from a port and to one from the fabric.
 *
 * `forward/model.py` says the same in Python; the tests run both on the same tables and packets.
 * Written for kernels from 6.1 on: bounded by straight code and one bpf_loop, no kfuncs. */
#include "lib/kernel.h"

#include "lib/tables.gen.h"

#include "lib/arp.h"
#include "lib/checksum.h"
#include "lib/claim.h"
#include "lib/count.h"
#include "lib/deliver.h"
#include "lib/drop.h"
#include "lib/ecmp.h"
#include "lib/encap.h"
#include "lib/flow.h"
#include "lib/gateway.h"
#include "lib/neighbour.h"
#include "lib/parse.h"
#include "lib/route.h"
#include "lib/source.h"

/* The host's row exists from the start, zeros until it is programmed. Read first in a program:
 * a verdict given under rows newer than its generation is judged again, the reverse would not be. */
static __always_inline struct host *find_host(void)
{
	struct host_key key = {};

	return bpf_map_lookup_elem(&host, &key);
}

/* Where the packet at hand is described: on no stack, which functions that judge it need. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct packet);
} packets SEC(".maps");

static __always_inline struct packet *new_packet(void)
{
	__u32 zero = 0;
	struct packet *packet = bpf_map_lookup_elem(&packets, &zero);

	if (packet) {
		__builtin_memset(packet, 0, sizeof(*packet));
		packet->now_ns = bpf_ktime_get_coarse_ns();
	}
	return packet;
}

static __always_inline void decrement_ttl(struct __sk_buff *skb, struct packet *packet)
{
	packet->ttl--;
	if (packet->version == 4) {
		struct iphdr *ip = frame(skb, sizeof(struct ethhdr));

		if ((void *)(ip + 1) > frame_end(skb))
			return; /* parse_ip saw it; only the verifier does not know */
		ip->check = replace_in_checksum(ip->check, bpf_htons((packet->ttl + 1) << 8),
						bpf_htons(packet->ttl << 8));
		ip->ttl = packet->ttl;
	} else {
		struct ip6_header *ip = frame(skb, sizeof(struct ethhdr));

		if ((void *)(ip + 1) > frame_end(skb))
			return;
		ip->hop_limit = packet->ttl;
	}
}

/* To a port of this host: its network's policy, then the port. */
static __always_inline int to_port(struct __sk_buff *skb, struct packet *packet,
				   const struct host *self, const struct next_hop *next_hop,
				   __u32 next_hop_id, const struct interface *sender)
{
	struct interface *port = find_port(next_hop->ifindex);
	__u32 reason;

	if (!port)
		return drop(skb, sender, DROP_UNKNOWN_INTERFACE);
	reason = police(skb, packet, port, self->generation, NULL);
	if (reason)
		return drop(skb, port, reason);
	return hand_over(skb, packet, port, next_hop, next_hop_id);
}

/* Within the link there is nobody but the gateway. */
static __always_inline int to_link_local(struct __sk_buff *skb, struct packet *packet,
					 const struct interface *port)
{
	__u32 reason = is_link_local(&packet->source)
			       ? refuse_sender(skb, port, &packet->source, packet->version,
					       packet->is_own_mac)
			       : refuse_source(skb, port, &packet->source, packet->version,
					       packet->is_own_mac);

	if (reason)
		return drop(skb, port, reason);
	if (!is_gateway_link_local(&packet->destination))
		return drop(skb, port, DROP_NO_ROUTE);
	return answer_echo(skb, packet, port, port->next_hop);
}

static __always_inline int route_packet(struct __sk_buff *skb, struct packet *packet,
					const struct interface *port, const struct host *self)
{
	struct next_hop *next_hop;
	__u32 reason, next_hop_id;
	struct route *route;

	if (!is_unicast(&packet->destination, packet->version))
		return drop(skb, port, DROP_NOT_UNICAST);
	if (packet->version == 6 && unlikely(is_link_local(&packet->destination)))
		return to_link_local(skb, packet, port);
	reason = refuse_source(skb, port, &packet->source, packet->version, packet->is_own_mac);
	if (reason)
		return drop(skb, port, reason);
	route = find_route(port->vrf, &packet->destination, packet->version);
	if (!route)
		return drop(skb, port, DROP_NO_ROUTE);
	next_hop = find_next_hop(route->next_hop);
	if (!next_hop)
		return drop(skb, port, DROP_INVALID_NEXT_HOP);
	if (next_hop->type == NEXT_HOP_DISCARD)
		return drop(skb, port, DROP_UNASSIGNED);
	if (next_hop->type == NEXT_HOP_RECEIVE)
		return answer_echo(skb, packet, port, route->next_hop);
	if (packet->ttl <= 1)
		return drop(skb, port, DROP_TTL_EXCEEDED);
	reason = police(skb, packet, port, self->generation, route);
	if (reason)
		return drop(skb, port, reason);
	next_hop_id = route->next_hop;
	if (unlikely(next_hop->type == NEXT_HOP_COMPOSITE)) {
		next_hop_id = choose_member(packet, port, next_hop_id, bpf_ntohl(self->address));
		next_hop = find_next_hop(next_hop_id);
		if (!next_hop)
			return drop(skb, port, DROP_INVALID_NEXT_HOP);
	}
	decrement_ttl(skb, packet);
	if (next_hop->type == NEXT_HOP_TUNNEL)
		return tunnel(skb, packet, port, self, next_hop, next_hop_id,
			      next_hop->label ? next_hop->label : route->label);
	if (next_hop->type == NEXT_HOP_INTERFACE)
		return to_port(skb, packet, self, next_hop, next_hop_id, port);
	return drop(skb, port, DROP_INVALID_NEXT_HOP);
}

/* tc ingress of a port's device in the host. */
SEC("tc")
int from_port(struct __sk_buff *skb)
{
	struct host *self = find_host();
	struct interface *port = find_port(skb->ifindex);
	struct packet *packet = new_packet();
	struct ethhdr *ethernet;
	bool is_group, is_parsed;

	if (!self || !port || !packet)
		return drop(skb, NULL, DROP_UNKNOWN_INTERFACE);
	count_rx(port->vif, skb->len);
	if (skb->vlan_present)
		return drop(skb, port, DROP_UNSUPPORTED_PROTOCOL);
	if (!reach(skb, sizeof(*ethernet)))
		return drop(skb, port, DROP_MALFORMED);
	ethernet = frame(skb, 0);
	if ((void *)(ethernet + 1) > frame_end(skb))
		return drop(skb, port, DROP_MALFORMED);
	if (ethernet->h_proto == bpf_htons(ETH_P_ARP))
		return answer_arp(skb, port);
	/* Any other destination is the gateway's: ports share no link with anybody else. */
	is_group = ethernet->h_dest[0] & 1;
	packet->sender_hop = port->next_hop;
	packet->is_own_mac = is_own_mac(port, ethernet->h_source);
	if (ethernet->h_proto == bpf_htons(ETH_P_IP)) {
		if (is_group)
			return drop(skb, port, DROP_NOT_UNICAST);
		is_parsed = parse_ip(skb, packet, sizeof(*ethernet), 4, false);
	} else if (ethernet->h_proto == bpf_htons(ETH_P_IPV6)) {
		is_parsed = parse_ip(skb, packet, sizeof(*ethernet), 6, false);
		if (is_parsed && is_solicitation(packet))
			return answer_solicitation(skb, packet, port);
		if (unlikely(port->flags & INTERFACE_STANDBY) && is_parsed &&
		    is_advertisement(packet))
			hear_advertisement(skb, packet, port);
		if (is_group)
			return drop(skb, port, DROP_NOT_UNICAST);
	} else {
		return drop(skb, port, DROP_UNSUPPORTED_PROTOCOL);
	}
	if (!is_parsed)
		return drop(skb, port, DROP_MALFORMED);
	return route_packet(skb, packet, port, self);
}

/* Where the packet begins in a frame that is tunnelled to this host, 0 for any other. Those are the
 * host's own business, also fragments and outer options, which no tunnel end sends. */
static __always_inline __u32 inner_offset(struct __sk_buff *skb, const struct host *self)
{
	struct ethhdr *ethernet;
	struct udphdr *udp;
	struct iphdr *ip;

	if (skb->vlan_present || !reach(skb, MPLS_END))
		return 0;
	ethernet = frame(skb, 0);
	ip = (void *)(ethernet + 1);
	udp = (void *)(ip + 1);
	if ((void *)(udp + 1) > frame_end(skb))
		return 0;
	if (ethernet->h_proto != bpf_htons(ETH_P_IP) || ip->version != 4 || ip->ihl != 5 ||
	    ip->protocol != IPPROTO_UDP || ip->daddr != self->address || !self->address ||
	    ip->frag_off & bpf_htons(IP_MORE_FRAGMENTS | IP_FRAGMENT_OFFSET))
		return 0;
	if (udp->dest == bpf_htons(MPLS_OVER_UDP_PORT))
		return MPLS_END;
	if (udp->dest == bpf_htons(VXLAN_PORT) && reach(skb, VXLAN_END))
		return VXLAN_END;
	return 0;
}

/* The next hop of a packet's MPLS label in `next_hop_id`; DROP_NONE or why there is none. */
static __always_inline __u32 from_mpls(struct __sk_buff *skb, __u32 *next_hop_id)
{
	struct label_key key = {};
	struct label *label;
	__be32 *mpls;
	__u32 entry;

	mpls = frame(skb, UDP_END);
	if ((void *)(mpls + 1) > frame_end(skb))
		return DROP_MALFORMED;
	entry = bpf_ntohl(*mpls);
	key.label = entry >> 12;
	if (!(entry & LABEL_BOTTOM))
		return DROP_INVALID_LABEL;
	label = bpf_map_lookup_elem(&labels, &key);
	if (!label || !label->next_hop)
		return DROP_INVALID_LABEL;
	*next_hop_id = label->next_hop;
	return DROP_NONE;
}

/* The same for a packet in VXLAN: the VNI tells the VRF, its routes the next hop. `vrf` is 0 as
 * long as it is not known. */
static __always_inline __u32 from_vxlan(struct __sk_buff *skb, const struct packet *packet,
					__u32 *next_hop_id, __u32 *vrf)
{
	struct vni_key key = {};
	struct vxlan_header *vxlan;
	struct route *route;
	struct vni *vni;

	vxlan = frame(skb, UDP_END);
	if ((void *)(vxlan + 1) > frame_end(skb))
		return DROP_MALFORMED;
	key.vni = bpf_ntohl(vxlan->vni) >> 8;
	vni = bpf_map_lookup_elem(&vnis, &key);
	if (!(vxlan->flags & bpf_htonl(VXLAN_VALID_VNI)) || !vni)
		return DROP_INVALID_VNI;
	*vrf = vni->vrf;
	if (vxlan->inner.h_proto != ethertype_of(packet->version))
		return DROP_UNSUPPORTED_PROTOCOL;
	route = find_route(vni->vrf, &packet->destination, packet->version);
	if (!route)
		return DROP_NO_ROUTE;
	*next_hop_id = route->next_hop;
	return DROP_NONE;
}

/* tc ingress of every underlay device. */
SEC("tc")
int from_fabric(struct __sk_buff *skb)
{
	__u32 offset, reason, next_hop_id = 0, vrf = 0;
	struct host *self = find_host();
	struct next_hop *next_hop;
	struct packet *packet;
	struct interface *port;
	struct iphdr *outer;
	bool is_parsed;
	__u8 outer_tos;

	if (!self)
		return decide(TC_ACT_OK, DROP_NONE, 0, 0);
	offset = inner_offset(skb, self);
	if (!offset)
		return decide(TC_ACT_OK, DROP_NONE, 0, 0);
	count_rx(FABRIC_VIF, skb->len);
	packet = new_packet();
	outer = frame(skb, sizeof(struct ethhdr));
	if (!packet || (void *)(outer + 1) > frame_end(skb))
		return drop(skb, NULL, DROP_MALFORMED);
	outer_tos = outer->tos;
	packet->outer_source = outer->saddr;
	is_parsed = parse_ip(skb, packet, offset, 0, false);
	if (offset == MPLS_END)
		reason = from_mpls(skb, &next_hop_id);
	else
		reason = is_parsed ? from_vxlan(skb, packet, &next_hop_id, &vrf) : DROP_MALFORMED;
	if (reason)
		return drop_in(skb, FABRIC_VIF, vrf, reason);
	next_hop = find_next_hop(next_hop_id);
	if (unlikely(next_hop && next_hop->type == NEXT_HOP_COMPOSITE)) {
		if (!is_parsed)
			return drop_in(skb, FABRIC_VIF, vrf, DROP_MALFORMED);
		next_hop_id = choose_local_member(packet, next_hop_id, bpf_ntohl(self->address));
		next_hop = find_next_hop(next_hop_id);
	}
	if (!next_hop || next_hop->type != NEXT_HOP_INTERFACE)
		return drop_in(skb, FABRIC_VIF, vrf, DROP_INVALID_NEXT_HOP);
	port = find_port(next_hop->ifindex);
	if (!port)
		return drop_in(skb, FABRIC_VIF, vrf, DROP_UNKNOWN_INTERFACE);
	if (!is_parsed)
		return drop(skb, port, DROP_MALFORMED);
	reason = police(skb, packet, port, self->generation, NULL);
	if (reason)
		return drop(skb, port, reason);
	if (!merge_congestion(skb, packet, outer_tos))
		return drop(skb, port, DROP_CONGESTION_LOST);
	if (pull_room(skb, packet, offset - sizeof(struct ethhdr)))
		return drop(skb, port, DROP_PULL_FAILED);
	return hand_over(skb, packet, port, next_hop, next_hop_id);
}

const char license_text[] SEC("license") = "Dual BSD/GPL";
