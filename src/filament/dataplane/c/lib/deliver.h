/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The last step to a port of this host. */
#pragma once

#include "count.h"
#include "drop.h"
#include "kernel.h"
#include "parse.h"
#include "tables.gen.h"

/* Put the port's MACs before the packet and hand it over. */
static __always_inline int hand_over(struct __sk_buff *skb, const struct packet *packet,
				     const struct interface *port, const struct next_hop *next_hop,
				     __u32 next_hop_id)
{
	struct ethhdr *ethernet = frame(skb, 0);

	if ((void *)(ethernet + 1) > frame_end(skb))
		return drop(skb, port, DROP_MALFORMED);
	__builtin_memcpy(ethernet->h_dest, next_hop->destination_mac, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, next_hop->source_mac, ETH_ALEN);
	ethernet->h_proto = ethertype_of(packet->version);
	count_tx(port->vif, skb->len);
	return send(skb, next_hop->ifindex, next_hop_id, next_hop->flags & NEXT_HOP_PEER);
}
