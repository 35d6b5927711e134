/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The distributed gateway as a host: it answers ICMP echo; for the rest nobody is at home. */
#pragma once

#include "checksum.h"
#include "count.h"
#include "drop.h"
#include "kernel.h"
#include "parse.h"
#include "tables.gen.h"

static __always_inline bool is_echo_request(const struct packet *packet)
{
	return is_icmp_of(packet->protocol, packet->version) && !packet->is_fragment &&
	       packet->icmp_type ==
		       (packet->version == 4 ? ICMP_ECHO_REQUEST : ICMP6_ECHO_REQUEST);
}

/* Turn the addresses around, with a fresh TTL. Swapping leaves checksums alone, a TTL does not. */
static __always_inline bool turn_ip(struct __sk_buff *skb, const struct packet *packet)
{
	if (packet->version == 4) {
		struct iphdr *ip = frame(skb, sizeof(struct ethhdr));

		if ((void *)(ip + 1) > frame_end(skb))
			return false;
		ip->saddr = packet->destination.words[3];
		ip->daddr = packet->source.words[3];
		ip->ttl = TUNNEL_TTL;
		ip->check = replace_in_checksum(ip->check, bpf_htons(packet->ttl << 8),
						bpf_htons(TUNNEL_TTL << 8));
	} else {
		struct ip6_header *ip = frame(skb, sizeof(struct ethhdr));

		if ((void *)(ip + 1) > frame_end(skb))
			return false;
		ip->source = packet->destination;
		ip->destination = packet->source;
		ip->hop_limit = TUNNEL_TTL;
	}
	return true;
}

/* Turn an echo request around. Not policed: it never leaves the host. Fragments are not served. */
static __always_inline int answer_echo(struct __sk_buff *skb, const struct packet *packet,
				       const struct interface *port, __u32 next_hop)
{
	__u8 asked = packet->icmp_type;
	__u8 answer = packet->version == 4 ? ICMP_ECHO_REPLY : ICMP6_ECHO_REPLY;
	struct icmp_header *icmp;
	struct ethhdr *ethernet;
	__u8 mac[ETH_ALEN];

	if (!is_echo_request(packet))
		return drop(skb, port, DROP_NOT_SERVED);
	ethernet = frame(skb, 0);
	icmp = frame_at(skb, packet->offset + packet->header_bytes);
	if ((void *)(ethernet + 1) > frame_end(skb) || (void *)(icmp + 1) > frame_end(skb))
		return drop(skb, port, DROP_MALFORMED);
	icmp->type = answer;
	icmp->checksum = replace_in_checksum(icmp->checksum, bpf_htons(asked << 8),
					     bpf_htons(answer << 8));
	__builtin_memcpy(mac, ethernet->h_dest, ETH_ALEN);
	__builtin_memcpy(ethernet->h_dest, ethernet->h_source, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, mac, ETH_ALEN);
	if (!turn_ip(skb, packet))
		return drop(skb, port, DROP_MALFORMED);
	count_tx(port->vif, skb->len);
	return send(skb, skb->ifindex, next_hop, false);
}
