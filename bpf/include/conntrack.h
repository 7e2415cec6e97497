/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flows under way. Each endpoint's side of a flow is an entry of its own, by direction; the policy is
 * asked for every packet that goes the way of the first, replies and errors about it pass (SEM-7.2).
 */
#pragma once

#include "packet.h"

INLINE void key_of(struct flow_key *key, const struct packet *p, __u8 direction)
{
	copy16(key->source, p->source);
	copy16(key->destination, p->destination);
	key->source_port = p->source_port;
	key->destination_port = p->destination_port;
	key->protocol = p->protocol;
	key->direction = direction;
	key->reserved = 0;
}

/* The flow that a packet answers. */
INLINE void reverse_key_of(struct flow_key *key, const struct packet *p, __u8 direction)
{
	copy16(key->source, p->destination);
	copy16(key->destination, p->source);
	key->source_port = p->destination_port;
	key->destination_port = p->source_port;
	key->protocol = p->protocol;
	key->direction = direction;
	key->reserved = 0;
}

INLINE struct flow_value *flow_at(struct flow_key *key, __u64 now)
{
	struct flow_value *flow = bpf_map_lookup_elem(&conntrack, key);

	return flow && flow->expires >= now ? flow : NULL;
}

INLINE __u64 lifetime_of(const struct packet *p, __u32 flags)
{
	if (p->protocol != IPPROTO_TCP)
		return lifetime_other;
	if (flags & FLOW_RESET || (flags & FLOW_CLOSED_FORWARD && flags & FLOW_CLOSED_REPLY))
		return lifetime_closed;
	return flags & FLOW_REPLIED ? lifetime_tcp : lifetime_syn;
}

/* Ports that are used again begin a new flow. */
INLINE int begins_again(const struct flow_value *flow, const struct packet *p)
{
	return (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN &&
	       flow->flags & (FLOW_RESET | FLOW_CLOSED_FORWARD | FLOW_CLOSED_REPLY);
}

/* Takes one more packet into a flow. Writes only what changes: other processors read the entry. */
INLINE void take(struct flow_value *flow, const struct packet *p, int reply, __u64 now)
{
	__u32 flags = flow->flags;
	__u64 expires;

	if (reply)
		flags |= FLOW_REPLIED;
	if (p->tcp_flags & TCP_FIN)
		flags |= reply ? FLOW_CLOSED_REPLY : FLOW_CLOSED_FORWARD;
	if (p->tcp_flags & TCP_RST)
		flags |= FLOW_RESET;
	if (flags != flow->flags)
		flow->flags = flags;
	if (reply)
		flow->replies += 1;
	else
		flow->packets += 1;
	expires = now + lifetime_of(p, flags);
	/* A second's worth of imprecision saves most writes; a closed flow ends soon. */
	if (expires > flow->expires + 1000000000 || expires < flow->expires)
		flow->expires = expires;
}

/* A reply to a flow of this endpoint. A SYN without ACK opens a flow and answers none. */
INLINE struct flow_value *replied_to(const struct packet *p, __u8 direction, __u64 now)
{
	struct flow_key key __attribute__((aligned(8)));

	if (!p->tracked || p->piece == UNKNOWN_FRAGMENT || (is_icmp(p) && !is_answer(p)))
		return NULL;
	if (p->protocol == IPPROTO_TCP && (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
		return NULL;
	reverse_key_of(&key, p, !direction);
	return flow_at(&key, now);
}

/* An ICMP message that says what became of another packet. */
INLINE int is_error(const struct packet *p)
{
	if (p->piece == LATER_FRAGMENT || p->piece == UNKNOWN_FRAGMENT || !is_icmp(p))
		return 0;
	if (p->family == 6)
		return p->icmp_type >= 1 && p->icmp_type <= 4;
	return p->icmp_type == 3 || p->icmp_type == 4 || p->icmp_type == 11 || p->icmp_type == 12;
}

/* "The packet is too big" always passes (SEM-7.5): without it, paths go dark. */
INLINE int is_too_big(const struct packet *p)
{
	if (p->piece == LATER_FRAGMENT || p->piece == UNKNOWN_FRAGMENT || !is_icmp(p))
		return 0;
	return p->family == 6 ? p->icmp_type == 2 : p->icmp_type == 3 && p->icmp_code == 4;
}

/*
 * Whether an error is about a flow of this endpoint. What it quotes went the other way than the error
 * itself: either in the direction of a flow that this endpoint tracks, or as a reply to one.
 */
INLINE int is_related(struct __sk_buff *skb, const struct packet *p, __u8 direction, __u64 now)
{
	struct packet quoted = {};
	struct flow_key key __attribute__((aligned(8)));
	int failed;

	failed = p->family == 4 ? read_ipv4(skb, p->l4 + 8, &quoted) : read_ipv6(skb, p->l4 + 8, &quoted);
	if (failed || quoted.piece == LATER_FRAGMENT || read_l4(skb, &quoted, 0) || !quoted.tracked)
		return 0;
	/* An error goes back to who sent what it quotes. */
	if (!same16(p->destination, quoted.source))
		return 0;
	key_of(&key, &quoted, !direction);
	if (flow_at(&key, now))
		return 1;
	reverse_key_of(&key, &quoted, direction);
	return flow_at(&key, now) != NULL;
}
