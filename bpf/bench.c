/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a decision costs, for test runs; nothing attaches these. Each run answers a number of random
 * questions: by the look-up of an address alone, by that and the whole decision of policy.c, and by that
 * and two look-ups in a policy map as Cilium keeps one for each endpoint.
 */

#include "include/image.h"

char LICENSE[] SEC("license") = "Apache-2.0";

/* Questions there are, a power of two, and those of one run. */
#define QUESTIONS 4096
#define ASKED 16

struct question {
	__u8 peer[16];
	__u32 endpoint;
	__u16 port;
	__u8 protocol;
	__u8 direction;
	__u8 family;
	__u8 reserved[7];
};
_Static_assert(sizeof(struct question) == 32, "size of question");

/* The key of Cilium's policy maps: `bits` is 40 and those of the protocol and the port that count. */
struct policy_key {
	__u32 bits;
	__u32 identity;
	__u8 egress;
	__u8 protocol;
	/* In the network's order of bytes. */
	__u16 port;
};
_Static_assert(sizeof(struct policy_key) == 12, "size of policy_key");

struct policy_value {
	/* Of two entries the lower counts. */
	__u32 rank;
	__u32 allow;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, QUESTIONS);
	__type(key, __u32);
	__type(value, struct question);
} questions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(key_size, sizeof(struct policy_key));
	__uint(value_size, sizeof(struct policy_value));
	__uint(map_flags, BPF_F_NO_PREALLOC);
} policy_map SEC(".maps");

/* Where the next run begins. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} position SEC(".maps");

/* The answers of one round, one by one, while `keep` is set: whoever measures compares them first. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, QUESTIONS);
	__type(key, __u32);
	__type(value, __u32);
} answers SEC(".maps");

const volatile __u32 keep = 0;
/* A question waits for the answer of the one before, so that a processor cannot work on both at once. */
const volatile __u32 in_turn = 1;
/* The slot in use, for the bare look-up, which does not ask for it. */
const volatile __u32 bare_slot = 0;

enum how {
	BARE,
	DECISION,
	POLICY_MAP,
};

INLINE __u32 by_image(const struct question *q)
{
	struct packet p = {};
	struct decision d = {};
	struct active_value *current;
	const __u8 *image;
	__u32 zero = 0;
	__u32 slot;

	current = bpf_map_lookup_elem(&active, &zero);
	if (!current)
		return 0;
	slot = *(volatile __u32 *)&current->slot;
	image = image_of(slot);
	if (!image)
		return 0;
	p.protocol = q->protocol;
	p.family = q->family;
	p.destination_port = q->port;
	/* Of ICMP the port is the type. */
	p.icmp_type = q->port;
	decide(image, q->endpoint, q->direction, identity_of(q->peer, slot), &p, &d);
	return d.failed ? 0 : d.word;
}

INLINE __u32 by_policy_map(const struct question *q)
{
	struct policy_key key = {
		.bits = 64,
		.identity = identity_of(q->peer, bare_slot),
		.egress = q->direction,
		.protocol = q->protocol,
		.port = net16(q->port),
	};
	const struct policy_value *found = bpf_map_lookup_elem(&policy_map, &key);
	__u32 rank = ~0U;
	__u32 allow = 0;

	if (found) {
		rank = found->rank;
		allow = found->allow;
	}
	key.identity = 0;
	found = bpf_map_lookup_elem(&policy_map, &key);
	if (found && found->rank < rank)
		allow = found->allow;
	return allow;
}

INLINE int ask(enum how how)
{
	__u32 zero = 0;
	__u32 *next = bpf_map_lookup_elem(&position, &zero);
	__u32 at, i;

	if (!next)
		return 0;
	at = *next;
#pragma clang loop unroll(disable)
	for (i = 0; i < ASKED; i++) {
		const struct question *q;
		__u32 answer;
		__u32 *kept;

		at &= QUESTIONS - 1;
		q = bpf_map_lookup_elem(&questions, &at);
		if (!q)
			return 0;
		if (how == BARE)
			answer = identity_of(q->peer, bare_slot);
		else if (how == DECISION)
			answer = by_image(q);
		else
			answer = by_policy_map(q);
		if (keep) {
			kept = bpf_map_lookup_elem(&answers, &at);
			if (kept)
				*kept = answer;
		}
		/* No answer has the highest bit; that it has not is known when the answer is. */
		at += 1 + (in_turn ? answer >> 31 : 0);
		*(volatile __u32 *)next = at + (in_turn ? 0 : answer >> 31);
	}
	return 0;
}

SEC("classifier")
int bare_address(struct __sk_buff *skb __attribute__((unused)))
{
	return ask(BARE);
}

SEC("classifier")
int decision(struct __sk_buff *skb __attribute__((unused)))
{
	return ask(DECISION);
}

SEC("classifier")
int lpm_two(struct __sk_buff *skb __attribute__((unused)))
{
	return ask(POLICY_MAP);
}
