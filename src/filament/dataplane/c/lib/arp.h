/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* ARP from ports: everything on the link is behind the gateway's MAC. */
#pragma once

#include "claim.h"
#include "drop.h"
#include "kernel.h"
#include "route.h"
#include "count.h"
#include "source.h"
#include "tables.gen.h"

#define ARP_HARDWARE_ETHERNET 1
#define ARP_REQUEST 1
#define ARP_REPLY 2

struct arp {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_bytes;
	__u8 protocol_bytes;
	__be16 operation;
	__u8 sender_mac[ETH_ALEN];
	__u8 sender[4];
	__u8 target_mac[ETH_ALEN];
	__u8 target[4];
};
_Static_assert(sizeof(struct arp) == 28, "struct arp has padding");

/* Answer a request with the gateway's MAC if the VRF's route to the address says so, but never for
 * the port's own addresses, nor for what it announces or asks for before it takes it: that would look
 * like a conflict to it. */
static __always_inline int answer_arp(struct __sk_buff *skb, const struct interface *port)
{
	struct next_hop *next_hop;
	struct route *route;
	struct ethhdr *ethernet;
	struct address asked;
	__be32 target, sender;
	bool is_request;
	__u32 reason;
	struct arp *arp;

	if (!reach(skb, sizeof(*ethernet) + sizeof(*arp)))
		return drop(skb, port, DROP_MALFORMED);
	ethernet = frame(skb, 0);
	arp = frame(skb, sizeof(*ethernet));
	if ((void *)(arp + 1) > frame_end(skb))
		return drop(skb, port, DROP_MALFORMED);
	if (arp->hardware != bpf_htons(ARP_HARDWARE_ETHERNET) ||
	    arp->protocol != bpf_htons(ETH_P_IP) || arp->hardware_bytes != ETH_ALEN ||
	    arp->protocol_bytes != sizeof(target))
		return drop(skb, port, DROP_MALFORMED);
	if (port->flags & INTERFACE_CHECK_MAC && !is_same_mac(arp->sender_mac, ethernet->h_source))
		return drop(skb, port, DROP_SOURCE_MAC_SPOOFED);
	is_request = arp->operation == bpf_htons(ARP_REQUEST);
	__builtin_memcpy(&target, arp->target, sizeof(target));
	__builtin_memcpy(&sender, arp->sender, sizeof(sender));
	set_ipv4(&asked, sender);
	reason = refuse_sender(skb, port, &asked, 4, is_own_mac(port, ethernet->h_source));
	if (reason)
		return drop(skb, port, reason);
	if (unlikely(port->flags & INTERFACE_STANDBY))
		claim_address(skb, port, &asked);
	if (!is_request || target == sender)
		return drop(skb, port, DROP_ARP_UNANSWERED);
	set_ipv4(&asked, target);
	if (!sender && find_claim(skb, port, &asked))
		return drop(skb, port, DROP_ARP_UNANSWERED);
	route = find_route(port->vrf, &asked, 4);
	if (!route || !(route->flags & ROUTE_PROXY_ARP) || leads_to(route, port))
		return drop(skb, port, DROP_ARP_UNANSWERED);
	/* The port's own next hop knows the MAC that packets to it come from. */
	next_hop = find_next_hop(port->next_hop);
	if (!next_hop)
		return drop(skb, port, DROP_INVALID_NEXT_HOP);
	__builtin_memcpy(ethernet->h_dest, ethernet->h_source, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, next_hop->source_mac, ETH_ALEN);
	arp->operation = bpf_htons(ARP_REPLY);
	__builtin_memcpy(arp->target_mac, arp->sender_mac, ETH_ALEN);
	__builtin_memcpy(arp->target, arp->sender, sizeof(target));
	__builtin_memcpy(arp->sender_mac, next_hop->source_mac, ETH_ALEN);
	__builtin_memcpy(arp->sender, &target, sizeof(target));
	count_tx(port->vif, skb->len);
	return send(skb, skb->ifindex, port->next_hop, false);
}
