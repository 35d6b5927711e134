/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Whom a port may send as: MAC and address go together.
 *
 * Its own MAC may have the port's addresses and what is routed to the port; allowed address pairs add
 * others. Where addresses are not checked (the network's RPF is off) the MAC decides alone. */
#pragma once

#include "address.h"
#include "kernel.h"
#include "member.h"
#include "route.h"
#include "tables.gen.h"

#define SOURCE_BITS 224 /* of a key but its first word */

static __always_inline bool is_same_mac(const __u8 *one, const __u8 *other)
{
	__u8 difference = 0;

#pragma clang loop unroll(full)
	for (int index = 0; index < ETH_ALEN; index++)
		difference |= one[index] ^ other[index];
	return !difference;
}

/* Whether a MAC is the port's, or is not asked for. */
static __always_inline bool is_own_mac(const struct interface *port, const __u8 *mac)
{
	return !(port->flags & INTERFACE_CHECK_MAC) || is_same_mac(mac, port->mac);
}

/* Why the port may use the frame's source MAC with an address, without one (NULL) at all; or NULL. */
static __always_inline struct source *find_source(struct __sk_buff *skb,
						  const struct interface *port,
						  const struct address *address)
{
	struct source_key key = {.prefix_length = SOURCE_BITS, .vif = bpf_htonl(port->vif)};
	struct ethhdr *ethernet = frame(skb, 0);

	if ((void *)(ethernet + 1) > frame_end(skb))
		return NULL;
	__builtin_memcpy(key.mac, ethernet->h_source, ETH_ALEN);
	if (address)
		key.address = *address;
	return bpf_map_lookup_elem(&sources, &key);
}

/* DROP_NONE if the port may send packets from this address and the frame's MAC. */
static __always_inline __u32 refuse_source(struct __sk_buff *skb, const struct interface *port,
					   const struct address *source, __u8 version,
					   bool is_own_mac)
{
	__u32 refusal = is_own_mac ? DROP_SOURCE_SPOOFED : DROP_SOURCE_MAC_SPOOFED;
	bool checks_address = port->flags & INTERFACE_CHECK_SOURCE;
	struct route *route;

	if (!is_unicast(source, version))
		return refusal;
	if (likely(is_own_mac)) {
		if (!checks_address)
			return DROP_NONE;
		if (version == 4 ? source->words[3] == port->address
				 : is_same_address(source, &port->address6))
			return DROP_NONE;
		route = find_route(port->vrf, source, version);
		if (route && leads_to(route, port))
			return DROP_NONE;
	}
	return find_source(skb, port, checks_address ? source : NULL) ? DROP_NONE : refusal;
}

/* The same for ARP and neighbour discovery, whose sender may have no address yet, or one that means
 * nothing beyond the link: then only the MAC counts. */
static __always_inline __u32 refuse_sender(struct __sk_buff *skb, const struct interface *port,
					   const struct address *source, __u8 version,
					   bool is_own_mac)
{
	bool has_none = version == 4 ? !source->words[3] : is_zero_address(source);

	if (!has_none && !(version == 6 && is_link_local(source)))
		return refuse_source(skb, port, source, version, is_own_mac);
	return is_own_mac || find_source(skb, port, NULL) ? DROP_NONE : DROP_SOURCE_MAC_SPOOFED;
}
