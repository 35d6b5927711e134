/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The only ways out of a program: a packet is dropped with a counted reason, sent, or left alone. */
#pragma once

#include "kernel.h"
#include "tables.gen.h"

/* Filled in by the loader before the program is verified, so that unused branches disappear. The
 * only constant of this object in .rodata. */
struct settings {
	__u64 abi;
	__u32 record_decisions;
	__u32 pad;
};
const volatile struct settings settings = {.abi = LAYOUT_ABI};

static __always_inline int decide(int verdict, __u32 reason, __u32 next_hop, __u32 ifindex)
{
	if (settings.record_decisions) {
		struct decision_key key = {};
		struct decision *decision = bpf_map_lookup_elem(&decisions, &key);

		if (decision) {
			decision->verdict = verdict;
			decision->reason = reason;
			decision->next_hop = next_hop;
			decision->ifindex = ifindex;
		}
	}
	return verdict;
}

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, DROP_SAMPLES_BYTES);
} drop_samples SEC(".maps");

/* How many samples a CPU took in its current slice of time. */
struct sampling {
	__u64 slice;
	__u64 count;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sampling);
} samplings SEC(".maps");

/* Show the head of a discarded packet to whoever reads the ring; a few per slice of time, so that a
 * flood of them costs no more than counting. */
static __always_inline void sample(struct __sk_buff *skb, __u32 vif, __u32 reason)
{
	__u64 now_ns = bpf_ktime_get_coarse_ns(), slice = now_ns >> DROP_SAMPLES_SLICE_BITS;
	__u32 zero = 0, captured = skb->len;
	struct sampling *sampling = bpf_map_lookup_elem(&samplings, &zero);
	struct drop_sample *shown;

	if (!sampling)
		return;
	if (sampling->slice != slice) {
		sampling->slice = slice;
		sampling->count = 0;
	}
	if (sampling->count >= DROP_SAMPLES_PER_SLICE)
		return;
	sampling->count++;
	shown = bpf_ringbuf_reserve(&drop_samples, sizeof(*shown), 0);
	if (!shown)
		return;
	if (captured > DROP_SAMPLE_BYTES)
		captured = DROP_SAMPLE_BYTES;
	asm volatile("" : "+r"(captured));
	shown->at_ns = now_ns;
	shown->vif = vif;
	shown->reason = reason;
	shown->length = skb->len;
	shown->captured = 0;
	if (captured >= 1 && captured <= DROP_SAMPLE_BYTES &&
	    !bpf_skb_load_bytes(skb, 0, shown->head, captured))
		shown->captured = captured;
	bpf_ringbuf_submit(shown, BPF_RB_NO_WAKEUP);
}

/* Discard the packet; `vif` is the port it belongs to, as far as that was known. */
static __noinline int drop(struct __sk_buff *skb, __u32 vif, __u32 reason)
{
	struct drop_key key = {.vif = vif, .reason = reason};
	struct drop *dropped = bpf_map_lookup_elem(&drops, &key);

	if (!dropped) {
		struct drop none = {};

		/* Loses to another CPU's insertion, which serves as well. */
		bpf_map_update_elem(&drops, &key, &none, BPF_NOEXIST);
		dropped = bpf_map_lookup_elem(&drops, &key);
	}
	if (dropped)
		dropped->packets++;
	sample(skb, vif, reason);
	return decide(TC_ACT_SHOT, reason, 0, 0);
}

/* Send the frame as it is now out of a device (to the far end of the veth when `peer`). */
static __always_inline int send(struct __sk_buff *skb, __u32 ifindex, __u32 next_hop, bool peer)
{
	if (!peer)
		return decide(bpf_redirect(ifindex, 0), DROP_NONE, next_hop, ifindex);
	/* The frame goes straight into the receiver's stack. It was addressed to the gateway's MAC,
	 * which is not that of the device it came in by: kernels before 6.13 would take it for
	 * somebody else's. */
	if (skb->pkt_type != PACKET_HOST)
		bpf_skb_change_type(skb, PACKET_HOST);
	return decide(bpf_redirect_peer(ifindex, 0), DROP_NONE, next_hop, ifindex);
}
