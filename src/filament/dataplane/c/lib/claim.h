/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Claims of addresses that several ports share and one of them holds at a time (active-standby).
 *
 * The agent reads them, and decides who holds what. However often a port claims, there is one row
 * for each of its addresses of this kind, and nobody is woken. */
#pragma once

#include "kernel.h"
#include "source.h"
#include "tables.gen.h"

/* The claim that the port would make by sending from an address and the frame's MAC; 0 for none. */
static __always_inline __u32 find_claim(struct __sk_buff *skb, const struct interface *port,
					const struct address *address)
{
	struct source *source;

	if (likely(!(port->flags & INTERFACE_STANDBY)))
		return 0;
	source = find_source(skb, port, address);
	return source ? source->claim : 0;
}

/* Note that the port claims the address, if it is of this kind. */
static __noinline int claim_address(struct __sk_buff *skb, const struct interface *port,
				    const struct address *address)
{
	struct claim_key key = {.claim = find_claim(skb, port, address)};
	struct claim claim = {.claimed_ns = bpf_ktime_get_ns()};

	if (key.claim)
		bpf_map_update_elem(&claims, &key, &claim, BPF_ANY);
	return 0;
}
