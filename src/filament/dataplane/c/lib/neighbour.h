/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Neighbour discovery (RFC 4861) from ports: what ARP is for IPv4. */
#pragma once

#include "address.h"
#include "checksum.h"
#include "claim.h"
#include "count.h"
#include "drop.h"
#include "kernel.h"
#include "parse.h"
#include "route.h"
#include "source.h"
#include "tables.gen.h"

#define ND_SOLICITATION 135
#define ND_ADVERTISEMENT 136
#define ND_HOP_LIMIT 255
#define ND_TARGET_MAC 2 /* the option's type */
#define ND_ROUTER 0x80000000
#define ND_SOLICITED 0x40000000
#define ND_OVERRIDE 0x20000000

/* The start of a solicitation, and an advertisement with its only option. */
struct solicitation {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__be32 reserved;
	struct address target;
};

struct advertisement {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__be32 flags;
	struct address target;
	__u8 option;
	__u8 option_length; /* in units of 8 bytes */
	__u8 mac[ETH_ALEN];
};
_Static_assert(sizeof(struct advertisement) == 32, "struct advertisement has padding");

struct advertisement_frame {
	struct ethhdr ethernet;
	struct ip6_header ip;
	struct advertisement message;
} __attribute__((packed, aligned(2)));

/* What the checksum is over (RFC 8200 section 8.1). */
struct advertisement_sum {
	struct address source;
	struct address destination;
	__be32 length;
	__be32 next;
	struct advertisement message;
};

static __always_inline bool is_solicitation(const struct packet *packet)
{
	return packet->protocol == IPPROTO_ICMPV6 && packet->icmp_type == ND_SOLICITATION &&
	       !packet->is_fragment;
}

static __always_inline bool is_advertisement(const struct packet *packet)
{
	return packet->protocol == IPPROTO_ICMPV6 && packet->icmp_type == ND_ADVERTISEMENT &&
	       !packet->is_fragment;
}

/* Whether the packet has the start that solicitations and advertisements share (RFC 4861 section
 * 7.1), and it can be read. */
static __always_inline bool is_whole_discovery(struct __sk_buff *skb, const struct packet *packet,
					       __u32 transport)
{
	return packet->ttl == ND_HOP_LIMIT && !packet->icmp_code &&
	       packet->length >= packet->header_bytes + sizeof(struct solicitation) &&
	       transport + sizeof(struct solicitation) <= HEADERS_END &&
	       reach(skb, transport + sizeof(struct solicitation));
}

/* Note what an advertisement claims; otherwise it is a packet like any other. */
static __always_inline void hear_advertisement(struct __sk_buff *skb, const struct packet *packet,
					       const struct interface *port)
{
	__u32 transport = packet->offset + packet->header_bytes;
	struct solicitation *said;
	struct address target;

	if (!is_whole_discovery(skb, packet, transport))
		return;
	said = frame_at(skb, transport);
	if ((void *)(said + 1) > frame_end(skb))
		return;
	target = said->target;
	if (!refuse_sender(skb, port, &packet->source, 6, packet->is_own_mac))
		claim_address(skb, port, &target);
}

/* Answer with the gateway's MAC for what the VRF's route says is on the link, and for the gateway's
 * link-local address, but never for the port's own, nor for what it asks for before it takes it: that
 * would look like a conflict to it. */
static __always_inline int answer_solicitation(struct __sk_buff *skb, const struct packet *packet,
					       const struct interface *port)
{
	__u32 transport = packet->offset + packet->header_bytes, flags = ND_OVERRIDE;
	struct advertisement_sum summed = {};
	struct advertisement_frame *answer;
	struct solicitation *asked;
	struct next_hop *next_hop;
	struct ethhdr *ethernet;
	__u8 mac[ETH_ALEN];
	__u32 reason;

	if (!is_whole_discovery(skb, packet, transport))
		return drop(skb, port, DROP_MALFORMED);
	ethernet = frame(skb, 0);
	asked = frame_at(skb, transport);
	if ((void *)(ethernet + 1) > frame_end(skb) || (void *)(asked + 1) > frame_end(skb))
		return drop(skb, port, DROP_MALFORMED);
	reason = refuse_sender(skb, port, &packet->source, 6, packet->is_own_mac);
	if (reason)
		return drop(skb, port, reason);
	if (unlikely(port->flags & INTERFACE_STANDBY))
		claim_address(skb, port, &packet->source);
	summed.message.target = asked->target;
	summed.source = asked->target;
	__builtin_memcpy(mac, ethernet->h_source, ETH_ALEN);
	if (is_zero_address(&packet->source) && find_claim(skb, port, &summed.source))
		return drop(skb, port, DROP_ARP_UNANSWERED);
	if (is_gateway_link_local(&summed.source)) {
		flags |= ND_ROUTER;
	} else {
		struct route *route = find_route(port->vrf, &summed.source, 6);

		if (!route || !(route->flags & ROUTE_PROXY_ARP) || leads_to(route, port))
			return drop(skb, port, DROP_ARP_UNANSWERED);
		next_hop = find_next_hop(route->next_hop);
		if (next_hop && next_hop->type == NEXT_HOP_RECEIVE)
			flags |= ND_ROUTER;
	}
	/* The port's own next hop knows the MAC that packets to it come from. */
	next_hop = find_next_hop(port->next_hop);
	if (!next_hop)
		return drop(skb, port, DROP_INVALID_NEXT_HOP);
	summed.destination = packet->source;
	if (is_zero_address(&packet->source)) {
		/* Somebody asks before taking the address: all on the link are told (RFC 4862). */
		summed.destination.words[0] = bpf_htonl(0xff020000);
		summed.destination.words[3] = bpf_htonl(1);
	} else {
		flags |= ND_SOLICITED;
	}
	summed.length = bpf_htonl(sizeof(summed.message));
	summed.next = bpf_htonl(IPPROTO_ICMPV6);
	summed.message.type = ND_ADVERTISEMENT;
	summed.message.flags = bpf_htonl(flags);
	summed.message.option = ND_TARGET_MAC;
	summed.message.option_length = 1;
	__builtin_memcpy(summed.message.mac, next_hop->source_mac, ETH_ALEN);
	summed.message.checksum = fold_checksum(
		bpf_csum_diff(NULL, 0, (__be32 *)&summed, sizeof(summed), 0));
	if (skb->len != sizeof(*answer) && bpf_skb_change_tail(skb, sizeof(*answer), 0))
		return drop(skb, port, DROP_PUSH_FAILED);
	if (!reach(skb, sizeof(*answer)))
		return drop(skb, port, DROP_PUSH_FAILED);
	answer = frame(skb, 0);
	if ((void *)(answer + 1) > frame_end(skb))
		return drop(skb, port, DROP_PUSH_FAILED);
	__builtin_memcpy(answer->ethernet.h_dest, mac, ETH_ALEN);
	__builtin_memcpy(answer->ethernet.h_source, summed.message.mac, ETH_ALEN);
	answer->ip.first = bpf_htonl(6 << 28);
	answer->ip.payload_bytes = bpf_htons(sizeof(summed.message));
	answer->ip.next = IPPROTO_ICMPV6;
	answer->ip.hop_limit = ND_HOP_LIMIT;
	answer->ip.source = summed.source;
	answer->ip.destination = summed.destination;
	answer->message = summed.message;
	count_tx(port->vif, skb->len);
	return send(skb, skb->ifindex, port->next_hop, false);
}
