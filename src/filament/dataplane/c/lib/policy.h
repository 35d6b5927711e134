/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Access control lists: the first rule that matches decides, none denies. */
#pragma once

#include "kernel.h"
#include "parse.h"
#include "tables.gen.h"

/* What is asked of an ACL, and the answer. Ports are in host order. */
struct question {
	__u32 acl;
	__u32 source_network;
	__u32 destination_network;
	__u32 protocol;
	struct address source;
	struct address destination;
	__u16 source_port;
	__u16 destination_port;
	/* The answer: the rule's position or RULE_NONE, and its action. */
	__u32 rule;
	__u16 action;
};

static __always_inline bool is_within(const struct address *address, const struct address *prefix,
				      const struct address *mask)
{
	return !(((address->words[0] & mask->words[0]) ^ prefix->words[0]) |
		 ((address->words[1] & mask->words[1]) ^ prefix->words[1]) |
		 ((address->words[2] & mask->words[2]) ^ prefix->words[2]) |
		 ((address->words[3] & mask->words[3]) ^ prefix->words[3]));
}

static __always_inline bool rule_matches(const struct acl_rule *rule, const struct question *asked)
{
	if (rule->source_network && rule->source_network != asked->source_network)
		return false;
	if (rule->destination_network && rule->destination_network != asked->destination_network)
		return false;
	if (rule->protocol != PROTOCOL_ANY && rule->protocol != asked->protocol)
		return false;
	if (!is_within(&asked->source, &rule->source, &rule->source_mask) ||
	    !is_within(&asked->destination, &rule->destination, &rule->destination_mask))
		return false;
	if (!has_ports(asked->protocol))
		return true;
	return asked->source_port >= rule->source_port_low &&
	       asked->source_port <= rule->source_port_high &&
	       asked->destination_port >= rule->destination_port_low &&
	       asked->destination_port <= rule->destination_port_high;
}

/* One step of the walk; returns 1 to end it. */
static long try_rule(__u32 index, void *context)
{
	struct question *asked = *(struct question **)context;
	struct acl_rule_key key = {.acl = asked->acl, .index = index};
	struct acl_rule *rule = bpf_map_lookup_elem(&acl_rules, &key);

	if (!rule)
		return 1; /* half an ACL denies */
	if (!rule_matches(rule, asked))
		return 0;
	asked->rule = index;
	asked->action = rule->action;
	return 1;
}

/* Answer a question. ACL 0 is no ACL and lets everything pass; one without a row denies. */
static __always_inline void ask(struct question *asked)
{
	struct acl_key key = {.acl = asked->acl};
	struct acl *acl;

	asked->rule = RULE_NONE;
	asked->action = ACL_PASS;
	if (!asked->acl)
		return;
	asked->action = ACL_DENY;
	acl = bpf_map_lookup_elem(&acls, &key);
	if (acl)
		bpf_loop(acl->rule_count, try_rule, &asked, 0);
}
