/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The distributed gateway as a host: it answers ICMP echo, for the rest nobody is at home. */
#pragma once

#include "checksum.h"
#include "count.h"
#include "drop.h"
#include "kernel.h"
#include "parse.h"
#include "tables.gen.h"

/* Turn an echo request around. Not policed: it never leaves the host. Fragments are not served. */
static __always_inline int answer_echo(struct __sk_buff *skb, const struct packet *packet,
				       const struct interface *port, __u32 next_hop)
{
	__u16 request = bpf_htons(ICMP_ECHO_REQUEST << 8), reply = bpf_htons(ICMP_ECHO_REPLY << 8);
	__u32 transport = packet->offset + packet->header_bytes;
	struct icmp_header *icmp;
	struct ethhdr *ethernet;
	__u8 mac[ETH_ALEN];
	struct iphdr *ip;
	__u16 before;

	if (packet->protocol != IPPROTO_ICMP || packet->is_fragment)
		return drop(port->vif, DROP_NOT_SERVED);
	ethernet = frame(skb, 0);
	ip = frame(skb, sizeof(*ethernet));
	icmp = frame_at(skb, transport);
	if ((void *)(ip + 1) > frame_end(skb) || (void *)(icmp + 1) > frame_end(skb))
		return drop(port->vif, DROP_MALFORMED);
	if (icmp->type != ICMP_ECHO_REQUEST)
		return drop(port->vif, DROP_NOT_SERVED);
	__builtin_memcpy(mac, ethernet->h_dest, ETH_ALEN);
	__builtin_memcpy(ethernet->h_dest, ethernet->h_source, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, mac, ETH_ALEN);
	/* Swapping the addresses leaves the sum alone, a fresh TTL does not. */
	ip->saddr = packet->destination;
	ip->daddr = packet->source;
	__builtin_memcpy(&before, &ip->ttl, sizeof(before));
	ip->ttl = TUNNEL_TTL;
	ip->check = replace_in_checksum(ip->check, before & bpf_htons(0xff00),
					bpf_htons(TUNNEL_TTL << 8));
	icmp->type = ICMP_ECHO_REPLY;
	icmp->checksum = replace_in_checksum(icmp->checksum, request, reply);
	count_tx(port->vif, skb->len);
	return send(skb, skb->ifindex, next_hop, false);
}
