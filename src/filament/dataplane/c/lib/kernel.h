/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What the programs use of the kernel, and the few words C lacks. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* Not in the uapi headers of every libc: linux/if_packet.h, linux/if_arp.h, asm-generic/errno.h,
 * linux/socket.h. */
#define PACKET_HOST 0
#define EALREADY 114
#define EEXIST 17
#define EINVAL 22
#define AF_INET 2
#define LOOPBACK_IFINDEX 1

#define IP_MORE_FRAGMENTS 0x2000
#define IP_DONT_FRAGMENT 0x4000
#define IP_FRAGMENT_OFFSET 0x1fff
#define IP6_MORE_FRAGMENTS 0x0001
#define IP6_FRAGMENT_OFFSET 0xfff8

#define SECOND_NS 1000000000ULL

/* A word of the context. Written out because the compiler may otherwise keep pointers into the
 * context, which the verifier refuses to follow. */
#define CONTEXT_WORD(skb, member)                                                                  \
	({                                                                                         \
		unsigned long word;                                                                \
		asm volatile("%0 = *(u32 *)(%1 + %2)"                                              \
			     : "=r"(word)                                                          \
			     : "r"(skb), "i"(offsetof(struct __sk_buff, member)));                 \
		word;                                                                              \
	})

/* A pointer to byte `offset` of the frame, for the verifier's bounds checks. Every call reads the
 * context again: helpers that change the packet invalidate all earlier pointers. */
static __always_inline void *frame(struct __sk_buff *skb, __u32 offset)
{
	return (void *)CONTEXT_WORD(skb, data) + offset;
}

static __always_inline void *frame_end(struct __sk_buff *skb)
{
	return (void *)CONTEXT_WORD(skb, data_end);
}

/* The same for an offset read from a packet. All headers we look at begin in the first 256 bytes;
 * saying so after the compiler forgot what it knows makes the bound survive a spill to the stack,
 * which older verifiers do not track for 32-bit values. */
static __always_inline void *frame_at(struct __sk_buff *skb, __u32 offset)
{
	asm volatile("" : "+r"(offset));
	return frame(skb, offset & 0xff);
}

/* Make the first `bytes` of the frame readable in place; false when it is shorter than that. */
static __always_inline bool reach(struct __sk_buff *skb, __u32 bytes)
{
	if (likely(frame(skb, bytes) <= frame_end(skb)))
		return true;
	return bytes <= skb->len && bpf_skb_pull_data(skb, bytes) == 0;
}
