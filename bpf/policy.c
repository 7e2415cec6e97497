/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Policy at the host's side of a pod's interface. `from_endpoint` sees what the pod sends, `to_endpoint`
 * what reaches it; each asks the table image of the active generation, which it reads once.
 *
 * The order of work, for every packet:
 *
 *  1. What is no IP: ARP passes, everything else and every VLAN tag is dropped.
 *  2. Neighbour discovery and group membership pass: without them there is no link.
 *  3. What the pod sends must come from one of its own addresses.
 *  4. Replies, errors about flows under way and "packet too big" pass (SEM-7.2, SEM-7.5).
 *  5. A pod reaches itself (SEM-7.2).
 *  6. The image decides about everything else, whether the flow is new or not.
 *
 * Where no answer can be had the packet is dropped, counted and reported.
 */

#include "include/conntrack.h"
#include "include/image.h"
#include "include/stamp.h"

char LICENSE[] SEC("license") = "Apache-2.0";

struct context {
	struct packet packet;
	struct decision decision;
	__u64 now;
	__u32 endpoint;
	__u32 identity;
	__u32 peer;
	__u8 direction;
	__u8 kind;
};

INLINE void report(struct __sk_buff *skb, const struct context *c, __u8 verdict, __u8 reason)
{
	const struct packet *p = &c->packet;
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e) {
		count(COUNT_EVENTS_LOST);
		return;
	}
	e->time = c->now;
	e->generation = c->decision.generation;
	__builtin_memcpy(e->source, p->source, 16);
	__builtin_memcpy(e->destination, p->destination, 16);
	e->word = c->decision.word;
	e->endpoint = c->endpoint;
	e->identity = c->identity;
	e->peer = c->peer;
	e->ifindex = skb->ifindex;
	e->length = skb->len;
	e->source_port = p->source_port;
	e->destination_port = p->destination_port;
	e->protocol = p->protocol;
	e->direction = c->direction;
	e->verdict = verdict;
	e->reason = reason;
	e->icmp_type = p->icmp_type;
	e->icmp_code = p->icmp_code;
	e->tcp_flags = p->tcp_flags;
	e->family = p->family;
	e->kind = c->kind;
	e->reserved = 0;
	e->reserved2 = 0;
	bpf_ringbuf_submit(e, 0);
}

INLINE int forward(const struct context *c)
{
	count(COUNT_FORWARDED + c->direction);
	return TC_ACT_UNSPEC;
}

/* Counts a drop by its cause, and reports the first packet of a flow that is dropped. */
static __attribute__((noinline)) int drop(struct __sk_buff *skb, struct context *c, __u8 reason)
{
	struct flow_key key __attribute__((aligned(8)));
	struct drop_key why __attribute__((aligned(8))) = {};
	struct denied_value *seen;
	struct denied_value now = {};
	__u64 one = 1;
	__u64 *n;

	if (!skb || !c)
		return TC_ACT_SHOT;
	why.generation = c->decision.generation;
	why.cause = c->decision.word >> WORD_CAUSE_SHIFT;
	why.reason = reason;
	why.direction = c->direction;
	count(COUNT_DROPPED + c->direction);
	n = bpf_map_lookup_elem(&drops, &why);
	if (n)
		*n += 1;
	else
		bpf_map_update_elem(&drops, &why, &one, BPF_ANY);
	key_of(&key, &c->packet, c->direction);
	key.reserved = reason;
	seen = bpf_map_lookup_elem(&denied, &key);
	if (seen && seen->generation == c->decision.generation && c->now - seen->reported < report_again)
		return TC_ACT_SHOT;
	now.generation = c->decision.generation;
	now.reported = c->now;
	bpf_map_update_elem(&denied, &key, &now, BPF_ANY);
	report(skb, c, VERDICT_DROPPED, reason);
	return TC_ACT_SHOT;
}

/* What keeps a link alive: it never leaves the link, so no policy speaks of it. */
INLINE int is_link_local(const struct packet *p)
{
	if (p->family != 6 || p->protocol != IPPROTO_ICMPV6 || p->piece != WHOLE)
		return 0;
	/* Neighbour and router discovery: a router would have lowered the hop limit (RFC 4861). */
	if (p->icmp_type >= 133 && p->icmp_type <= 137)
		return p->hops == 255;
	/* Group membership (RFC 2710, RFC 3810). */
	return (p->icmp_type == 143 || (p->icmp_type >= 130 && p->icmp_type <= 132)) && p->hops == 1;
}

INLINE int is_own(const struct context *c)
{
	const struct address_value *a = bpf_map_lookup_elem(&addresses, c->packet.source);

	return a && a->endpoint == c->endpoint + 1;
}

/* Makes or refreshes the entry of a flow that passes; 0, or a DROP_ code. */
INLINE int track(struct context *c)
{
	struct flow_key key __attribute__((aligned(8)));
	struct flow_value fresh = {};
	struct flow_value *flow;

	if (!c->packet.tracked || (is_icmp(&c->packet) && !is_query(&c->packet)))
		return 0;
	key_of(&key, &c->packet, c->direction);
	flow = flow_at(&key, c->now);
	if (flow && !begins_again(flow, &c->packet)) {
		take(flow, &c->packet, 0, c->now);
		if (flow->word != c->decision.word)
			flow->word = c->decision.word;
		c->kind = KIND_ESTABLISHED;
		return 0;
	}
	if (c->packet.tcp_flags & TCP_FIN)
		fresh.flags = FLOW_CLOSED_FORWARD;
	if (c->packet.tcp_flags & TCP_RST)
		fresh.flags = FLOW_RESET;
	fresh.expires = c->now + lifetime_of(&c->packet, fresh.flags);
	fresh.packets = 1;
	fresh.word = c->decision.word;
	if (bpf_map_update_elem(&conntrack, &key, &fresh, BPF_ANY)) {
		count(COUNT_CONNTRACK_FAILED);
		return DROP_CONNTRACK_FULL;
	}
	return 0;
}

/* A pod to itself, through a service say. What arrives must have left it. */
INLINE int reaches_itself(struct context *c)
{
	struct flow_key key __attribute__((aligned(8)));

	if (!same16(c->packet.source, c->packet.destination))
		return 0;
	if (c->direction == EGRESS)
		return 1;
	key_of(&key, &c->packet, EGRESS);
	return flow_at(&key, c->now) != NULL;
}

INLINE int enforce(struct __sk_buff *skb, struct context *c)
{
	const __u8 *other = c->direction == INGRESS ? c->packet.source : c->packet.destination;
	struct active_value *current;
	const __u8 *image;
	__u8 verdict = VERDICT_FORWARDED;
	__u32 zero = 0;
	__u32 now;
	__u32 slot;
	int failed;

	current = bpf_map_lookup_elem(&active, &zero);
	if (!current)
		return drop(skb, c, DROP_NO_POLICY);
	/* Once: whatever else this packet asks, it asks of one generation. */
	now = *(volatile __u32 *)&current->slot;
	slot = stamped_slot(skb, now);
	image = image_of(slot);
	if (slot != now && (!image || !is_stamped(skb, generation_of(image)))) {
		slot = now;
		image = image_of(slot);
	}
	if (!image)
		return drop(skb, c, DROP_NO_POLICY);
	if (c->direction == EGRESS)
		stamp(skb, slot, generation_of(image));
	c->peer = identity_of(other, slot);
	decide(image, c->endpoint, c->direction, c->peer, &c->packet, &c->decision);
	if (c->decision.failed)
		return drop(skb, c, c->decision.failed);
	if (!(c->decision.word & WORD_ALLOW)) {
		if (!(c->decision.word & WORD_AUDIT))
			return drop(skb, c, DROP_POLICY);
		count(COUNT_AUDITED);
		verdict = VERDICT_AUDIT;
	}
	if (!fail_open) {
		if (c->decision.word & WORD_REDIRECT)
			return drop(skb, c, DROP_NO_PROXY);
		if (c->decision.word & WORD_AUTHENTICATE)
			return drop(skb, c, DROP_AUTHENTICATION);
	}
	failed = track(c);
	if (failed)
		return drop(skb, c, failed);
	if (c->kind == KIND_NEW && (report_allowed || verdict == VERDICT_AUDIT || c->decision.word & WORD_LOG))
		report(skb, c, verdict, 0);
	return forward(c);
}

static __attribute__((noinline)) int handle(struct __sk_buff *skb, __u8 direction, __u32 l3)
{
	struct context c = {};
	struct endpoint_key interface = { .ifindex = skb->ifindex };
	struct endpoint_value *endpoint;
	struct flow_value *flow;
	__u32 protocol = host16((__u16)skb->protocol);
	int failed;

	c.direction = direction;
	c.now = bpf_ktime_get_coarse_ns();
	/* A tag that the device took off a packet is beside it, and its protocol is what stood behind. */
	if (protocol == ETH_P_ARP && !skb->vlan_present)
		return TC_ACT_UNSPEC;
	endpoint = bpf_map_lookup_elem(&endpoints, &interface);
	if (!endpoint)
		return drop(skb, &c, DROP_NO_POLICY);
	c.endpoint = endpoint->number;
	c.identity = endpoint->identity;
	if (skb->vlan_present || protocol == ETH_P_8021Q || protocol == ETH_P_8021AD)
		return drop(skb, &c, DROP_VLAN);
	if (protocol == ETH_P_IP)
		failed = read_ipv4(skb, l3, &c.packet);
	else if (protocol == ETH_P_IPV6)
		failed = read_ipv6(skb, l3, &c.packet);
	else
		failed = DROP_UNSUPPORTED_L3;
	if (failed)
		return drop(skb, &c, failed);
	failed = read_fragment(skb, &c.packet, direction, c.now);
	if (failed)
		return drop(skb, &c, failed);
	if (is_link_local(&c.packet))
		return forward(&c);
	if (direction == EGRESS && !is_own(&c))
		return drop(skb, &c, DROP_INVALID_SOURCE);
	flow = replied_to(&c.packet, direction, c.now);
	if (flow) {
		take(flow, &c.packet, 1, c.now);
		return forward(&c);
	}
	if (is_too_big(&c.packet))
		return forward(&c);
	if (is_error(&c.packet) && is_related(skb, &c.packet, direction, c.now))
		return forward(&c);
	if (reaches_itself(&c)) {
		failed = track(&c);
		return failed ? drop(skb, &c, failed) : forward(&c);
	}
	return enforce(skb, &c);
}

/* What a pod sends, on a device with Ethernet headers. */
SEC("classifier")
int from_endpoint(struct __sk_buff *skb)
{
	return handle(skb, EGRESS, ETH_HLEN);
}

/* What reaches a pod, on a device with Ethernet headers. */
SEC("classifier")
int to_endpoint(struct __sk_buff *skb)
{
	return handle(skb, INGRESS, ETH_HLEN);
}

/* The same on devices without. */
SEC("classifier")
int from_endpoint_l3(struct __sk_buff *skb)
{
	return handle(skb, EGRESS, 0);
}

SEC("classifier")
int to_endpoint_l3(struct __sk_buff *skb)
{
	return handle(skb, INGRESS, 0);
}
