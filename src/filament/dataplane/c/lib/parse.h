/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* From bytes to `struct packet`: everything later stages need of an IP packet, checked once. */
#pragma once

#include "address.h"
#include "kernel.h"
#include "tables.gen.h"

struct packet {
	__u64 now_ns;
	__u32 offset; /* of the IP header in the frame */
	__u32 header_bytes; /* to the transport header: with options or extension headers */
	__u32 length; /* of the IP packet; the frame may be longer (padding) */
	struct address source;
	struct address destination;
	/* Ports of TCP, UDP and SCTP. ICMP echo: the identifier and 0, in both directions; other
	 * ICMP: 0 and the type (TF's flow keys). 0 for other protocols and for fragments after the
	 * first, until `follow_fragment` finds what that one said. */
	__be16 source_port;
	__be16 destination_port;
	__be32 fragment_id;
	__u8 version;
	__u8 protocol; /* of the transport header */
	__u8 tos; /* or traffic class */
	__u8 ttl; /* or hop limit */
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 tcp_flags;
	bool is_fragment; /* any, also the first */
	bool is_first;    /* holds the start of the transport header */
	bool is_error;    /* an ICMP error, which quotes the packet it is about */
	__be32 outer_source; /* the host it came from, 0 from a port here */
	__u32 sender_hop;    /* the next hop of the port here that it came from, 0 from another host */
	bool is_own_mac;  /* from the port's own MAC, or its MAC is not checked (set for ports) */
};

#define ICMP_ECHO_REPLY 0
#define ICMP_UNREACHABLE 3
#define ICMP_ECHO_REQUEST 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12
#define ICMP6_LAST_ERROR 127
#define ICMP6_ECHO_REQUEST 128
#define ICMP6_ECHO_REPLY 129
#define TRANSPORT_BYTES 8 /* what we read of a transport header, all that errors must quote */
#define TCP_FLAGS_AT 13
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10
#define HEADERS_END 256 /* all headers we look at end before this byte of the frame */

struct icmp_header {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__be16 id;
	__be16 sequence;
};

struct ip6_header {
	__be32 first; /* version, traffic class, flow label */
	__be16 payload_bytes;
	__u8 next;
	__u8 hop_limit;
	struct address source;
	struct address destination;
};
_Static_assert(sizeof(struct ip6_header) == 40, "struct ip6_header has padding");

#define EXTENSION_BYTES 8
#define MAX_EXTENSIONS 4
struct extension_header {
	__u8 next;
	__u8 length; /* in units of 8 bytes, the first not counted */
	__be16 fragment;
	__be32 id;
};

static __always_inline __be16 ethertype_of(__u8 version)
{
	return version == 6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
}

static __always_inline bool has_ports(__u32 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

static __always_inline bool is_icmp(__u32 protocol)
{
	return protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6;
}

static __always_inline bool is_icmp_of(__u8 protocol, __u8 version)
{
	return protocol == (version == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
}

static __always_inline void read_icmp(struct packet *packet, const struct icmp_header *icmp)
{
	bool is_echo;

	packet->icmp_type = icmp->type;
	packet->icmp_code = icmp->code;
	if (packet->version == 4) {
		is_echo = icmp->type == ICMP_ECHO_REQUEST || icmp->type == ICMP_ECHO_REPLY;
		packet->is_error = icmp->type == ICMP_UNREACHABLE ||
				   icmp->type == ICMP_TIME_EXCEEDED ||
				   icmp->type == ICMP_PARAMETER_PROBLEM;
	} else {
		is_echo = icmp->type == ICMP6_ECHO_REQUEST || icmp->type == ICMP6_ECHO_REPLY;
		packet->is_error = icmp->type && icmp->type <= ICMP6_LAST_ERROR;
	}
	if (is_echo)
		packet->source_port = icmp->id;
	else
		packet->destination_port = bpf_htons(icmp->type);
}

/* Read ports or what stands for them, where the packet has any here; false when it is too short. */
static __always_inline bool parse_transport(struct __sk_buff *skb, struct packet *packet)
{
	__u32 transport = packet->offset + packet->header_bytes;
	const __be16 *ports;
	const __u8 *flags;

	if (!packet->is_first || !(has_ports(packet->protocol) ||
				   is_icmp_of(packet->protocol, packet->version)))
		return true;
	if (packet->length < packet->header_bytes + TRANSPORT_BYTES ||
	    transport + TRANSPORT_BYTES > HEADERS_END || !reach(skb, transport + TRANSPORT_BYTES))
		return false;
	ports = frame_at(skb, transport);
	if ((void *)ports + TRANSPORT_BYTES > frame_end(skb))
		return false;
	if (!has_ports(packet->protocol)) {
		read_icmp(packet, (void *)ports);
		return true;
	}
	packet->source_port = ports[0];
	packet->destination_port = ports[1];
	if (packet->protocol != IPPROTO_TCP ||
	    packet->length <= packet->header_bytes + TCP_FLAGS_AT ||
	    transport + TCP_FLAGS_AT >= HEADERS_END || !reach(skb, transport + TCP_FLAGS_AT + 1))
		return true;
	flags = frame_at(skb, transport + TCP_FLAGS_AT);
	if ((void *)(flags + 1) <= frame_end(skb))
		packet->tcp_flags = *flags;
	return true;
}

/* Parse the IPv4 packet at `offset` of the frame; false when it is malformed. A `quoted` packet may
 * be cut after TRANSPORT_BYTES of its payload. The header's checksum is left to the receiver: it is
 * only ever updated, so that a wrong one stays wrong. `packet` is all zeros before. */
static __always_inline bool parse_ipv4(struct __sk_buff *skb, struct packet *packet, __u32 offset,
				       bool quoted)
{
	struct iphdr *ip;
	__u16 fragment;

	/* One pull for both headers of an ordinary packet. */
	if (!reach(skb, offset + sizeof(*ip) + TRANSPORT_BYTES) && !reach(skb, offset + sizeof(*ip)))
		return false;
	ip = frame_at(skb, offset);
	if ((void *)(ip + 1) > frame_end(skb) || ip->version != 4 || ip->ihl < 5)
		return false;
	packet->version = 4;
	packet->offset = offset;
	packet->header_bytes = ip->ihl * 4;
	packet->length = bpf_ntohs(ip->tot_len);
	set_ipv4(&packet->source, ip->saddr);
	set_ipv4(&packet->destination, ip->daddr);
	packet->protocol = ip->protocol;
	packet->tos = ip->tos;
	packet->ttl = ip->ttl;
	fragment = bpf_ntohs(ip->frag_off);
	packet->fragment_id = bpf_htonl(bpf_ntohs(ip->id));
	packet->is_fragment = fragment & (IP_MORE_FRAGMENTS | IP_FRAGMENT_OFFSET);
	packet->is_first = !(fragment & IP_FRAGMENT_OFFSET);
	if (packet->length < packet->header_bytes ||
	    offset + (quoted ? packet->header_bytes : packet->length) > skb->len)
		return false;
	return parse_transport(skb, packet);
}

/* Step over one extension header; false when there is none or it does not fit. */
static __always_inline bool skip_extension(struct __sk_buff *skb, struct packet *packet, bool *fits)
{
	__u32 at = packet->offset + packet->header_bytes, size = EXTENSION_BYTES;
	struct extension_header *extension;
	__u16 fragment;

	if (packet->protocol != IPPROTO_HOPOPTS && packet->protocol != IPPROTO_ROUTING &&
	    packet->protocol != IPPROTO_DSTOPTS && packet->protocol != IPPROTO_FRAGMENT)
		return false;
	*fits = false;
	if (packet->length < packet->header_bytes + EXTENSION_BYTES ||
	    at + EXTENSION_BYTES > HEADERS_END || !reach(skb, at + EXTENSION_BYTES))
		return false;
	extension = frame_at(skb, at);
	if ((void *)(extension + 1) > frame_end(skb))
		return false;
	if (packet->protocol == IPPROTO_FRAGMENT) {
		fragment = bpf_ntohs(extension->fragment);
		packet->fragment_id = extension->id;
		packet->is_fragment |= fragment & (IP6_MORE_FRAGMENTS | IP6_FRAGMENT_OFFSET);
		packet->is_first &= !(fragment & IP6_FRAGMENT_OFFSET);
	} else {
		size += extension->length * 8;
	}
	packet->protocol = extension->next;
	packet->header_bytes += size;
	if (packet->length < packet->header_bytes)
		return false;
	*fits = true;
	return packet->is_first;
}

/* The same for IPv6. Of a packet with more than MAX_EXTENSIONS extension headers the protocol is
 * that of the next one. */
static __always_inline bool parse_ipv6(struct __sk_buff *skb, struct packet *packet, __u32 offset,
				       bool quoted)
{
	struct ip6_header *ip;
	bool fits = true;
	__u32 first;

	if (!reach(skb, offset + sizeof(*ip) + TRANSPORT_BYTES) && !reach(skb, offset + sizeof(*ip)))
		return false;
	ip = frame_at(skb, offset);
	if ((void *)(ip + 1) > frame_end(skb))
		return false;
	first = bpf_ntohl(ip->first);
	if (first >> 28 != 6)
		return false;
	packet->version = 6;
	packet->offset = offset;
	packet->header_bytes = sizeof(*ip);
	packet->length = sizeof(*ip) + bpf_ntohs(ip->payload_bytes);
	packet->source = ip->source;
	packet->destination = ip->destination;
	packet->protocol = ip->next;
	packet->tos = first >> 20;
	packet->ttl = ip->hop_limit;
	packet->is_first = true;
	if (offset + (quoted ? sizeof(*ip) : packet->length) > skb->len)
		return false;
#pragma clang loop unroll(full)
	for (int count = 0; count < MAX_EXTENSIONS; count++)
		if (!skip_extension(skb, packet, &fits))
			break;
	return fits && parse_transport(skb, packet);
}

/* Parse the IP packet at `offset`, of a version (0: of either); false when it is malformed. A global
 * function, which the verifier looks at once and not at every call. */
__noinline int parse_ip(struct __sk_buff *skb, struct packet *packet, __u32 offset, __u32 version,
			__u32 quoted)
{
	__u8 *first;

	if (!packet || offset >= HEADERS_END || !reach(skb, offset + 1))
		return false;
	first = frame_at(skb, offset);
	if ((void *)(first + 1) > frame_end(skb) || (version && *first >> 4 != version))
		return false;
	return *first >> 4 == 6 ? parse_ipv6(skb, packet, offset, quoted)
				: parse_ipv4(skb, packet, offset, quoted);
}
