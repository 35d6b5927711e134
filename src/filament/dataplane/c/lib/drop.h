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
	__uint(max_entries, SAMPLES_BYTES);
} samples SEC(".maps");

/* Show the head of a packet to whoever reads the ring: one that is dropped or (DROP_NONE) begins a
 * flow. A few per slice of time, so that a flood costs no more than counting. */
__noinline int sample(struct __sk_buff *skb, __u32 vif, __u32 vrf, __u32 reason)
{
	__u64 now_ns = bpf_ktime_get_coarse_ns(), slice = now_ns >> SAMPLES_SLICE_BITS;
	struct sampling_key key = {.kind = reason ? SAMPLE_DROP : SAMPLE_FLOW};
	struct sampling *sampling;
	struct sample *shown;
	__u32 captured;

	if (!skb)
		return 0;
	sampling = bpf_map_lookup_elem(&samplings, &key);
	if (!sampling)
		return 0;
	if (sampling->slice != slice) {
		sampling->slice = slice;
		sampling->count = 0;
	}
	if (sampling->count >= SAMPLES_PER_SLICE) {
		sampling->skipped++;
		return 0;
	}
	sampling->count++;
	shown = bpf_ringbuf_reserve(&samples, sizeof(*shown), 0);
	if (!shown) {
		sampling->lost++;
		return 0;
	}
	sampling->shown++;
	captured = skb->len;
	if (captured > SAMPLE_HEAD_BYTES)
		captured = SAMPLE_HEAD_BYTES;
	asm volatile("" : "+r"(captured));
	shown->at_ns = now_ns;
	shown->vif = vif;
	shown->vrf = vrf;
	shown->ifindex = skb->ifindex;
	shown->reason = reason;
	shown->length = skb->len;
	shown->captured = 0;
	if (captured >= 1 && captured <= SAMPLE_HEAD_BYTES &&
	    !bpf_skb_load_bytes(skb, 0, shown->head, captured))
		shown->captured = captured;
	bpf_ringbuf_submit(shown, BPF_RB_NO_WAKEUP);
	return 0;
}

static __always_inline void count_drop(__u32 vif, __u32 reason)
{
	struct drop_key key = {.vif = vif, .reason = reason};
	struct drop *counted = bpf_map_lookup_elem(&drops, &key);

	if (!counted) {
		struct drop none = {};

		/* Loses to another CPU's insertion, which serves as well. */
		bpf_map_update_elem(&drops, &key, &none, BPF_NOEXIST);
		counted = bpf_map_lookup_elem(&drops, &key);
	}
	if (counted)
		counted->packets++;
}

static __always_inline void count_drop_in_vrf(__u32 vrf, __u32 reason)
{
	struct vrf_drop_key key = {.vrf = vrf, .reason = reason};
	struct vrf_drop *counted = bpf_map_lookup_elem(&vrf_drops, &key);

	if (!counted) {
		struct vrf_drop none = {};

		bpf_map_update_elem(&vrf_drops, &key, &none, BPF_NOEXIST);
		counted = bpf_map_lookup_elem(&vrf_drops, &key);
	}
	if (counted)
		counted->packets++;
}

/* Discard the packet; `vif` is the port it belongs to, and `vrf` where, as far as that is known. */
static __noinline int drop_in(struct __sk_buff *skb, __u32 vif, __u32 vrf, __u32 reason)
{
	count_drop(vif, reason);
	count_drop_in_vrf(vrf, reason);
	sample(skb, vif, vrf, reason);
	return decide(TC_ACT_SHOT, reason, 0, 0);
}

/* The same for a packet of a port, or (NULL) of none. */
static __always_inline int drop(struct __sk_buff *skb, const struct interface *port, __u32 reason)
{
	return drop_in(skb, port ? port->vif : FABRIC_VIF, port ? port->vrf : 0, reason);
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
