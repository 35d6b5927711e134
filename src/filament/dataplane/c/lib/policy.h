/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Lists of rules: the first rule that matches decides, none denies. Of a list with two halves each
 * must let it pass, and the rule is that of the half that decided, the second's if both did.
 *
 * Tuple space search: a list has a few shapes, each of which tells what to keep of a packet to find
 * its bucket of rules in one hash table (`forward/classify.py` makes them). Shapes come in the order
 * of their first rule, so that the walk ends where nothing better can come. */
#pragma once

#include "address.h"
#include "kernel.h"
#include "parse.h"
#include "tables.gen.h"

#define PORT_BITS 16

/* What is asked of a list, and the answer. Ports are in host order. */
struct question {
	__u32 list;
	__u32 source_network;
	__u32 destination_network;
	__u32 groups; /* the far end's set of security groups, or of tags: as the list has it */
	__u32 protocol;
	struct address source;
	struct address destination;
	__u16 source_port;
	__u16 port; /* the destination's; of ICMP its type and code */
	__u8 version;
	__u8 action; /* the answer: what the rule does, */
	__u32 rule;  /* and its position or RULE_NONE */
	__u32 first_shape; /* of the half that is asked */
	struct bucket_key key;
};

static __always_inline void mask_address(struct address *masked, const struct address *address,
					 const struct address *mask)
{
	masked->words[0] = address->words[0] & mask->words[0];
	masked->words[1] = address->words[1] & mask->words[1];
	masked->words[2] = address->words[2] & mask->words[2];
	masked->words[3] = address->words[3] & mask->words[3];
}

/* Find what a bucket's rules say of the destination port, by bisection. */
static __always_inline void ask_ranges(struct question *asked, const struct bucket *bucket)
{
	__u32 first = bucket->first_range, count = bucket->range_count;

	for (int step = 0; step <= PORT_BITS + 1 && count; step++) {
		struct range_key key = {.list = asked->list, .index = first + count / 2};
		struct range *range = bpf_map_lookup_elem(&ranges, &key);

		if (!range)
			return;
		if (asked->port < range->low) {
			count /= 2;
		} else if (asked->port > range->high) {
			first += count / 2 + 1;
			count -= count / 2 + 1;
		} else {
			if (range->rule < asked->rule) {
				asked->rule = range->rule;
				asked->action = range->action;
			}
			return;
		}
	}
}

/* One step of the walk; returns 1 to end it. */
static long try_shape(__u32 step, void *context)
{
	struct question *asked = *(struct question **)context;
	__u32 index = asked->first_shape + step;
	struct shape_key shape_key = {.list = asked->list, .index = index};
	struct shape *shape = bpf_map_lookup_elem(&shapes, &shape_key);
	struct bucket_key *key = &asked->key;
	struct bucket *bucket;

	if (!shape) {
		/* Half a list denies. */
		asked->rule = RULE_NONE;
		asked->action = ACL_DENY;
		return 1;
	}
	if (shape->first_rule >= asked->rule)
		return 1;
	if ((shape->version && shape->version != asked->version) ||
	    asked->source_port < shape->source_port_low ||
	    asked->source_port > shape->source_port_high ||
	    (shape->protocol == PROTOCOL_PORTLESS && has_ports(asked->protocol)))
		return 0;
	key->list = asked->list;
	key->shape = index;
	key->source_network = shape->flags & SHAPE_SOURCE_NETWORK ? asked->source_network : 0;
	key->destination_network =
		shape->flags & SHAPE_DESTINATION_NETWORK ? asked->destination_network : 0;
	key->groups = shape->flags & SHAPE_GROUPS ? asked->groups : 0;
	key->protocol = shape->flags & SHAPE_PROTOCOL ? asked->protocol : 0;
	key->port = shape->flags & SHAPE_PORT ? asked->port : 0;
	mask_address(&key->source, &asked->source, &shape->source_mask);
	mask_address(&key->destination, &asked->destination, &shape->destination_mask);
	bucket = bpf_map_lookup_elem(&buckets, key);
	if (!bucket)
		return 0;
	if (shape->flags & SHAPE_PORT_RANGE) {
		ask_ranges(asked, bucket);
	} else if (bucket->rule < asked->rule) {
		asked->rule = bucket->rule;
		asked->action = bucket->action;
	}
	return 0;
}

/* Answer a question. List 0 is none and lets everything pass; one without a row denies. */
__noinline int ask(struct question *asked)
{
	struct list_key key = {};
	struct list *list;

	if (!asked)
		return 0;
	key.list = asked->list;
	asked->rule = RULE_NONE;
	asked->action = ACL_PASS;
	if (!asked->list)
		return 0;
	asked->action = ACL_DENY;
	list = bpf_map_lookup_elem(&lists, &key);
	if (!list)
		return 0;
	asked->first_shape = 0;
	bpf_loop(list->shape_count, try_shape, &asked, 0);
	if (unlikely(list->second_count && asked->action == ACL_PASS)) {
		asked->first_shape = list->shape_count;
		asked->rule = RULE_NONE;
		asked->action = ACL_DENY;
		bpf_loop(list->second_count, try_shape, &asked, 0);
	}
	return 0;
}
