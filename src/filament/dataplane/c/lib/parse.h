/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* From bytes to `struct packet`: everything later stages need of an IPv4 packet, checked once. */
#pragma once

#include "kernel.h"
#include "tables.gen.h"

struct packet {
	__u32 offset; /* of the IPv4 header in the frame */
	__u32 header_bytes;
	__u32 length; /* of the IPv4 packet; the frame may be longer (padding) */
	__be32 source;
	__be32 destination;
	/* Ports of TCP, UDP and SCTP. ICMP echo: the identifier and 0, in both directions; other
	 * ICMP: 0 and the type (TF's flow keys). 0 for other protocols and for fragments after the
	 * first, which so match only rules without ports: reassembly is nobody's job here. */
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 tos;
	__u8 ttl;
	bool is_fragment; /* any, also the first */
	bool is_first;    /* holds the start of the transport header */
	bool is_error;    /* an ICMP error, which quotes the packet it is about */
};

#define ICMP_ECHO_REPLY 0
#define ICMP_UNREACHABLE 3
#define ICMP_ECHO_REQUEST 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12
#define TRANSPORT_BYTES 8 /* what we read of a transport header, all that errors must quote */

struct icmp_header {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__be16 id;
	__be16 sequence;
};

static __always_inline bool has_ports(__u32 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

/* Read ports or what stands for them. `transport` has TRANSPORT_BYTES. */
static __always_inline void read_transport(struct packet *packet, const void *transport)
{
	const struct icmp_header *icmp = transport;
	const __be16 *ports = transport;

	if (has_ports(packet->protocol)) {
		packet->source_port = ports[0];
		packet->destination_port = ports[1];
	} else if (icmp->type == ICMP_ECHO_REQUEST || icmp->type == ICMP_ECHO_REPLY) {
		packet->source_port = icmp->id;
	} else {
		packet->destination_port = bpf_htons(icmp->type);
		packet->is_error = icmp->type == ICMP_UNREACHABLE ||
				   icmp->type == ICMP_TIME_EXCEEDED ||
				   icmp->type == ICMP_PARAMETER_PROBLEM;
	}
}

/* Parse the IPv4 packet at `offset` of the frame; false when it is malformed. A `quoted` packet may
 * be cut after TRANSPORT_BYTES of its payload. The header's checksum is left to the receiver: it is
 * only ever updated, so that a wrong one stays wrong. */
static __always_inline bool parse_ipv4(struct __sk_buff *skb, struct packet *packet, __u32 offset,
				       bool quoted)
{
	__u32 transport;
	struct iphdr *ip;
	__u16 fragment;
	void *start;

	/* One pull for both headers of an ordinary packet. */
	if (!reach(skb, offset + sizeof(*ip) + TRANSPORT_BYTES) && !reach(skb, offset + sizeof(*ip)))
		return false;
	ip = frame_at(skb, offset);
	if ((void *)(ip + 1) > frame_end(skb) || ip->version != 4 || ip->ihl < 5)
		return false;
	packet->offset = offset;
	packet->header_bytes = ip->ihl * 4;
	packet->length = bpf_ntohs(ip->tot_len);
	packet->source = ip->saddr;
	packet->destination = ip->daddr;
	packet->source_port = 0;
	packet->destination_port = 0;
	packet->protocol = ip->protocol;
	packet->tos = ip->tos;
	packet->ttl = ip->ttl;
	fragment = bpf_ntohs(ip->frag_off);
	packet->is_fragment = fragment & (IP_MORE_FRAGMENTS | IP_FRAGMENT_OFFSET);
	packet->is_first = !(fragment & IP_FRAGMENT_OFFSET);
	packet->is_error = false;
	if (packet->length < packet->header_bytes ||
	    offset + (quoted ? packet->header_bytes : packet->length) > skb->len)
		return false;
	if (!packet->is_first || !(has_ports(packet->protocol) || packet->protocol == IPPROTO_ICMP))
		return true;
	transport = offset + packet->header_bytes;
	if (packet->length < packet->header_bytes + TRANSPORT_BYTES ||
	    !reach(skb, transport + TRANSPORT_BYTES))
		return false;
	start = frame_at(skb, transport);
	if (start + TRANSPORT_BYTES > frame_end(skb))
		return false;
	read_transport(packet, start);
	return true;
}

/* Neither multicast (224/4) nor the limited broadcast address nor 0.0.0.0. */
static __always_inline bool is_unicast(__be32 address)
{
	return address && (address & bpf_htonl(0xf0000000)) != bpf_htonl(0xe0000000) &&
	       address != bpf_htonl(0xffffffff);
}
