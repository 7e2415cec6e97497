/* SPDX-License-Identifier: Apache-2.0 */
/* Other addresses and ports in a packet, with its checksums, and in what an ICMP error quotes. */
#pragma once

#include "conntrack.h"

/* Where a checksum lies in the transport's header; 0 if it is none that addresses and ports are part of. */
INLINE __u32 checksum_at(__u8 protocol)
{
	if (protocol == IPPROTO_TCP)
		return 16;
	return protocol == IPPROTO_UDP ? 6 : 0;
}

/* A checksum over a pseudo header, by the difference of what it covers. */
INLINE void replace_pseudo(struct __sk_buff *skb, __u32 at, __s64 difference, __u64 flags, int v6)
{
	/* Kernels that do not know the flag refuse it before they change anything. */
	if (v6 && !bpf_l4_csum_replace(skb, at, 0, difference, flags | BPF_F_PSEUDO_HDR | BPF_F_IPV6))
		return;
	bpf_l4_csum_replace(skb, at, 0, difference, flags | BPF_F_PSEUDO_HDR);
}

/* The addresses of the IP header at `l3`: the difference that it makes to a pseudo header. */
INLINE __s64 replace_addresses(struct __sk_buff *skb, __u32 l3, const struct packet *p, const struct service_flow *to)
{
	__u32 from[8], now[8];
	__s64 difference;

	if (p->family == 4) {
		from[0] = ((const __u32 *)p->source)[3];
		from[1] = ((const __u32 *)p->destination)[3];
		now[0] = ((const __u32 *)to->source)[3];
		now[1] = ((const __u32 *)to->destination)[3];
		difference = bpf_csum_diff(from, 8, now, 8, 0);
		bpf_l3_csum_replace(skb, l3 + 10, 0, difference, 0);
		bpf_skb_store_bytes(skb, l3 + 12, now, 8, 0);
		return difference;
	}
	copy16((__u8 *)from, p->source);
	copy16((__u8 *)(from + 4), p->destination);
	copy16((__u8 *)now, to->source);
	copy16((__u8 *)(now + 4), to->destination);
	difference = bpf_csum_diff(from, 32, now, 32, 0);
	bpf_skb_store_bytes(skb, l3 + 8, now, 32, 0);
	return difference;
}

/* Ports, in front of everything that has some; `sum` is where their checksum is, or 0. */
INLINE void replace_ports(struct __sk_buff *skb, const struct packet *p, __u16 source, __u16 destination, __u32 sum,
			  __u64 flags)
{
	__u16 ports[2] = { net16(source), net16(destination) };

	if (source == p->source_port && destination == p->destination_port)
		return;
	if (sum) {
		bpf_l4_csum_replace(skb, sum, net16(p->source_port), ports[0], flags | 2);
		bpf_l4_csum_replace(skb, sum, net16(p->destination_port), ports[1], flags | 2);
	}
	bpf_skb_store_bytes(skb, p->l4, ports, 4, 0);
}

/* Gives a packet the addresses and ports of `to`. */
static __attribute__((noinline)) int rewrite(struct __sk_buff *skb, __u32 l3, const struct packet *p,
					     const struct service_flow *to)
{
	__u32 at = checksum_at(p->protocol);
	__u64 flags = p->protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
	__s64 difference = replace_addresses(skb, l3, p, to);

	/* A later piece has no transport header. */
	if (p->piece != WHOLE && p->piece != FIRST_FRAGMENT)
		return 0;
	if (at)
		replace_pseudo(skb, p->l4 + at, difference, flags, p->family == 6);
	replace_ports(skb, p, to->source_port, to->destination_port, at ? p->l4 + at : 0, flags);
	return 0;
}

/*
 * An error about a packet that was translated. `quoted` is what it quotes, `to` what becomes of packets that
 * go the way of the error: the quoted one is its reverse. Who reports keeps its address, unless it is
 * the one whose address is translated.
 */
static __attribute__((noinline)) int rewrite_error(struct __sk_buff *skb, __u32 l3, const struct packet *p,
						   const struct packet *quoted, const struct service_flow *to)
{
	struct service_flow inner = {}, outer = {};
	struct packet ports = {};
	int v6 = p->family == 6;
	__u32 sum = p->l4 + 2;
	__s64 difference;

	copy16(inner.source, to->destination);
	copy16(inner.destination, to->source);
	difference = replace_addresses(skb, p->l4 + 8, quoted, &inner);
	/* An IPv4 header's own checksum makes up for its addresses; IPv6 has none. */
	if (v6)
		bpf_l4_csum_replace(skb, sum, 0, difference, 0);
	ports.source_port = quoted->source_port;
	ports.destination_port = quoted->destination_port;
	ports.l4 = quoted->l4;
	replace_ports(skb, &ports, to->destination_port, to->source_port, sum, 0);
	copy16(outer.source, same16(p->source, quoted->destination) ? to->source : p->source);
	copy16(outer.destination, to->destination);
	difference = replace_addresses(skb, l3, p, &outer);
	if (v6)
		replace_pseudo(skb, sum, difference, 0, 1);
	return 0;
}
