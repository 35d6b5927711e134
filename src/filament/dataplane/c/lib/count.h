/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Counters by port; per CPU, so nothing here is atomic. */
#pragma once

#include "kernel.h"
#include "tables.gen.h"

static __always_inline void count_rx(__u32 vif, __u32 bytes)
{
	struct counter_key key = {.vif = vif};
	struct counter *counter = bpf_map_lookup_elem(&counters, &key);

	if (counter) {
		counter->rx_packets++;
		counter->rx_bytes += bytes;
	}
}

static __always_inline void count_tx(__u32 vif, __u32 bytes)
{
	struct counter_key key = {.vif = vif};
	struct counter *counter = bpf_map_lookup_elem(&counters, &key);

	if (counter) {
		counter->tx_packets++;
		counter->tx_bytes += bytes;
	}
}
