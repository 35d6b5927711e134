/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Tunnels, MPLS over UDP (RFC 7510) and VXLAN (RFC 7348): pushing and pulling their headers without
 * losing segmentation offload. */
#pragma once

#include "checksum.h"
#include "count.h"
#include "drop.h"
#include "kernel.h"
#include "member.h"
#include "parse.h"
#include "tables.gen.h"

#define ECN_MASK 3
#define ECN_NONE 0
#define ECN_ECT1 1
#define ECN_ECT0 2
#define ECN_CE 3

#define LABEL_BOTTOM 0x100
#define ADJ_ROOM_DECAP_L3_IPV6 (1ULL << 8) /* BPF_F_..., not in the headers of older kernels */
#define IP6_GROWTH (sizeof(struct ip6_header) - sizeof(struct iphdr))
#define VXLAN_VALID_VNI 0x08000000
#define UDP_END (sizeof(struct ethhdr) + sizeof(struct iphdr) + sizeof(struct udphdr))
#define MPLS_END (sizeof(struct ethhdr) + MPLS_OVERHEAD)
#define VXLAN_END (sizeof(struct ethhdr) + VXLAN_OVERHEAD)

/* VXLAN's own header and that of the frame it carries. */
struct vxlan_header {
	__be32 flags;
	__be32 vni; /* in the upper 24 bits */
	struct ethhdr inner;
} __attribute__((packed, aligned(2)));
_Static_assert(UDP_END + sizeof(struct vxlan_header) == VXLAN_END, "VXLAN_OVERHEAD is wrong");

/* The way to another host, as the kernel's routes and neighbours have it: remembered for a moment,
 * because asking costs more than all else a tunnel takes. Flows are spread over WAYS of them, each
 * asked for by a source port of its own: enough for an underlay with several equal routes, few
 * enough for many flows to share. */
struct path {
	__u64 found_ns;
	__be32 local;
	__be32 remote;
	__be16 way; /* the source port by which it was asked for */
	__be16 port;
	__u8 source_mac[ETH_ALEN];
	__u8 destination_mac[ETH_ALEN];
	__u32 ifindex;
	__u32 mtu;
	__be32 neighbour; /* the underlay's next hop, and 0 once its MAC is known */
};

#define PATHS 4096
#define WAYS 64
#define PATH_FRESH_NS (1ULL << 25) /* 34 ms: so late we follow the underlay */

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PATHS);
	__type(key, __u32);
	__type(value, struct path);
} paths SEC(".maps");

/* Fourteen bits that are the same for all packets of a flow and all fragments of a packet, so that
 * the underlay balances flows and reorders none (RFC 7510 section 3). */
static __always_inline __u16 entropy(const struct packet *packet)
{
	__u32 hash = bpf_ntohl(fold_address(&packet->source)) * 0x9e3779b1u;

	hash = (rotate(hash, 15) ^ bpf_ntohl(fold_address(&packet->destination))) * 0x85ebca6bu;
	if (!packet->is_fragment)
		hash ^= (__u32)bpf_ntohs(packet->source_port) << 16 |
			bpf_ntohs(packet->destination_port);
	hash = rotate(hash, 13) ^ packet->protocol;
	/* Every bit of the fields must reach all of these: neighbouring ports differ in few. */
	hash = (hash ^ hash >> 16) * 0x85ebca6bu;
	hash = (hash ^ hash >> 13) * 0xc2b2ae35u;
	return (hash ^ hash >> 16) & 0x3fff;
}

/* How long the packet, or each segment the kernel will cut it into, gets with the tunnel header. */
static __always_inline __u32 tunnelled_length(struct __sk_buff *skb, const struct packet *packet,
					      __u32 overhead)
{
	__u32 transport = packet->offset + packet->header_bytes;
	__u32 header_bytes = sizeof(struct udphdr);

	if (likely(!skb->gso_size))
		return packet->length + overhead;
	if (packet->protocol == IPPROTO_TCP && reach(skb, transport + sizeof(struct tcphdr))) {
		struct tcphdr *tcp = frame_at(skb, transport);

		if ((void *)(tcp + 1) <= frame_end(skb))
			header_bytes = tcp->doff * 4;
	}
	return packet->header_bytes + header_bytes + skb->gso_size + overhead;
}

/* Make room for the outer header between Ethernet and IP. */
static __always_inline long push_room(struct __sk_buff *skb, __u32 overhead)
{
	long failed = bpf_skb_adjust_room(skb, overhead, BPF_ADJ_ROOM_MAC,
					  BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 |
						  BPF_F_ADJ_ROOM_ENCAP_L4_UDP);

	/* A packet that came out of a tunnel on this host and is forwarded by a port (a router in a
	 * container) is still marked encapsulated: pulling does not clear that. The marks it has
	 * are right for the new header: its end is where the inner network header is. */
	if (failed == -EALREADY)
		failed = bpf_skb_adjust_room(skb, overhead, BPF_ADJ_ROOM_MAC,
					     BPF_F_ADJ_ROOM_FIXED_GSO);
	return failed;
}

/* Write what goes between UDP and the packet; false when the room for it is not there. */
static __always_inline bool write_shim(struct __sk_buff *skb, const struct packet *packet,
				       const struct next_hop *next_hop, __u32 label)
{
	struct vxlan_header *vxlan = frame(skb, UDP_END);
	__be32 *mpls = frame(skb, UDP_END);

	if (!(next_hop->flags & NEXT_HOP_VXLAN)) {
		if ((void *)(mpls + 1) > frame_end(skb))
			return false;
		*mpls = bpf_htonl(label << 12 | LABEL_BOTTOM | packet->ttl);
		return true;
	}
	if ((void *)(vxlan + 1) > frame_end(skb))
		return false;
	vxlan->flags = bpf_htonl(VXLAN_VALID_VNI);
	vxlan->vni = bpf_htonl(label << 8);
	__builtin_memcpy(vxlan->inner.h_dest, next_hop->destination_mac, ETH_ALEN);
	__builtin_memcpy(vxlan->inner.h_source, next_hop->source_mac, ETH_ALEN);
	vxlan->inner.h_proto = ethertype_of(packet->version);
	return true;
}

/* Write the outer headers into the room made for them; false when that is not there. */
static __always_inline bool write_outer(struct __sk_buff *skb, const struct packet *packet,
					const struct path *path, __u32 spread, __u32 overhead)
{
	struct ethhdr *ethernet = frame(skb, 0);
	struct iphdr *ip = (void *)(ethernet + 1);
	struct udphdr *udp = (void *)(ip + 1);
	/* A segmentation-offload packet may not fit the field; its segments get their own. */
	__u32 length = packet->length + overhead;
	__be32 source = path->local, destination = path->remote;
	__u32 sum;

	if ((void *)(udp + 1) > frame_end(skb))
		return false;
	if (length > 0xffff)
		length = 0xffff;
	__builtin_memcpy(ethernet->h_dest, path->destination_mac, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, path->source_mac, ETH_ALEN);
	ethernet->h_proto = bpf_htons(ETH_P_IP);
	ip->version = 4;
	ip->ihl = 5;
	/* RFC 6040 normal mode: the inner congestion bits go outside. */
	ip->tos = packet->tos & ECN_MASK;
	ip->tot_len = bpf_htons(length);
	/* Never fragmented, so the identification means nothing (RFC 6864). */
	ip->id = 0;
	ip->frag_off = bpf_htons(IP_DONT_FRAGMENT);
	ip->ttl = TUNNEL_TTL;
	ip->protocol = IPPROTO_UDP;
	ip->saddr = source;
	ip->daddr = destination;
	sum = bpf_htons(0x4500 | (packet->tos & ECN_MASK)) + ip->tot_len +
	      bpf_htons(IP_DONT_FRAGMENT) + bpf_htons(TUNNEL_TTL << 8 | IPPROTO_UDP);
	sum += (source & 0xffff) + (source >> 16) + (destination & 0xffff) + (destination >> 16);
	ip->check = fold_checksum(sum);
	udp->source = bpf_htons(TUNNEL_SOURCE_PORT | spread);
	udp->dest = path->port;
	udp->len = bpf_htons(length - sizeof(*ip));
	udp->check = 0;
	return true;
}

/* Ask the kernel the way for a packet of `length` bytes; DROP_NONE or why there is none. */
static __noinline int find_path(struct __sk_buff *skb, struct path *path, __u32 length,
				__u64 now_ns)
{
	/* As if sent by the host itself: that asks only the loopback device to have forwarding on. */
	struct bpf_fib_lookup asked = {
		.family = AF_INET,
		.l4_protocol = IPPROTO_UDP,
		.sport = path->way,
		.dport = path->port,
		.tot_len = length,
		.ifindex = LOOPBACK_IFINDEX,
		.ipv4_src = path->local,
		.ipv4_dst = path->remote,
	};
	long found = bpf_fib_lookup(skb, &asked, sizeof(asked), 0);

	if (found == BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return DROP_MTU_EXCEEDED;
	if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH)
		return DROP_NO_UNDERLAY_ROUTE;
	path->ifindex = asked.ifindex;
	__builtin_memcpy(path->source_mac, asked.smac, ETH_ALEN);
	__builtin_memcpy(path->destination_mac, asked.dmac, ETH_ALEN);
	/* The lookup replaced the destination by the underlay's next hop. */
	path->neighbour = asked.ipv4_dst;
	if (unlikely(found == BPF_FIB_LKUP_RET_NO_NEIGH))
		return DROP_NONE;
	path->neighbour = 0;
	path->mtu = asked.mtu_result;
	path->found_ns = now_ns;
	return DROP_NONE;
}

/* Send the packet, whose Ethernet header is in front, to another host. The kernel's own routes and
 * neighbours choose the device and the MACs. */
static __always_inline int tunnel(struct __sk_buff *skb, const struct packet *packet,
				  const struct interface *port, const struct host *self,
				  const struct next_hop *next_hop, __u32 next_hop_id, __u32 label)
{
	bool is_vxlan = next_hop->flags & NEXT_HOP_VXLAN;
	__u32 overhead = is_vxlan ? VXLAN_OVERHEAD : MPLS_OVERHEAD;
	__be16 udp_port = is_vxlan ? bpf_htons(VXLAN_PORT) : bpf_htons(MPLS_OVER_UDP_PORT);
	__u32 length = tunnelled_length(skb, packet, overhead), spread = entropy(packet);
	__u32 slot = (spread % WAYS ^ bpf_ntohl(next_hop->remote) * WAYS) % PATHS;
	__be16 way = bpf_htons(TUNNEL_SOURCE_PORT | spread % WAYS);
	struct bpf_redir_neigh neighbour = {.nh_family = AF_INET};
	struct path *path;
	__u32 reason;

	path = bpf_map_lookup_elem(&paths, &slot);
	if (length > 0xffff || !path)
		return drop(skb, port, DROP_MTU_EXCEEDED);
	if (unlikely(path->remote != next_hop->remote || path->way != way ||
		     path->port != udp_port || path->local != self->address ||
		     length > path->mtu ||
		     packet->now_ns - path->found_ns > PATH_FRESH_NS)) {
		path->remote = next_hop->remote;
		path->way = way;
		path->port = udp_port;
		path->local = self->address;
		path->found_ns = 0;
		reason = find_path(skb, path, length, packet->now_ns);
		if (reason)
			return drop(skb, port, reason);
	}
	if (push_room(skb, overhead) || !write_outer(skb, packet, path, spread, overhead) ||
	    !write_shim(skb, packet, next_hop, label))
		return drop(skb, port, DROP_PUSH_FAILED);
	count_tx(FABRIC_VIF, skb->len);
	if (likely(!path->neighbour))
		return send(skb, path->ifindex, next_hop_id, false);
	/* The kernel asks for the neighbour's MAC and keeps the packet meanwhile. */
	neighbour.ipv4_nh = path->neighbour;
	return decide(bpf_redirect_neigh(path->ifindex, &neighbour, sizeof(neighbour), 0), DROP_NONE,
		      next_hop_id, path->ifindex);
}

/* Carry the outer header's congestion mark over to the packet inside (RFC 6040 figure 4); false
 * when the packet must be dropped because it cannot have one. */
static __always_inline bool merge_congestion(struct __sk_buff *skb, const struct packet *packet,
					     __u8 outer_tos)
{
	__u8 outer = outer_tos & ECN_MASK, inner = packet->tos & ECN_MASK;
	__u8 merged = inner, tos;

	if (likely(outer == ECN_NONE || outer == ECN_ECT0 || outer == inner))
		return true;
	if (outer == ECN_CE) {
		if (inner == ECN_NONE)
			return false;
		merged = ECN_CE;
	} else if (inner == ECN_ECT0) {
		merged = ECN_ECT1;
	}
	tos = (packet->tos & ~ECN_MASK) | merged;
	if (packet->version == 4) {
		struct iphdr *ip = frame_at(skb, packet->offset);

		if ((void *)(ip + 1) > frame_end(skb))
			return false;
		ip->tos = tos;
		ip->check = replace_in_checksum(ip->check, bpf_htons(packet->tos), bpf_htons(tos));
	} else {
		struct ip6_header *ip = frame_at(skb, packet->offset);

		if ((void *)(ip + 1) > frame_end(skb))
			return false;
		ip->first = (ip->first & ~bpf_htonl(0xff << 20)) | bpf_htonl((__u32)tos << 20);
	}
	return true;
}

/* Remove the outer headers from before an IPv6 packet for kernels before 6.3, which know only one
 * other helper that changes the frame's protocol: it makes room for a header that is 20 bytes
 * longer, so that many of the packet's own are removed first and written again. */
static __always_inline long pull_room_before_6_3(struct __sk_buff *skb, __u32 overhead)
{
	__u8 start[IP6_GROWTH];
	long failed;
	void *ip;

	ip = frame(skb, sizeof(struct ethhdr) + overhead);
	if (ip + IP6_GROWTH > frame_end(skb))
		return -EINVAL;
	__builtin_memcpy(start, ip, IP6_GROWTH);
	failed = bpf_skb_adjust_room(skb, -(__s32)(overhead + IP6_GROWTH), BPF_ADJ_ROOM_MAC,
				     BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET);
	if (!failed)
		failed = bpf_skb_change_proto(skb, bpf_htons(ETH_P_IPV6), 0);
	if (failed)
		return failed;
	ip = frame(skb, sizeof(struct ethhdr));
	if (ip + IP6_GROWTH > frame_end(skb))
		return -EINVAL;
	__builtin_memcpy(ip, start, IP6_GROWTH);
	return 0;
}

/* Remove the outer headers from before the packet; the outer Ethernet header stays in front. */
static __always_inline long pull_room(struct __sk_buff *skb, const struct packet *packet,
				      __u32 overhead)
{
	/* What is inside may be of another protocol than the frame was. */
	__u64 protocol = packet->version == 6 ? ADJ_ROOM_DECAP_L3_IPV6 : 0;
	long failed = bpf_skb_adjust_room(skb, -(__s32)overhead, BPF_ADJ_ROOM_MAC,
					  BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET |
						  protocol);

	if (unlikely(failed == -EINVAL && protocol))
		failed = pull_room_before_6_3(skb, overhead);
	/* What the device verified was the outer checksum first; one level is used up. */
	if (!failed)
		bpf_csum_level(skb, BPF_CSUM_LEVEL_DEC);
	return failed;
}
