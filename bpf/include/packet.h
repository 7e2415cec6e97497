/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One packet, read as far as policy needs it. Nothing here trusts a length that the packet gives:
 * every header is fetched by bpf_skb_load_bytes, which fails where there is none.
 *
 * runtime/src/packet.rs is the same in Rust, for tests that make packets at random.
 */
#pragma once

#include "maps.h"

/* Pieces of a datagram. */
enum {
	WHOLE = 0,
	FIRST_FRAGMENT = 1,
	LATER_FRAGMENT = 2,
	/* A later one whose first was not seen: its ports are not known. */
	UNKNOWN_FRAGMENT = 3,
};

/* How many IPv6 extension headers are followed. */
#define EXTENSION_HEADERS 8

struct packet {
	__u8 source[16];
	__u8 destination[16];
	__u32 id;
	__u32 l4;
	/* In the machine's order of bytes. */
	__u16 source_port;
	__u16 destination_port;
	__u8 protocol;
	__u8 family;
	__u8 piece;
	__u8 hops;
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 tcp_flags;
	/* It says which flow it belongs to: what only reports on others does not. */
	__u8 tracked;
} __attribute__((aligned(8)));

struct ipv4 {
	__u8 version_ihl;
	__u8 tos;
	__u16 length;
	__u16 id;
	__u16 fragment;
	__u8 ttl;
	__u8 protocol;
	__u16 checksum;
	__u32 source;
	__u32 destination;
};

struct ipv6 {
	__u8 version;
	__u8 flow[3];
	__u16 length;
	__u8 next;
	__u8 hops;
	__u8 source[16];
	__u8 destination[16];
} __attribute__((aligned(4)));

#define IPV4_OFFSET 0x1fff
#define IPV4_MORE 0x2000

INLINE void mapped(__u8 *to, __u32 address)
{
	__u32 *words = (__u32 *)to;

	words[0] = 0;
	words[1] = 0;
	words[2] = host32(0x0000ffff);
	words[3] = address;
}

INLINE void copy16(__u8 *to, const __u8 *from)
{
	__u32 *t = (__u32 *)to;
	const __u32 *f = (const __u32 *)from;

	t[0] = f[0];
	t[1] = f[1];
	t[2] = f[2];
	t[3] = f[3];
}

INLINE int same16(const __u8 *a, const __u8 *b)
{
	const __u32 *x = (const __u32 *)a;
	const __u32 *y = (const __u32 *)b;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3];
}

/* The IPv4 header at an offset; 0 or a DROP_ code. */
INLINE int read_ipv4(struct __sk_buff *skb, __u32 at, struct packet *p)
{
	struct ipv4 ip;
	__u32 length, fragment;

	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)))
		return DROP_INVALID_PACKET;
	length = (ip.version_ihl & 15) * 4;
	if (ip.version_ihl >> 4 != 4 || length < sizeof(ip))
		return DROP_INVALID_PACKET;
	fragment = host16(ip.fragment);
	mapped(p->source, ip.source);
	mapped(p->destination, ip.destination);
	p->family = 4;
	p->protocol = ip.protocol;
	p->hops = ip.ttl;
	p->id = host16(ip.id);
	p->l4 = at + length;
	if (fragment & IPV4_OFFSET)
		p->piece = LATER_FRAGMENT;
	else
		p->piece = fragment & IPV4_MORE ? FIRST_FRAGMENT : WHOLE;
	/* A second piece that begins inside the TCP header could rewrite it (RFC 3128). */
	if (ip.protocol == IPPROTO_TCP && (fragment & IPV4_OFFSET) == 1)
		return DROP_INVALID_PACKET;
	return 0;
}

/* The IPv6 header at an offset, and those that stand before the transport's. */
INLINE int read_ipv6(struct __sk_buff *skb, __u32 at, struct packet *p)
{
	struct ipv6 ip;
	__u8 next;
	int i;

	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)))
		return DROP_INVALID_PACKET;
	if (ip.version >> 4 != 6)
		return DROP_INVALID_PACKET;
	copy16(p->source, ip.source);
	copy16(p->destination, ip.destination);
	p->family = 6;
	p->hops = ip.hops;
	p->piece = WHOLE;
	next = ip.next;
	at += sizeof(ip);
	for (i = 0; i < EXTENSION_HEADERS; i++) {
		__u8 header[8];

		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_FRAGMENT &&
		    next != IPPROTO_AH && next != IPPROTO_DSTOPTS)
			break;
		/* Behind the first piece's offset there is payload, and no header. */
		if (p->piece == LATER_FRAGMENT)
			break;
		if (bpf_skb_load_bytes(skb, at, header, sizeof(header)))
			return DROP_EXTENSION_HEADER;
		if (next == IPPROTO_FRAGMENT) {
			__u16 offset = header[2] << 8 | header[3];

			p->id = (__u32)header[4] << 24 | (__u32)header[5] << 16 |
				(__u32)header[6] << 8 | header[7];
			if (offset >> 3)
				p->piece = LATER_FRAGMENT;
			else if (offset & 1)
				p->piece = FIRST_FRAGMENT;
			at += 8;
		} else if (next == IPPROTO_AH) {
			at += (header[1] + 2) * 4;
		} else {
			/* Type 0 routes on to addresses that no policy was asked about (RFC 5095). */
			if (next == IPPROTO_ROUTING && header[2] == 0 && header[3] != 0)
				return DROP_EXTENSION_HEADER;
			at += (header[1] + 1) * 8;
		}
		next = header[0];
	}
	if (p->piece != LATER_FRAGMENT &&
	    (next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_FRAGMENT ||
	     next == IPPROTO_AH || next == IPPROTO_DSTOPTS))
		return DROP_EXTENSION_HEADER;
	p->protocol = next;
	p->l4 = at;
	return 0;
}

INLINE int is_icmp(const struct packet *p)
{
	return (p->family == 4 && p->protocol == IPPROTO_ICMP) ||
	       (p->family == 6 && p->protocol == IPPROTO_ICMPV6);
}

/* An ICMP query that an answer belongs to. */
INLINE int is_query(const struct packet *p)
{
	if (p->family == 6)
		return p->icmp_type == 128;
	return p->icmp_type == 8 || p->icmp_type == 13 || p->icmp_type == 15 || p->icmp_type == 17;
}

INLINE int is_answer(const struct packet *p)
{
	if (p->family == 6)
		return p->icmp_type == 129;
	return p->icmp_type == 0 || p->icmp_type == 14 || p->icmp_type == 16 || p->icmp_type == 18;
}

/*
 * The transport's header: ports and flags, or an ICMP message's type. `whole` asks for a full header;
 * what an ICMP error quotes may be cut behind 8 bytes.
 */
INLINE int read_l4(struct __sk_buff *skb, struct packet *p, int whole)
{
	__u8 header[20] __attribute__((aligned(4)));
	__u16 first, second;

	p->source_port = 0;
	p->destination_port = 0;
	p->icmp_type = 0;
	p->icmp_code = 0;
	p->tcp_flags = 0;
	p->tracked = 1;
	if (p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_UDP || p->protocol == IPPROTO_SCTP) {
		if (bpf_skb_load_bytes(skb, p->l4, header, 8))
			return DROP_TRUNCATED;
		first = *(__u16 *)header;
		second = *(__u16 *)(header + 2);
		p->source_port = host16(first);
		p->destination_port = host16(second);
		if (!whole)
			return 0;
		if (p->protocol == IPPROTO_TCP) {
			if (bpf_skb_load_bytes(skb, p->l4, header, 20) || header[12] >> 4 < 5)
				return DROP_TRUNCATED;
			p->tcp_flags = header[13];
		} else if (p->protocol == IPPROTO_SCTP) {
			if (bpf_skb_load_bytes(skb, p->l4, header, 12))
				return DROP_TRUNCATED;
		}
		return 0;
	}
	if (!is_icmp(p))
		return 0;
	if (bpf_skb_load_bytes(skb, p->l4, header, 8))
		return DROP_TRUNCATED;
	p->icmp_type = header[0];
	p->icmp_code = header[1];
	first = *(__u16 *)(header + 4);
	/* The identifier stands for the asker's port. */
	if (is_query(p))
		p->source_port = host16(first);
	else if (is_answer(p))
		p->destination_port = host16(first);
	else
		p->tracked = 0;
	return 0;
}

/* What the first piece of a datagram said, for the later ones. */
INLINE int read_fragment(struct __sk_buff *skb, struct packet *p, __u8 direction, __u64 now)
{
	struct fragment_key key __attribute__((aligned(8))) = {
		.id = p->id,
		/* What stands behind IPv6's fragment header need not be the transport. */
		.protocol = p->family == 4 ? p->protocol : 0,
		.direction = direction,
	};
	struct fragment_value *known;
	int failed;

	copy16(key.source, p->source);
	copy16(key.destination, p->destination);
	if (p->piece == LATER_FRAGMENT) {
		known = bpf_map_lookup_elem(&fragments, &key);
		p->tracked = 0;
		p->source_port = 0;
		p->destination_port = 0;
		p->icmp_type = 0;
		p->icmp_code = 0;
		p->tcp_flags = 0;
		if (!known || known->expires < now) {
			p->piece = UNKNOWN_FRAGMENT;
			count(COUNT_FRAGMENTS_UNKNOWN);
			return 0;
		}
		p->protocol = known->protocol;
		p->source_port = known->source_port;
		p->destination_port = known->destination_port;
		p->icmp_type = known->icmp_type;
		p->icmp_code = known->icmp_code;
		p->tracked = !is_icmp(p) || is_query(p) || is_answer(p);
		return 0;
	}
	failed = read_l4(skb, p, 1);
	if (failed)
		return failed;
	if (p->piece == FIRST_FRAGMENT) {
		struct fragment_value value = {
			.expires = now + lifetime_fragments,
			.source_port = p->source_port,
			.destination_port = p->destination_port,
			.icmp_type = p->icmp_type,
			.icmp_code = p->icmp_code,
			.protocol = p->protocol,
		};

		bpf_map_update_elem(&fragments, &key, &value, BPF_ANY);
	}
	return 0;
}
